"""
Net-SNMP's trap receiver as Debian packages it, over UDP and TCP, with a user for every pair of algorithms it knows.

It keeps a user of traps for the sender's engine, and one of informs for its own; what it receives it writes down.
"""

import itertools
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tools.services.context import Context
from tools.services.server import Entry, Server, run

_PROGRAM = "/usr/sbin/snmptrapd"

SENDER = "80000000044d6f6f72696e67"
"""The engine that the senders of traps say they are."""

# The names of a connection's fields, and Net-SNMP's own.
AUTHENTICATIONS = {
    "AuthMD5": "MD5",
    "AuthSHA": "SHA",
    "AuthHMAC128SHA224": "SHA-224",
    "AuthHMAC192SHA256": "SHA-256",
    "AuthHMAC256SHA384": "SHA-384",
    "AuthHMAC384SHA512": "SHA-512",
}
PRIVACIES = {"PrivDES": "DES", "PrivAES128": "AES", "PrivAES192": "AES-192", "PrivAES256": "AES-256"}

# One record for each notification: fields between tabs, variables between "|#|", and "|." at its end.
_CONFIG = r"""
disableAuthorization no
authCommunity log {community}
format1 V1\t%b\t%P\t%N.%w.%q\t%V|#|%v|.\n
format2 V2\t%b\t%P\t%N.%w.%q\t%V|#|%v|.\n
"""


class Snmptrapd(Server):
    """A process whose users and communities never change, so that there is nothing to restore."""

    name: ClassVar[str] = "snmptrapd"
    packages: ClassVar[Mapping[str, str]] = {"snmptrapd": _PROGRAM, "snmp": "snmpinform"}

    def start(self, context: Context) -> Entry:
        folder = context.new_folder(self.name)
        port = context.free_port()
        entry: Entry = {
            "address": f"127.0.0.1:{port}",
            "host": "localhost",
            "port": port,
            "community": f"community-{secrets.token_urlsafe(9)}",
            "passphrase": secrets.token_urlsafe(12),
            "privacy_passphrase": secrets.token_urlsafe(12),
            "received": str(folder / "received"),
            "version": run(["dpkg-query", "-W", "-f", "${Version}", "snmptrapd"]).partition("+")[0],
            "log": str(context.log(self.name)),
        }
        config = _CONFIG.format(community=entry["community"]) + "\n".join(_users(entry)) + "\n"
        path = context.write(folder / "snmptrapd.conf", config)
        (folder / "persistent").mkdir(mode=0o700)
        # -Lo, and not a file of its own: it would be written in blocks, and read too late.
        context.spawn(
            self.name,
            [_PROGRAM, "-f", "-C", "-c", str(path), "-On", "-n", "-Lf", entry["received"], "-p", str(folder / "pid"),
             f"udp:127.0.0.1:{port}", f"tcp:127.0.0.1:{port}"],
            environment={"SNMP_PERSISTENT_DIR": str(folder / "persistent"), "MIBS": "", "MIBDIRS": str(folder)},
        )  # fmt: skip
        return entry

    def ask(self, entry: Entry) -> None:
        run(
            ["snmpinform", "-v2c", "-c", entry["community"], "-r", "0", "-t", "1", f"127.0.0.1:{entry['port']}",
             "", "1.3.6.1.6.3.1.1.5.1"],
            environment={"MIBS": "", "SNMP_PERSISTENT_DIR": str(Path(entry["received"]).parent / "client")},
            timeout_s=5,
        )  # fmt: skip


def user_of(kind: str, authentication: str | None = None, privacy: str | None = None) -> str:
    """The user for a `TRAP` or an `INFORM` with those algorithms; a name has at most 32 characters."""
    words = kind.lower(), AUTHENTICATIONS.get(authentication or ""), PRIVACIES.get(privacy or "")
    return "-".join(word for word in words if word)


def _users(entry: Mapping[str, Any]) -> Iterator[str]:
    levels: list[tuple[str | None, str | None]] = [(None, None)]
    levels += [(authentication, None) for authentication in AUTHENTICATIONS]
    levels += list(itertools.product(AUTHENTICATIONS, PRIVACIES))
    for kind, (authentication, privacy) in itertools.product(("TRAP", "INFORM"), levels):
        name = user_of(kind, authentication, privacy)
        words = ["createUser", *(["-e", f"0x{SENDER}"] if kind == "TRAP" else []), name]
        if authentication:
            words += [AUTHENTICATIONS[authentication], f'"{entry["passphrase"]}"']
        if privacy:
            words += [PRIVACIES[privacy], f'"{entry["privacy_passphrase"]}"']
        yield " ".join(words)
        yield f"authUser log {name} {'priv' if privacy else 'auth' if authentication else 'noauth'}"


SERVER = Snmptrapd()
