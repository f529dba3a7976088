"""The real servers do what live tests rely on: answer, check passwords, prove who they are."""

import os
import pwd
import smtplib
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.support.services import (
    ProgramFailed,
    Service,
    black_hole,
    closed_port,
    console_consume,
    mysql,
    psql,
    read_maildir,
    service,
    set_mail_passwords,
    wait_for_mail,
)

SERVERS = ("kafka", "mail", "mariadb", "postgres")


@pytest.fixture
def unique() -> str:
    """A name that no other test uses, on servers which all tests share."""
    return f"t{uuid.uuid4().hex[:12]}"


# What a test gets


@pytest.mark.parametrize("name", SERVERS)
def test_server_answers(name):
    """Every server is there, and tells its version."""
    assert service(name)["version"][0].isdigit()


def test_missing_server_skips_the_test(monkeypatch, tmp_path):
    """Where no server was started, a test that needs one is skipped and says what to do."""
    monkeypatch.setenv("MOORING_SERVICES_STATE", str(tmp_path / "state.json"))
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception, match="kafka is not running: make services"):
        service("kafka")


def test_missing_server_fails_the_test_in_ci(monkeypatch, tmp_path):
    """In CI a server that could not be started is a failure, not a skip."""
    monkeypatch.setenv("MOORING_SERVICES_STATE", str(tmp_path / "state.json"))
    monkeypatch.setenv("CI", "true")

    with pytest.raises(pytest.fail.Exception, match="kafka is not running"):
        service("kafka")


def test_dead_server_skips_the_test(monkeypatch, tmp_path):
    """A server that the state file names but that does not answer counts as missing."""
    state = tmp_path / "state.json"
    state.write_text(f'{{"mail": {{"address": "127.0.0.1:{closed_port()}"}}}}')
    monkeypatch.setenv("MOORING_SERVICES_STATE", str(state))
    monkeypatch.delenv("CI", raising=False)

    with pytest.raises(pytest.skip.Exception):
        service("mail")


def test_service_does_not_show_passwords(postgres):
    """The representation that ends up in reports of failed tests holds no password."""
    assert postgres["password"] not in repr(postgres)


def test_closed_port_refuses_connections():
    """A connection to a closed port is refused at once."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", closed_port()), timeout=5)


def test_black_hole_accepts_and_says_nothing():
    """A connection to a black hole is made, and reading from it hangs."""
    with black_hole() as hole:
        connection = socket.create_connection((hole.host, hole.port), timeout=0.2)

        with connection, pytest.raises(TimeoutError):
            connection.recv(1)


def test_black_hole_may_not_even_connect():
    """A connection to a black hole that does not connect hangs."""
    with black_hole(connects=False) as hole, pytest.raises(TimeoutError):
        socket.create_connection((hole.host, hole.port), timeout=0.3)


# PostgreSQL


def test_postgres_serves_over_verified_tls(postgres):
    """PostgreSQL's certificate verifies against the test CA, name included."""
    query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

    assert psql(postgres, query, sslmode="verify-full").strip() == "t"


def test_postgres_certificate_does_not_name_the_other_address(postgres):
    """At its second address PostgreSQL shows a certificate of another name."""
    with pytest.raises(ProgramFailed, match="does not match host name"):
        psql(postgres.at(postgres["wrong_name_host"]), "SELECT 1")


def test_postgres_refuses_a_wrong_password(postgres):
    """PostgreSQL checks the password."""
    with pytest.raises(ProgramFailed, match="password authentication failed"):
        psql(postgres, "SELECT 1", password="not this one")


def test_postgres_admin_changes_passwords(postgres, unique):
    """The superuser can change a role's password, and the old one is refused then."""
    psql(postgres, f"CREATE ROLE {unique} LOGIN PASSWORD 'old'", admin=True)
    psql(postgres, f"ALTER ROLE {unique} PASSWORD 'new'", admin=True)

    assert psql(postgres, "SELECT 1", user=unique, password="new").strip() == "1"
    with pytest.raises(ProgramFailed, match="password authentication failed"):
        psql(postgres, "SELECT 1", user=unique, password="old")


def test_postgres_keeps_passwords_as_scram(postgres):
    """Passwords are kept, and so checked, as SCRAM-SHA-256."""
    stored = psql(postgres, "SELECT rolpassword FROM pg_authid WHERE rolname = 'mooring'", admin=True)

    assert stored.startswith("SCRAM-SHA-256$")


