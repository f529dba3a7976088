"""What a webhook connection accepts, refuses, hides and warns about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.testing.live import COMMON_KEYS
from mooring.types.webhook import TYPE
from mooring.types.webhook.model import WebhookConfig, target

HERE = Path(__file__).parent
BODIES = json.loads((HERE / "bodies.json").read_text())
CANARY = "s3cr3tcanary"


def read(**fields: Any) -> WebhookConfig:
    values = {key: value for key, value in fields.items() if key not in COMMON_KEYS}
    return read_config(WebhookConfig, {"fullUrl": "https://hooks.example.com/events", **values})


def warned(**fields: Any) -> list[str]:
    return [problem.code for problem in read(**fields).warnings()]


def headers(**values: str) -> list[dict[str, str]]:
    return [{"name": name.replace("_", "-"), "value": value} for name, value in values.items()]


@pytest.mark.parametrize("body", BODIES["accepted"], ids=range(len(BODIES["accepted"])))
def test_documented_bodies_are_accepted(body):
    """Every shape that the public documentation shows is taken as it stands."""
    assert read(**body).full_url == body["fullUrl"]


@pytest.mark.parametrize("case", BODIES["refused"], ids=range(len(BODIES["refused"])))
def test_broken_bodies_are_refused_at_the_right_place(case):
    """Each broken body is refused, and the problem stands at the field that is wrong."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(WebhookConfig, case["body"])

    assert case["path"] in [problem.path for problem in caught.value.problems]


def test_the_example_is_accepted():
    """`example.json` is a body that POST takes, without a warning."""
    body = json.loads((HERE.parent / "example.json").read_text())

    assert body["type"] == TYPE.name
    assert warned(**body) == []


def test_defaults():
    """What is left out takes the documented value."""
    assert read().wire() == {
        "httpMethod": "GET", "fullUrl": "https://hooks.example.com/events", "headerList": [], "timeout": 2,
        "connectionPoolMaxConnectionPerHost": 24, "connectionPoolMaxConnectionTotal": 48,
        "connectTimeoutSeconds": None, "responseTimeoutSeconds": None, "trustStoreName": None, "keyStoreName": None,
        "verifyHostname": False, "circuitBreakerEnabled": None, "errorThresholdValue": None, "sleepWindow": None,
    }  # fmt: skip


def test_the_pool_rule_names_both_fields():
    """A total below the limit per host is refused, and both fields are named."""
    with pytest.raises(InvalidConfig, match="connectionPoolMaxConnectionTotal.*connectionPoolMaxConnectionPerHost"):
        read(connectionPoolMaxConnectionPerHost=5, connectionPoolMaxConnectionTotal=4)


def test_the_pool_rule_waits_for_variables():
    """A limit that is a variable is compared when it is resolved."""
    assert read(connectionPoolMaxConnectionPerHost="${limit}", connectionPoolMaxConnectionTotal=1)


def test_an_error_does_not_repeat_what_was_sent():
    """Neither a broken address nor a broken header comes back in the error."""
    with pytest.raises(InvalidConfig) as caught:
        read(fullUrl=f"https://u:{CANARY}@bad host/", headerList=headers(Authorization=f"{CANARY}\n"))

    assert CANARY not in str(caught.value.problems)


def test_credential_headers_are_sealed():
    """The value of a credential header is lifted; other headers stay as they are."""
    whole = read(headerList=headers(Authorization=f"Bearer {CANARY}", X_Source="shop", X_Api_Key=f"{CANARY}2")).wire()

    public, secrets = split(WebhookConfig, whole)

    assert CANARY not in json.dumps(public)
    assert public["headerList"][1] == {"name": "X-Source", "value": "shop"}
    assert set(secrets) == {"headerList/authorization", "headerList/x-api-key"}
    assert join(WebhookConfig, public, secrets) == (whole, set(secrets))


