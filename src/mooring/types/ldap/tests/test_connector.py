"""Searching and checking passwords in a real directory, and in directories that misbehave."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from tests.support.services import Service, black_hole, closed_port
from tests.support.slapd import ldapmodify, ldapsearch, ldapwhoami, slapd
from tools.services.servers.slapd import PEOPLE, ROBOTS, person_dn

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.kit.ber import SEQUENCE, SET, element, integer, text
from mooring.plugin.materials import MaterialMissing, Store
from mooring.testing.live import connected
from mooring.types.ldap.security import check_name
from mooring.types.ldap.session import MAX_MESSAGE
from mooring.types.ldap.tests.fake import (
    ABANDON,
    BIND,
    EXTENDED,
    HANG_UP,
    SEARCH,
    UNBIND,
    entry,
    fake_directory,
    framed,
    relay,
    result,
)
from mooring.types.ldap.tests.target import aimed, checked, real, stores

__all__ = ["slapd"]

CANARY = "s3cr3t-canary-pw"


class Materials:
    """The stores of a test."""

    def __init__(self, **found: Store) -> None:
        self.found = found

    def store(self, name: str) -> Store:
        if name not in self.found:
            raise MaterialMissing(f"the keystore '{name}' does not exist in this project")
        return self.found[name]


def named(slapd: Service, **more: Store) -> Materials:
    return Materials(**stores(slapd), **more)


def body(port: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "ldap", "name": "people", "serverAddress": f"ldap://127.0.0.1:{port}", "username": "cn=reader,dc=x",
        "password": CANARY, "baseDn": "dc=x", "customFilter": "(uid={0})", **fields,
    }  # fmt: skip


async def failure(
    config: dict[str, Any], operation: str = "search", request: dict[str, Any] | None = None, **about: Any
) -> ConnectorError:
    timeout_s = about.pop("timeout_s", 5.0)
    async with connected(config, **about) as guard:
        with pytest.raises(ConnectorError) as caught:
            await guard.use(operation, request or {"user": "ada"}, timeout_s)
    return caught.value


def names(answer: Any) -> set[str]:
    return {one.dn for one in answer.entries}


# Searching


async def test_a_person_is_found_by_name(slapd):
    """A name with Turkish letters finds the person, with the values that ldapsearch shows."""
    async with connected(real(slapd)) as guard:
        found = await guard.use("search", {"user": "ayşe", "attributes": ["cn", "sn", "mail"]})

    seen = ldapsearch(slapd, "(uid=ayşe)", "cn", "sn", "mail")
    assert {one.dn: one.attributes for one in found.entries} == seen
    assert found.count == 1 and not found.truncated


@pytest.mark.parametrize(
    ("scope", "base", "expected"),
    [
        ("OBJECT", "ou=people", {"ou=people"}),
        ("ONE_LEVEL", "ou=people", {"ou=former,ou=people"}),
        ("SUBTREE", "ou=people", {"ou=people", "ou=former,ou=people"}),
    ],
)
async def test_a_search_goes_as_deep_as_the_scope_says(slapd, scope, base, expected):
    """The base alone, the level below it, or everything below it."""
    config = real(slapd, baseDn=f"{base},{slapd['base']}", searchScope=scope)

    async with connected(config) as guard:
        found = await guard.use("search", {"filter": "(objectClass=organizationalUnit)"})

    assert names(found) == {f"{rdn},{slapd['base']}" for rdn in expected}


@pytest.mark.parametrize(
    "asked",
    [
        "(&(objectClass=inetOrgPerson)(|(uid=ada)(uid=ışıl)))",
        "(!(objectClass=inetOrgPerson))",
        "(cn=*ç*r*)",
        "(cn=Ada*)",
        "(cn=*lace)",
        "(cn=*)",
        "(mail=*)",
        "(sn>=K)",
        "(sn<=K)",
        "(cn~=Ada Lovelace)",
        r"(cn=Odd \28Signs\29 \2a Only)",
        r"(uid=a\2a\28b\29\5cc)",
        "(sn:caseExactMatch:=Lovelace)",
        "(ou:dn:=former)",
        "( & (uid=ada) (cn=Ada Lovelace) )",
        "(cn=**)",
        "(unheardof=x)",
    ],
)
async def test_a_filter_finds_what_ldapsearch_finds(slapd, asked):
    """Every form of a filter means the same here as to the directory's own tool."""
    async with connected(real(slapd)) as guard:
        found = await guard.use("search", {"filter": asked, "attributes": ["1.1"], "limit": 500})

    blanks = re.sub(r" *([()&]) *", r"\1", asked) if asked.startswith("( &") else asked
    assert names(found) == set(ldapsearch(slapd, blanks.replace("**", "*"), "1.1", base=f"ou=people,{slapd['base']}"))


