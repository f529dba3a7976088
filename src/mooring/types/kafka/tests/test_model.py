"""What a Kafka connection is made of: shapes, rules, secrets, destinations, warnings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.kafka.model import KafkaConfig
from mooring.types.kafka.properties import PROPERTIES
from mooring.types.kafka.tests.bodies import EXAMPLE, SCRAM, STRING, body, entry, login, read

BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text())
SEED = {
    "topicName": "events",
    "bootstrapServers": "localhost:9092",
    "keyStoreName": "my-keystore",
    "trustStoreName": "my-truststore",
}
SECURE = {"enableSecure": True, "protocolTypes": ["TLS_1_3"], "keyStoreName": "ks"}


def problems(sent: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        read(sent)
    return {problem.path: problem.message for problem in caught.value.problems}


def warnings(config: KafkaConfig) -> set[tuple[str, str]]:
    return {(problem.path, problem.code) for problem in config.warnings()}


@pytest.mark.parametrize("sent", BODIES["accepted"])
def test_documented_bodies_are_accepted(sent):
    """Every shape that the public documents print is accepted, and its wire form is accepted again, unchanged."""
    config = read(sent)

    assert read_config(KafkaConfig, config.wire()).wire() == config.wire()


@pytest.mark.parametrize("case", BODIES["refused"], ids=lambda case: case["path"])
def test_broken_bodies_are_refused(case):
    """A broken body is refused at the field that breaks a rule."""
    assert case["path"] in problems(case["body"])


def test_seed_body_makes_the_property_map():
    """Where there is no property map, the brokers' short form makes one, and both come back."""
    wire = read(SEED).wire()

    assert wire["bootstrapServers"] == "localhost:9092"
    assert wire["propertiesMap"] == {
        "bootstrap.servers": entry("localhost:9092"),
        "key.serializer": entry(STRING),
        "value.serializer": entry(STRING),
        "max.block.ms": entry("3000", "INTEGER"),
    }


@pytest.mark.parametrize("empty", [None, {}])
def test_empty_map_counts_as_absent(empty):
    """A map that is null or without entries is made from the brokers too."""
    assert "bootstrap.servers" in read({**SEED, "propertiesMap": empty}).wire()["propertiesMap"]


def test_given_map_is_left_alone():
    """A map that was sent gets no properties that were not sent."""
    assert list(read(body()).wire()["propertiesMap"]) == ["bootstrap.servers", "key.serializer", "value.serializer"]


def test_map_may_take_its_brokers_from_the_short_form():
    """A map without bootstrap.servers is fine where bootstrapServers is there."""
    config = read(body(properties={"bootstrap.servers": None}, bootstrapServers="b:9092"))

    assert config.servers == "b:9092"


def test_map_wins_over_the_short_form():
    """Where the two name different brokers, the map's are used, with a warning."""
    config = read(body("a:9092", bootstrapServers="b:9092"))

    assert config.servers == "a:9092"
    assert ("/bootstrapServers", "bootstrap_conflict") in warnings(config)


def test_defaults():
    """Fields that are absent have their documented defaults."""
    wire = read(body()).wire()

    assert {key: wire[key] for key in wire if key not in ("topicName", "propertiesMap")} == {
        "bootstrapServers": None, "enableSecure": False, "protocolTypes": [], "keyStoreName": None, "trustStoreName": None,
        "keyStoreId": None, "trustStoreId": None, "circuitBreakerEnabled": None, "errorThresholdValue": None, "sleepWindow": None,
    }  # fmt: skip


def test_fields_come_in_the_order_of_the_documents():
    """The wire form has its fields in documented order."""
    assert list(read(SEED).wire())[:5] == [
        "topicName",
        "propertiesMap",
        "bootstrapServers",
        "enableSecure",
        "protocolTypes",
    ]


def test_value_type_may_be_left_out():
    """A property without a type is a STRING."""
    assert read(body(properties={"acks": {"value": "all"}})).wire()["propertiesMap"]["acks"] == entry("all")


