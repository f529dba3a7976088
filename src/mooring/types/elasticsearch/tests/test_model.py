"""What an Elasticsearch config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.elasticsearch import TYPE
from mooring.types.elasticsearch.model import ElasticsearchConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text(encoding="utf-8"))
MINIMAL: dict[str, Any] = {"elasticHostList": [{"host": "es.example.com"}]}
LOGIN = {"authenticate": True, "elasticUsername": "u", "elasticPassword": "fake-password"}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> ElasticsearchConfig:
    return read_config(ElasticsearchConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"], ids=lambda body: body["name"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted, and its wire form is accepted again."""
    found = read_config(ElasticsearchConfig, typed(body))

    assert TYPE.name == body["type"]
    assert ElasticsearchConfig.from_wire(found.wire()).wire() == found.wire()


@pytest.mark.parametrize("case", BODIES["refused"], ids=lambda case: case["path"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, the problem points at the field, and nothing that was sent is repeated."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(ElasticsearchConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]
    assert not any("fake" in problem.message for problem in caught.value.problems)


def test_the_example_is_accepted() -> None:
    """The example that documents the room is a body of this type, without warnings."""
    body = json.loads((ROOM / "example.json").read_text(encoding="utf-8"))

    assert TYPE.name == body["type"]
    assert not list(read_config(ElasticsearchConfig, typed(body)).warnings())


def test_defaults() -> None:
    """What is left out has its documented default."""
    wire = config().wire()

    assert wire.pop("elasticHostList") == [{"scheme": "http", "host": "es.example.com", "port": 9200}]
    assert {key: value for key, value in wire.items() if value is not None} == {
        "administrate": False,
        "authenticate": False,
        "encryptCommunication": False,
        "caCertInPkcs12FileContentType": "application/x-pkcs12",
        "caInPemFileContentType": "application/x-pem-file",
        "caTruststoreFileContentType": "application/x-pkcs12",
        "caKeystoreFileContentType": "application/x-pkcs12",
        "disableHostnameVerification": False,
        "indexLifecyclePolicyCreated": False,
        "indexTemplateCreated": False,
        "elasticsearchType": "READ_WRITE",
        "bulkBufferCapacity": 50000,
        "bulkFlushIntervalMs": 100,
        "bulkMaxBatchSize": 2500,
        "elasticsearchMajorVersion": "AUTO_DETECT",
    }


def test_a_policy_has_defaults_of_its_own() -> None:
    """What a lifecycle policy leaves out has its documented default."""
    policy = config(indexLifecyclePolicy={}).wire()["indexLifecyclePolicy"]

    assert {key: value for key, value in policy.items() if value is not None} == {
        "policyName": "apinizer-log-ilm-policy-default",
        "enableHotPhase": False,
        "enableWarmPhase": False,
        "enableColdPhase": False,
        "enableDeletePhase": False,
    }


def test_login_needs_both_parts() -> None:
    """With authenticate both the name and the password are needed, and the rule is named."""
    problems = refused(authenticate=True)

    assert set(problems) == {"/elasticUsername", "/elasticPassword"}
    assert all("authenticate" in message for message in problems.values())


def test_an_empty_password_is_no_password() -> None:
    """An empty password does not satisfy authenticate."""
    assert "/elasticPassword" in refused(**{**LOGIN, "elasticPassword": ""})


def test_all_problems_are_told_at_once() -> None:
    """Problems of single fields and between fields come together."""
    problems = refused(authenticate=True, ioThreads=0, indexTemplateCreated=True)

    assert set(problems) == {"/ioThreads", "/elasticUsername", "/elasticPassword", "/indexTemplateName"}


def test_a_named_store_stands_in_for_files() -> None:
    """With a truststore or keystore by name, no kind of material needs to be said."""
    assert config(encryptCommunication=True, trustStoreName="t").encrypt_communication_type is None
    assert config(encryptCommunication=True, keyStoreName="k").encrypt_communication_type is None


def test_a_client_certificate_needs_its_password_once() -> None:
    """A keystore without its password is one problem; without both it is two."""
    client = {"encryptCommunication": True, "encryptCommunicationType": "CERT_AND_PRIVATE_KEY_IN_PKCS_12"}

    assert set(refused(**client)) == {"/caKeystoreFile", "/caKeystoreFilePass"}
    assert set(refused(**client, caKeystoreFile="ZmFrZQ==")) == {"/caKeystoreFilePass"}


def test_material_is_needed_only_with_encryption() -> None:
    """A kind of material without encryptCommunication asks for nothing."""
    assert not config(encryptCommunicationType="CA_IN_PEM_FILE").encrypt_communication


def test_a_file_as_bytes_becomes_base64() -> None:
    """An array of byte numbers, signed or not, is kept as base64 text."""
    assert config(caInPemFile=[1, 2, -1, 255]).wire()["caInPemFile"] == "AQL//w=="


def test_state_in_a_host_is_dropped() -> None:
    """What older answers say of a node's state is taken and not kept."""
    hosts = config(elasticHostList=[{"host": "a", "status": "GREEN", "clusterName": "c"}]).wire()["elasticHostList"]

    assert hosts == [{"scheme": "http", "host": "a", "port": 9200}]


def test_date_math_and_patterns_are_index_names() -> None:
    """An index name may be date math in angle brackets, or a pattern."""
    assert config(indexName="<orders-{now/d}>").index_name == "<orders-{now/d}>"
    assert config(indexName="orders-*,events-*").index_name == "orders-*,events-*"


def test_reading_and_administrating_warns() -> None:
    """A read-only connection that is to administrate is accepted with a warning."""
    assert warned(elasticsearchType="READ", administrate=True) == {"read_mode_no_admin"}
    assert not warned(administrate=True)


def test_an_uncompared_name_warns() -> None:
    """TLS without a check of the host name is accepted with a warning."""
    https = [{"scheme": "https", "host": "es.example.com"}]

    assert warned(elasticHostList=https, disableHostnameVerification=True) == {"hostname_not_verified"}
    assert not warned(disableHostnameVerification=True)


def test_secrets_are_lifted_and_come_back() -> None:
    """All seven secrets leave the public half, and return to their places."""
    secrets = {
        name: f"fake-{name}"
        for name in (
            "elasticPassword", "caCertInPkcs12File", "caInPemFile", "caTruststoreFile",
            "caTruststoreFilePass", "caKeystoreFile", "caKeystoreFilePass",
        )
    }  # fmt: skip
    whole = config(**secrets).wire()

    public, lifted = split(ElasticsearchConfig, whole)

    assert lifted == secrets
    assert "fake-" not in json.dumps(public)
    assert join(ElasticsearchConfig, public, lifted) == (whole, set(secrets))


def test_the_list_of_nodes_is_a_destination_as_a_whole() -> None:
    """Another node, another trusted certificate, or a weaker check is another destination."""
    before = config(caInPemFile="fake-a").destination()

    assert before == config(caInPemFile="fake-a", indexName="other").destination()
    assert before != config(caInPemFile="fake-b").destination()
    assert before != config(caInPemFile="fake-a", elasticHostList=[{"host": "elsewhere.example.com"}]).destination()
    assert before != config(caInPemFile="fake-a", disableHostnameVerification=True).destination()


def test_stores_are_referred_to_only_with_tls() -> None:
    """A store that plain HTTP never opens is no reference."""
    https = [{"scheme": "https", "host": "a"}]

    assert config(trustStoreName="t").references() == {}
    assert config(trustStoreName="t", elasticHostList=https).references() == {"trustStoreName": "t"}
    assert config(encryptCommunication=True, keyStoreName="k").references() == {"keyStoreName": "k"}


def test_variables_stand_anywhere() -> None:
    """A variable stands in for any text, number or choice, also inside hosts and the policy."""
    found = config(
        elasticHostList=[{"scheme": "${S}", "host": "${H}", "port": "${P}"}],
        encryptCommunication=True,
        encryptCommunicationType="${KIND}",
        indexLifecyclePolicyCreated=True,
        indexLifecyclePolicy={"enableHotPhase": True, "maxAgeOfRollover": "${AGE}", "maxDocCountOfRollover": "${N}"},
        indexTemplateRefreshInterval="${R}",
        indexTemplateNumberOfShards="${N}",
        elasticsearchType="${MODE}",
        bulkMaxBatchSize="${N}",
        elasticsearchMajorVersion="${V}",
    )

    assert found.wire()["elasticHostList"] == [{"scheme": "${S}", "host": "${H}", "port": "${P}"}]
    assert not list(found.warnings())