@pytest.mark.parametrize("user", ["*", "ada)(uid=*", "ada)(|(uid=*", "\\2a", "a\0", "(", "ada*", "ş)(&"])
async def test_no_name_changes_what_the_filter_asks(slapd, user):
    """A name with a filter's signs in it is looked for as it stands, and finds nobody."""
    async with connected(real(slapd)) as guard:
        assert (await guard.use("search", {"user": user})).entries == []


async def test_a_name_of_signs_is_found(slapd):
    """A person whose name is made of a filter's signs is found by it."""
    async with connected(real(slapd)) as guard:
        assert (await guard.use("search", {"user": "a*(b)\\c"})).count == 1


async def test_values_that_are_no_text_are_base64(slapd):
    """A picture is in `binary`, a name is in `attributes`."""
    async with connected(real(slapd)) as guard:
        (found,) = (await guard.use("search", {"user": "ada", "attributes": ["cn", "jpegPhoto"]})).entries

    assert found.attributes == {"cn": ["Ada Lovelace"]}
    assert found.binary == {"jpegPhoto": ["/9j/4AAQSkZJRgABAQ=="]}


async def test_a_long_search_comes_in_pages(slapd):
    """More entries than the directory gives at once are fetched page by page."""
    config = real(slapd, baseDn=f"ou=robots,{slapd['base']}")

    async with connected(config) as guard:
        found = await guard.use("search", {"filter": "(uid=*)", "attributes": ["uid"], "limit": 5000})

    assert len(names(found)) == found.count == ROBOTS
    assert not found.truncated


@pytest.mark.parametrize("limit", [1, 7, 500, 501, 1000, ROBOTS])
async def test_a_search_is_bounded(slapd, limit):
    """No more than `limit` entries come, and the answer says that there are more."""
    config = real(slapd, baseDn=f"ou=robots,{slapd['base']}")

    async with connected(config) as guard:
        found = await guard.use("search", {"filter": "(objectClass=*)", "limit": limit})

    assert (found.count, found.truncated) == (limit, True)


async def test_long_searches_do_not_disturb_each_other(slapd):
    """Paged searches that run side by side all find everything."""
    config = real(slapd, baseDn=f"ou=robots,{slapd['base']}")
    request = {"filter": "(uid=*)", "attributes": ["1.1"], "limit": 5000}

    async with connected(config) as guard:
        found = await asyncio.gather(*(guard.use("search", request) for _ in range(12)))

    assert {one.count for one in found} == {ROBOTS}


async def test_referrals_are_told_and_not_followed(slapd):
    """What lies on another server is named in the answer; nobody goes there."""
    async with connected(real(slapd, baseDn=slapd["base"])) as guard:
        found = await guard.use("search", {"user": "ada"})

    assert found.count == 1
    assert [url.split("/")[2] for url in found.referrals] == ["elsewhere.example.com"]


async def test_a_base_on_another_server(slapd):
    """A base that lies on another server is the author's move, and the error says where."""
    error = await failure(real(slapd, baseDn=f"ou=elsewhere,{slapd['base']}"))

    assert isinstance(error, Misconfigured)
    assert "ldap://elsewhere.example.com" in error.message and "not followed" in error.message


@pytest.mark.parametrize("base", ["ou=nowhere,dc=example,dc=com", "ou=hidden,dc=example,dc=com"])
async def test_a_base_that_is_not_there(slapd, base):
    """A base that does not exist, or is hidden from the account, is the author's move."""
    error = await failure(real(slapd, baseDn=base))

    assert isinstance(error, Misconfigured)
    assert f"has no entry {base}" in error.message


async def test_a_filter_with_a_name_needs_one(slapd):
    """A filter that asks for a name does not go out without one."""
    assert "gives none" in (await failure(real(slapd), request={"limit": 1})).message


@pytest.mark.parametrize("asked", ["uid=ada", "(uid=ada", "(uid=ada))", "(&)"])
async def test_a_filter_that_is_none(slapd, asked):
    """What is no filter is refused before anything is asked."""
    error = await failure(real(slapd), request={"filter": asked})

    assert isinstance(error, Misconfigured)
    assert "the filter of this search is none" in error.message


async def test_without_a_filter_everything_is_found(slapd):
    """Without any filter a search finds every entry that the scope reaches."""
    async with connected(real(slapd, customFilter=None)) as guard:
        found = await guard.use("search", {"attributes": ["1.1"]})

    assert names(found) == set(ldapsearch(slapd, "(objectClass=*)", "1.1", base=f"ou=people,{slapd['base']}"))


async def test_passwords_of_entries_are_left_out_unless_named(slapd):
    """An account that may read password hashes does not hand them on by accident."""
    account = {"username": slapd["admin_user"], "password": slapd["admin_password"]}

    async with connected(real(slapd, **account)) as guard:
        (whole,) = (await guard.use("search", {"user": "ada"})).entries
        (asked,) = (await guard.use("search", {"user": "ada", "attributes": ["userPassword"]})).entries

    assert not any("assword" in name for name in (*whole.attributes, *whole.binary))
    assert "userPassword" in asked.attributes