@pytest.mark.parametrize(("sent", "kept"), [(5, "5"), (True, "true"), (False, "false")])
def test_numbers_and_truths_are_kept_as_text(sent, kept):
    """A JSON number or truth as a property's value is kept as its text."""
    key = "linger.ms" if kept == "5" else "enable.idempotence"

    assert read(body(properties={key: {"value": sent}})).wire()["propertiesMap"][key]["value"] == kept


def test_parsed_values_of_other_servers_are_ignored():
    """The answer-only key valueByType is accepted and forgotten."""
    sent = body(properties={"linger.ms": {**entry("5", "INTEGER"), "valueByType": 5}})

    assert read(sent).wire()["propertiesMap"]["linger.ms"] == entry("5", "INTEGER")


@pytest.mark.parametrize(
    ("key", "value", "value_type"),
    [
        ("linger.ms", "5", "INTEGER"),
        ("connections.max.idle.ms", "540000", "LONG"),
        ("enable.idempotence", "TRUE", "BOOLEAN"),
        ("sasl.login.refresh.window.factor", "0.8", "DOUBLE"),
        ("sasl.login.refresh.window.factor", "0.8", "FLOAT"),
        ("bootstrap.servers", "a:1,b:2", "STRING_LIST"),
        ("sasl.oauthbearer.token.endpoint.url", "https://idp.example.com/token", "URI"),
        ("client.id", "orders", "SECRET"),
    ],
)
def test_values_of_every_type_are_read(key, value, value_type):
    """Each documented value type is understood."""
    assert read(body(properties={key: entry(value, value_type)})).given(key) == value


@pytest.mark.parametrize(
    ("value", "value_type"),
    [
        ("yes", "BOOLEAN"),
        ("1.5", "INTEGER"),
        ("2147483648", "INTEGER"),
        ("9223372036854775808", "LONG"),
        ("x", "DOUBLE"),
        ("1e39", "FLOAT"),
        ("a b", "URI"),
    ],
)
def test_values_that_do_not_parse_are_refused(value, value_type):
    """A value that cannot be read as its type is refused, and not repeated."""
    found = problems(body(properties={"client.id": entry(value, value_type)}))

    assert value_type in found["/propertiesMap/client.id/value"]


@pytest.mark.parametrize(
    "key",
    [
        "sasl.kerberos.kinit.cmd", "plugin.library.paths", "ssl.engine.location", "ssl.engine.factory.class", "log_cb", "log.cb",
        "ssl.keystore.location", "ssl.truststore.location", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location",
        "interceptor.classes", "metric.reporters", "sasl.client.callback.handler.class", "security.providers", "opaque",
        "transactional.id", "sasl.oauthbearer.config", "debug", "open_cb", "statistics.interval.ms",
    ],
)  # fmt: skip
def test_properties_outside_the_list_are_refused_by_name(key):
    """What is not in the table is refused, whatever it is, and the refusal names the key and not the value."""
    message = problems(body(properties={key: "canary-value"}))[f"/propertiesMap/{key}"]

    assert key in message
    assert "canary" not in message


def test_no_property_of_the_table_reaches_a_file_or_a_command():
    """Nothing of the table is a path, a command or a class of somebody's choice."""
    free = [
        key for key, known in PROPERTIES.items() if known.kind == "text" and not known.no_effect and not known.secret
    ]

    assert free == ["client.id"]


def test_misspelt_property_is_recognised():
    """A key that is nearly right gets a suggestion."""
    assert "linger.ms" in problems(body(properties={"lingerms": "5"}))["/propertiesMap/lingerms"]


