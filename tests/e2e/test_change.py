"""Changing a connection while it is used: no failed use, and the truth about what serves."""

from __future__ import annotations

import json
import time
import uuid

import pytest

from tests.e2e.support import (
    PROJECT,
    create,
    email_body,
    hook_body,
    hook_server,
    kafka_body,
    loop_of_uses,
    mariadb_body,
    postgres_body,
    update,
)
from tests.support.plane import connection_path
from tests.support.services import mysql, psql, set_mail_passwords


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def serving(dev, name: str) -> int:
    """The generation that serves a connection on the worker."""
    import httpx2

    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(dev.socket)), timeout=10) as client:
        held = client.get("http://worker/v1/").json()["connections"]
    return next(item["servingGeneration"] for item in held if item["name"] == name)


def test_a_database_password_changes_under_use(dev, mariadb):
    """While the server accepts both passwords, the change fails no query, and the new client serves."""
    name, user = unique("maria"), f"u{uuid.uuid4().hex[:8]}"
    both = "mysql_native_password using password('{}') or mysql_native_password using password('{}')"
    mysql(mariadb, f"create user '{user}'@'%' identified via {both.format('old-word', 'new-word')}", admin=True)
    mysql(mariadb, f"grant all on {mariadb['database']}.* to '{user}'@'%'", admin=True)
    create(dev, mariadb_body(name, mariadb, username=user, password="old-word"))

    with loop_of_uses(lambda: dev.use(PROJECT, name, "query", {"sql": "select 1"})) as uses:
        result = update(dev, mariadb_body(name, mariadb, username=user, password="new-word"))

    assert result["success"], result
    assert uses.failed == []
    mysql(mariadb, f"alter user '{user}'@'%' identified by 'new-word'", admin=True)
    assert dev.use(PROJECT, name, "query", {"sql": "select 1"}).status_code == 200
    assert serving(dev, name) == 2


def test_a_mail_password_changes_under_use(dev, mail):
    """While the server accepts both passwords, the change fails no mail, and the new client serves."""
    name, user = unique("mail"), f"u{uuid.uuid4().hex[:8]}"
    set_mail_passwords(mail, user, ["old-word", "new-word"])
    create(dev, email_body(name, mail, username=user, password="old-word"))
    mail_to = {"to": ["rotation@example.com"], "subject": "s", "text": "t"}

    with loop_of_uses(lambda: dev.use(PROJECT, name, "send", mail_to)) as uses:
        result = update(dev, email_body(name, mail, username=user, password="new-word"))

    set_mail_passwords(mail, user, ["new-word"])
    assert result["success"], result
    assert uses.failed == []
    assert dev.use(PROJECT, name, "send", mail_to).status_code == 200


def test_a_webhook_header_changes_under_use(dev):
    """While the hook accepts both keys, the change fails no call, and the new key is sent."""
    name = unique("hook")
    with hook_server("old-key", "new-key") as hook:
        create(dev, hook_body(name, hook, "old-key"))

        with loop_of_uses(lambda: dev.use(PROJECT, name, "send", {"body": "x"})) as uses:
            result = update(dev, hook_body(name, hook, "new-key"))

        assert result["success"], result
        assert uses.failed == []
        assert hook.calls[-1][0] == "new-key"


def test_a_kafka_property_changes_under_use(dev, kafka):
    """Changing a property of the producer fails no publish."""
    name, topic = unique("kafka"), unique("topic")
    create(dev, kafka_body(name, topic, kafka))

    with loop_of_uses(lambda: dev.use(PROJECT, name, "publish", {"value": "x"})) as uses:
        result = update(dev, kafka_body(name, topic, kafka, linger_ms="3"))

    assert result["success"], result
    assert uses.failed == []
    assert serving(dev, name) == 2