def test_postgres_user_owns_the_database(postgres, unique):
    """The ordinary user may make tables, and keep rows in them."""
    sql = f"CREATE TABLE {unique} (n int); INSERT INTO {unique} VALUES (7); SELECT n FROM {unique};"

    assert psql(postgres, sql + f"DROP TABLE {unique}").strip() == "7"


# MariaDB


def test_mariadb_serves_over_verified_tls(mariadb):
    """MariaDB's certificate verifies against the test CA, name included."""
    assert "TLSv1" in mysql(mariadb, "SHOW STATUS LIKE 'Ssl_version'")


def test_mariadb_certificate_does_not_name_the_other_address(mariadb):
    """At its second address MariaDB shows a certificate of another name."""
    with pytest.raises(ProgramFailed, match="Validation of SSL server certificate failed"):
        mysql(mariadb.at(mariadb["wrong_name_host"]), "SELECT 1")


def test_mariadb_refuses_a_wrong_password(mariadb):
    """MariaDB checks the password."""
    with pytest.raises(ProgramFailed, match="1045"):
        mysql(mariadb, "SELECT 1", password="not this one")


def test_mariadb_admin_changes_passwords(mariadb, unique):
    """The administrator can change a user's password, and the old one is refused then."""
    mysql(mariadb, f"CREATE USER {unique} IDENTIFIED BY 'old'", admin=True)
    mysql(mariadb, f"GRANT ALL ON mooring.* TO {unique}", admin=True)
    mysql(mariadb, f"ALTER USER {unique} IDENTIFIED BY 'new'", admin=True)

    assert mysql(mariadb, "SELECT 1", user=unique, password="new").strip() == "1"
    with pytest.raises(ProgramFailed, match="1045"):
        mysql(mariadb, "SELECT 1", user=unique, password="old")


def test_mariadb_user_owns_the_database(mariadb, unique):
    """The ordinary user may make tables, and keep rows in them."""
    sql = f"CREATE TABLE {unique} (n int); INSERT INTO {unique} VALUES (7); SELECT n FROM {unique};"

    assert mysql(mariadb, sql + f"DROP TABLE {unique}").strip() == "7"


# Kafka


def produce(kafka: Service, topic: str, listener: str = "plaintext", **settings: str) -> None:
    """Write one record through *listener*, or raise why it was not acknowledged."""
    problems: list[KafkaError] = []
    producer = Producer(
        {
            "bootstrap.servers": kafka[listener],
            "message.timeout.ms": 8000,
            "error_cb": problems.append,
            **settings,
        }
    )
    producer.produce(topic, key=b"key", value=b"value", headers={"h": b"1"})
    deadline = time.monotonic() + 10
    while producer.flush(0.1) and not problems and time.monotonic() < deadline:
        pass
    if problems:
        raise KafkaException(problems[0])


def tls(kafka: Service) -> dict[str, str]:
    return {"security.protocol": "SSL", "ssl.ca.location": kafka.ca}


def sasl(kafka: Service, mechanism: str, protocol: str = "SASL_PLAINTEXT") -> dict[str, str]:
    return {
        "security.protocol": protocol,
        "sasl.mechanism": mechanism,
        "sasl.username": "mooring",
        "sasl.password": kafka["users"]["mooring"],
    }


def test_kafka_console_reads_what_a_producer_wrote(kafka, unique):
    """Kafka's own consumer reads key, headers and value that another client wrote."""
    produce(kafka, unique)

    (record,) = console_consume(kafka, unique, 1)

    assert (record.key, record.value, record.headers) == ("key", "value", (("h", "1"),))


def test_kafka_console_tells_null_from_empty(kafka, unique):
    """A record without key and value is told from one with empty ones."""
    producer = Producer({"bootstrap.servers": kafka["plaintext"]})
    producer.produce(unique, key=b"", value=b"")
    producer.produce(unique)
    producer.flush(10)

    empty, null = console_consume(kafka, unique, 2)

    assert (empty.key, empty.value, null.key, null.value) == ("", "", None, None)


def test_kafka_console_ends_when_no_more_comes(kafka, unique):
    """Waiting for more records than there are ends, with those that there are."""
    produce(kafka, unique)

    assert len(console_consume(kafka, unique, 5, timeout_s=2)) == 1


def test_kafka_over_tls(kafka, unique):
    """Over TLS that both clients verify, Kafka's consumer reads what a producer wrote."""
    produce(kafka, unique, "ssl", **tls(kafka))

    assert [r.value for r in console_consume(kafka, unique, 1, listener="ssl")] == ["value"]