def test_a_header_whose_name_is_a_variable_is_sealed():
    """Nobody knows what it will be called, so it is taken for a credential."""
    public, _ = split(WebhookConfig, read(headerList=[{"name": "${name}", "value": CANARY}]).wire())

    assert CANARY not in json.dumps(public)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://user:{CANARY}@h.example/a", "https://user:__secret__@h.example/a"),
        (f"https://{CANARY}@h.example/a", "https://__secret__@h.example/a"),
        (f"https://{CANARY}:@h.example/a", "https://__secret__:@h.example/a"),
        (f"https://h.example/a?token={CANARY}&b=c", "https://h.example/a?token=__secret__&b=c"),
        (f"https://h.example/a?b=c&api_key={CANARY}#d", "https://h.example/a?b=c&api_key=__secret__#d"),
        (f"https://${{host}}/a?sig={CANARY}", "https://${host}/a?sig=__secret__"),
    ],
)
def test_credentials_in_the_address_are_sealed(url, shown):
    """A credential in the address is lifted, and the rest of it reads as it was sent."""
    whole = read(fullUrl=url).wire()

    public, secrets = split(WebhookConfig, whole)

    assert public["fullUrl"] == shown
    assert join(WebhookConfig, public, secrets)[0] == whole


def test_a_placeholder_without_a_secret_is_refused():
    """What was read cannot be posted as new: the secret has to be sent."""
    with pytest.raises(InvalidConfig, match="placeholder of a stored secret"):
        read(fullUrl="https://user:__secret__@h.example/")


def test_destination_fields():
    """Everything that decides where the credentials go is declared."""
    assert set(read().destination()) == {"fullUrl", "trustStoreName", "keyStoreName", "verifyHostname"}


def test_a_new_token_is_the_same_place():
    """A changed credential in the address does not change the destination; a changed host does."""
    one = read(fullUrl="https://u:one@h.example/?token=1").destination()

    assert read(fullUrl="https://u:two@h.example/?token=2").destination() == one
    assert read(fullUrl="https://u:one@i.example/?token=1").destination() != one


def test_references_of_an_encrypted_address():
    """With https, the chosen stores are references."""
    assert read(trustStoreName="t", keyStoreName="k").references() == {"trustStoreName": "t", "keyStoreName": "k"}


def test_references_of_a_plain_address():
    """With http, stores are not used, so nothing is missing when they do not exist."""
    assert read(fullUrl="http://h.example", trustStoreName="t").references() == {}


@pytest.mark.parametrize(
    "name",
    ["httpMethod", "fullUrl", "timeout", "connectTimeoutSeconds", "responseTimeoutSeconds", "trustStoreName", "keyStoreName",
     "connectionPoolMaxConnectionPerHost", "connectionPoolMaxConnectionTotal", "errorThresholdValue", "sleepWindow"],
)  # fmt: skip
def test_a_variable_may_stand_anywhere(name):
    """Every text and number field takes a variable reference."""
    assert read(**{name: "${value}"}).wire()[name] == "${value}"


@pytest.mark.parametrize(
    ("store", "wanted", "checked"), [(None, False, True), (None, True, True), ("t", False, False), ("t", True, True)]
)
def test_when_the_host_name_is_compared(store, wanted, checked):
    """Always without a truststore of one's own; with one, where verifyHostname says so."""
    assert read(trustStoreName=store, verifyHostname=wanted).checks_hostname is checked


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"fullUrl": "http://u:p@h.example/"}, "plaintext_credential"),
        ({"fullUrl": "http://h.example/", "headerList": headers(Authorization="x")}, "plaintext_credential"),
        ({"trustStoreName": "t"}, "hostname_unverified"),
        ({"fullUrl": "http://h.example/", "trustStoreName": "t"}, "stores_unused"),
        ({"fullUrl": "https://h.example/#top"}, "fragment"),
        ({"fullUrl": "https://u:p@h.example/", "headerList": headers(Authorization="x")}, "two_logins"),
    ],
)
def test_warnings(fields, code):
    """What is accepted and probably not meant is said."""
    assert warned(**fields) == [code]


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        ("https://h.example", "/", ""),
        ("https://h.example?a=b c", "/", "a=b%20c"),
        ("https://h.example/a b/%20?x=%2F&y=ş", "/a%20b/%20", "x=%2F&y=%C5%9F"),
    ],
)
def test_the_address_is_encoded_when_sent(url, path, query):
    """Path and query are percent-encoded where they must be, and left alone where they already are."""
    assert (target(url).path, target(url).query) == (path, query)


def test_a_host_in_another_alphabet():
    """A host name is spelled in ASCII for the network."""
    assert target("https://örnek.example:8443/").address == "xn--rnek-4qa.example:8443"
