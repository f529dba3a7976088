"""The bytes of a mail, and that no caller can add a header to them."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mooring.types.email import message as module
from mooring.types.email.message import Mail, finish, mailbox


def mail(**fields: Any) -> Mail:
    return Mail.model_validate({"to": "ada@example.com", **fields})


def written(**fields: Any) -> EmailMessage:
    raw = finish(mail(**fields), mailbox("me@example.com"), "UTF-8").raw
    return email.message_from_bytes(raw, policy=email.policy.default)  # type: ignore[return-value]  # the policy makes this kind


def refused(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        mail(**fields)
    return str(caught.value.errors(include_input=False, include_url=False)[0]["msg"])


def test_text_and_html_are_alternatives():
    """With text and HTML, the reader's program chooses."""
    message = written(text="plain ş", html="<b>rich ş</b>")

    assert message.get_content_type() == "multipart/alternative"
    assert message.get_body(("plain",)).get_content().strip() == "plain ş"
    assert message.get_body(("html",)).get_content().strip() == "<b>rich ş</b>"


def test_html_alone():
    """HTML without text is one part."""
    assert written(html="<b>x</b>").get_content_type() == "text/html"


def test_a_mail_may_be_empty():
    """A mail without text is a mail."""
    assert written().get_content().strip() == ""


def test_attachments_arrive_unchanged():
    """A file comes out as it went in, with its name in any alphabet."""
    files = [{"filename": "çizelge.pdf", "content": "AAEC/w==", "contentType": "application/pdf"}]

    (part,) = written(text="x", attachments=files).iter_attachments()

    assert (part.get_content(), part.get_filename(), part.get_content_type()) == (
        b"\0\1\2\xff",
        "çizelge.pdf",
        "application/pdf",
    )


def test_an_image_inside_the_html():
    """A file with a content id belongs to the HTML and is no attachment."""
    files = [{"filename": "logo.png", "content": b"png", "contentType": "image/png", "contentId": "logo"}]

    message = written(text="x", html="<img src='cid:logo'>", attachments=files)

    assert list(message.iter_attachments()) == []
    assert [part["Content-ID"] for part in message.walk() if part["Content-ID"]] == ["<logo>"]


def test_a_name_with_a_comma_and_umlauts():
    """The shown name survives, whatever it is made of."""
    message = written(to=['"Öztürk, Ayşe" <ayse@example.com>'])

    assert [(one.display_name, one.addr_spec) for one in message["To"].addresses] == [
        ("Öztürk, Ayşe", "ayse@example.com")
    ]


def test_bcc_stands_nowhere():
    """A hidden recipient is in the envelope and not in the message."""
    request = mail(bcc=["hidden@example.com"])

    assert request.recipients == ["ada@example.com", "hidden@example.com"]
    assert b"hidden" not in finish(request, mailbox("me@example.com"), "UTF-8").raw


def test_a_recipient_gets_one_copy():
    """Somebody who stands in several lists is one recipient."""
    assert mail(cc=["ada@example.com"], bcc="ada@example.com").recipients == ["ada@example.com"]


def test_a_domain_in_another_alphabet():
    """The envelope spells a domain in ASCII."""
    assert mail(to="ayse@örnek.example").recipients == ["ayse@xn--rnek-4qa.example"]


def test_an_address_in_another_alphabet():
    """Letters before the @ that are not ASCII ask the server for UTF-8."""
    assert finish(mail(to="ayşe@example.com"), mailbox("me@example.com"), "UTF-8").utf8


def test_the_character_set_of_the_connection():
    """Text goes out in the configured character set."""
    raw = finish(mail(text="ş"), mailbox("me@example.com"), "iso-8859-9").raw

    assert b'charset="iso-8859-9"' in raw


def test_text_outside_the_character_set():
    """What the character set cannot express goes out as UTF-8 rather than broken."""
    raw = finish(mail(text="日本"), mailbox("me@example.com"), "iso-8859-9").raw

    assert b'charset="utf-8"' in raw


def test_harmless_headers_are_set():
    """Headers outside the structure of a mail may be chosen."""
    message = written(
        headers={"X-Ticket": "4711", "In-Reply-To": "<1@example.com>", "List-Unsubscribe": "<mailto:u@example.com>"}
    )

    assert (message["X-Ticket"], message["In-Reply-To"]) == ("4711", "<1@example.com>")