def test_kafka_takes_a_client_certificate(kafka, unique):
    """A client may show a certificate of the test CA."""
    own = {
        "ssl.certificate.location": kafka.certificates["client"],
        "ssl.key.location": kafka.certificates["client_key"],
    }

    produce(kafka, unique, "ssl", **tls(kafka), **own)


def test_kafka_refuses_a_client_certificate_of_an_unknown_ca(kafka, unique):
    """A client certificate that the broker's CA did not sign is refused."""
    # Kafka's C client would keep such a certificate to itself.
    context = ssl.create_default_context(cafile=kafka.ca)
    issued = kafka.certificates
    context.load_cert_chain(issued["unknown_client"], issued["unknown_client_key"])
    host, _, port = kafka["ssl"].partition(":")
    plain = socket.create_connection((host, int(port)), timeout=10)

    connection = context.wrap_socket(plain, server_hostname=host)

    # In TLS 1.3 the refusal comes after the client's part of the handshake.
    with connection, pytest.raises(ssl.SSLError, match="ALERT"):
        connection.recv(1)


def test_kafka_certificate_is_not_of_an_unknown_ca(kafka, unique):
    """A client that trusts another CA does not connect."""
    with pytest.raises(KafkaException, match="verify"):
        produce(
            kafka,
            unique,
            "ssl",
            **{**tls(kafka), "ssl.ca.location": kafka.certificates["unknown_ca"]},
        )


def test_kafka_listener_with_a_wrong_name(kafka, unique):
    """One listener shows a certificate of the right CA and the wrong name."""
    with pytest.raises(KafkaException, match=r"(?i)verif|mismatch"):
        produce(kafka, unique, "wrong_name", **tls(kafka))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_kafka_with_a_password(kafka, unique, mechanism):
    """With a password, Kafka's consumer reads what a producer wrote."""
    produce(kafka, unique, "sasl_plaintext", **sasl(kafka, mechanism))

    records = console_consume(kafka, unique, 1, listener="sasl_plaintext", mechanism=mechanism)
    assert [record.value for record in records] == ["value"]