def test_store_paths_say_what_to_use_instead():
    """A keystore's path is refused with a pointer to keyStoreName."""
    assert (
        "keyStoreName"
        in problems(body(properties={"ssl.keystore.location": "/etc/k.jks"}))["/propertiesMap/ssl.keystore.location"]
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("acks", "2"), ("linger.ms", "-1"), ("linger.ms", "900001"), ("batch.size", "x"), ("compression.type", "rar"), ("retries", "1.5"),
        ("security.protocol", "TLS"), ("sasl.mechanism", "GSSAPI"), ("bootstrap.servers", "host"), ("bootstrap.servers", "host:70000"),
        ("value.serializer", "com.example.Mine"), ("partitioner.class", "com.example.Mine"), ("client.id", "a\nb"), ("buffer.memory", "1"),
        ("ssl.truststore.certificates", "/etc/ca.pem"), ("sasl.oauthbearer.token.endpoint.url", "http://idp/token"),
        ("sasl.oauthbearer.token.endpoint.url", "https://u:p@idp/token"), ("ssl.endpoint.identification.algorithm", "none"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(key, value):
    """Each property has a type and a range of its own, whatever type its author gave it."""
    assert f"/propertiesMap/{key}/value" in problems(body(properties={key: value}))


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        f'{SCRAM} required username="u"',
        f'{SCRAM} required username="u" password="p" tokenauth="true";',
        'com.sun.security.auth.module.JndiLoginModule required user.provider.url="ldap://x" password="p";',
        'com.sun.security.auth.module.Krb5LoginModule required keyTab="/etc/x";',
        f'{SCRAM} required username="u" password="p"; {SCRAM} required username="u" password="p";',
        f'{SCRAM} required username="u" password="";',
    ],
)  # fmt: skip
def test_only_supported_logins_are_taken(line):
    """A JAAS line with another module, another option, or a missing one is refused without being repeated."""
    message = problems(body(properties={**login(), "sasl.jaas.config": line}))["/propertiesMap/sasl.jaas.config/value"]

    assert "ldap://" not in message
    assert "keyTab=" not in message


def test_all_problems_come_at_once():
    """Every broken rule is listed, not only the first."""
    found = problems(body(topic="", properties={"acks": "9", "nope": "x"}, enableSecure=True))

    assert {"/topicName", "/propertiesMap/acks/value", "/propertiesMap/nope", "/protocolTypes", "/keyStoreName"} <= set(
        found
    )


def test_unknown_field_gets_a_suggestion():
    """An unknown key of the body is named, with a suggestion."""
    assert "topicName" in problems(body(topicname="x"))["/topicname"]


def test_tls_may_name_its_keystore_by_id():
    """A keystore's id satisfies the rule, and a warning says that the name is needed."""
    config = read(body(enableSecure=True, protocolTypes=["TLS_1_3"], keyStoreId="66f0"))

    assert ("/keyStoreId", "store_by_id") in warnings(config)


@pytest.mark.parametrize(
    ("properties", "key"),
    [
        ({"acks": "1"}, "acks"),
        ({"max.in.flight.requests.per.connection": "6"}, "max.in.flight.requests.per.connection"),
    ],
)
def test_idempotence_has_conditions(properties, key):
    """What Kafka itself refuses to combine with idempotence is refused at once."""
    assert f"/propertiesMap/{key}" in problems(body(properties={"enable.idempotence": "true", **properties}))


@pytest.mark.parametrize(
    "name", ["topicName", "bootstrapServers", "keyStoreName", "trustStoreName", "errorThresholdValue", "sleepWindow"]
)
def test_variables_are_accepted_in_fields(name):
    """A variable reference may stand in any text or number."""
    assert read({**SEED, name: "${thing}"}).wire()[name] == "${thing}"


@pytest.mark.parametrize("key", sorted(PROPERTIES))
def test_variables_are_accepted_in_properties(key):
    """A variable reference may stand in the value of every property, under any type."""
    assert read(body(properties={key: entry("${thing}", "INTEGER")})).given(key) == "${thing}"


def test_variables_are_accepted_in_protocol_types():
    """A variable reference may stand for a TLS version."""
    assert read(body(**{**SECURE, "protocolTypes": ["${tls}"]})).protocol_types == ["${tls}"]


