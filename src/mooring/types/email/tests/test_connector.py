"""Sending mail through a real server, and through servers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.services import Service, black_hole, closed_port, mail, wait_for_mail

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import MaterialMissing, Store
from mooring.testing.live import connected
from mooring.types.email import sessions
from mooring.types.email.tests.fake import HANG_UP, fake_mail_server

__all__ = ["mail"]

PASSWORD = "s3cr3t-canary-pw"


class Materials:
    """The stores of a test."""

    def __init__(self, **stores: Store) -> None:
        self.stores = stores

    def store(self, name: str) -> Store:
        return self.stores[name]


def body(port: int, **fields: Any) -> dict[str, Any]:
    return {"type": "email", "name": "mail", "host": "127.0.0.1", "port": port, "from": "me@example.com", **fields}


def real(mail: Service, **fields: Any) -> dict[str, Any]:
    login = {"auth": True, "username": mail["user"], "password": mail["password"]}
    return {**body(mail["port"], enableStartTls=True, **login), **fields}


def somebody() -> str:
    return f"to-{os.urandom(6).hex()}@example.com"


async def failure(config: dict[str, Any], timeout_s: float = 5.0, **fields: Any) -> ConnectorError:
    ca_file, request = fields.pop("ca_file", None), {"to": "ada@example.com", "text": "x", **fields}
    async with connected(config, ca_file=ca_file) as guard:
        with pytest.raises(ConnectorError) as caught:
            await guard.use("send", request, timeout_s)
    return caught.value


async def test_a_mail_arrives(mail):
    """A mail over STARTTLS and with a login lies in the mailbox as it was meant."""
    to = somebody()

    async with connected(real(mail), ca_file=mail.ca) as guard:
        sent = await guard.use(
            "send",
            {"to": to, "subject": "Değişti", "text": "ışık", "html": "<b>ışık</b>", "headers": {"X-Ticket": "1"}},
        )

    (message,) = await asyncio.to_thread(wait_for_mail, mail, to=to)
    assert (message["Subject"], message["From"], message["X-Ticket"]) == ("Değişti", "me@example.com", "1")
    assert message["Message-ID"] == sent.message_id
    assert message.get_body(("plain",)).get_content().strip() == "ışık"
    assert sent.accepted == [to]


async def test_tls_from_the_first_byte(mail):
    """useSsl speaks TLS at once."""
    to = somebody()

    async with connected(
        real(mail, enableStartTls=False, useSsl=True, port=mail["tls_port"]), ca_file=mail.ca
    ) as guard:
        await guard.use("send", {"to": to, "text": "x"})

    assert len(await asyncio.to_thread(wait_for_mail, mail, to=to)) == 1


async def test_a_session_is_encrypted(mail):
    """The server saw TLS on the session, and who logged in."""
    to = somebody()

    async with connected(real(mail), ca_file=mail.ca) as guard:
        await guard.use("send", {"to": to, "text": "x"})

    (message,) = await asyncio.to_thread(wait_for_mail, mail, to=to)
    assert "esmtpsa" in message["Received"]


async def test_some_recipients_are_refused(mail):
    """Those who are accepted get the mail; of the others the answer tells why."""
    to = somebody()

    async with connected(real(mail), ca_file=mail.ca) as guard:
        sent = await guard.use("send", {"to": [to, "refused@example.com", "later@example.com"], "text": "x"})

    assert sent.accepted == [to]
    assert [(one.recipient, one.code) for one in sent.refused] == [
        ("refused@example.com", 550),
        ("later@example.com", 451),
    ]


async def test_bcc_gets_it_and_stays_hidden(mail):
    """A hidden recipient gets the mail, and nobody sees that."""
    to, hidden = somebody(), somebody()

    async with connected(real(mail), ca_file=mail.ca) as guard:
        await guard.use("send", {"to": to, "bcc": hidden, "text": "x"})

    (message,) = await asyncio.to_thread(wait_for_mail, mail, to=hidden)
    assert hidden not in message["To"] and message["Bcc"] is None


async def test_dots_and_odd_line_ends_cannot_end_the_message(mail):
    """A text with the end-of-message mark in any spelling is text."""
    to, text = somebody(), "one\r\n.\r\nMAIL FROM:<x@example.com>\n.\r.\r\n..\nlast"

    async with connected(real(mail), ca_file=mail.ca) as guard:
        await guard.use("send", {"to": to, "text": text})

    (message,) = await asyncio.to_thread(wait_for_mail, mail, to=to)
    assert message.get_content().splitlines() == text.splitlines()


async def test_the_envelope_sender_can_differ(mail):
    """mail.smtp.from is where bounces go."""
    to = somebody()

    async with connected(
        real(mail, additionalProperties=[{"key": "mail.smtp.from", "value": "bounce@example.com"}]), ca_file=mail.ca
    ) as guard:
        await guard.use("send", {"to": to, "text": "x"})

    (message,) = await asyncio.to_thread(wait_for_mail, mail, to=to)
    assert message["Return-path"] == "<bounce@example.com>"


async def test_a_chosen_truststore_is_used(mail):
    """A truststore replaces what the worker trusts."""
    store = Store(trusted=Path(mail.ca).read_text())

    async with connected(real(mail, trustStoreName="company"), materials=Materials(company=store)) as guard:
        sent = await guard.use("send", {"to": somebody(), "text": "x"})

    assert sent.accepted


async def test_another_truststore_is_not_enough(mail):
    """With a truststore that lacks the issuer, the server is not believed, whatever the worker trusts."""
    store = Store(trusted=Path(mail.certificates["unknown_ca"]).read_text())

    async with connected(
        real(mail, certificateName="other"), materials=Materials(other=store), ca_file=mail.ca
    ) as guard:
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            await guard.use("send", {"to": somebody(), "text": "x"})


async def test_a_missing_store_is_found_at_open(mail):
    """A store that does not exist is told when the connection is opened, not when somebody needs it."""
    with pytest.raises(MaterialMissing):
        async with connected(real(mail, keyStoreName="nowhere")):
            pass


async def test_a_client_certificate_is_loaded(mail):
    """A keystore with a key and its certificate is shown to the server."""
    store = Store(
        chain=Path(mail.certificates["client"]).read_text(), key=Path(mail.certificates["client_key"]).read_text()
    )

    async with connected(real(mail, keyStoreName="me"), materials=Materials(me=store), ca_file=mail.ca) as guard:
        assert (await guard.use("send", {"to": somebody(), "text": "x"})).accepted


async def test_a_keystore_without_a_key(mail):
    """A keystore that cannot identify anybody is the author's mistake, and told at open."""
    with pytest.raises(Misconfigured, match="no private key"):
        async with connected(real(mail, keyStoreName="me"), materials=Materials(me=Store(trusted="x"))):
            pass


