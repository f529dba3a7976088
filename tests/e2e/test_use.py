"""A connection created by the API a moment ago, used through a worker, and the effect read from the other side."""

from __future__ import annotations

import uuid

from tests.e2e.support import (
    PROJECT,
    create,
    email_body,
    hook_body,
    hook_server,
    kafka_body,
    mariadb_body,
    postgres_body,
)
from tests.support.plane import connection_path
from tests.support.services import closed_port, console_consume, mysql, psql, wait_for_mail


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def test_a_row_is_written_to_postgresql_and_read(dev, postgres):
    """What `execute` wrote, psql reads; what `query` reads is there."""
    name, table = unique("pg"), f"t_{uuid.uuid4().hex[:8]}"
    create(dev, postgres_body(name, postgres))

    assert dev.use(PROJECT, name, "execute", {"sql": f"create table {table} (id int, word text)"}).status_code == 200
    written = dev.use(
        PROJECT, name, "execute", {"sql": f"insert into {table} values (?, ?)", "parameters": [7, "ışık"]}
    )
    read = dev.use(PROJECT, name, "query", {"sql": f"select id, word from {table}"})

    assert written.json()["rowCount"] == 1
    assert read.json()["rows"] == [[7, "ışık"]]
    assert psql(postgres, f"select word from {table}").strip() == "ışık"


def test_a_row_is_written_to_mariadb_and_read(dev, mariadb):
    """The same against MariaDB, read with its own client."""
    name, table = unique("maria"), f"t_{uuid.uuid4().hex[:8]}"
    create(dev, mariadb_body(name, mariadb))

    assert dev.use(PROJECT, name, "execute", {"sql": f"create table {table} (id int, word text)"}).status_code == 200
    dev.use(PROJECT, name, "execute", {"sql": f"insert into {table} values (?, ?)", "parameters": [7, "ışık"]})
    read = dev.use(PROJECT, name, "query", {"sql": f"select id, word from {table}"})

    assert read.json()["rows"] == [[7, "ışık"]]
    assert "7" in mysql(mariadb, f"select id from {table}")


def test_a_mail_is_sent_and_lands_in_the_mailbox(dev, mail):
    """A mail goes out over STARTTLS with a login, and is in the maildir of its recipient."""
    name, to = unique("mail"), f"{uuid.uuid4().hex[:8]}@example.com"
    create(dev, email_body(name, mail))

    sent = dev.use(PROJECT, name, "send", {"to": [to], "subject": "Işık", "text": "it works"})

    assert sent.json()["accepted"] == [to]
    (message,) = wait_for_mail(mail, to=to)
    assert message["Message-ID"] == sent.json()["messageId"]


def test_a_record_is_published_and_consumed(dev, kafka):
    """A record is acknowledged by the broker, and Kafka's own console consumer reads it."""
    name, topic = unique("kafka"), unique("topic")
    create(dev, kafka_body(name, topic, kafka))

    published = dev.use(PROJECT, name, "publish", {"value": "hello", "key": "k"})
    received = dev.use(PROJECT, name, "receive", {"maxMessages": 1, "fromBeginning": True})

    assert published.json()["offset"] == 0, published.text
    assert [message["value"] for message in received.json()["messages"]] == ["hello"]
    assert [record.value for record in console_consume(kafka, topic, max_messages=1, timeout_s=30)] == ["hello"]


def test_a_hook_is_called_with_its_secret(dev):
    """The hook gets the header that nobody else sees."""
    name = unique("hook")
    with hook_server("right") as hook:
        create(dev, hook_body(name, hook, "right"))

        answer = dev.use(PROJECT, name, "send", {"body": "ping"})

        assert (answer.json()["status"], answer.json()["body"]) == (200, "thanks")
        assert hook.calls == [("right", b"ping")]


def test_a_disabled_connection_says_so_and_what_to_do(dev):
    """Using a disabled connection is refused with the reason and the next step."""
    name = unique("off")
    with hook_server("k") as hook:
        create(dev, {**hook_body(name, hook, "k"), "enabled": False})

        answer = dev.use(PROJECT, name, "send", {})

    assert answer.status_code == 409
    assert answer.json()["error"] == "connection_disabled"
    assert "Enable it" in answer.json()["hint"]


def test_an_unknown_connection_says_so(dev):
    """A name that the worker does not hold is 404, with where to look."""
    answer = dev.use(PROJECT, "no-such-connection", "send", {})

    assert answer.status_code == 404
    assert answer.json()["error"] == "connection_unknown"
    assert "spelling" in answer.json()["hint"]


def test_a_connection_whose_variable_is_unresolved_fails_and_names_the_field(dev):
    """A reference that nobody resolves fails the deployment, and the field is named; the record is kept."""
    name = unique("variable")

    result = dev.api.post(connection_path(name), json={"type": "email", "name": name, "host": "${MAIL_HOST}"}).json()

    assert result["success"] is True
    failure = result["deploymentResult"]["deploymentResults"][0]["failures"][0]
    assert (failure["reason"], "host" in failure["message"]) == ("VARIABLE_MISSING", True)


def test_an_unreachable_server_is_told_from_a_wrong_password(dev, postgres):
    """A closed port is `unreachable`, a wrong password `rejected`; both say what to do next."""
    closed, wrong = unique("closed"), unique("wrong")
    url = f"jdbc:postgresql://127.0.0.1:{closed_port()}/mooring?sslmode=disable"
    create(dev, postgres_body(closed, postgres, jdbcUrl=url))
    create(dev, postgres_body(wrong, postgres, password="not-the-password"))

    unreachable = dev.use(PROJECT, closed, "query", {"sql": "select 1"})
    rejected = dev.use(PROJECT, wrong, "query", {"sql": "select 1"})

    assert (unreachable.status_code, unreachable.json()["error"]) == (504, "unreachable")
    assert (rejected.status_code, rejected.json()["error"]) == (502, "rejected")
    assert unreachable.json()["hint"] and rejected.json()["hint"]
    assert "not-the-password" not in rejected.text
