"""What an e-mail connection accepts, refuses, hides and warns about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.testing.live import COMMON_KEYS
from mooring.types.email import TYPE
from mooring.types.email.model import EmailConfig

HERE = Path(__file__).parent
BODIES = json.loads((HERE / "bodies.json").read_text())
SECRET = "s3cr3t-canary"


def read(**fields: Any) -> EmailConfig:
    values = {key: value for key, value in fields.items() if key not in COMMON_KEYS}
    return read_config(EmailConfig, {"host": "smtp.example.com", **values})


def refused(**fields: Any) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        read(**fields)
    return [problem.path for problem in caught.value.problems]


def warned(**fields: Any) -> list[str]:
    return [problem.code for problem in read(**fields).warnings()]


@pytest.mark.parametrize("body", BODIES["accepted"], ids=range(len(BODIES["accepted"])))
def test_documented_bodies_are_accepted(body):
    """Every shape that the public documentation shows is taken as it stands."""
    config = read(**body)

    assert config.host == body["host"]


@pytest.mark.parametrize("case", BODIES["refused"], ids=range(len(BODIES["refused"])))
def test_broken_bodies_are_refused_at_the_right_place(case):
    """Each broken body is refused, and the problem stands at the field that is wrong."""
    fields = {key: value for key, value in case["body"].items() if key not in COMMON_KEYS}

    with pytest.raises(InvalidConfig) as caught:
        read_config(EmailConfig, fields)

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_the_example_is_accepted():
    """`example.json` is a body that POST takes."""
    body = json.loads((HERE.parent / "example.json").read_text())

    assert body["type"] == TYPE.name
    assert read(**body).wire().items() >= {"host": body["host"], "from": body["from"]}.items()


def test_defaults():
    """What is left out takes the documented value."""
    assert read().wire() == {
        "host": "smtp.example.com", "port": 587, "enableStartTls": False, "auth": False, "username": None,
        "password": None, "defaultEncoding": "UTF-8", "addressToTest": None, "from": None,
        "additionalProperties": [], "useSsl": False, "certificateName": None, "trustStoreName": None,
        "keyStoreName": None, "verifyHostname": True,
    }  # fmt: skip


def test_null_equals_absent():
    """A field that is null takes its default."""
    assert read(port=None, verifyHostname=None) == read()


def test_login_needs_both_parts():
    """With auth, user name and password are required, and both are named at once."""
    assert refused(auth=True) == ["/username", "/password"]


def test_a_missing_login_is_explained():
    """The message of a cross-field rule names the field that caused it."""
    with pytest.raises(InvalidConfig, match="username.*auth is true"):
        read(auth=True, password="x")


def test_all_problems_are_told_at_once():
    """One answer lists every problem."""
    assert set(refused(port=0, auth=True, additionalProperties=[{"key": "x", "value": ""}])) == {
        "/port", "/username", "/password", "/additionalProperties/0/key",
    }  # fmt: skip


def test_an_error_names_the_property_and_not_its_value():
    """A refused property is named; what it was set to is not."""
    with pytest.raises(InvalidConfig) as caught:
        read(additionalProperties=[{"key": "mail.smtp.ssl.trust", "value": SECRET}])

    assert "mail.smtp.ssl.trust" in str(caught.value)
    assert SECRET not in str(caught.value.problems)


def test_an_unknown_key_gets_a_suggestion():
    """A misspelt key is refused with the one that was probably meant."""
    with pytest.raises(InvalidConfig, match="did you mean 'enableStartTls'"):
        read(enableStartTLS=True)


def test_the_password_is_lifted_and_filled():
    """The public half holds no secret, and both halves together are the whole."""
    whole = read(auth=True, username="u", password=SECRET).wire()

    public, secrets = split(EmailConfig, whole)

    assert SECRET not in json.dumps(public)
    assert secrets == {"password": SECRET}
    assert join(EmailConfig, public, secrets) == (whole, {"password"})


def test_destination_fields():
    """Everything that decides where the password goes is declared."""
    assert set(read().destination()) == {
        "host", "port", "enableStartTls", "username", "useSsl", "certificateName", "trustStoreName",
        "keyStoreName", "verifyHostname",
    }  # fmt: skip


def test_references_of_an_encrypted_session():
    """With TLS, the chosen stores are references."""
    config = read(enableStartTls=True, certificateName="c", trustStoreName="t", keyStoreName="k")

    assert config.references() == {"certificateName": "c", "trustStoreName": "t", "keyStoreName": "k"}


def test_references_of_a_plain_session():
    """Without TLS, stores are not used, so nothing is missing when they do not exist."""
    assert read(trustStoreName="t").references() == {}


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "port",
        "username",
        "password",
        "defaultEncoding",
        "addressToTest",
        "from",
        "certificateName",
        "trustStoreName",
        "keyStoreName",
    ],
)
def test_a_variable_may_stand_anywhere(name):
    """Every text and number field takes a variable reference."""
    assert read(**{name: "${value}"}).wire()[name] == "${value}"


def test_tls_twice_is_a_warning():
    """STARTTLS beside TLS from the first byte is accepted with a warning."""
    assert warned(enableStartTls=True, useSsl=True) == ["starttls_and_ssl"]


def test_a_login_in_the_clear_is_a_warning():
    """A password without encryption is accepted with a warning."""
    assert warned(auth=True, username="u", password="p") == ["plaintext_login"]


def test_an_unchecked_host_name_is_a_warning():
    """Switching off the check of the host name is accepted with a warning."""
    assert warned(useSsl=True, verifyHostname=False) == ["hostname_unverified"]


def test_a_repeated_property_is_a_warning():
    """A property that stands twice is accepted with a warning, and the last one counts."""
    twice = [{"key": "mail.smtp.timeout", "value": "1"}, {"key": "mail.smtp.timeout", "value": "2"}]

    assert warned(additionalProperties=twice) == ["unique_property_keys"]
    assert read(additionalProperties=twice).property("mail.smtp.timeout") == "2"


def test_a_property_against_a_field_is_a_warning():
    """A property that a field decides otherwise is accepted with a warning."""
    assert warned(additionalProperties=[{"key": "mail.smtp.ssl.checkserveridentity", "value": "false"}]) == [
        "field_decides"
    ]


def test_a_sound_connection_has_no_warning():
    """The example of the documentation is accepted without a word."""
    assert warned(enableStartTls=True, auth=True, username="u", password="p") == []


def test_the_config_shows_nothing_of_itself():
    """Neither text nor repr of a config holds a secret."""
    config = read(auth=True, username="u", password=SECRET)

    assert SECRET not in f"{config} {config!r}"
