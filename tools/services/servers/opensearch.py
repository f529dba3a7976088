"""OpenSearch from Maven Central, with its security plugin: TLS, passwords, client certificates."""

import secrets
import string
from typing import ClassVar

from tools.services.context import Context
from tools.services.search_node import OWNER, SearchNode
from tools.services.server import Entry, run

_PLUGIN = "org.opensearch.plugin:opensearch-security"

_NODE = """\
cluster.name: mooring
node.name: one
path.data: {folder}/data
path.logs: {folder}/logs
http.host: 127.0.0.1
http.port: {port}
transport.host: 127.0.0.1
transport.port: {transport}
discovery.type: single-node
cluster.routing.allocation.disk.threshold_enabled: false
cluster.max_shards_per_node: 10000
action.destructive_requires_name: false
plugins.security.ssl.transport.pemcert_filepath: {certificate}
plugins.security.ssl.transport.pemkey_filepath: {key}
plugins.security.ssl.transport.pemtrustedcas_filepath: {ca}
plugins.security.ssl.transport.enforce_hostname_verification: false
plugins.security.ssl.http.enabled: true
plugins.security.ssl.http.pemcert_filepath: {certificate}
plugins.security.ssl.http.pemkey_filepath: {key}
plugins.security.ssl.http.pemtrustedcas_filepath: {ca}
plugins.security.ssl.http.clientauth_mode: OPTIONAL
plugins.security.allow_default_init_securityindex: true
plugins.security.restapi.roles_enabled: ["all_access"]
plugins.security.nodes_dn: ["*"]
"""

_CONFIG = """\
_meta: {type: config, config_version: 2}
config:
  dynamic:
    http: {anonymous_auth_enabled: false}
    authc:
      certificate:
        http_enabled: true
        order: 0
        http_authenticator: {type: clientcert, challenge: false, config: {username_attribute: cn}}
        authentication_backend: {type: noop}
      password:
        http_enabled: true
        order: 1
        http_authenticator: {type: basic, challenge: true}
        authentication_backend: {type: intern}
"""

_ROLES = """\
_meta: {type: roles, config_version: 2}
writer:
  cluster_permissions: ["cluster_composite_ops", "cluster_monitor", "indices:admin/index_template/*",
    "cluster:admin/opendistro/ism/*"]
  index_permissions: [{index_patterns: ["*"], allowed_actions: ["*"]}]
reader:
  cluster_permissions: ["cluster_composite_ops_ro", "cluster_monitor"]
  index_permissions: [{index_patterns: ["*"], allowed_actions: ["read"]}]
"""

_MAPPING = """\
_meta: {type: rolesmapping, config_version: 2}
all_access: {users: ["operator"]}
writer: {users: ["mooring", "mooring-client"]}
reader: {users: ["reader"]}
"""

_EMPTY = ("tenants", "nodes_dn", "action_groups", "allowlist", "audit")


class OpenSearch(SearchNode):
    """One node; a client certificate of the test CA is a login too."""

    name: ClassVar[str] = "opensearch"
    artifact: ClassVar[str] = "org.opensearch.distribution.integ-test-zip:opensearch"
    release: ClassVar[str] = "2.19.1"

    def parts(self) -> list[tuple[str, str]]:
        return [*super().parts(), (f"{_PLUGIN}:{self.release}.0:zip", "plugins/opensearch-security")]

    def start(self, context: Context) -> Entry:
        folder, entry = self.new_home(context), self.entry(context)
        config = folder / "config"
        node = _NODE.format(
            folder=folder, port=entry["port"], transport=context.free_port(), **self.certificate(context, folder)
        )
        context.write(config / "opensearch.yml", node, OWNER)
        logging = (folder / "home" / "config" / "log4j2.properties").read_bytes()
        context.write(config / "log4j2.properties", logging, OWNER)
        security = config / "opensearch-security"
        security.mkdir(mode=0o700)
        shipped = folder / "home" / "plugins" / "opensearch-security" / "config"
        for name in _EMPTY:
            context.write(security / f"{name}.yml", (shipped / f"{name}.yml").read_bytes(), OWNER)
        for name, text in (
            ("config", _CONFIG),
            ("roles", _ROLES),
            ("roles_mapping", _MAPPING),
            ("internal_users", self.users(entry)),
        ):
            context.write(security / f"{name}.yml", text, OWNER)
        self.spawn(context, folder, "opensearch", {"prefix": "OPENSEARCH"})
        return entry

    def users(self, entry: Entry) -> str:
        """Who may log in from the start."""
        return f"""\
_meta: {{type: internalusers, config_version: 2}}
{entry["admin_user"]}:
  hash: "{bcrypt(entry["admin_password"])}"
"""

    def prepare(self, entry: Entry) -> None:
        for user, password in ((entry["user"], entry["password"]), (entry["reader"], entry["reader_password"])):
            path = f"/_plugins/_security/api/internalusers/{user}"
            self.must(entry, "PUT", path, f'{{"password": "{password}"}}')
        super().prepare(entry)


def bcrypt(password: str) -> str:
    """The hash of *password* as the security plugin keeps it, by Perl: the C library knows how."""
    letters = string.ascii_letters + string.digits
    salt = "".join(secrets.choice(letters) for _ in range(21)) + "u"
    program = 'my ($salt) = @ARGV; my $word = <STDIN>; print crypt($word, "\\$2y\\$06\\$$salt")'
    return run(["perl", "-e", program, salt], text=password)


SERVER = OpenSearch()