@pytest.mark.parametrize("attribute", ["", "a b", "cn)", "cn\r\n", "ş"])
async def test_what_is_no_attribute_is_refused(slapd, attribute):
    """An attribute's name is one before anything is asked."""
    async with connected(real(slapd)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("search", {"user": "ada", "attributes": [attribute]})


# Checking passwords


@pytest.mark.parametrize("person", [person for person in PEOPLE if person[0] != "twin"], ids=lambda person: person[1])
async def test_a_right_password_is_the_persons(slapd, person):
    """Everybody is let in with their password, and is the same to ldapwhoami."""
    word = slapd["person_password"]

    async with connected(real(slapd)) as guard:
        verdict = await guard.use("authenticate", {"user": person[0], "password": word})

    assert (verdict.authenticated, verdict.reason) == (True, None)
    assert verdict.dn == person_dn(*person) == ldapwhoami(slapd, verdict.dn, word)


@pytest.mark.parametrize(
    ("user", "password", "reason"),
    [
        ("ada", "not hers", "wrong_password"),
        ("ada", "", "empty_password"),
        ("ada", "\0", "wrong_password"),
        ("nobody", "anything", "wrong_password"),
        ("nobody at all", "anything", "unknown_user"),
        ("*", "anything", "unknown_user"),
    ],
)
async def test_a_wrong_password_is_an_answer(slapd, user, password, reason):
    """Whoever is not let in gets a no with its reason, and no error."""
    async with connected(real(slapd)) as guard:
        verdict = await guard.use("authenticate", {"user": user, "password": password})

    assert (verdict.authenticated, verdict.reason) == (False, reason)


async def test_an_empty_password_is_never_tried():
    """A login without a password, which directories let in as nobody, does not reach the directory."""
    async with fake_directory(search=lambda _: [entry("cn=ada,dc=x"), result(0x65)]) as fake:
        async with connected(body(fake.port)) as guard:
            verdict = await guard.use("authenticate", {"user": "ada", "password": ""})

    assert not verdict.authenticated
    assert fake.heard == []


async def test_an_entry_without_a_name_is_nobody():
    """A login with an empty DN would be let in as nobody, so it is not tried."""
    async with fake_directory(search=lambda _: [entry(""), result(0x65)]) as fake:
        async with connected(body(fake.port)) as guard:
            verdict = await guard.use("authenticate", {"user": "ada", "password": "x"})

    assert (verdict.authenticated, verdict.reason) == (False, "unknown_user")
    assert fake.heard.count(BIND) == 1


async def test_a_name_that_finds_two_is_nobodys(slapd):
    """Where a name finds two entries, no password is tried."""
    request = {"user": "twin", "password": slapd["person_password"]}

    error = await failure(real(slapd), "authenticate", request)

    assert isinstance(error, Misconfigured)
    assert "more than one entry" in error.message


@pytest.mark.parametrize("given", [None, "", "(objectClass=person)"])
async def test_without_a_filter_for_names_nobody_is_checked(slapd, given):
    """A filter that asks for no name would find anybody, so none is checked."""
    request = {"user": "ada", "password": "x"}

    error = await failure(real(slapd, customFilter=given), "authenticate", request)

    assert isinstance(error, Misconfigured)
    assert "{0}" in str(error.hint)


async def test_a_check_leaves_the_searching_account_alone(slapd):
    """After somebody was let in, searches are still made by the connection's own account."""
    hidden = real(slapd)

    async with connected(hidden) as guard:
        await guard.use("authenticate", {"user": "ada", "password": slapd["person_password"]})
        found = await guard.use("search", {"user": "ayşe"})

    # Ada herself may not read Ayşe's entry.
    assert found.count == 1


async def test_a_changed_password_counts_at_once(slapd):
    """The next check knows the new password, and not the old one any more."""
    dn = person_dn("eski", "Eski Çalışan", "ou=former,ou=people")
    change = "dn: {}\nchangetype: modify\nreplace: userPassword\nuserPassword: {}\n\n"

    async with connected(real(slapd)) as guard:
        ldapmodify(slapd, change.format(dn, "another"))
        try:
            new = await guard.use("authenticate", {"user": "eski", "password": "another"})
            old = await guard.use("authenticate", {"user": "eski", "password": slapd["person_password"]})
        finally:
            ldapmodify(slapd, change.format(dn, slapd["person_password"]))

    assert (new.authenticated, old.authenticated) == (True, False)


@pytest.mark.parametrize(
    ("code", "said", "reason"),
    [
        (49, "", "wrong_password"),
        (49, "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 52e, v4563", "wrong_password"),
        (49, "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 775, v4563", "locked"),
        (49, "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 533, v4563", "disabled"),
        (49, "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 532, v4563", "password_expired"),
        (49, "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data fff, v4563", "wrong_password"),
        (48, "", "no_password"),
        (53, "account disabled", "refused"),
        (19, "too many failures", "refused"),
        (32, "", "unknown_user"),
    ],
)  # fmt: skip
async def test_a_fake_directory_says_why_not(code, said, reason):
    """The reason is what the directory says, in Active Directory's words too."""
    async with a_fake_that_answers_the_second_bind(code, said) as fake, connected(body(fake.port)) as guard:
        verdict = await guard.use("authenticate", {"user": "ada", "password": "x"})

    assert (verdict.authenticated, verdict.reason, verdict.dn) == (False, reason, "cn=ada,dc=x")


@pytest.mark.parametrize(
    ("code", "kind"), [(51, Unreachable), (52, Unreachable), (13, Misconfigured), (1, Misconfigured)]
)
async def test_a_directory_that_cannot_check_is_an_error(code, kind):
    """Where the directory says nothing about the person, there is no verdict; and its words are not repeated."""
    async with a_fake_that_answers_the_second_bind(code, "the password was hunter2") as fake:
        error = await failure(body(fake.port), "authenticate", {"user": "ada", "password": "hunter2"})

    assert isinstance(error, kind)
    assert "hunter2" not in f"{error.message} {error.hint}"


def a_fake_that_answers_the_second_bind(code: int, said: str) -> Any:
    """A fake directory that lets the searching account in, finds one person, and says that to the person's login."""
    binds = iter([result(0x61)])
    return fake_directory(
        bind=lambda _: [next(binds, result(0x61, code, said))],
        search=lambda _: [entry("cn=ada,dc=x"), result(0x65)],
    )


# The account that searches


async def test_a_wrong_password_of_the_account(slapd):
    """A wrong password of the connection's own account is its owner's move."""
    async with connected(real(slapd, password=CANARY)) as guard:
        with pytest.raises(Rejected, match=r"refused the login as cn=reader.*invalidCredentials"):
            await guard.use("search", {"user": "ada"})

        assert guard.health == "auth_failed"


async def test_a_user_name_that_is_none(slapd):
    """What the directory does not take for an account's name is the author's move."""
    error = await failure(real(slapd, username="just a word"))

    assert isinstance(error, Misconfigured)
    assert "full DN" in str(error.hint)


# TLS


async def test_start_tls(slapd):
    """A plain session is encrypted before anybody logs in."""
    secure = {"useStartTls": True, "requireCertificateType": "REQUIRED_AN_PN", "certificateName": "directory-ca"}

    async with connected(real(slapd, **secure), materials=named(slapd)) as guard:
        assert (await guard.use("search", {"user": "ada"})).count == 1
        assert (await guard.use("authenticate", {"user": "ada", "password": slapd["person_password"]})).authenticated


async def test_start_tls_trusts_what_the_worker_trusts(slapd):
    """Without a certificate of its own, StartTLS is checked against the worker's."""
    secure = real(slapd, useStartTls=True, requireCertificateType="REQUIRED_AN_PN")

    async with connected(secure, ca_file=slapd.ca) as guard:
        assert (await guard.use("search", {"user": "ada"})).count == 1
    assert "not accepted" in (await failure(secure)).message


async def test_start_tls_that_is_not_to_be_had():
    """Where the directory does not begin TLS, no password is sent."""
    async with fake_directory(extended=lambda _: [result(0x78, 2, "unsupported")]) as fake:
        error = await failure(body(fake.port, useStartTls=True))

    assert isinstance(error, Misconfigured)
    assert "no password was sent" in error.message
    assert fake.heard == [EXTENDED]


async def test_nothing_can_be_slipped_in_before_tls():
    """What comes in the clear behind the answer to StartTLS is not taken for the directory's own words."""
    slipped = framed(1, result(0x78)) + framed(2, result(0x61))
    async with fake_directory(extended=lambda _: [b"raw:" + slipped]) as fake:
        error = await failure(body(fake.port, useStartTls=True))

    assert isinstance(error, Unreachable)
    assert fake.heard == [EXTENDED]


async def test_a_client_certificate(slapd):
    """A directory that wants a client's certificate gets it, and turns away who has none."""
    async with connected(checked(slapd, "mutual_port", keyStoreName="client"), materials=named(slapd)) as guard:
        assert (await guard.use("search", {"user": "ada"})).count == 1
    assert isinstance(await failure(checked(slapd, "mutual_port"), materials=named(slapd)), Unreachable)


async def test_an_unchecked_certificate(slapd):
    """NOT_REQUIRED takes any certificate, of any host."""
    config = real(slapd, serverAddress=f"ldaps://{slapd['wrong_name_host']}:{slapd['tls_port']}", useSsl=True)

    async with connected(config) as guard:
        assert (await guard.use("search", {"user": "ada"})).count == 1


async def test_an_address_that_says_ldaps_is_encrypted(slapd):
    """ldaps:// is TLS from the first byte also where useSsl is off."""
    async with connected(real(slapd, serverAddress=f"ldaps://localhost:{slapd['tls_port']}")) as guard:
        report = await guard.probe()

    assert [step.state for step in report.steps if step.name == "tls"] == ["passed"]


async def test_alternative_names_count(slapd):
    """REQUIRED_AN_PN refuses a certificate whose alternative names are others."""
    config = aimed(checked(slapd, "tls_port"), slapd["wrong_name_host"], slapd["tls_port"])

    error = await failure(config, materials=named(slapd))

    assert isinstance(error, Misconfigured)
    assert "not accepted" in error.message


@pytest.mark.parametrize(
    ("common", "alternative", "kind", "accepted"),
    [
        ("localhost", "other.example.com", "REQUIRED_CN", True),
        ("LOCALHOST", "other.example.com", "REQUIRED_CN", True),
        ("other.example.com", "localhost", "REQUIRED_CN", False),
        (None, "localhost", "REQUIRED_CN", False),
        ("other.example.com", "localhost", "REQUIRED_AN_PN", True),
        ("localhost", "other.example.com", "REQUIRED_AN_PN", False),
    ],
)
async def test_each_level_looks_at_its_own_name(slapd, common, alternative, kind, accepted):
    """REQUIRED_CN compares the common name and nothing else, REQUIRED_AN_PN the alternative names and nothing else."""
    authority = trustme.CA()
    context = trustme_context(authority, alternative, common)
    trusted = Store(trusted=authority.cert_pem.bytes().decode())
    with relay(slapd["port"], context) as front:
        config = checked(slapd, "tls_port", requireCertificateType=kind)
        async with connected(
            aimed(config, "localhost", front.port), materials=Materials(**{"directory-ca": trusted})
        ) as guard:
            report = await guard.probe()

    assert [step.state for step in report.steps if step.name == "tls"] == ["passed" if accepted else "failed"]
    assert report.failure is None or report.failure.code == "misconfigured"


def trustme_context(authority: trustme.CA, alternative: str, common: str | None) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(alternative, common_name=common).configure_cert(context)
    return context


@pytest.mark.parametrize(
    ("common", "host", "accepted"),
    [
        ("*.example.com", "ldap.example.com", True),
        ("*.example.com", "a.ldap.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.com", "example.com", False),
        ("*.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("l*.example.com", "ldap.example.com", False),
    ],
)
def test_a_common_name_may_begin_with_an_asterisk(common, host, accepted):
    """An asterisk stands for one whole label, in front of at least two others, and for no part of an address."""
    certificate = {"subject": ((("commonName", common),),)}

    if accepted:
        check_name(certificate, host, "REQUIRED_CN", "x")
    else:
        with pytest.raises(Misconfigured):
            check_name(certificate, host, "REQUIRED_CN", "x")


def test_a_certificate_without_alternative_names():
    """REQUIRED_AN_PN wants alternative names to be there."""
    with pytest.raises(Misconfigured, match="no alternative names"):
        check_name({"subject": ((("commonName", "a"),),)}, "a", "REQUIRED_AN_PN", "x")


async def test_a_truststore_counts_too(slapd):
    """trustStoreName is trusted like certificateName."""
    config = checked(slapd, "tls_port", certificateName=None, trustStoreName="directory-ca")

    async with connected(config, materials=named(slapd)) as guard:
        assert (await guard.use("search", {"user": "ada"})).count == 1


async def test_only_what_is_named_is_trusted(slapd):
    """With a certificate named, the worker's own do not count."""
    other = Store(trusted=Path(slapd.certificates["unknown_ca"]).read_text())

    error = await failure(checked(slapd, "tls_port"), materials=Materials(**{"directory-ca": other}), ca_file=slapd.ca)

    assert isinstance(error, Misconfigured)
    assert "not accepted" in error.message


async def test_a_missing_store_is_found_at_open(slapd):
    """A store that does not exist is told when the connection is opened, not when somebody needs it."""
    with pytest.raises(MaterialMissing):
        async with connected(checked(slapd, "tls_port"), materials=Materials()):
            pass


@pytest.mark.parametrize(
    ("store", "words"), [(Store(), "no certificate to trust"), (Store(trusted="rubbish"), "cannot be used for TLS")]
)
async def test_a_store_that_is_of_no_use(slapd, store, words):
    """A truststore without certificates, or with something else in it, is told at open."""
    with pytest.raises(Misconfigured, match=words):
        async with connected(checked(slapd, "tls_port"), materials=Materials(**{"directory-ca": store})):
            pass


async def test_both_event_loops(slapd):
    """The loop that workers run on encrypts a session too, at once and by StartTLS."""

    async def both() -> list[int]:
        counts = []
        for config in (checked(slapd, "tls_port"), real(slapd, useStartTls=True)):
            async with connected(config, materials=named(slapd)) as guard:
                counts.append((await guard.use("search", {"user": "ada"})).count)
        return counts

    assert await asyncio.to_thread(uvloop.run, both()) == [1, 1]


# Bad weather


async def test_a_closed_port():
    """A port that nobody listens on is told so."""
    error = await failure(body(closed_port()))

    assert isinstance(error, Unreachable)
    assert "refused the connection" in error.message


async def test_connecting_may_take_so_long():
    """connectionTimeout ends connecting, with what it includes."""
    with black_hole() as hole:
        error = await failure(body(hole.port, connectionTimeout=1000), timeout_s=20)

    assert isinstance(error, Unreachable)
    assert "in time" in error.message


async def test_the_callers_deadline_ends_a_search(slapd):
    """A directory that does not answer a search is given up when the caller's time is over."""
    async with fake_directory(search=lambda _: []) as fake:
        error = await failure(body(fake.port), timeout_s=0.3)

    assert isinstance(error, Unreachable)


async def test_a_search_that_nobody_waits_for_is_abandoned():
    """The directory is told when an answer is not wanted any more."""
    async with fake_directory(search=lambda _: [entry("cn=a,dc=x")]) as fake, connected(body(fake.port)) as guard:
        with pytest.raises(Unreachable):
            await guard.use("search", {"user": "a"}, 0.3)
        await until(lambda: ABANDON in fake.heard)


async def test_a_session_that_fell_silent_is_replaced():
    """After somebody waited in vain, the next one gets a session of its own."""
    silence = iter([[], []])
    async with fake_directory(search=lambda _: next(silence, [result(0x65)])) as fake:
        async with connected(body(fake.port)) as guard:
            with pytest.raises(Unreachable):
                await guard.use("search", {"user": "a"}, 0.3)
            fake.search = lambda _: [result(0x65)]

            await guard.use("search", {"user": "a"})

    assert fake.heard.count(BIND) == 2


BIG = b"x" * (MAX_MESSAGE + 1)


@pytest.mark.parametrize(
    "reply",
    [
        b"raw:HTTP/1.1 400 Bad Request\r\n\r\n",
        b"raw:\x30\x80\x02\x01\x02\x61\x00\x00\x00",
        b"raw:\x30\x84\x7f\xff\xff\xff",
        b"raw:\x30\x00",
        b"raw:" + b"\x30\x84\x00\x00\xff\xff" + b"\x05\x00" * 32767 + b"\x05",
        b"raw:" + framed(2, element(0x64, text("x"))),
        b"raw:" + framed(2, element(0x64, text("x"), element(SEQUENCE, element(SEQUENCE, text("a"))))),
        b"raw:" + framed(2, element(0x65)),
        b"raw:" + framed(2, element(0x61, element(0x0A, b"\x01" * 10), text(""), text(""))),
        b"raw:" + framed(77, result(0x65)),
        b"raw:" + framed(-1, result(0x65)),
        b"raw:" + framed(2, element(0x6F)),
        b"raw:" + element(SEQUENCE, integer(2), result(0x65), element(0xA0, element(SEQUENCE))),
        b"raw:" + framed(2, entry("x", a=BIG)),
    ],
    ids=range(14),
)  # fmt: skip
async def test_what_is_no_ldap_is_told_so(reply):
    """Whatever comes instead of an answer, the error says so, and the session is given up."""
    async with fake_directory(search=lambda _: [reply]) as fake:
        error = await failure(body(fake.port))

    assert isinstance(error, Unreachable)
    assert "something that is not LDAP" in error.message


async def test_a_deep_nest_is_told_so():
    """A nest of elements as deep as a message is long costs no more than reading it."""
    nest = b""
    for _ in range(5000):
        nest = element(SEQUENCE, nest)
    async with fake_directory(search=lambda _: [b"raw:" + framed(2, element(0x65, nest))]) as fake:
        assert isinstance(await failure(body(fake.port)), Unreachable)


async def test_many_small_values_are_read_in_time():
    """A message of half a million empty values is read in proportion to its size."""
    many = element(
        0x64, text("cn=x"), element(SEQUENCE, element(SEQUENCE, text("a"), element(SET, text("") * 500_000)))
    )
    async with fake_directory(search=lambda _: [many, result(0x65)]) as fake, connected(body(fake.port)) as guard:
        found = await guard.use("search", {"user": "ada"}, 20)

    assert len(found.entries[0].attributes["a"]) == 500_000


async def test_a_search_that_never_ends_is_cut():
    """A directory that ignores the limit is left after `limit` entries, and told that it is enough."""
    async with fake_directory(search=lambda _: [entry(f"cn={n},dc=x") for n in range(1000)]) as fake:
        async with connected(body(fake.port)) as guard:
            found = await guard.use("search", {"user": "ada", "limit": 10})
            await until(lambda: ABANDON in fake.heard)

    assert (found.count, found.truncated) == (10, True)


async def test_an_answer_has_a_size():
    """Large entries are given up to some megabytes, and the answer says that there was more."""
    large = [entry(f"cn={n},dc=x", photo="x" * 1_000_000) for n in range(10)]
    async with fake_directory(search=lambda _: [*large, result(0x65)]) as fake, connected(body(fake.port)) as guard:
        found = await guard.use("search", {"user": "ada"})

    assert (found.count, found.truncated) == (4, True)


async def test_pages_without_end_are_cut():
    """A directory that always has another page is left after `limit` entries."""
    cookie = element(SEQUENCE, text("1.2.840.113556.1.4.319"), text(element(SEQUENCE, integer(0), text("more"))))

    def page(_: bytes) -> list[bytes]:
        done = element(SEQUENCE, integer(next(numbers)), result(0x65), element(0xA0, cookie))
        return [entry("cn=a,dc=x"), b"raw:" + done]

    numbers = iter(range(2, 10_000))
    async with fake_directory(search=page) as fake, connected(body(fake.port)) as guard:
        found = await guard.use("search", {"user": "ada", "limit": 600})

    assert (found.count, found.truncated) == (600, True)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, Misconfigured), (2, Misconfigured), (3, Unreachable), (4, Misconfigured), (8, Misconfigured),
        (10, Misconfigured), (11, Misconfigured), (13, Misconfigured), (32, Misconfigured), (50, Rejected),
        (51, Unreachable), (52, Unreachable), (53, Rejected), (80, Unreachable), (4711, Misconfigured),
    ],
)  # fmt: skip
async def test_a_refused_search_says_whose_move_it_is(code, kind):
    """Every result of a search that is no success has its class and a next step."""
    async with fake_directory(search=lambda _: [result(0x65, code, "because")]) as fake:
        error = await failure(body(fake.port))

    assert type(error) is kind
    assert error.hint