async def test_a_wrong_password(mail):
    """A wrong password is the credential owner's move."""
    async with connected(real(mail, password=PASSWORD), ca_file=mail.ca) as guard:
        with pytest.raises(Rejected, match="refused the login as mooring: 535"):
            await guard.use("send", {"to": "ada@example.com"})

        assert guard.health == "auth_failed"


async def test_an_untrusted_certificate(mail):
    """A certificate of an unknown issuer is refused, and says so."""
    error = await failure(real(mail))

    assert isinstance(error, Misconfigured)
    assert "issuer" in error.message


async def test_a_certificate_of_another_host(mail):
    """A certificate that names another host is refused, and says so."""
    error = await failure(real(mail, host=mail["wrong_name_host"]), ca_file=mail.ca)

    assert isinstance(error, Misconfigured)
    assert "mismatch" in error.message


async def test_the_host_name_check_can_be_switched_off(mail):
    """Without the check of the host name, the issuer still counts."""
    other = real(mail, host=mail["wrong_name_host"], verifyHostname=False)

    async with connected(other, ca_file=mail.ca) as guard:
        assert (await guard.use("send", {"to": somebody(), "text": "x"})).accepted
    assert isinstance(await failure(other), Misconfigured)


async def test_nobody_is_accepted(mail):
    """When every recipient is refused for good, the operation fails and says why."""
    error = await failure(real(mail), to="refused@example.com", ca_file=mail.ca)

    assert isinstance(error, Misconfigured)
    assert "550 5.1.1 nobody of that name" in error.message


async def test_nobody_is_accepted_for_now(mail):
    """When every recipient is put off, waiting may help."""
    assert isinstance(await failure(real(mail), to="later@example.com", ca_file=mail.ca), Unreachable)


async def test_a_closed_port():
    """A port that nobody listens on is told at once."""
    started = time.monotonic()

    error = await failure(body(closed_port()))

    assert isinstance(error, Unreachable) and "refused the connection" in error.message
    assert time.monotonic() - started < 1


