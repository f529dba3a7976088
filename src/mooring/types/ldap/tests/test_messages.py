"""What is written and read is what another implementation writes and reads."""

from __future__ import annotations

import contextlib

import pytest
from anyldap.protocols import pureber, pureldap
from hypothesis import given
from hypothesis import strategies as st

from mooring.kit.ber import Unintelligible, element, integer, number
from mooring.types.ldap import messages
from mooring.types.ldap.filter import parse

ANY = pureldap.LDAPBERDecoderContext(fallback=pureber.BERDecoderContext())
THEIRS = pureldap.LDAPBERDecoderContext_TopLevel(
    inherit=pureldap.LDAPBERDecoderContext_LDAPMessage(fallback=ANY, inherit=ANY)
)


def read_by_the_other(frame: bytes) -> pureldap.LDAPMessage:
    found, used = pureber.berDecodeObject(THEIRS, frame)
    assert used == len(frame)
    return found


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_bind_is_read_by_another(dn, password):
    """A login arrives as it was meant, at any length and in any letters."""
    seen = read_by_the_other(messages.message(7, messages.bind(dn, password)))

    assert (seen.id, seen.value.version, seen.value.dn.decode(), seen.value.auth.decode()) == (7, 3, dn, password)


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        ("(uid={0})", r"(uid=a\2a\5cş)"),
        ("(&(a=b)(|(c=d*)(!(e=*f*g))))", "(&(a=b)(|(c=d*)(!(e=*f*g))))"),
        ("(a=*)", "(a=*)"),
        ("(a=**)", "(a=*)"),
        ("(a>=1)", "(a>=1)"),
        ("(a<=1)", "(a<=1)"),
        ("(a~=1)", "(a~=1)"),
        (r"(a=\c5\9f\29)", r"(a=ş\29)"),
        ("(a:dn:1.2.3:={0})", r"(a:dn:1.2.3:=a\2a\5cş)"),
        ("(:caseExactMatch:=x)", "(:caseExactMatch:=x)"),
        ("(a:dn:=x)", "(a:dn:=x)"),
        ("(a=pre{0}*{0}*post)", r"(a=prea\2a\5cş*a\2a\5cş*post)"),
    ],
)
def test_a_filter_is_read_by_another(asked, means):
    """Every kind of filter arrives as it was meant, with the name in its place."""
    encoded = messages.filter_of(parse(asked), "a*\\ş")
    request = messages.search("dc=x", "ONE_LEVEL", encoded, ["cn", "*"], 12)

    seen = read_by_the_other(messages.message(1, request)).value

    assert seen.filter.asText() == means
    assert (seen.baseObject, seen.scope, seen.sizeLimit, list(seen.attributes)) == (b"dc=x", 1, 12, [b"cn", b"*"])


@given(st.binary(max_size=300), st.integers(0, 2**31 - 1))
def test_a_page_is_asked_for(cookie, size):
    """The control for a page is read by another."""
    seen = read_by_the_other(messages.message(1, messages.start_tls(), messages.page(size, cookie)))

    ((kind, _, value),) = seen.controls
    (inner,) = pureber.berDecodeMultiple(value, pureber.BERDecoderContext())
    assert kind == messages.PAGED.encode()
    assert (inner[0].value, inner[1].value) == (size, cookie)


@given(
    st.text(max_size=200),
    st.lists(st.tuples(st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.lists(st.binary(max_size=300), max_size=4)), max_size=5),
)  # fmt: skip
def test_an_entry_of_another_is_read(dn, attributes):
    """Entries are read as another implementation wrote them."""
    frame = pureldap.LDAPMessage(pureldap.LDAPSearchResultEntry(dn, attributes), id=9).toWire()

    identifier, kind, found = messages.read(frame)

    assert (identifier, kind) == (9, messages.ENTRY)
    assert found == messages.Entry(dn, tuple((name, tuple(values)) for name, values in attributes))


@given(st.integers(0, 300), st.text(max_size=300), st.lists(st.text(max_size=50), max_size=3), st.binary(max_size=50))
def test_a_result_of_another_is_read(code, said, urls, cookie):
    """Results are read as another implementation wrote them, with referrals and the next page's place."""
    done = pureldap.LDAPSearchResultDone(code, errorMessage=said, referral=urls)
    value = pureber.BERSequence([pureber.BERInteger(0), pureber.BEROctetString(cookie)]).toWire()
    frame = pureldap.LDAPMessage(done, id=3, controls=[(messages.PAGED, None, value)]).toWire()

    assert messages.read(frame) == (3, messages.DONE, messages.Result(code, said, tuple(urls), cookie))


def test_a_reference_of_another_is_read():
    """References are read as another implementation wrote them."""
    urls = ["ldap://a/dc=x", "ldap://b/dc=ş"]
    reference = pureldap.LDAPSearchResultReference([pureldap.LDAPString(url) for url in urls])

    assert messages.read(pureldap.LDAPMessage(reference, id=3).toWire())[2] == messages.Reference(tuple(urls))


@given(st.binary(max_size=400))
def test_rubbish_is_refused(rubbish):
    """Whatever the bytes are, they are read, or refused as unintelligible; nothing else happens."""
    for frame in (rubbish, element(0x30, rubbish), element(0x30, integer(1), element(0x64, rubbish))):
        with contextlib.suppress(ValueError):
            messages.read(frame)


@given(st.integers(0, 2**31 - 1))
def test_a_number_comes_back(value):
    """Whole numbers are written in the fewest bytes, and read back."""
    written = integer(value)

    assert written == pureber.BERInteger(value).toWire()
    assert number(memoryview(written)[2:]) == value


@pytest.mark.parametrize("content", [b"", b"\x00" * 10])
def test_a_number_has_a_size(content):
    """A number of no bytes, or of too many, is none."""
    with pytest.raises(Unintelligible):
        number(memoryview(content))
