"""Elasticsearch 8 from Maven Central: TLS and passwords by its own security module, client certificates too."""

from pathlib import Path
from typing import ClassVar

from cryptography.x509 import load_pem_x509_certificates

from tools.services.context import Context
from tools.services.search_node import OWNER, SearchNode, pbkdf2
from tools.services.server import Entry

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
xpack.security.enabled: true
xpack.security.authc.realms.file.file1.order: 0
"""

_TLS = """\
xpack.license.self_generated.type: trial
xpack.security.http.ssl.enabled: true
xpack.security.http.ssl.certificate: {certificate}
xpack.security.http.ssl.key: {key}
xpack.security.http.ssl.certificate_authorities: [{ca}]
xpack.security.http.ssl.client_authentication: optional
xpack.security.authc.realms.pki.pki1.order: 2
xpack.security.authc.realms.pki.pki1.certificate_authorities: [{ca}]
"""

# Whoever says nothing of himself may write, so that a connection without login can be had.
_PLAIN = """\
xpack.security.authc.anonymous.username: anybody
xpack.security.authc.anonymous.roles: writer
xpack.security.authc.anonymous.authz_exception: false
"""

_ROLES = """\
writer:
  cluster: [ "monitor", "manage_index_templates", "manage_ilm" ]
  indices:
    - names: [ "*" ]
      privileges: [ "all" ]
reader:
  cluster: [ "monitor" ]
  indices:
    - names: [ "*" ]
      privileges: [ "read", "view_index_metadata" ]
"""


class Elasticsearch(SearchNode):
    """One node; where it speaks TLS, a client certificate of the test CA is a login too."""

    name: ClassVar[str] = "elasticsearch"
    artifact: ClassVar[str] = "org.elasticsearch.distribution.integ-test-zip:elasticsearch"
    release: ClassVar[str] = "8.17.0"

    def start(self, context: Context) -> Entry:
        folder, entry = self.new_home(context), self.entry(context)
        config = folder / "config"
        node = _NODE.format(folder=folder, port=entry["port"], transport=context.free_port())
        if self.scheme == "https":
            node += _TLS.format(**self.certificate(context, folder))
        else:
            node += _PLAIN
        context.write(config / "elasticsearch.yml", node + self.further_settings(), OWNER)
        context.write(config / "roles.yml", _ROLES, OWNER)
        context.write(config / "role_mapping.yml", f'writer: ["{_name_in(context.certificates.client)}"]\n', OWNER)
        users = (
            (entry["admin_user"], entry["admin_password"], "superuser"),
            (entry["user"], entry["password"], "writer"),
            (entry["reader"], entry["reader_password"], "reader"),
        )
        lines = "".join(f"{user}:{pbkdf2(password)}\n" for user, password, _ in users)
        context.write(config / "users", lines, OWNER)
        context.write(config / "users_roles", "".join(f"{role}:{user}\n" for user, _, role in users), OWNER)
        logging = (folder / "home" / "config" / "log4j2.properties").read_bytes()
        context.write(config / "log4j2.properties", logging, OWNER)
        self.spawn(context, folder, "elasticsearch", {"prefix": "ES"})
        return entry

    def further_settings(self) -> str:
        """What only this version needs to be told."""
        return "xpack.security.autoconfiguration.enabled: false\n"


def _name_in(certificate: Path) -> str:
    """Whom *certificate* is for, as a role mapping names him."""
    return load_pem_x509_certificates(certificate.read_bytes())[0].subject.rfc4514_string()


SERVER = Elasticsearch()
