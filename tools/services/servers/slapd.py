"""
OpenLDAP as Debian packages it: plain with StartTLS, LDAPS, and LDAPS that wants the client's certificate.

People with Turkish letters, a group, 1,200 robots for long searches, and a branch that lies on another server.
"""

import secrets
from collections.abc import Iterator, Mapping
from typing import ClassVar

from tools.services.context import Context
from tools.services.server import Entry, NotReady, Server, run

_OWNER = "openldap"
_PROGRAM = "/usr/sbin/slapd"
_BASE = "dc=example,dc=com"
ROBOTS = 1200

# Without its paged results the reader may see 500 entries, as by default; with them, all.
_CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
TLSVerifyClient {verify}
disallow bind_anon
idletimeout 600
database mdb
maxsize 33554432
suffix "{base}"
rootdn "cn=admin,{base}"
rootpw {admin_password}
directory {folder}/db
index objectClass,uid eq
limits dn.exact="cn=reader,{base}" size.soft=500 size.hard=500 size.prtotal=unlimited
access to attrs=userPassword by self read by anonymous auth by * none
access to dn.subtree="ou=hidden,{base}" by * none
access to * by dn.exact="cn=reader,{base}" read by self read by * auth
dbnosync
"""

_SEED = """\
dn: {base}
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: cn=reader,{base}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {password}

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: ou=former,ou=people,{base}
objectClass: organizationalUnit
ou: former

dn: ou=groups,{base}
objectClass: organizationalUnit
ou: groups

dn: ou=robots,{base}
objectClass: organizationalUnit
ou: robots

dn: ou=hidden,{base}
objectClass: organizationalUnit
ou: hidden

dn: cn=everybody,ou=groups,{base}
objectClass: groupOfNames
cn: everybody
member: uid=ayşe,ou=people,{base}
member: uid=ada,ou=people,{base}

dn: ou=elsewhere,{base}
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://elsewhere.example.com/ou=elsewhere,{base}

"""

# The user name, the name, and where below the base.
PEOPLE = (
    ("ada", "Ada Lovelace", "ou=people"),
    ("ayşe", "Ayşe Gül Öztürk", "ou=people"),
    ("ışıl", "Işıl Çağrı Şimşek", "ou=people"),
    ("a*(b)\\c", "Odd (Signs) * Only", "ou=people"),
    ("eski", "Eski Çalışan", "ou=former,ou=people"),
    ("twin", "First Twin", "ou=people"),
    ("twin", "Second Twin", "ou=former,ou=people"),
)


class Slapd(Server):
    """
    Two processes with the same entries: one for everybody, one that wants a client's certificate.

    `prepare` gives the reader and the people their passwords back.
    """

    name: ClassVar[str] = "slapd"
    packages: ClassVar[Mapping[str, str]] = {"slapd": _PROGRAM, "ldap-utils": "ldapsearch"}

    def start(self, context: Context) -> Entry:
        context.new_folder(self.name, owner=_OWNER)
        port, tls_port, mutual_port = context.free_port(), context.free_port(), context.free_port()
        entry: Entry = {
            "address": f"127.0.0.1:{port}",
            "host": "localhost",
            "port": port,
            "tls_port": tls_port,
            "mutual_port": mutual_port,
            # It listens there too, and its certificate does not name that address.
            "wrong_name_host": "127.0.0.2",
            "base": _BASE,
            "user": f"cn=reader,{_BASE}",
            "password": secrets.token_urlsafe(12),
            "admin_user": f"cn=admin,{_BASE}",
            "admin_password": secrets.token_urlsafe(12),
            "person_password": secrets.token_urlsafe(9) + "ğıŞ",
            "version": run(["dpkg-query", "-W", "-f", "${Version}", "slapd"]).partition("+")[0],
            "log": str(context.log(self.name)),
        }
        self._spawn(context, entry, "main", "never", f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port} "
                    f"ldap://127.0.0.2:{port} ldaps://127.0.0.2:{tls_port}")  # fmt: skip
        self._spawn(context, entry, "mutual", "demand", f"ldaps://127.0.0.1:{mutual_port}")
        return entry

    def ask(self, entry: Entry) -> None:
        said = run(["ldapwhoami", "-x", "-H", url_of(entry), "-D", entry["user"], "-w", entry["password"]], timeout_s=5)
        if "cn=reader" not in said:
            raise NotReady("it does not know who asks")

    def prepare(self, entry: Entry) -> None:
        changes = "".join(
            f"dn: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n\n"
            for dn, password in [
                (entry["user"], entry["password"]),
                *((person_dn(*person), entry["person_password"]) for person in PEOPLE),
            ]
        )
        run(
            ["ldapmodify", "-x", "-H", url_of(entry), "-D", entry["admin_user"], "-w", entry["admin_password"]],
            text=changes,
        )

    def _spawn(self, context: Context, entry: Entry, label: str, verify: str, urls: str) -> None:
        folder = context.base / self.name / label
        for path in (folder, folder / "db"):
            path.mkdir(mode=0o700)
            context.give(path, _OWNER)
        issued = context.certificates
        config = context.write(
            folder / "slapd.conf",
            _CONFIG.format(
                folder=folder,
                base=_BASE,
                verify=verify,
                admin_password=entry["admin_password"],
                ca=context.write(folder / "ca.pem", issued.ca.read_bytes(), _OWNER),
                certificate=context.write(folder / "server.pem", issued.server.read_bytes(), _OWNER),
                key=context.write(folder / "server-key.pem", issued.server_key.read_bytes(), _OWNER),
            ),
            _OWNER,
        )
        seed = context.write(folder / "seed.ldif", "".join(_seed(entry)), _OWNER)
        context.run(self.name, ["/usr/sbin/slapadd", "-q", "-f", str(config), "-l", str(seed)], user=_OWNER)
        # -d 0 keeps it in the foreground.
        context.spawn(self.name, [_PROGRAM, "-d", "0", "-f", str(config), "-h", urls], user=_OWNER, label=label)


def url_of(entry: Mapping[str, object]) -> str:
    """Its plain address. Not by the name `localhost`: Debian's library would compare the machine's own name with it."""
    return f"ldap://127.0.0.1:{entry['port']}"


def person_dn(uid: str, name: str, where: str) -> str:
    """The distinguished name of a person."""
    return f"cn={name},{where},{_BASE}"


def _seed(entry: Entry) -> Iterator[str]:
    yield _SEED.format(base=_BASE, password=entry["password"])
    for uid, name, where in PEOPLE:
        yield (
            f"dn: {person_dn(uid, name, where)}\nobjectClass: inetOrgPerson\ncn: {name}\nsn: {name.split()[-1]}\n"
            f"uid: {uid}\nmail: mail@example.com\nuserPassword: {entry['person_password']}\n"
            "jpegPhoto:: /9j/4AAQSkZJRgABAQ==\n\n"
        )
    yield (f"dn: cn=nobody,ou=people,{_BASE}\nobjectClass: inetOrgPerson\ncn: nobody\nsn: nobody\nuid: nobody\n\n")
    for number in range(ROBOTS):
        yield (
            f"dn: uid=robot{number:04},ou=robots,{_BASE}\nobjectClass: account\nuid: robot{number:04}\n"
            f"description: Robot number {number}\n\n"
        )


SERVER = Slapd()