async def test_an_unknown_host():
    """A name that does not resolve is told so."""
    error = await failure(body(25, host="nowhere.invalid"))

    assert isinstance(error, Unreachable) and "does not resolve" in error.message


@pytest.mark.parametrize("connects", [True, False])
async def test_a_black_hole_ends_by_the_configured_time(connects):
    """A server that says nothing, or takes no connection, is given up after the time of the properties."""
    times = [{"key": f"mail.smtp.{name}", "value": "200"} for name in ("connectiontimeout", "timeout")]
    with black_hole(connects=connects) as hole:
        started = time.monotonic()

        error = await failure(body(hole.port, additionalProperties=times))

    assert isinstance(error, Unreachable) and "in time" in error.message
    assert time.monotonic() - started < 2


async def test_a_black_hole_ends_by_the_callers_deadline():
    """Without times of its own, the caller's deadline ends the wait."""
    times = [{"key": f"mail.smtp.{name}", "value": "0"} for name in ("connectiontimeout", "timeout")]
    with black_hole() as hole:
        assert isinstance(await failure(body(hole.port, additionalProperties=times), timeout_s=0.3), Unreachable)


async def test_tls_on_a_plain_port(mail):
    """TLS where the server speaks plain is the author's mistake."""
    error = await failure(real(mail, useSsl=True, enableStartTls=False), ca_file=mail.ca)

    assert isinstance(error, Misconfigured) and "TLS" in error.message


async def test_a_server_without_starttls_gets_nothing():
    """Where STARTTLS is enabled and not offered, neither login nor mail is sent."""
    async with fake_mail_server(EHLO="250-fake\r\n250 AUTH PLAIN") as fake:
        error = await failure(body(fake.port, enableStartTls=True, auth=True, username="u", password=PASSWORD))

    assert isinstance(error, Misconfigured) and "STARTTLS" in error.message
    assert [line.split()[0] for line in fake.heard] == ["EHLO"]


async def test_a_server_without_login():
    """Where a login is configured and not offered, the mail is not sent without one."""
    async with fake_mail_server() as fake:
        error = await failure(body(fake.port, auth=True, username="u", password=PASSWORD))

    assert isinstance(error, Misconfigured)
    assert not any(line.startswith("MAIL") for line in fake.heard)


async def test_a_wrong_password_is_tried_once():
    """A refused login is not repeated with another method: that would lock the account sooner."""
    async with fake_mail_server(EHLO="250-fake\r\n250 AUTH PLAIN LOGIN", AUTH="535 no") as fake:
        await failure(body(fake.port, auth=True, username="u", password=PASSWORD))

    assert len([line for line in fake.heard if line.startswith("AUTH")]) == 1


async def test_a_method_that_does_not_work_is_followed_by_the_next():
    """A login method that the server offers and does not understand is not the end."""
    async with fake_mail_server(EHLO="250-fake\r\n250 AUTH PLAIN LOGIN", AUTH="504 unknown") as fake:
        error = await failure(body(fake.port, auth=True, username="u", password=PASSWORD))

    assert [line.split()[1] for line in fake.heard if line.startswith("AUTH")] == ["PLAIN", "LOGIN"]
    assert not isinstance(error, Rejected)


@pytest.mark.parametrize("code", [530, 538])
async def test_encryption_first(code):
    """A server that wants encryption before the login is not a wrong password."""
    async with fake_mail_server(EHLO="250-fake\r\n250 AUTH PLAIN", AUTH=f"{code} encrypt first") as fake:
        error = await failure(body(fake.port, auth=True, username="u", password=PASSWORD))

    assert isinstance(error, Misconfigured) and "enableStartTls" in str(error.hint)


