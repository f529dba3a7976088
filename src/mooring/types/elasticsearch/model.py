"""What an Elasticsearch connection is made of."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig, Part
from mooring.plugin.fields import Count, Flag, Integer, LongCount, OrReference, Port, Positive, Secret, Text, field
from mooring.plugin.problems import explain_pattern, invalid, required

HOST = explain_pattern(
    r"^[^\s/?#@\\\x00-\x1f\x7f-\x9f]+$", "must be a host name or address, without scheme, path or user"
)
INDEX = explain_pattern(
    r'^(<[^\\?#"\x00-\x1f\x7f-\x9f]+>|[^\s/\\?#"\x00-\x1f\x7f-\x9f]*)$',
    "must be a name without blanks, slashes, ?, # and quotes, or date math in < >",
)
INTERVAL = explain_pattern(r"^(-1|[0-9]+(ms|s|m|h|d))$", "must be -1, or a number with ms, s, m, h or d, such as 5s")

_BYTE = range(-128, 256)
"""What a byte looks like as a number, signed or not."""


def _no_dots(name: str) -> str:
    # A name becomes a part of a path, and a lone . or .. would walk it.
    if name in (".", ".."):
        raise PydanticCustomError("dots", "must not be . or ..")
    return name


def _file(value: Any) -> Any:
    """Older clients write a file as an array of byte numbers; kept is its base64."""
    if type(value) is list and value and all(type(part) is int and part in _BYTE for part in value):
        return base64.b64encode(bytes(part % 256 for part in value)).decode()
    return value


Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), OrReference]
Index = Annotated[str, StringConstraints(pattern=INDEX, max_length=255), AfterValidator(_no_dots), OrReference]
Interval = Annotated[str, StringConstraints(pattern=INTERVAL, max_length=32), OrReference]
SecretFile = Annotated[Secret, BeforeValidator(_file, json_schema_input_type=str | list[int])]
Scheme = Annotated[Literal["http", "https"], OrReference]
TlsMaterial = Annotated[
    Literal["CA_CERTIFICATE_IN_PKCS_12", "CA_IN_PEM_FILE", "CERT_AND_PRIVATE_KEY_IN_PKCS_12"], OrReference
]
AccessMode = Annotated[Literal["READ_WRITE", "READ"], OrReference]
MajorVersion = Annotated[Literal["AUTO_DETECT", "ES_7", "ES_8", "ES_9"], OrReference]

STATED_BY_CONTENT = "what a file is, its content says."
SHARED_LOOP = "requests share the worker's own event loop."
OWN_PORTS = "each outgoing connection has a local port of its own."


class ElasticHost(Part):
    """One node of the cluster."""

    scheme: Scheme = field("http", description="How the node is spoken to.", example="https")
    host: Host = field(description="Node name or address.", example="es-1.example.com")
    port: Port = field(9200, description="Node port.", example=9200)

    @model_validator(mode="before")
    @classmethod
    def _forget_state(cls, value: Any) -> Any:
        """Drop what only older answers carry: the state that the node was last seen in."""
        if type(value) is dict and ("status" in value or "clusterName" in value):
            return {key: item for key, item in value.items() if key not in ("status", "clusterName")}
        return value


class ElasticsearchIndexLifecyclePolicy(Part):
    """What happens to an index as it grows old."""

    policy_name: Index = field("apinizer-log-ilm-policy-default", description="Name of the policy on the cluster.")
    enable_hot_phase: Flag = field(False, description="Roll over to a new index while it is written to.")
    max_age_of_rollover: Count | None = field(None, description="Roll over at this age.", example=1, unit="days")
    max_index_size_of_rollover: Count | None = field(None, description="Roll over at this size.", example=50, unit="GB")
    max_doc_count_of_rollover: LongCount | None = field(
        None, description="Roll over at this number of documents.", example=100_000_000
    )
    enable_warm_phase: Flag = field(False, description="Shrink and merge after the rollover.")
    number_of_replicas_for_warm: Count | None = field(None, description="Replicas in the warm phase.", example=1)
    max_num_shards_for_shrink: Positive | None = field(None, description="Shards after shrinking.", example=1)
    max_num_segments_for_force_merge: Positive | None = field(
        None, description="Segments per shard after merging.", example=1
    )
    enable_cold_phase: Flag = field(False, description="Keep old indices on slow storage.")
    min_age_of_cold: Count | None = field(None, description="Age that begins the cold phase.", example=30, unit="days")
    number_of_replicas_for_cold: Count | None = field(None, description="Replicas in the cold phase.", example=0)
    enable_delete_phase: Flag = field(False, description="Delete old indices.")
    min_age_of_delete: Count | None = field(
        None, description="Age at which an index is deleted.", example=90, unit="days"
    )

    def has_phase(self) -> bool:
        """Whether the policy does anything at all."""
        return self.enable_hot_phase or self.enable_warm_phase or self.enable_cold_phase or self.enable_delete_phase


Hosts = Annotated[list[ElasticHost], MinLen(1)]


class ElasticsearchConfig(ConnectionConfig):
    """Writes documents to, and searches, an Elasticsearch or OpenSearch cluster."""

    administrate: Flag = field(
        False, description="Let this connection create its own template and lifecycle policy.", group="Index"
    )
    elastic_host_list: Hosts = field(
        description="The nodes of the cluster.",
        example=[{"scheme": "https", "host": "es-1.example.com", "port": 9200}],
        group="Cluster",
        destination=True,
    )
    authenticate: Flag = field(False, description="Log in with user name and password.", group="Login")
    elastic_username: Text | None = field(
        None,
        description="Login name; needed when `authenticate` is true.",
        example="writer",
        group="Login",
        destination=True,
    )
    elastic_password: Secret | None = field(
        None, description="Login password; needed when `authenticate` is true.", group="Login"
    )
    encrypt_communication: Flag = field(
        False,
        description="Speak TLS to every node, whatever its `scheme`, with the material given here.",
        group="Security",
        destination=True,
    )
    encrypt_communication_type: TlsMaterial | None = field(
        None,
        description="Which TLS material is given; needed when `encryptCommunication` is true and no store is named.",
        group="Security",
        destination=True,
    )
    ca_cert_in_pkcs12_file: SecretFile | None = field(
        None,
        description="PKCS12 file with the CA certificate, in base64.",
        group="Security",
        destination=True,
    )
    ca_cert_in_pkcs12_file_content_type: Text = field(
        "application/x-pkcs12",
        description="Media type of that file.",
        group="Security",
        no_effect=STATED_BY_CONTENT,
    )
    ca_in_pem_file: SecretFile | None = field(
        None, description="PEM file with the CA certificate, in base64.", group="Security", destination=True
    )
    ca_in_pem_file_content_type: Text = field(
        "application/x-pem-file", description="Media type of that file.", group="Security", no_effect=STATED_BY_CONTENT
    )
    ca_truststore_file: SecretFile | None = field(
        None,
        description="Truststore (PKCS12) beside the client certificate, in base64.",
        group="Security",
        destination=True,
    )
    ca_truststore_file_content_type: Text = field(
        "application/x-pkcs12", description="Media type of that file.", group="Security", no_effect=STATED_BY_CONTENT
    )
    ca_truststore_file_pass: Secret | None = field(
        None, description="Password of the truststore, and of `caCertInPkcs12File`.", group="Security"
    )
    ca_keystore_file: SecretFile | None = field(
        None, description="Client certificate and private key (PKCS12), in base64.", group="Security"
    )
    ca_keystore_file_content_type: Text = field(
        "application/x-pkcs12", description="Media type of that file.", group="Security", no_effect=STATED_BY_CONTENT
    )
    ca_keystore_file_pass: Secret | None = field(
        None, description="Password of `caKeystoreFile`; needed with it.", group="Security"
    )
    disable_hostname_verification: Flag = field(
        False, description="Take a certificate that names another host.", group="Security", destination=True
    )
    index_lifecycle_policy_created: Flag = field(
        False, description="Create the lifecycle policy on the cluster.", group="Lifecycle"
    )
    index_lifecycle_policy: ElasticsearchIndexLifecyclePolicy | None = field(
        None,
        description="The lifecycle policy; needed, with at least one phase, when `indexLifecyclePolicyCreated` is true.",
        example={"policyName": "orders", "enableDeletePhase": True, "minAgeOfDelete": 90},
        group="Lifecycle",
    )
    index_template_created: Flag = field(False, description="Create the index template on the cluster.", group="Index")
    index_template_name: Index | None = field(
        None,
        description="Name of the template; needed when `indexTemplateCreated` is true.",
        example="orders-template",
        group="Index",
    )
    index_name: Index | None = field(
        None, description="Index or alias that is written to and searched.", example="orders", group="Index"
    )
    index_template_number_of_shards: Positive | None = field(
        None, description="Shards of new indices; 1 where it is not said.", example=1, group="Index"
    )
    index_template_number_of_replicas: Count | None = field(
        None, description="Replicas of new indices; 0 where it is not said.", example=0, group="Index"
    )
    index_template_refresh_interval: Interval | None = field(
        None, description="How soon new documents are found; 5s where it is not said.", example="5s", group="Index"
    )
    connection_timeout_in_ms: Integer | None = field(
        None,
        description="How long connecting, and then an answer, may take; less than 1000, or nothing, means 5000.",
        example=5000,
        group="Client",
        unit="ms",
    )
    socket_reuse_address: Flag | None = field(
        None, description="SO_REUSEADDR on the sockets.", group="Client", no_effect=OWN_PORTS
    )
    socket_keep_alive: Flag | None = field(None, description="TCP keep-alive on the sockets.", group="Client")
    io_threads: Positive | None = field(
        None, description="Threads of the client.", example=4, group="Client", no_effect=SHARED_LOOP
    )
    max_connection_per_host: Positive | None = field(
        None, description="Most open connections to one node.", example=10, group="Client"
    )
    max_connection_total: Positive | None = field(
        None, description="Most open connections together.", example=30, group="Client"
    )
    elasticsearch_type: AccessMode = field(
        "READ_WRITE",
        description="Whether this connection may write; older bodies write it as a second `type`.",
        group="Cluster",
    )
    bulk_buffer_capacity: Positive = field(
        50_000, description="Documents that may wait to be written.", example=50_000, group="Bulk"
    )
    bulk_flush_interval_ms: Positive = field(
        100, description="Longest wait before what is waiting is written.", example=100, group="Bulk", unit="ms"
    )
    bulk_max_batch_size: Positive = field(
        2500, description="Most documents per bulk request.", example=2500, group="Bulk"
    )
    elasticsearch_major_version: MajorVersion = field(
        "AUTO_DETECT",
        description="Major version whose answers are asked for; by default plain JSON, which all of them speak.",
        group="Cluster",
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the server's certificate, by name; stands in for the files above.",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with a client certificate, by name; stands in for the files above.",
        group="Security",
        destination=True,
        reference="keystore",
    )

    def rules(self) -> Iterator[Problem]:
        yield from self._login_rules()
        yield from self._tls_rules()
        yield from self._index_rules()

    def warnings(self) -> Iterator[Problem]:
        if self.elasticsearch_type == "READ" and self.administrate:
            yield invalid(
                "administrate", "elasticsearchType is READ, so nothing is created on the cluster", "read_mode_no_admin"
            )

        if self.disable_hostname_verification and self.speaks_tls():
            yield invalid(
                "disableHostnameVerification",
                "the nodes' certificates are not compared with their host names",
                "hostname_not_verified",
            )

    def references(self) -> dict[str, str]:
        return super().references() if self.speaks_tls() else {}

    def speaks_tls(self) -> bool:
        """Whether any node is, or may be, spoken to over TLS."""
        return self.encrypt_communication or any(host.scheme != "http" for host in self.elastic_host_list)

    def _login_rules(self) -> Iterator[Problem]:
        if self.authenticate:
            if not self.elastic_username:
                yield required("elasticUsername", "authenticate is true")
            if _empty(self.elastic_password):
                yield required("elasticPassword", "authenticate is true")

    def _tls_rules(self) -> Iterator[Problem]:
        kind = self.encrypt_communication_type if self.encrypt_communication else None
        asked = "encryptCommunication is true, and encryptCommunicationType asks for it"
        if self.encrypt_communication and kind is None and not (self.trust_store_name or self.key_store_name):
            yield required(
                "encryptCommunicationType",
                "encryptCommunication is true, and neither trustStoreName nor keyStoreName is given",
            )
        if kind == "CA_CERTIFICATE_IN_PKCS_12" and _empty(self.ca_cert_in_pkcs12_file):
            yield required("caCertInPkcs12File", asked)
        if kind == "CA_IN_PEM_FILE" and _empty(self.ca_in_pem_file):
            yield required("caInPemFile", asked)
        client = kind == "CERT_AND_PRIVATE_KEY_IN_PKCS_12"
        if client and _empty(self.ca_keystore_file):
            yield required("caKeystoreFile", asked)
        if (client or not _empty(self.ca_keystore_file)) and _empty(self.ca_keystore_file_pass):
            yield required("caKeystoreFilePass", asked if client else "caKeystoreFile is given")

    def _index_rules(self) -> Iterator[Problem]:
        if self.index_lifecycle_policy_created:
            policy = self.index_lifecycle_policy
            if policy is None:
                yield required("indexLifecyclePolicy", "indexLifecyclePolicyCreated is true")
            elif not policy.has_phase():
                yield invalid(
                    "indexLifecyclePolicy",
                    "with indexLifecyclePolicyCreated it must have at least one of enableHotPhase, enableWarmPhase,"
                    " enableColdPhase, enableDeletePhase",
                )
        if self.index_template_created and not self.index_template_name:
            yield required("indexTemplateName", "indexTemplateCreated is true")


def _empty(secret: SecretStr | None) -> bool:
    return secret is None or not secret.get_secret_value()
