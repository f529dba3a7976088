"""
Where secrets stand in a config, and how they are taken out and put back.

A *site* is a place that may hold secrets: a whole field, the values of credential headers in a list, the
credential-named parts of a URL. Two verbs do all the work, both on a config in its wire form (a dict):

- `lift` takes the secrets out and leaves holes: null for a whole value, `__secret__` inside a longer text;
- `fill` puts stored secrets into holes, and says which it used. On the public half of a stored config this
  gives the whole back; on the body of a PUT it is what "absent or null keeps" means.

A secret is known by its *key*, which never depends on a position: `password`, `headerList/Authorization`,
`jdbcUrl/password`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_plus

PLACEHOLDER = "__secret__"

CREDENTIAL_PARAMETERS: frozenset[str] = frozenset(
    {
        "accesskey", "accesskeyid", "accesstoken", "apikey", "apitoken", "authorization", "authtoken",
        "bearertoken", "clientsecret", "code", "credential", "credentials", "hmac", "idtoken", "jwt", "key",
        "keypassword", "keystorepassword", "oauthtoken", "pass", "passphrase", "passwd", "password",
        "privatekey", "pwd", "refreshtoken", "sas", "secret", "secretkey", "sharedkey", "sig", "signature",
        "sslkeypassword", "sslkeystorepassword", "sslpassword", "ssltruststorepassword", "token",
        "truststorepassword", "webhooksecret", "xapikey",
    }
)  # fmt: skip
"""The published list: query and connection parameters whose value is a credential. Compared without case, `-`, `_` and `.`."""

CREDENTIAL_HEADERS: frozenset[str] = frozenset(
    {"authorization", "proxyauthorization", "xapikey", "apikey", "cookie", "xauthtoken", "xaccesstoken", "xsecret"}
)
"""Header names whose value is a credential, compared the same way; names ending in token, secret, key, password, signature or authorization are too."""

_AUTHORITY_END = re.compile(r"[/?#]")
_PARAMETERS_BEGIN = re.compile(r"[?#]")
_PORT = re.compile(r"([0-9]|\$\{[^{}]*\})*")
_CREDENTIAL_ENDINGS = ("token", "secret", "apikey", "password", "passwd", "signature")


def plain_name(name: str) -> str:
    """*name* in lower case, without `-`, `_` and `.`: how credential names are compared."""
    return name.lower().replace("-", "").replace("_", "").replace(".", "")


def is_credential_parameter(name: str) -> bool:
    """Whether a parameter of that name carries a credential."""
    plain = plain_name(name)
    return plain in CREDENTIAL_PARAMETERS or plain.endswith(_CREDENTIAL_ENDINGS)


def is_credential_header(name: str) -> bool:
    """Whether a header of that name carries a credential."""
    plain = plain_name(name)
    return plain in CREDENTIAL_HEADERS or plain.endswith((*_CREDENTIAL_ENDINGS, "key", "authorization"))


class Span(NamedTuple):
    """A part of a text that is a secret: its name, and where it stands."""

    name: str
    start: int
    end: int


class SecretSite(Protocol):
    """A place in a config that may hold secrets."""

    def lift(self, config: dict[str, Any], secrets: dict[str, str]) -> None:
        """Move the secrets from *config* into *secrets*, leaving holes."""

    def fill(self, config: dict[str, Any], secrets: Mapping[str, str], used: set[str]) -> None:
        """Put *secrets* into the holes of *config*; add the keys of those used to *used*."""

    def unfilled(self, config: dict[str, Any]) -> Iterator[str]:
        """The keys of placeholders that no secret was found for."""


class WholeField:
    """A field that is a secret as a whole."""

    def __init__(self, name: str) -> None:
        self.name = name

    def lift(self, config: dict[str, Any], secrets: dict[str, str]) -> None:
        value = config.get(self.name)
        if value:
            secrets[self.name] = value
        if value is not None:
            config[self.name] = None

    def fill(self, config: dict[str, Any], secrets: Mapping[str, str], used: set[str]) -> None:
        if config.get(self.name) in (None, PLACEHOLDER) and self.name in secrets:
            config[self.name] = secrets[self.name]
            used.add(self.name)

    def unfilled(self, config: dict[str, Any]) -> Iterator[str]:
        if config.get(self.name) == PLACEHOLDER:
            yield self.name


class NamedEntries:
    """
    Values in a list of `{name, value}` objects, chosen by their names.

    A second entry of the same name is `name~2`: names, not positions, tell entries apart.
    """

    def __init__(
        self, field: str, is_secret: Callable[[str], bool], *, name_key: str = "name", value_key: str = "value"
    ) -> None:
        self.field, self.is_secret, self.name_key, self.value_key = field, is_secret, name_key, value_key

    def _entries(self, config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        seen: dict[str, int] = {}
        entries = config.get(self.field)
        for entry in entries if isinstance(entries, list) else ():
            name = entry.get(self.name_key) if isinstance(entry, dict) else None
            if not isinstance(name, str) or not self.is_secret(name):
                continue
            folded = name.lower()
            seen[folded] = seen.get(folded, 0) + 1
            yield f"{self.field}/{_key_part(folded)}" + (f"~{seen[folded]}" if seen[folded] > 1 else ""), entry

    def lift(self, config: dict[str, Any], secrets: dict[str, str]) -> None:
        for key, entry in self._entries(config):
            if entry.get(self.value_key):
                secrets[key] = entry[self.value_key]
                entry[self.value_key] = None

    def fill(self, config: dict[str, Any], secrets: Mapping[str, str], used: set[str]) -> None:
        for key, entry in self._entries(config):
            if entry.get(self.value_key) in (None, PLACEHOLDER) and key in secrets:
                entry[self.value_key] = secrets[key]
                used.add(key)

    def unfilled(self, config: dict[str, Any]) -> Iterator[str]:
        for key, entry in self._entries(config):
            if entry.get(self.value_key) == PLACEHOLDER:
                yield key


class TextParts:
    """
    Credential parts inside a longer text, found by *spans*.

    *spans* must find the same parts, under the same names, in the text with placeholders as in the text with
    secrets. Where it cannot make sense of a text it answers one span over the whole.
    """

    def __init__(self, field: str, spans: Callable[[str], Iterable[Span]]) -> None:
        self.field, self.spans = field, spans

    def _found(self, text: Any) -> list[tuple[str, Span]]:
        if not isinstance(text, str):
            return []
        seen: dict[str, int] = {}
        found = []
        for span in self.spans(text):
            seen[span.name] = seen.get(span.name, 0) + 1
            key = f"{self.field}/{_key_part(span.name)}" + (f"~{seen[span.name]}" if seen[span.name] > 1 else "")
            found.append((key, span))
        return found

    def lift(self, config: dict[str, Any], secrets: dict[str, str]) -> None:
        text: Any = config.get(self.field)
        for key, span in reversed(self._found(text)):
            if span.end > span.start:
                secrets[key] = text[span.start : span.end]
                text = text[: span.start] + PLACEHOLDER + text[span.end :]
        if text is not None:
            config[self.field] = text

    def fill(self, config: dict[str, Any], secrets: Mapping[str, str], used: set[str]) -> None:
        text: Any = config.get(self.field)
        for key, span in reversed(self._found(text)):
            if text[span.start : span.end] == PLACEHOLDER and key in secrets:
                text = text[: span.start] + secrets[key] + text[span.end :]
                used.add(key)
        if text is not None:
            config[self.field] = text

    def unfilled(self, config: dict[str, Any]) -> Iterator[str]:
        text: Any = config.get(self.field)
        for key, span in self._found(text):
            if text[span.start : span.end] == PLACEHOLDER:
                yield key


def url_spans(text: str) -> list[Span]:
    """
    The credential parts of a URL: the password of its userinfo, and credential-named parameters of query and fragment.

    A password that was not encoded (`https://ada:pa/ss@host/`) is taken up to the last `@`.
    """
    spans = []
    userinfo, after = _userinfo(text)
    colon = userinfo.find(":")
    if 0 <= colon < len(userinfo) - 1:
        spans.append(Span("userinfo", after - len(userinfo) + colon + 1, after))
    beginning = _PARAMETERS_BEGIN.search(text, after)
    if beginning:
        spans += parameter_spans(text, beginning.end(), len(text), "&#")
    return spans


def parameter_spans(text: str, start: int, end: int, separators: str) -> list[Span]:
    """The values of credential-named `name=value` parameters in `text[start:end]`."""
    spans = []
    for piece in re.compile(f"[^{re.escape(separators)}]+").finditer(text, start, end):
        equals = text.find("=", piece.start(), piece.end())
        if equals < 0:
            continue
        name = _parameter_name(text[piece.start() : equals])
        if not is_credential_parameter(name):
            if ";" not in separators:
                # Some servers take `;` for a separator too.
                spans += parameter_spans(text, piece.start(), piece.end(), ";")
        elif equals + 1 < piece.end():
            spans.append(Span(plain_name(name), equals + 1, piece.end()))
    return spans


def _userinfo(text: str) -> tuple[str, int]:
    """The userinfo of a URL, and where in it that ends."""
    slashes = text.find("//")
    if slashes < 0:
        return "", 0
    start = slashes + 2
    authority = _AUTHORITY_END.split(text[start:], maxsplit=1)[0]
    at = authority.rfind("@")
    after_host = authority.partition("]")[2] if authority.startswith("[") else authority
    if at < 0 and not _PORT.fullmatch(after_host.partition(":")[2]):
        at = text.rfind("@", start) - start
    return (text[start : start + at], start + at) if at >= 0 else ("", start)


def _parameter_name(text: str) -> str:
    """A parameter's name as the server reads it: decoded, and `login[password]` without its brackets."""
    return unquote_plus(text).strip().replace("[", "").replace("]", "")


def _key_part(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
