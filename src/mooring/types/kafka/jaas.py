"""
The line of `sasl.jaas.config`: a login module, and the options it is given.

    org.apache.kafka.common.security.scram.ScramLoginModule required username="orders" password="...";

It is read the way Kafka's own client reads it; only modules and options from a list are taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mooring.plugin.fields import has_reference
from mooring.plugin.secrets import Span, is_credential_parameter, plain_name

_SECURITY = "org.apache.kafka.common.security"
PLAIN = f"{_SECURITY}.plain.PlainLoginModule"
SCRAM = f"{_SECURITY}.scram.ScramLoginModule"
OAUTHBEARER = f"{_SECURITY}.oauthbearer.OAuthBearerLoginModule"

MODULES: dict[str, tuple[str, ...]] = {
    PLAIN: ("username", "password"),
    SCRAM: ("username", "password"),
    OAUTHBEARER: ("clientId", "clientSecret", "scope"),
}
"""The login modules that are taken, each with its options; all but `scope` must be there."""

MECHANISMS: dict[str, str] = {
    "PLAIN": PLAIN,
    "SCRAM-SHA-256": SCRAM,
    "SCRAM-SHA-512": SCRAM,
    "OAUTHBEARER": OAUTHBEARER,
}
"""The SASL mechanisms, each with the login module that belongs to it."""

_WORD = r"(?:\$\{[^{}]*\}|[\w.$-])+"
_HEAD = re.compile(rf"\s*({_WORD})\s+(?:required|requisite|sufficient|optional)(?![\w.$-])", re.IGNORECASE)
_OPTION = re.compile(
    rf"\s*(?P<name>{_WORD})\s*=\s*"
    rf"(?:\"(?P<double>(?:[^\"\\\r\n]|\\.)*)\"|'(?P<single>(?:[^'\\\r\n]|\\.)*)'|(?P<word>{_WORD}))"
)
_TAIL = re.compile(r"\s*;?\s*")
_ESCAPE = re.compile(r"\\(?:(?P<octal>[0-3]?[0-7]{1,2})|(?P<char>.))", re.DOTALL)
_REFERENCE = re.compile(r"\$\{[^{}]*\}")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class NotJaas(ValueError):
    """The text is not such a line. The message says what is wrong, and holds nothing of the text but names."""


@dataclass(frozen=True)
class Login:
    """A login module and its options, unquoted."""

    module: str
    options: dict[str, str]

    def __repr__(self) -> str:
        return "<Login>"

    def without_credentials(self) -> str:
        """Who logs in, and how: the module, and the options that are no credentials."""
        told = [f"{name}={value}" for name, value in sorted(self.options.items()) if not is_credential_parameter(name)]
        return " ".join([self.module, *told])

    def credentials(self) -> set[str]:
        """The values that must never be shown."""
        return {value for name, value in self.options.items() if is_credential_parameter(name)}


@dataclass(frozen=True)
class _Option:
    """An option, unquoted; where its value stands between its quotes, and where what follows begins."""

    name: str
    value: str
    start: int
    end: int
    after: int


def read(text: str) -> Login:
    """The login that *text* describes, whatever its module. Raises `NotJaas`."""
    module, options = _parse(text)
    return Login(module, {option.name: option.value for option in options})


def check(text: str) -> None:
    """Raises `NotJaas` where *text* is not a login that is supported."""
    login = read(text)
    if login.module not in MODULES:
        raise NotJaas(f"its login module must be one of {', '.join(MODULES)}")
    known = MODULES[login.module]
    for name in login.options:
        if name not in known:
            raise NotJaas(f"the option {name[:80]} is not supported; supported are {', '.join(known)}")
    for name in known:
        if name != "scope" and not login.options.get(name):
            raise NotJaas(f"the option {name} is missing")


def credential_spans(text: str) -> list[Span]:
    """The credentials in *text*; the whole of it where it cannot be read. A variable reference is none."""
    try:
        _, options = _parse(text)
    except NotJaas:
        return [] if not text or (has_reference(text) and _REFERENCE.fullmatch(text)) else [Span("line", 0, len(text))]
    return [
        Span(plain_name(option.name), option.start, option.end)
        for option in options
        if option.end > option.start and is_credential_parameter(option.name)
    ]


def _parse(text: str) -> tuple[str, list[_Option]]:
    head = _HEAD.match(text)
    if head is None:
        raise NotJaas("it must begin with a login module and a control flag such as required")
    options = list(_options(text, head.end()))
    if _TAIL.fullmatch(text, options[-1].after if options else head.end()) is None:
        raise NotJaas(
            'after the control flag it must hold options such as username="..." only, and end with a semicolon'
        )
    return head[1], options


def _options(text: str, at: int) -> Iterator[_Option]:
    while found := _OPTION.match(text, at):
        quoted = next((found[group] for group in ("double", "single") if found[group] is not None), None)
        group = "word" if quoted is None else "double" if found["double"] is not None else "single"
        value = found["word"] if quoted is None else _unescape(quoted)
        yield _Option(found["name"], value, found.start(group), found.end(group), found.end())
        at = found.end()


def _unescape(text: str) -> str:
    return _ESCAPE.sub(
        lambda found: chr(int(found["octal"], 8)) if found["octal"] else _ESCAPED.get(found["char"], found["char"]),
        text,
    )
