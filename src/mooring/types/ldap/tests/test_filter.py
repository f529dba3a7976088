"""What counts as a search filter, and that no user name changes what one asks."""

from __future__ import annotations

import pytest

from mooring.types.ldap.filter import MAX_DEPTH, FilterError, Group, escaped, parse

FILTERS = [
    "(cn=Babs Jensen)",
    "(!(cn=Tim Howes))",
    "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
    "(o=univ*of*mich*)",
    "(seeAlso=)",
    "(cn=*)",
    "(age>=18)",
    "(age<=65)",
    "(cn~=Jensen)",
    "(cn:caseExactMatch:=Fred Flintstone)",
    "(cn:=Betty Rubble)",
    "(sn:dn:2.4.6.8.10:=Barney Rubble)",
    "(o:dn:=Ace Industry)",
    "(:1.2.3:=Wilma Flintstone)",
    "(:DN:2.4.6.8.10:=Dino)",
    r"(o=Parens R Us \28for all your parenthetical needs\29)",
    r"(cn=*\2A*)",
    r"(filename=C:\5cMyFile)",
    r"(bin=\00\00\00\04)",
    "(cn;lang-de=Jürgen)",
    "(2.5.4.3=x)",
    "(memberOf=cn=staff,dc=example,dc=com)",
]
BROKEN = [
    "",
    "cn=x",
    "()",
    "(cn)",
    "(cn=x",
    "(cn=x))",
    "(cn=x)(cn=y)",
    "(&)",
    "(|)",
    "(!)",
    "(!(a=b)(c=d))",
    "(&(a=b)c=d)",
    "(=x)",
    "(cn=a(b)",
    r"(cn=\2)",
    r"(cn=\zz)",
    "(cn=\0)",
    "(age>=1*)",
    "(cn:caseExactMatch:=*)",
    "(cn:caseExactMatch=x)",
    "(::=x)",
    "(:=x)",
    "(:dn:=x)",
    "({0}=x)",
    "(c n=x)",
    "(-cn=x)",
]


@pytest.mark.parametrize("text", FILTERS)
def test_filters_of_the_standard_are_taken_as_they_stand(text: str) -> None:
    """A filter that RFC 4515 allows is parsed, and its text comes back unchanged."""
    assert parse(text).filled("nobody") == text


@pytest.mark.parametrize("text", BROKEN)
def test_other_texts_are_refused(text: str) -> None:
    """What is no filter is refused, with a reason."""
    with pytest.raises(FilterError, match="must|goes on"):
        parse(text)


def test_blanks_between_parts_are_taken() -> None:
    """Blanks around parts, which people write, are dropped; those in a value stay."""
    assert parse(" ( & (a=b c) (d=e) ) ").filled("") == "(&(a=b c)(d=e))"


def test_the_user_stands_wherever_the_filter_says() -> None:
    """`{0}` may stand in several values, and beside other text."""
    assert parse("(|(uid={0})(mail={0}@example.com)(cn=*{0}*))").filled("ada") == (
        "(|(uid=ada)(mail=ada@example.com)(cn=*ada*))"
    )


@pytest.mark.parametrize("name", ["*", "a)(uid=*", "\\", "a\0b", ")(|(uid=*", "{0}", "ışık & söhne"])
def test_no_name_changes_what_the_filter_asks(name: str) -> None:
    """Whatever the name, the filter keeps its shape, and the name is one literal value."""
    filled = parse("(&(objectClass=person)(uid={0}))").filled(name)

    assert filled == f"(&(objectClass=person)(uid={escaped(name)}))"
    assert isinstance(again := parse(filled), Group)
    assert len(again.parts) == 2
    assert "*" not in filled


def test_special_characters_are_written_as_numbers() -> None:
    """The five characters that mean something in a filter are escaped, all others stay."""
    assert escaped("a*b(c)d\\e\0ü") == r"a\2ab\28c\29d\5ce\00ü"


def test_depth_is_capped() -> None:
    """A filter nested without end is refused rather than followed."""
    fine = "(!" * MAX_DEPTH + "(a=b)" + ")" * MAX_DEPTH

    assert parse(fine).filled("") == fine
    with pytest.raises(FilterError, match="nested"):
        parse(f"(!{fine})")


def test_the_reason_quotes_nothing() -> None:
    """The text of a refused filter does not appear in the reason."""
    with pytest.raises(FilterError) as caught:
        parse("(&(uid=confidential)(")

    assert "confidential" not in str(caught.value)
