"""What an e-mail connection is made of."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig, Part
from mooring.plugin.fields import NO_CONTROL, Flag, NonEmpty, OrReference, Port, Secret, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid, required

_ADDRESS_PART = r'[^@\s<>,;:()\[\]"\\\x00-\x1f\x7f-\x9f]+'
ADDRESS = explain_pattern(f"^{_ADDRESS_PART}@{_ADDRESS_PART}$", "must be a mail address such as name@example.com")
HOST = explain_pattern(r"^[^\s/@\\\x00-\x1f\x7f-\x9f]+$", "must be a host name or address, without scheme or path")
_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
ENCODED_WORD = re.compile(r"=\?[^?\s]*\?[bBqQ]\?")
"""How mail headers hide other characters, line breaks among them; nobody needs to send it to us."""


def no_encoded_word(text: str) -> str:
    """*text*, if it holds no encoded word, which a mail library would decode on its way into a header."""
    if ENCODED_WORD.search(text):
        raise PydanticCustomError("encoded_word", "must be plain text, not an encoded word such as =?utf-8?q?...?=")
    return text


def spelled(address: str) -> str:
    """A mail address as the SMTP dialogue spells it: the domain in ASCII. Raises `ValueError` where it has no such spelling."""
    local, _, domain = address.rpartition("@")
    ascii_domain = domain if domain.isascii() else domain.encode("idna").decode()
    if not _DOMAIN.fullmatch(ascii_domain) or not all(local.split(".")):
        raise ValueError("not a mail address")
    return f"{local}@{ascii_domain}"


def _address(text: str) -> str:
    try:
        spelled(no_encoded_word(text))
    except PydanticCustomError:
        raise
    except ValueError:
        raise PydanticCustomError("address", "must be a mail address such as name@example.com") from None
    return text


def _charset(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, UnicodeError):
        raise PydanticCustomError("charset", "must be the name of a character set such as UTF-8") from None
    return name


def _host(text: str) -> str:
    if ":" in text:
        try:
            ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise PydanticCustomError(
                "host", "must be a host name or address; the port has a field of its own"
            ) from None
    return text


Address = Annotated[str, StringConstraints(pattern=ADDRESS, max_length=320), AfterValidator(_address), OrReference]
Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), AfterValidator(_host), OrReference]
Charset = Annotated[
    str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=64), AfterValidator(_charset), OrReference
]


class _Property(NamedTuple):
    """A session property that is understood: what it does here, and which values it takes."""

    meaning: str
    values: re.Pattern[str]
    must: str


_MILLISECONDS = (re.compile(r"[0-9]{1,9}"), "must be a number of milliseconds")
_SWITCH = (re.compile(r"true|false"), "must be true or false")
_NAME = (re.compile(r"[A-Za-z0-9.:_\[\]-]{1,255}"), "must be a host name or address")
_MAILBOX = (re.compile(ADDRESS), "must be a mail address")
_VERSIONS = (re.compile(r"TLSv1(\.[123])?( TLSv1(\.[123])?)*"), "must be TLS versions separated by blanks")

KNOWN_PROPERTIES: dict[str, _Property] = {
    "mail.smtp.connectiontimeout": _Property(
        "how long to wait for the TCP connection; 0 sets no limit of its own", *_MILLISECONDS
    ),
    "mail.smtp.timeout": _Property(
        "how long to wait for each answer of the server; 0 sets no limit of its own", *_MILLISECONDS
    ),
    "mail.smtp.writetimeout": _Property(
        "how much longer the message itself may take; 0 sets no limit of its own", *_MILLISECONDS
    ),
    "mail.smtp.localhost": _Property("the name that the server is greeted with", *_NAME),
    "mail.smtp.from": _Property("the envelope sender, where it differs from the visible one", *_MAILBOX),
    "mail.smtp.ssl.protocols": _Property("the TLS versions that are allowed", *_VERSIONS),
    "mail.smtp.ssl.checkserveridentity": _Property("understood; the field verifyHostname decides", *_SWITCH),
    "mail.smtp.ssl.enable": _Property("understood; the field useSsl decides", *_SWITCH),
    "mail.smtp.auth": _Property("understood; the field auth decides", *_SWITCH),
    "mail.smtp.starttls.enable": _Property("understood; the field enableStartTls decides", *_SWITCH),
    "mail.smtp.starttls.required": _Property("understood; STARTTLS is always required where it is enabled", *_SWITCH),
}
"""The allow-list of `additionalProperties`."""

_DECIDED_BY_FIELDS = {
    "mail.smtp.ssl.checkserveridentity": "verify_hostname",
    "mail.smtp.ssl.enable": "use_ssl",
    "mail.smtp.auth": "auth",
    "mail.smtp.starttls.enable": "enable_start_tls",
}


class EmailAdditionalProperty(Part):
    """One JavaMail session property."""

    key: NonEmpty = field(description="Property name.", example="mail.smtp.timeout")
    value: Text = field(description="Property value, always text.", example="5000")


class EmailConfig(ConnectionConfig):
    """Sends mail through an SMTP server."""

    host: Host = field(
        description="Mail server name or address.", example="smtp.example.com", group="Server", destination=True
    )
    port: Port = field(587, description="Mail server port.", example=587, group="Server", destination=True)
    enable_start_tls: Flag = field(
        False,
        description="Encrypt the session with STARTTLS before anything else is said; a server that cannot is refused.",
        group="Security",
        destination=True,
    )
    auth: Flag = field(False, description="Log in before sending.", group="Login")
    username: Text | None = field(
        None, description="Login name.", example="user@example.com", group="Login", destination=True
    )
    password: Secret | None = field(None, description="Login password.", group="Login")
    default_encoding: Charset = field(
        "UTF-8", description="Character set of the text; what it cannot express is sent as UTF-8.", group="Message"
    )
    address_to_test: Address | None = field(
        None,
        description="Recipient of the test mail; a test mail goes nowhere else.",
        example="test@example.com",
        group="Message",
    )
    from_: Address | None = field(
        None, alias="from", description="Default sender address.", example="noreply@example.com", group="Message"
    )
    additional_properties: list[EmailAdditionalProperty] = field(
        [], description="Extra JavaMail session properties, from the list in the README.", group="Advanced"
    )
    use_ssl: Flag = field(
        False, description="TLS from the first byte, usual on port 465.", group="Security", destination=True
    )
    certificate_name: Text | None = field(
        None,
        description="Certificate to trust instead of the system's, by name.",
        group="Security",
        destination=True,
        reference="certificate",
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore to trust instead of the system's certificates, by name.",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with a client certificate, by name.",
        group="Security",
        destination=True,
        reference="keystore",
    )
    verify_hostname: Flag = field(
        True,
        description="Require that the server's certificate names `host`; its issuer is always checked.",
        group="Security",
        destination=True,
    )

    @property
    def uses_tls(self) -> bool:
        """Whether the session is encrypted, either way."""
        return self.enable_start_tls or self.use_ssl

    def rules(self) -> Iterator[Problem]:
        if self.auth is True:
            if not self.username:
                yield required("username", "auth is true")
            if self.password is None or not self.password.get_secret_value():
                yield required("password", "auth is true")
        for index, entry in enumerate(self.additional_properties):
            yield from _property_rules(index, entry)

    def warnings(self) -> Iterator[Problem]:
        if self.enable_start_tls and self.use_ssl:
            yield invalid("enableStartTls", "useSsl is on too; TLS from the first byte is used", "starttls_and_ssl")
        if self.auth and not self.uses_tls:
            yield invalid(
                "auth", "the password travels unencrypted; turn on enableStartTls or useSsl", "plaintext_login"
            )
        if self.uses_tls and not self.verify_hostname:
            yield invalid("verifyHostname", "a certificate for any host is accepted", "hostname_unverified")
        keys = [entry.key for entry in self.additional_properties]
        if len(set(keys)) < len(keys):
            yield invalid(
                "additionalProperties", "a key stands more than once; the last one counts", "unique_property_keys"
            )
        for key, name in _DECIDED_BY_FIELDS.items():
            said = self.property(key)
            if said in ("true", "false") and (said == "true") != getattr(self, name):
                yield invalid(
                    "additionalProperties",
                    f"it says otherwise than a field: {KNOWN_PROPERTIES[key].meaning}",
                    "field_decides",
                )

    def references(self) -> dict[str, str]:
        return super().references() if self.uses_tls else {}

    def property(self, key: str) -> str | None:
        """The value of a session property, the last one where a key stands more than once."""
        return next((entry.value for entry in reversed(self.additional_properties) if entry.key == key), None)


def _property_rules(index: int, entry: EmailAdditionalProperty) -> Iterator[Problem]:
    if has_reference(entry.key):
        return
    known = KNOWN_PROPERTIES.get(entry.key)
    if known is None:
        yield invalid(
            ["additionalProperties", index, "key"],
            f"the property {entry.key[:80]} is not supported; supported are {', '.join(KNOWN_PROPERTIES)}",
            "unsupported_property",
        )
    elif not has_reference(entry.value) and not known.values.fullmatch(entry.value):
        yield invalid(["additionalProperties", index, "value"], f"{entry.key} {known.must}")