def test_references_count_only_with_tls():
    """Stores are looked up only while TLS is on; otherwise naming them is a warning."""
    plain, secure = read(SEED), read({**SEED, "enableSecure": True, "protocolTypes": ["TLS_1_2"]})

    assert plain.references() == {}
    assert secure.references() == {"keyStoreName": "my-keystore", "trustStoreName": "my-truststore"}
    assert {("/keyStoreName", "unused_reference"), ("/trustStoreName", "unused_reference")} <= warnings(plain)
    assert not warnings(secure)


@pytest.mark.parametrize(
    ("sent", "path", "code"),
    [
        (body(properties=login(tls=True)), "/propertiesMap/security.protocol", "sasl_ssl"),
        (
            body(properties={"security.protocol": "PLAINTEXT"}, **SECURE),
            "/propertiesMap/security.protocol",
            "plaintext_secure",
        ),
        (body(properties=login(mechanism="PLAIN")), "/propertiesMap/security.protocol", "sasl_clear"),
        (body(properties={**login(), "sasl.mechanism": "PLAIN"}), "/propertiesMap/sasl.jaas.config", "sasl_mismatch"),
        (body(properties={**login(), "sasl.mechanism": None}), "/propertiesMap/security.protocol", "sasl_incomplete"),
        (
            body(properties={"ssl.endpoint.identification.algorithm": ""}),
            "/propertiesMap/ssl.endpoint.identification.algorithm",
            "hostname_not_verified",
        ),
        (body(properties={"ssl.protocol": "TLSv1.2"}), "/propertiesMap/ssl.protocol", "without_effect"),
        (body(**{**SECURE, "protocolTypes": ["SSL_3_0", "TLS_1_3"]}), "/protocolTypes", "tls_version_weak"),
        (body(topic="a b"), "/topicName", "topic_name"),
    ],
)
def test_doubtful_bodies_are_accepted_with_a_warning(sent, path, code):
    """What is probably not meant is accepted, and said."""
    assert (path, code) in warnings(read(sent))


def test_example_has_no_warnings():
    """The example is what we would write ourselves."""
    assert not warnings(read(EXAMPLE))


def test_jaas_line_loses_its_password_only():
    """Of a JAAS line the password is taken out, and the rest reads back unchanged."""
    public, secrets = split(KafkaConfig, read(body(properties=login())).wire())

    assert (
        public["propertiesMap"]["sasl.jaas.config"]["value"]
        == f'{SCRAM} required username="orders" password="__secret__";'
    )
    assert secrets == {"propertiesMap/sasl.jaas.config/password": "canary-7f3a"}


def test_whole_values_are_lifted():
    """Values of type SECRET and those of credential-named properties are taken out whole."""
    properties = {
        "client.id": entry("canary-1", "SECRET"),
        "ssl.key.password": "canary-2",
        "ssl.keystore.password": "canary-3",
    }

    public, secrets = split(KafkaConfig, read(body(properties=properties)).wire())

    assert secrets == {f"propertiesMap/{key}": f"canary-{index}" for index, key in enumerate(properties, 1)}
    assert all(public["propertiesMap"][key]["value"] is None for key in properties)


def test_a_secret_jaas_line_is_lifted_whole():
    """A JAAS line whose type is SECRET is taken out as a whole."""
    line = login()["sasl.jaas.config"]

    public, secrets = split(
        KafkaConfig, read(body(properties={**login(), "sasl.jaas.config": entry(line, "SECRET")})).wire()
    )

    assert public["propertiesMap"]["sasl.jaas.config"]["value"] is None
    assert secrets == {"propertiesMap/sasl.jaas.config": line}