def test_kafka_with_a_password_over_tls(kafka, unique):
    """With a password inside TLS, Kafka's consumer reads what a producer wrote."""
    settings = {**tls(kafka), **sasl(kafka, "SCRAM-SHA-512", "SASL_SSL")}
    produce(kafka, unique, "sasl_ssl", **settings)

    assert [r.value for r in console_consume(kafka, unique, 1, listener="sasl_ssl")] == ["value"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_kafka_refuses_a_wrong_password(kafka, unique, mechanism):
    """Kafka checks the password, whatever the mechanism."""
    settings = {**sasl(kafka, mechanism), "sasl.password": "not this one"}

    with pytest.raises(KafkaException, match=r"(?i)authentication"):
        produce(kafka, unique, "sasl_plaintext", **settings)


def test_kafka_console_refused_is_an_error(kafka, unique):
    """The console consumer with a wrong password is an error, and not an empty topic."""
    with pytest.raises(ProgramFailed, match="Authentication failed"):
        console_consume(kafka, unique, 1, listener="sasl_plaintext", password="not this one")


# Mail


@pytest.fixture
def login(mail, unique) -> Iterator[tuple[str, str]]:
    """A mail user of this test alone, and its password."""
    set_mail_passwords(mail, unique, ["right"])
    yield unique, "right"
    set_mail_passwords(mail, unique, [])


def submit(mail: Service, how: str, login: tuple[str, str] | None, *recipients: str) -> None:
    """Hand in one message over *how*: ``plain``, ``starttls`` or ``tls``."""
    context = ssl.create_default_context(cafile=mail.ca)
    if how == "tls":
        smtp = smtplib.SMTP_SSL(mail["host"], mail["tls_port"], timeout=10, context=context)
    else:
        smtp = smtplib.SMTP(mail["host"], mail["port"], timeout=10)
    with smtp:
        if how == "starttls":
            smtp.starttls(context=context)
        if login is not None:
            smtp.login(*login)
        if recipients:
            smtp.sendmail("from@mooring.test", recipients, "Subject: hello\n\nwhat it says\n")


@pytest.mark.parametrize("how", ["plain", "starttls", "tls"])
def test_mail_lands_in_the_maildir(mail, login, unique, how):
    """A message handed in on any port, TLS verified, is in the maildir soon after."""
    recipient, began = f"{unique}@mooring.test", time.time()

    submit(mail, how, login, recipient)

    (message,) = wait_for_mail(mail, began, to=recipient)
    assert (message["Subject"], message.get_content()) == ("hello", "what it says\n")


def test_mail_lands_once_for_each_recipient(mail, unique):
    """Every recipient of the envelope has a copy, also one of a domain far away."""
    recipients = f"{unique}@mooring.test", f"{unique}@far.away.invalid"
    began = time.time()

    submit(mail, "plain", None, *recipients)

    found = [wait_for_mail(mail, began, to=recipient) for recipient in recipients]
    assert [len(messages) for messages in found] == [1, 1]


def test_read_maildir_leaves_out_what_came_before(mail, unique):
    """Messages from before the given moment are not returned."""
    recipient = f"{unique}@mooring.test"
    submit(mail, "plain", None, recipient)
    assert wait_for_mail(mail, to=recipient)

    assert read_maildir(mail, time.time(), to=recipient) == []


@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login"])
def test_mail_takes_the_right_password(mail, login, mechanism):
    """Both AUTH PLAIN and AUTH LOGIN take the right password."""
    assert authenticate(mail, mechanism, *login)[0] == 235


@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login"])
def test_mail_refuses_a_wrong_password(mail, login, mechanism):
    """Both AUTH PLAIN and AUTH LOGIN refuse a wrong password."""
    user, _ = login

    assert authenticate(mail, mechanism, user, "not this one")[0] == 535


@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login"])
def test_mail_refuses_an_unknown_user(mail, mechanism):
    """A user without a line in the users file is refused, with an empty password too."""
    assert authenticate(mail, mechanism, "nobody", "")[0] == 535


def authenticate(mail: Service, mechanism: str, user: str, password: str) -> tuple[int, bytes]:
    """What the server answers to a login by just this mechanism."""
    with smtplib.SMTP(mail["host"], mail["port"], timeout=10) as smtp:
        smtp.ehlo()
        smtp.user, smtp.password = user, password
        name = mechanism.removeprefix("auth_").upper()
        try:
            return smtp.auth(name, getattr(smtp, mechanism))
        except smtplib.SMTPAuthenticationError as exc:
            return exc.smtp_code, exc.smtp_error


def test_mail_user_of_the_state_file_may_log_in(mail):
    """The user and password that the state file names are right."""
    submit(mail, "starttls", (mail["user"], mail["password"]))


def test_mail_takes_the_old_and_the_new_password(mail, login):
    """Two passwords may be right at the same time, without a restart."""
    user, old = login

    set_mail_passwords(mail, user, [old, "new: with a colon"])

    assert authenticate(mail, "auth_plain", user, old)[0] == 235
    assert authenticate(mail, "auth_plain", user, "new: with a colon")[0] == 235


def test_mail_refuses_a_password_that_was_taken_away(mail, login):
    """A password that is no longer among the right ones is refused from then on."""
    user, old = login

    set_mail_passwords(mail, user, ["new"])

    assert authenticate(mail, "auth_plain", user, old)[0] == 535


@pytest.mark.parametrize("how", ["starttls", "tls"])
def test_mail_certificate_does_not_name_the_other_address(mail, how):
    """At its second address the mail server shows a certificate of another name."""
    elsewhere = mail.at(mail["wrong_name_host"])

    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        submit(elsewhere, how, None)


@pytest.mark.parametrize(("recipient", "code"), [("refused", 550), ("later", 451)])
def test_mail_has_bad_weather_on_order(mail, recipient, code):
    """Some recipients are refused for good, some for now."""
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        submit(mail, "plain", None, f"{recipient}@mooring.test")

    ((refusal, _),) = caught.value.recipients.values()
    assert refusal == code


# How they run


@pytest.mark.parametrize("name", ["mail", "mariadb", "postgres"])
def test_daemon_does_not_run_as_root(name):
    """Where root starts the servers, the daemons run as users of their own."""
    if os.geteuid() != 0:
        pytest.skip("everything runs as the user who started it")
    running = service(name)
    port = f":{running['port']:04X}"

    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    owners = {
        pwd.getpwuid(int(fields[7])).pw_name
        for fields in (line.split() for line in lines)
        if fields[1].endswith(port) and fields[3] == "0A"
    }

    assert owners
    assert "root" not in owners