async def test_a_directory_that_says_goodbye():
    """A notice of disconnection is told with the directory's reason."""
    notice = framed(0, result(0x78, 52, "shutting down"))
    async with fake_directory(search=lambda _: [b"raw:" + notice]) as fake:
        error = await failure(body(fake.port))

    assert isinstance(error, Unreachable)
    assert "ended the session: unavailable (shutting down)" in error.message


@pytest.mark.parametrize("when", ["bind", "search"])
async def test_a_directory_that_hangs_up(when):
    """A session that is cut instead of an answer is told so."""
    async with fake_directory(**{when: lambda _: [HANG_UP]}) as fake:
        error = await failure(body(fake.port))

    assert isinstance(error, Unreachable)
    assert "closed the connection" in error.message


@pytest.mark.parametrize("when", [{"bind": 49}, {"search": 1}])
async def test_the_password_is_in_no_error(when):
    """A directory that repeats the password does not get it into an error."""
    ((operation, code),) = when.items()
    tag = {"bind": 0x61, "search": 0x65}[operation]
    async with fake_directory(**{operation: lambda _: [result(tag, code, f"you said {CANARY}")]}) as fake:
        error = await failure(body(fake.port))

    assert CANARY not in f"{error.message} {error.hint} {error!r}"


# Sessions