@pytest.mark.parametrize(
    "name",
    [
        "Bcc",
        "bcc",
        "To",
        "From",
        "Subject",
        "Sender",
        "Content-Type",
        "MIME-Version",
        "Received",
        "Resent-To",
        "DKIM-Signature",
        "X-A: b\r\nBcc",
        "X A",
        "",
    ],
)
def test_structural_headers_are_refused(name):
    """A header that carries the structure of a mail cannot be set from outside."""
    assert "headers named" in refused(headers={name: "x"})


@pytest.mark.parametrize("breaker", ["\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("place", ["to", "cc", "bcc", "from", "replyTo", "subject", "headers", "filename"])
def test_no_line_break_gets_in(place, breaker):
    """No field takes anything that ends a line."""
    text = f"a{breaker}Bcc: x@example.com"
    fields: dict[str, Any] = {place: text}
    if place == "headers":
        fields = {"headers": {"X-A": text}}
    elif place == "filename":
        fields = {"attachments": [{"filename": text, "content": ""}]}
    elif place not in ("subject",):
        fields = {place: f"A{breaker}Bcc <b@example.com>"}

    assert "must" in refused(**fields) or "pattern" in refused(**fields)


@pytest.mark.parametrize("place", ["to", "subject", "headers", "filename"])
def test_no_encoded_line_break_gets_in(place):
    """An encoded word, which the mail library would decode into a line break, is refused."""
    word = "=?utf-8?q?hi=0D=0ABcc:_x@example.com?="
    fields: dict[str, Any] = {
        "to": {"to": f"{word} <a@example.com>"},
        "subject": {"subject": word},
        "headers": {"headers": {"X-A": word}},
        "filename": {"attachments": [{"filename": word, "content": ""}]},
    }[place]

    assert "encoded word" in refused(**fields)


def test_a_head_that_came_out_wrong_is_not_sent(monkeypatch):
    """Even if a hole were left, a head with one header too many does not leave the house."""
    monkeypatch.setattr(module, "no_encoded_word", lambda text: text)
    word = "=?utf-8?q?hi=0D=0ABcc:_x@example.com?="
    request = Mail.model_construct(to=[mailbox("a@example.com")], subject=word)

    with pytest.raises(module.ConnectorBug):
        finish(request, mailbox("me@example.com"), "UTF-8")


@given(subject=st.text(max_size=80), name=st.text(max_size=40), value=st.text(max_size=80))
def test_whatever_is_accepted_adds_no_header(subject, name, value):
    """For any text: it is refused, or the mail has exactly the intended headers."""
    try:
        request = mail(subject=subject, to=f"{name} <ada@example.com>", headers={"X-A": value})
    except ValidationError:
        return

    raw = finish(request, mailbox("me@example.com"), "UTF-8").raw

    names = [
        line.partition(b":")[0]
        for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
        if line[:1] not in (b" ", b"\t")
    ]
    assert names == [
        b"From",
        b"To",
        b"Subject",
        b"Date",
        b"Message-ID",
        b"X-A",
        b"Content-Type",
        b"Content-Transfer-Encoding",
        b"MIME-Version",
    ]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "a b@example.com",
        "a@b@c",
        "<a@b.de",
        "a@b.de>",
        "x <a@b.de> y",
        "a@b.de,c@d.de",
        "a@b..de",
        "a..b@x.de",
    ],
)
def test_what_is_no_address_is_refused(address):
    """A recipient is one address, with or without a name."""
    assert "mail address" in refused(to=address)


def test_somebody_must_get_it():
    """A mail without any recipient is refused."""
    assert "recipient" in refused(to=[])


def test_recipients_are_bounded():
    """One mail has at most 200 recipients."""
    assert "at most 200" in refused(to=[f"a{index}@example.com" for index in range(201)])


def test_attachments_are_bounded():
    """Attachments have at most 10 MiB together."""
    assert "at most" in refused(attachments=[{"filename": "a", "content": bytes(6 * 1024 * 1024)}] * 2)


def test_content_must_be_base64():
    """What is not base64 is refused."""
    assert "base64" in refused(attachments=[{"filename": "a", "content": "???"}])


@pytest.mark.parametrize("kind", ["multipart/mixed", "message/rfc822", "application", "a/b; charset=x", "a/b\r\nX: y"])
def test_media_types_are_plain(kind):
    """A media type is one word, a slash and another, and no container."""
    assert refused(attachments=[{"filename": "a", "content": "", "contentType": kind}])


def test_a_file_name_has_no_path():
    """A file name leads nowhere."""
    assert refused(attachments=[{"filename": "../../etc/passwd", "content": ""}])