@pytest.mark.parametrize("room", ["postgres", "email", "kafka"])
def test_a_wrong_password_leaves_the_old_client_serving(dev, room, request):
    """A PUT to a wrong password is stored; the old client serves on, and the answer says why."""
    name = unique(room)
    if room == "postgres":
        service = request.getfixturevalue("postgres")
        good, bad = postgres_body(name, service), postgres_body(name, service, password="not-the-word")
        use = ("query", {"sql": "select 1"})
    elif room == "email":
        service = request.getfixturevalue("mail")
        good, bad = email_body(name, service), email_body(name, service, password="not-the-word")
        use = ("send", {"to": ["held@example.com"], "subject": "s", "text": "t"})
    else:
        service = request.getfixturevalue("kafka")
        line = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="mooring" password="{}";'
        sasl = {
            "bootstrap_servers": service["sasl_plaintext"], "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256", "sasl_jaas_config": line.format(service["users"]["mooring"]),
        }  # fmt: skip
        good = kafka_body(name, unique("topic"), service, **sasl)
        bad = json.loads(json.dumps(good).replace(service["users"]["mooring"], "not-the-word"))
        use = ("publish", {"value": "x"})
    create(dev, good)
    assert dev.use(PROJECT, name, *use).status_code == 200

    result = update(dev, bad)

    failure = result["deploymentResults"][0]["failures"][0]
    assert (result["success"], result["state"], failure["reason"]) == (False, "FAILED", "PROBE_FAILED")
    assert "the old ones serve on" in failure["message"]
    assert "not-the-word" not in json.dumps(result)
    assert dev.use(PROJECT, name, *use).status_code == 200
    assert serving(dev, name) == 1


def test_a_held_change_serves_as_soon_as_it_works(dev, postgres):
    """A new password that the server does not know yet is tried again, and takes over once it does."""
    name, user = unique("late"), f"u{uuid.uuid4().hex[:8]}"
    psql(postgres, f"create role {user} login password 'old-word'", admin=True)
    create(dev, postgres_body(name, postgres, username=user, password="old-word"))
    assert dev.use(PROJECT, name, "query", {"sql": "select 1"}).status_code == 200
    held = update(dev, postgres_body(name, postgres, username=user, password="new-word"))
    assert held["state"] == "FAILED"

    psql(postgres, f"alter role {user} password 'new-word'", admin=True)

    deadline = time.monotonic() + 30
    while serving(dev, name) != 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert serving(dev, name) == 2
    latest = dev.api.get(connection_path(name) + "deployments/").json()["resultList"][0]
    assert (latest["generation"], latest["state"]) == (2, "SUCCEEDED")


def test_switching_off_closes_the_client(dev, postgres):
    """Disabling a connection closes its sessions on the server before the answer says that it is done."""
    name, user = unique("off"), f"u{uuid.uuid4().hex[:8]}"
    psql(postgres, f"create role {user} login password 'word-of-mine'", admin=True)
    body = postgres_body(name, postgres, username=user, password="word-of-mine")
    create(dev, body)
    assert dev.use(PROJECT, name, "query", {"sql": "select 1"}).status_code == 200

    result = update(dev, {**body, "enabled": False})

    assert (result["success"], result["state"]) == (True, "SUCCEEDED")
    sessions = psql(postgres, f"select count(*) from pg_stat_activity where usename = '{user}'", admin=True)
    assert sessions.strip() == "0"


def test_deleting_closes_the_client_and_forgets_the_name(dev):
    """After DELETE the worker holds nothing of it, and the name is free again."""
    name = unique("gone")
    with hook_server("k") as hook:
        create(dev, hook_body(name, hook, "k"))

        deleted = dev.api.delete(connection_path(name)).json()

        assert deleted["deploymentResult"]["state"] == "SUCCEEDED"
        assert dev.use(PROJECT, name, "send", {}).json()["error"] == "connection_unknown"
        create(dev, hook_body(name, hook, "k"))
        assert dev.use(PROJECT, name, "send", {}).status_code == 200


def test_a_renamed_connection_is_found_under_its_new_name_only(dev):
    """PUT with another name renames, on the worker too."""
    old, new = unique("old"), unique("new")
    with hook_server("k") as hook:
        create(dev, hook_body(old, hook, "k"))

        renamed = dev.api.put(connection_path(old), json=hook_body(new, hook, "k"))

        assert renamed.json()["deploymentResult"]["success"], renamed.text
        assert dev.use(PROJECT, old, "send", {}).status_code == 404
        assert dev.use(PROJECT, new, "send", {}).status_code == 200
