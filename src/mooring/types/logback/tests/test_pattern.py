"""How Logback's patterns are read."""

from __future__ import annotations

import pytest

from mooring.types.logback.pattern import (
    FILE_WORDS,
    LINE_WORDS,
    Conversion,
    DateField,
    Literal,
    PatternError,
    fixed_text,
    parse,
    parse_date,
)


def test_the_documented_line_pattern() -> None:
    """The default line pattern is a date, the message between brackets, and an end of line."""
    assert parse("%d{yyyy-MM-dd HH:mm:ss.SSS}[%m]%n", LINE_WORDS) == (
        Conversion("d", option="yyyy-MM-dd HH:mm:ss.SSS"),
        Literal("["),
        Conversion("m"),
        Literal("]"),
        Conversion("n"),
    )


def test_the_documented_file_pattern() -> None:
    """The default file pattern is a date, a counter and an ending."""
    assert parse("%d{yyyy-MM-dd}.%i.log", FILE_WORDS) == (
        Conversion("d", option="yyyy-MM-dd"),
        Literal("."),
        Conversion("i"),
        Literal(".log"),
    )


def test_every_line_word() -> None:
    """All documented words are understood in a line."""
    pieces = parse("%d %m %msg %n %thread %level %logger{36} %logger", LINE_WORDS)

    assert [piece.word for piece in pieces if isinstance(piece, Conversion)] == [
        "d",
        "m",
        "msg",
        "n",
        "thread",
        "level",
        "logger",
        "logger",
    ]


def test_widths() -> None:
    """A width pads and a limit cuts; a minus changes the side."""
    assert parse("%-5level", LINE_WORDS) == (Conversion("level", width=-5),)
    assert parse("%20.-30msg", LINE_WORDS) == (Conversion("msg", width=20, limit=-30),)
    assert parse("%.10thread", LINE_WORDS) == (Conversion("thread", limit=10),)


def test_a_percent_sign() -> None:
    """A backslash makes the next character plain text."""
    assert parse(r"100\% %m\n", LINE_WORDS) == (Literal("100% "), Conversion("m"), Literal("n"))


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("%X{user}", "%X"), ("%property{user.home}", "%property"), ("%mdc", "%mdc"), ("%msgx", "%msgx"), ("%i", "%i"),
        ("%replace(%m){'a','b'}", "%replace"), ("%caller{1}", "%caller"), ("%d{yyyy-QQ}", "Q"), ("%d{b}", "b"),
    ],
)  # fmt: skip
def test_unknown_words_and_letters_are_named(pattern: str, named: str) -> None:
    """A word or date letter that is not known is refused by name."""
    with pytest.raises(PatternError, match=named):
        parse(pattern, LINE_WORDS)


@pytest.mark.parametrize(
    "pattern",
    ["%", "50%", "%%", "%5", "%(%m)", "%d{yyyy", "%d{'x}", "%m{1}", "%logger{a}", "%999m", "%d{HH:mm,SSS}", "%d{HH,UTC,UTC}", "%d{a}{b}",
     "%d{yyyyyyyyyy}", "%d{,UTC}"],
)  # fmt: skip
def test_what_is_no_pattern(pattern: str) -> None:
    """What does not follow the grammar is refused."""
    with pytest.raises(PatternError):
        parse(pattern, LINE_WORDS)


def test_message_words_do_not_stand_in_file_names() -> None:
    """A file name knows %d and %i only."""
    with pytest.raises(PatternError, match="%m is not supported; supported are %d, %i"):
        parse("%d.%m.log", FILE_WORDS)


def test_dates() -> None:
    """A date pattern is runs of letters, plain characters, and quoted text."""
    assert parse_date("yyyy-MM'T''x'H") == (
        DateField("y", 4),
        Literal("-"),
        DateField("M", 2),
        Literal("T'x"),
        DateField("H", 1),
    )
    assert parse_date("''") == (Literal("'"),)
    assert parse_date("ISO8601") == parse_date("yyyy-MM-dd HH:mm:ss,SSS")


def test_zones() -> None:
    """After a comma a date takes a time zone; aux is understood."""
    assert parse("%d{HH:mm, Europe/Istanbul}", LINE_WORDS) == (Conversion("d", option="HH:mm", zone="Europe/Istanbul"),)
    assert parse("%d{HH:mm,GMT+3}", LINE_WORDS) == (Conversion("d", option="HH:mm", zone="GMT+3"),)
    assert parse("%d{yyyy, aux}", FILE_WORDS) == (Conversion("d", option="yyyy"),)


def test_commas_between_quotes() -> None:
    """Double quotes around the whole, or single quotes around the comma, make it part of the pattern."""
    assert parse('%d{"HH:mm:ss,SSS"}', LINE_WORDS) == (Conversion("d", option="HH:mm:ss,SSS"),)
    assert parse("%d{HH','mm}", LINE_WORDS) == (Conversion("d", option="HH','mm"),)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%d{yyyy-MM-dd}.%i.log", "x-x-x.x.log"),
        ("%d/%i", "x-x-x/x"),
        ("a/%d{'..'}/b", "a/../b"),
        ("a/.%d{.}/b", "a/../b"),
        (r"a/.\./b", "a/../b"),
    ],
)
def test_fixed_text_shows_the_path(pattern: str, text: str) -> None:
    """Whatever varies is an x, so a walk to a parent shows however it is written."""
    assert fixed_text(pattern) == text