async def until(fact: Any, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not fact():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("limit", [10, 2000])
async def test_it_heals_when_the_network_was_cut(slapd, limit):
    """Sessions that are cut while they are idle are replaced, and nobody notices."""
    request = {"filter": "(uid=a*)", "limit": limit}
    with relay(slapd["port"]) as network:
        async with connected(aimed(real(slapd), "127.0.0.1", network.port)) as guard:
            await asyncio.gather(*(guard.use("search", request) for _ in range(40)))
            before = network.accepted
            network.cut()

            found = await asyncio.gather(*(guard.use("search", request) for _ in range(40)))

    assert {one.count for one in found} == {3}
    assert network.accepted > before


async def test_checks_heal_too(slapd):
    """A check on a session that was cut meanwhile is made on a new one."""
    request = {"user": "ada", "password": slapd["person_password"]}
    with relay(slapd["port"]) as network:
        async with connected(aimed(real(slapd), "127.0.0.1", network.port)) as guard:
            await guard.use("authenticate", request)
            network.cut()

            assert (await guard.use("authenticate", request)).authenticated


async def test_it_heals_when_the_server_comes_back(slapd):
    """After the server went away and came back, the same connector finds people again."""
    with relay(slapd["port"]) as network:
        async with connected(aimed(real(slapd), "127.0.0.1", network.port)) as guard:
            await guard.use("search", {"user": "ada"})
            network.down()
            with pytest.raises(Unreachable):
                await guard.use("search", {"user": "ada"})
            network.up()

            assert (await guard.use("search", {"user": "ada"})).count == 1


async def test_sessions_are_shared_and_bounded(slapd):
    """Two hundred searches at once use at most four sessions, and all are answered."""
    with relay(slapd["port"]) as network:
        async with connected(aimed(real(slapd), "127.0.0.1", network.port)) as guard:
            found = await asyncio.gather(*(guard.use("search", {"user": "ada"}) for _ in range(200)))

    assert {one.count for one in found} == {1}
    assert 1 <= network.accepted <= 4


async def test_checks_are_bounded(slapd):
    """A hundred checks at once use at most eight sessions beside those that search; every verdict is right."""
    right, wrong = slapd["person_password"], "x"
    with relay(slapd["port"]) as network:
        async with connected(aimed(real(slapd), "127.0.0.1", network.port)) as guard:
            verdicts = await asyncio.gather(
                *(guard.use("authenticate", {"user": "ada", "password": (right, wrong)[n % 2]}) for n in range(100))
            )

    assert [verdict.authenticated for verdict in verdicts] == [True, False] * 50
    assert network.accepted <= 12


async def test_a_thousand_searches_leave_nothing_behind(slapd):
    """After 1,000 operations, and a rest, no socket and no task is left."""
    places = asyncio.Semaphore(32)
    right = {"user": "ada", "password": slapd["person_password"]}

    async def one(guard: Any, number: int) -> None:
        async with places:
            await (guard.use("authenticate", right) if number % 5 == 0 else guard.use("search", {"user": "ada"}))

    async with connected(real(slapd)) as guard:
        before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
        await asyncio.gather(*(one(guard, number) for number in range(1000)))
        assert await guard.rest()

        assert (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) == before


async def test_it_works_after_a_rest(slapd):
    """After its sessions were given back, the next search works all the same."""
    async with connected(real(slapd)) as guard:
        await guard.use("search", {"user": "ada"})
        assert await guard.rest()

        assert (await guard.use("search", {"user": "ada"})).count == 1


async def test_it_says_goodbye():
    """A session that is given back is ended in order."""
    async with fake_directory() as fake:
        async with connected(body(fake.port)) as guard:
            await guard.use("search", {"user": "ada"})
        await until(lambda: fake.heard == [BIND, SEARCH, UNBIND])


async def test_closing_ends_what_is_under_way():
    """A search that is under way when the connection ends fails clearly, and soon."""
    async with fake_directory(search=lambda _: []) as fake, connected(body(fake.port)) as guard:
        searching = asyncio.create_task(guard.use("search", {"user": "ada"}))
        await until(lambda: SEARCH in fake.heard)

        await guard.close(grace_s=0.1)

        with pytest.raises(Unreachable):
            await asyncio.wait_for(searching, 2)


async def test_a_cancelled_check_gives_its_session_up():
    """A login that is cut off in the middle is never continued by somebody else."""
    binds = iter([[result(0x61)]])
    found = [entry("cn=ada,dc=x"), result(0x65)]
    async with fake_directory(bind=lambda _: next(binds, []), search=lambda _: found) as fake:
        async with connected(body(fake.port)) as guard:
            with pytest.raises(Unreachable):
                await guard.use("authenticate", {"user": "ada", "password": "x"}, 0.3)
            fake.bind = lambda _: [result(0x61, 49)]

            assert not (await guard.use("authenticate", {"user": "ada", "password": "x"})).authenticated

    assert fake.heard.count(BIND) == 3


async def test_opening_does_no_network_io():
    """A connection opens without its server."""
    async with connected(body(closed_port())) as guard:
        assert not guard.started


async def test_there_is_no_native_client(slapd):
    """Who asks for a driver's client is told to use the operations."""
    async with connected(real(slapd)) as guard:
        with pytest.raises(Misconfigured, match="no driver's|driver's client"):
            await guard.native()


# The probe


async def test_the_probe_walks_the_whole_way(slapd):
    """A probe connects, encrypts, logs in and looks at the base."""
    secure = {"useStartTls": True, "requireCertificateType": "REQUIRED_AN_PN"}

    async with connected(real(slapd, **secure), ca_file=slapd.ca) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"), ("connect", "passed"), ("tls", "passed"), ("bind", "passed"), ("base", "passed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "step", "code"),
    [
        ({"serverAddress": "ldap://nowhere.invalid"}, "resolve", "unreachable"),
        ({"password": "wrong"}, "bind", "rejected"),
        ({"baseDn": "dc=nowhere"}, "base", "misconfigured"),
    ],
)
async def test_the_probe_says_where_it_stopped(slapd, fields, step, code):
    """Each failure is told at its step, with its class."""
    async with connected(real(slapd, **fields)) as guard:
        report = await guard.probe()

    assert report.failure is not None
    assert (report.failure.name, report.failure.code) == (step, code)
    assert report.failure.remedy


async def test_the_probe_leaves_nothing_open(slapd):
    """After a probe no socket is left, whether it passed or not."""
    async with connected(real(slapd)) as good, connected(real(slapd, password="wrong")) as bad:
        before = len(os.listdir("/proc/self/fd"))

        await good.probe()
        await bad.probe()
        await until(lambda: len(os.listdir("/proc/self/fd")) == before)