@pytest.mark.parametrize(
    ("replies", "kind", "words"),
    [
        ({"GREETING": "421 too busy"}, Unreachable, "too busy"),
        ({"GREETING": "554 not you"}, Misconfigured, "not you"),
        ({"GREETING": "HTTP/1.1 400 Bad Request"}, Misconfigured, "did not answer as a mail server"),
        ({"GREETING": HANG_UP}, Unreachable, "closed the connection"),
        ({"EHLO": HANG_UP}, Unreachable, "closed the connection"),
        ({"MAIL": "550 who are you"}, Misconfigured, "the sender: 550 who"),
        ({"MAIL": "451 not now"}, Unreachable, "451 not now"),
        ({"RCPT": HANG_UP}, Unreachable, "closed the connection"),
        ({"DATA": "554 no"}, Misconfigured, "did not accept the message"),
        ({"END": "552 too large"}, Misconfigured, "552 too large"),
        ({"END": "452 disk full"}, Unreachable, "452 disk full"),
        ({"END": HANG_UP}, Unreachable, "may or may not have kept it"),
    ],
)
async def test_bad_weather(replies, kind, words):
    """Whatever a server does, the error says whose move it is and what was said."""
    async with fake_mail_server(**replies) as fake:
        error = await failure(body(fake.port))

    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


async def test_a_mail_over_the_servers_limit_is_not_sent():
    """A server that says how much it takes is believed before the mail is on its way."""
    async with fake_mail_server(EHLO="250-fake\r\n250 SIZE 100") as fake:
        error = await failure(body(fake.port), text="x" * 200)

    assert "up to 100 bytes" in error.message
    assert not any(line.startswith("MAIL") for line in fake.heard)


async def test_letters_that_the_server_does_not_know():
    """An address outside ASCII needs a server that understands it."""
    async with fake_mail_server() as fake:
        assert isinstance(await failure(body(fake.port), to="ayşe@example.com"), Misconfigured)


async def test_no_sender():
    """Without a sender in the connection or the request, nothing is sent."""
    async with fake_mail_server() as fake:
        error = await failure(body(fake.port, **{"from": None}))

    assert isinstance(error, Misconfigured) and "sender" in error.message
    assert fake.heard == []


async def test_a_request_with_a_line_break_is_refused():
    """What could add a header or a command never reaches the network."""
    async with fake_mail_server() as fake, connected(body(fake.port)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("send", {"to": "a@example.com\r\nRCPT TO:<b@example.com>"})

    assert fake.heard == []


@pytest.mark.parametrize("reply", ["535 {0}", "535 {1}", "235 {0}\r\n"])
async def test_the_password_is_in_no_error(reply):
    """A server that repeats the password, in the clear or in base64, does not get it into an error."""
    encoded = base64.b64encode(f"\0u\0{PASSWORD}".encode()).decode()
    said = reply.format(PASSWORD, encoded).strip()
    async with fake_mail_server(EHLO="250-fake\r\n250 AUTH PLAIN", AUTH=said, MAIL=f"550 {PASSWORD} {encoded}") as fake:
        error = await failure(body(fake.port, auth=True, username="u", password=PASSWORD))

    shown = f"{error.message} {error.hint} {error!r}"
    assert PASSWORD not in shown and encoded not in shown


async def test_sessions_are_bounded():
    """At most eight sessions are open at a time; all mails are sent."""
    async with fake_mail_server(delay_s=0.005) as fake, connected(body(fake.port)) as guard:
        sent = await asyncio.gather(*(guard.use("send", {"to": "a@example.com"}) for _ in range(40)))

    assert len(sent) == 40
    assert fake.most == 8


async def test_two_hundred_mails_leave_nothing_behind(mail):
    """After 200 mails no socket and no task is left."""
    async with connected(real(mail, enableStartTls=False)) as guard:
        await guard.use("send", {"to": "warm@example.com"})
        await guard.rest()
        before = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())

        await asyncio.gather(*(guard.use("send", {"to": "many@example.com"}) for _ in range(200)))
        await guard.rest()

        assert (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) == before


async def test_a_cancelled_mail_leaves_nothing_behind():
    """A caller who goes away in the middle leaves no socket open."""
    with black_hole() as hole:
        async with connected(body(hole.port)) as guard:
            before = len(os.listdir("/proc/self/fd"))
            waiting = asyncio.create_task(guard.use("send", {"to": "a@example.com"}))
            await asyncio.sleep(0.1)

            waiting.cancel()
            await asyncio.wait([waiting])
            await asyncio.sleep(0.05)

            assert len(os.listdir("/proc/self/fd")) == before


async def test_it_works_after_a_rest(mail):
    """After its sockets were given back, the next mail goes out all the same."""
    async with connected(real(mail), ca_file=mail.ca) as guard:
        await guard.use("send", {"to": "rest@example.com"})
        assert await guard.rest()

        assert (await guard.use("send", {"to": "rest@example.com"})).accepted