@pytest.mark.parametrize(
    "properties",
    [
        login(),
        {**login(), "sasl.jaas.config": entry(login()["sasl.jaas.config"], "SECRET")},
        {"ssl.key.password": "canary-7f3a", "client.id": entry("canary-7f3a", "SECRET")},
        {**login(), "sasl.jaas.config": f"{SCRAM} required username='o' password='canary-7f3a'"},
        {**login(), "sasl.jaas.config": f"{SCRAM} required username=o password=canary-7f3a ;"},
        {**login(), "sasl.jaas.config": f'{SCRAM} required username="o" password="canary-7f3a \\" ; \\\\ x=\\"y";'},
    ],
)
def test_split_and_join_give_the_whole_back(properties):
    """What was split is joined to the same, and nothing secret is left in the public half."""
    wire = read(body(properties=properties)).wire()

    public, secrets = split(KafkaConfig, wire)
    joined, used = join(KafkaConfig, public, secrets)

    assert joined == wire
    assert used == set(secrets)
    assert "canary" not in json.dumps(public)


def test_a_masked_reading_put_back_keeps_its_secrets():
    """What was read, sent back in any order, keeps every secret: entries are known by their property."""
    properties = {**login(), "ssl.key.password": "canary-2"}
    public, secrets = split(KafkaConfig, read(body(properties=properties)).wire())
    sent = {**public, "propertiesMap": dict(reversed(public["propertiesMap"].items()))}

    joined, _ = join(KafkaConfig, sent, secrets)

    assert KafkaConfig.from_wire(joined).given("ssl.key.password") == "canary-2"
    assert KafkaConfig.from_wire(joined).login().options["password"] == "canary-7f3a"


def test_a_secret_cannot_be_made_readable():
    """Another type for a stored SECRET does not bring it back as readable text."""
    public, secrets = split(KafkaConfig, read(body(properties={"client.id": entry("canary-1", "SECRET")})).wire())
    public["propertiesMap"]["client.id"]["valueType"] = "STRING"

    joined, used = join(KafkaConfig, public, secrets)

    assert not used
    assert "/propertiesMap/client.id/value" in problems(joined)


@pytest.mark.parametrize(
    "properties",
    [
        {**login(), "sasl.jaas.config": f'{SCRAM} required username="u" password="__secret__";'},
        {"ssl.key.password": "__secret__"},
    ],
)
def test_a_placeholder_without_a_secret_is_refused(properties):
    """The placeholder of a secret that is not stored is refused."""
    with pytest.raises(InvalidConfig) as caught:
        read(body(properties=properties))

    assert [problem.code for problem in caught.value.problems] == ["secret_required"]


def test_destination_names_what_decides_where_secrets_go():
    """Brokers, protocol, mechanism, the login's user and the checks are destinations; the password is not."""
    found = read({**EXAMPLE}).destination()

    assert set(found) == {
        "bootstrapServers", "enableSecure", "keyStoreName", "trustStoreName", "propertiesMap/bootstrap.servers",
        "propertiesMap/security.protocol", "propertiesMap/sasl.mechanism", "propertiesMap/sasl.jaas.config",
    }  # fmt: skip
    assert "orders" in found["propertiesMap/sasl.jaas.config"]
    assert "not-a-real-password" not in str(found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bootstrap.servers", "evil:9092"),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", f'{SCRAM} required username="other" password="canary-7f3a";'),
        ("ssl.endpoint.identification.algorithm", ""),
        ("ssl.truststore.certificates", "-----BEGIN CERTIFICATE-----"),
        ("sasl.oauthbearer.token.endpoint.url", "https://evil/token"),
    ],
)
def test_destination_changes_with_each_of_its_properties(key, value):
    """A change of where a secret goes shows in the destination."""
    before = read(body(properties=login(tls=True)))

    assert read(body(properties={**login(tls=True), key: value})).destination() != before.destination()


@pytest.mark.parametrize(
    "change", [{"linger.ms": "9"}, {"sasl.jaas.config": f'{SCRAM}   required  password="other" username=orders;'}]
)
def test_destination_stays_with_other_changes(change):
    """A changed password, spacing or tuning is no changed destination."""
    before = read(body(properties=login()))

    assert read(body(properties={**login(), **change})).destination() == before.destination()


def test_nothing_secret_is_shown_by_accident():
    """The text forms of a config show no value."""
    config = read(body(properties=login()))

    assert "canary" not in f"{config!r} {config} {config.properties_map!r} {config.login()!r}"
