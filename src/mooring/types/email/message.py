"""
From a request to the bytes of a mail.

Nothing that a caller sends can add a header or end one: control characters and encoded words are refused
where they come in, only harmless headers can be set, and the finished head is read once more before it goes out.
"""

from __future__ import annotations

import base64
import binascii
import re
from email import policy
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from mooring.errors import ConnectorBug
from mooring.plugin.connector import Request
from mooring.plugin.problems import explain_pattern
from mooring.types.email.model import ADDRESS, no_encoded_word, spelled

MAX_RECIPIENTS = 200
MAX_ATTACHMENTS = 50
MAX_ATTACHED_BYTES = 10 * 1024 * 1024
MAX_TEXT = 2 * 1024 * 1024

_LINE = explain_pattern(r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$", "must be one line, without control characters")
_MEDIA_TYPE = explain_pattern(
    r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$",
    "must be a media type such as application/pdf",
)
_FILE_NAME = explain_pattern(r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029/\\]+$", "must be a file name, without a path")
_CONTENT_ID = explain_pattern(r"^[A-Za-z0-9.@_+-]+$", "must be letters, digits and . @ _ + -")

_BARE = re.compile(ADDRESS)
_NAMED = re.compile(r"\s*(?P<name>.*?)\s*<(?P<address>[^<>]+)>\s*")

_FREE_HEADERS = re.compile(r"(x|list)-[a-z0-9-]+", re.IGNORECASE)
_HEADERS = frozenset(
    {
        "auto-submitted", "comments", "feedback-id", "importance", "in-reply-to", "keywords", "organization",
        "precedence", "priority", "references", "require-recipient-valid-since", "sensitivity", "thread-index", "thread-topic",
    }
)  # fmt: skip

_WIRE = policy.SMTP.clone(cte_type="7bit")


class Mailbox(NamedTuple):
    """Somebody who sends or gets mail: the name that is shown, and the address."""

    name: str
    address: str

    @property
    def envelope(self) -> str:
        """The address as the SMTP dialogue spells it: the domain in ASCII."""
        return spelled(self.address)

    @property
    def header(self) -> HeaderAddress:
        """The mailbox as a mail header takes it."""
        local, _, domain = self.envelope.rpartition("@")
        return HeaderAddress(self.name, local, domain)


def mailbox(text: Any) -> Mailbox:
    """The mailbox that `name@example.com` or `Name <name@example.com>` means."""
    if isinstance(text, Mailbox):
        return text
    if not isinstance(text, str) or len(text) > 1000 or not re.search(_LINE, text):
        raise _NOT_A_MAILBOX
    no_encoded_word(text)
    name, address = "", text.strip()
    named = _NAMED.fullmatch(text)
    if named:
        name, address = named["name"], named["address"].strip()
        if len(name) > 1 and name[0] == name[-1] == '"':
            name = name[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    if not _BARE.fullmatch(address):
        raise _NOT_A_MAILBOX
    try:
        spelled(address)
    except ValueError:
        raise _NOT_A_MAILBOX from None
    return Mailbox(name, address)


_NOT_A_MAILBOX = PydanticCustomError(
    "mailbox", "must be a mail address such as name@example.com or Name <name@example.com>"
)


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str | Mailbox) else value


def _content(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise PydanticCustomError("base64", "must be base64") from None


def _headers(value: Any) -> Any:
    for name in value if isinstance(value, dict) else ():
        if not isinstance(name, str) or not (_FREE_HEADERS.fullmatch(name) or name.lower() in _HEADERS):
            raise PydanticCustomError(
                "header", f"may hold only headers named X-..., List-..., {', '.join(sorted(_HEADERS))}"
            )
    return value


Line = Annotated[
    str,
    StringConstraints(pattern=_LINE, max_length=2000),
    BeforeValidator(lambda v: no_encoded_word(v) if isinstance(v, str) else v),
]
Body = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Box = Annotated[Any, BeforeValidator(mailbox), WithJsonSchema({"type": "string", "format": "email"})]
Boxes = Annotated[list[Box], BeforeValidator(_one_or_many)]
Content = Annotated[bytes, BeforeValidator(_content), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]
Headers = Annotated[dict[str, Line], BeforeValidator(_headers)]


class Attachment(Request):
    """A file that travels with a mail."""

    filename: Annotated[
        str,
        StringConstraints(pattern=_FILE_NAME, max_length=255),
        BeforeValidator(lambda v: no_encoded_word(v) if isinstance(v, str) else v),
    ] = Field(description="The name that the recipient sees.", examples=["report.pdf"])
    content: Content = Field(description="The file, in base64.", examples=["JVBERi0xLjcK"])
    content_type: Annotated[str, StringConstraints(pattern=_MEDIA_TYPE, max_length=127)] = Field(
        "application/octet-stream", description="Its media type.", examples=["application/pdf"]
    )
    content_id: Annotated[str, StringConstraints(pattern=_CONTENT_ID, max_length=200)] | None = Field(
        None, description="Shown inside the HTML where that says `cid:` and this.", examples=["logo"]
    )

    @model_validator(mode="after")
    def _no_container(self) -> Self:
        if self.content_type.lower().startswith(("multipart/", "message/")):
            raise PydanticCustomError("media_type", "contentType must not be multipart or message")
        return self


class Mail(Request):
    """One message."""

    to: Boxes = Field([], description="Recipients; one text or a list.", examples=[["ada@example.com"]])
    subject: Line = Field("", description="Subject.", examples=["Hello"])
    text: Body | None = Field(None, description="The message as plain text.", examples=["It works."])
    html: Body | None = Field(None, description="The message as HTML; with `text`, the reader's program chooses.")
    from_: Box | None = Field(None, alias="from", description="Sender, where it is not that of the connection.")
    cc: Boxes = Field([], description="Recipients of a copy.")
    bcc: Boxes = Field([], description="Recipients of a copy that the others do not see.")
    reply_to: Boxes = Field([], description="Where answers should go.")
    headers: Headers = Field({}, description="Further headers: X-..., List-..., In-Reply-To, References, ...")
    attachments: list[Attachment] = Field(
        [], max_length=MAX_ATTACHMENTS, description="Files; 10 MiB together at the most."
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        count = len(self.recipients)
        if count == 0:
            raise PydanticCustomError("no_recipient", "one of to, cc and bcc must name a recipient")
        if count > MAX_RECIPIENTS:
            raise PydanticCustomError(
                "recipients", f"to, cc and bcc must have at most {MAX_RECIPIENTS} recipients together"
            )
        if sum(len(attachment.content) for attachment in self.attachments) > MAX_ATTACHED_BYTES:
            raise PydanticCustomError(
                "attachments", f"attachments must have at most {MAX_ATTACHED_BYTES} bytes together"
            )
        return self

    @property
    def recipients(self) -> list[str]:
        """Everybody in the envelope, each once."""
        return list(dict.fromkeys(box.envelope for box in (*self.to, *self.cc, *self.bcc)))


class Finished(NamedTuple):
    """A mail, ready to go: its id, its bytes, and whether the server must understand UTF-8 in addresses."""

    message_id: str
    raw: bytes
    utf8: bool


def finish(mail: Mail, sender: Mailbox, charset: str) -> Finished:
    """The bytes of *mail*, from *sender*."""
    message = EmailMessage(policy=_WIRE)
    message["From"] = sender.header
    for name, boxes in (("To", mail.to), ("Cc", mail.cc), ("Reply-To", mail.reply_to)):
        if boxes:
            message[name] = [box.header for box in boxes]
    message["Subject"] = mail.subject
    message["Date"] = formatdate(localtime=False)
    message["Message-ID"] = make_msgid(domain=sender.envelope.rpartition("@")[2])
    for name, value in mail.headers.items():
        message[name] = value
    _fill(message, mail, charset)
    utf8 = not "".join((sender.envelope, *mail.recipients)).isascii()
    raw = message.as_bytes(policy=_WIRE.clone(utf8=utf8))
    _verify(raw, message)
    return Finished(str(message["Message-ID"]), raw, utf8)


def _fill(message: EmailMessage, mail: Mail, charset: str) -> None:
    if mail.text is not None or mail.html is None:
        text = mail.text or ""
        message.set_content(text, charset=_able(charset, text))
        if mail.html is not None:
            message.add_alternative(mail.html, subtype="html", charset=_able(charset, mail.html))
    else:
        message.set_content(mail.html, subtype="html", charset=_able(charset, mail.html))
    shown = message.get_body(("html",)) if mail.html is not None else None
    inside = [attachment for attachment in mail.attachments if attachment.content_id and shown is not None]
    for attachment in inside:
        _attach(shown.add_related, attachment, cid=f"<{attachment.content_id}>", disposition="inline")  # type: ignore[union-attr]  # a message with HTML has it
    for attachment in mail.attachments:
        if attachment not in inside:
            _attach(message.add_attachment, attachment)


def _attach(add: Any, attachment: Attachment, **how: str) -> None:
    kind, _, subtype = attachment.content_type.partition("/")
    add(attachment.content, maintype=kind, subtype=subtype, filename=attachment.filename, **how)


def _able(charset: str, text: str) -> str:
    """*charset* if it can express *text*."""
    try:
        text.encode(charset)
    except UnicodeError:
        return "utf-8"
    return charset


def _verify(raw: bytes, message: EmailMessage) -> None:
    """That the head of *raw* has the headers of *message*, and no others."""
    head = raw.partition(b"\r\n\r\n")[0]
    found = [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    if found != [name.lower().encode() for name in message]:
        raise ConnectorBug("the mail was not sent, because its head came out other than intended", hint="Report it.")