async def test_it_heals_when_the_server_comes_back():
    """After the server went away and came back, the same connector sends again."""
    async with fake_mail_server() as first:
        port = first.port

    async with connected(body(port)) as guard:
        async with fake_mail_server(port=port):
            await guard.use("send", {"to": "a@example.com"})
        with pytest.raises(Unreachable):
            await guard.use("send", {"to": "a@example.com"})
        async with fake_mail_server(port=port):
            assert (await guard.use("send", {"to": "a@example.com"})).accepted


async def test_closing_ends_what_is_under_way():
    """A session that is open when the connection ends fails clearly, and soon."""
    async with fake_mail_server(delay_s=5) as fake, connected(body(fake.port)) as guard:
        sending = asyncio.create_task(guard.use("send", {"to": "a@example.com"}))
        await asyncio.sleep(0.1)

        await guard.close(grace_s=0.1)

        with pytest.raises(Unreachable):
            await asyncio.wait_for(sending, 2)


async def test_the_probe_walks_the_whole_way(mail):
    """A probe logs in and sends nothing."""
    async with connected(real(mail, addressToTest="probe@example.com"), ca_file=mail.ca) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"), ("connect", "passed"), ("starttls", "passed"), ("login", "passed"),
    ]  # fmt: skip
    assert wait_for_mail(mail, to="probe@example.com", timeout_s=0.2) == []


async def test_the_probe_says_where_it_stopped(mail):
    """With a wrong password everything before the login passed."""
    async with connected(real(mail, password=PASSWORD), ca_file=mail.ca) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps][-2:] == [("starttls", "passed"), ("login", "failed")]
    assert report.failure is not None and report.failure.code == "rejected"


async def test_the_probe_says_what_it_left_out():
    """Steps that do not apply are skipped, with the reason."""
    async with fake_mail_server() as fake, connected(body(fake.port)) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps][2:] == [("starttls", "skipped"), ("login", "skipped")]
    assert report.ok


async def test_the_native_client(mail):
    """The driver's own client is to be had, connected and logged in."""
    async with connected(real(mail), ca_file=mail.ca) as guard:
        session = await guard.native()

        async with session() as smtp:
            assert (await smtp.noop()).code == 250


async def test_opening_does_no_network_io():
    """A connection opens without its server."""
    async with connected(body(closed_port(), enableStartTls=True)) as guard:
        assert not guard.started


# Sessions that wait


async def test_a_session_serves_the_next_message_too():
    """The login is paid once."""
    async with fake_mail_server() as server, connected(body(server.port)) as guard:
        for _ in range(3):
            await guard.use("send", {"to": "a@example.com"})

        assert server.sessions == 1


async def test_a_session_that_died_while_it_waited_is_replaced():
    """Nobody notices."""
    async with fake_mail_server() as server, connected(body(server.port)) as guard:
        await guard.use("send", {"to": "a@example.com"})
        server.hang_up()

        await guard.use("send", {"to": "a@example.com"})

        assert server.sessions == 2


async def test_a_session_whose_message_failed_is_not_used_again():
    """Nobody knows what is left in it."""
    async with fake_mail_server(END="451 not now") as server, connected(body(server.port)) as guard:
        for _ in range(2):
            with pytest.raises(ConnectorError):
                await guard.use("send", {"to": "a@example.com"})

        assert server.sessions == 2


async def test_a_session_ends_after_fifty_messages():
    """Before the server gets tired of it."""
    async with fake_mail_server() as server, connected(body(server.port)) as guard:
        for _ in range(51):
            await guard.use("send", {"to": "a@example.com"})

        assert server.sessions == 2


async def test_an_unused_session_says_goodbye(monkeypatch):
    """After a while, by itself."""
    monkeypatch.setattr(sessions, "IDLE_S", 0.05)
    async with fake_mail_server() as server, connected(body(server.port)) as guard:
        await guard.use("send", {"to": "a@example.com"})
        for _ in range(200):
            if server.now == 0:
                break
            await asyncio.sleep(0.01)

        assert (server.now, server.heard[-1]) == (0, "QUIT")


async def test_what_waits_says_goodbye_when_the_connection_ends():
    """In order, and at once."""
    async with fake_mail_server() as server:
        async with connected(body(server.port)) as guard:
            await guard.use("send", {"to": "a@example.com"})

        assert server.heard[-1] == "QUIT"
