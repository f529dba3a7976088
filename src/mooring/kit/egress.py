"""
Where a worker may connect to: a rule about addresses that were looked up already, and about names before that.

Nothing here looks anything up. The standard library's `is_private` and its kin are not asked: they differ between
versions, and know nothing of an IPv4 address that travels inside an IPv6 one.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from mooring.errors import EgressDenied

Address = IPv4Address | IPv6Address
Range = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Kind:
    """A sort of address: what it is called, and where it lies."""

    name: str
    ranges: tuple[Range, ...]

    def holds(self, address: Address) -> bool:
        return any(address in place for place in self.ranges)


def _kind(name: str, *ranges: str) -> Kind:
    return Kind(name, tuple(ip_network(text) for text in ranges))


NEVER = (
    _kind(
        "a cloud's metadata address",
        "169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32", "168.63.129.16/32",
        "192.0.0.192/32", "fd00:ec2::/96", "fd20:ce::254/128",
    ),
    _kind("a link-local address", "169.254.0.0/16", "fe80::/10"),
    _kind("no address of a machine", "0.0.0.0/8", "::/128"),
    _kind("a multicast address", "224.0.0.0/4", "ff00::/8"),
    _kind("a broadcast or reserved address", "240.0.0.0/4"),
    # Where the IPv4 address stands in these depends on a prefix length that only that network knows.
    _kind("an address that hides another one", "64:ff9b:1::/48"),
)  # fmt: skip
"""What no setting allows; the first that fits gives the reason."""

LOOPBACK = _kind("a loopback address", "127.0.0.0/8", "::1/128")

_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")
_6TO4 = ip_network("2002::/16")
_TEREDO = ip_network("2001::/32")


@dataclass(frozen=True)
class Rules:
    """One list of an operator: ranges of addresses, and host names; a name that begins with a dot is for all below it."""

    ranges: tuple[Range, ...] = ()
    names: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ranges or self.names)

    def holds_name(self, name: str) -> bool:
        return any(name == own or (own.startswith(".") and name.endswith(own)) for own in self.names)

    def holds(self, address: Address) -> bool:
        return any(address in place for place in self.ranges)

    def __str__(self) -> str:
        return ",".join([*(str(place) for place in self.ranges), *self.names])


@dataclass(frozen=True)
class Egress:
    """
    Where the connections of one worker may go.

    Attributes:
        allow: Where it holds anything, nothing else is allowed.
        deny: What is not allowed, whatever `allow` says.
        loopback: Whether this very machine may be connected to; a range of `allow` inside loopback says so too.
    """

    allow: Rules = Rules()
    deny: Rules = Rules()
    loopback: bool = False

    @classmethod
    def read(cls, allow: str = "", deny: str = "", loopback: bool = False) -> Egress:
        """The policy that an operator wrote down. Raises `ValueError`, which names the entry that is wrong."""
        return cls(read_rules(allow), read_rules(deny), loopback)

    def __str__(self) -> str:
        return (
            f"allow {self.allow or 'all'}; deny {self.deny or 'nothing'}; loopback {'yes' if self.loopback else 'no'}"
        )

    def check_host(self, host: str) -> None:
        """Refuse *host* where that needs no look-up: a denied name, or an address in any spelling. Raises `EgressDenied`."""
        if not host or "/" in host or "\0" in host or "%" in host:
            raise EgressDenied(
                "the host is a path, empty, or has a zone, and no host name", hint="Correct the host of the connection."
            )
        name = canonical(host)
        if self.deny.holds_name(name):
            raise _denied(host, "that name is on its deny list", _DENY_HINT)
        literal = as_address(name)
        if literal is not None:
            self.check(host, literal)
        elif self.allow and not self.allow.ranges and not self.loopback and not self.allow.holds_name(name):
            raise _denied(host, "that name is not on its allow list", _ALLOW_HINT)

    def check(self, host: str, address: Address) -> None:
        """Refuse *address*, which *host* was found to be. Raises `EgressDenied`, which does not show the address."""
        faces = list(_faces(address))
        for kind in NEVER:
            if any(kind.holds(face) for face in faces):
                raise _denied(host, f"it is {kind.name}", "No setting of a worker allows that. Correct the host.")
        if any(self.deny.holds(face) for face in faces):
            raise _denied(host, "its address is on its deny list", _DENY_HINT)
        if any(LOOPBACK.holds(face) for face in faces):
            if self.loopback or self._allows_loopback(faces):
                return
            raise _denied(host, f"it is {LOOPBACK.name}", _LOOPBACK_HINT)
        if self.allow and not self.allow.holds_name(canonical(host)) and not self.allow.holds(faces[0]):
            raise _denied(host, "it is not on its allow list", _ALLOW_HINT)

    def _allows_loopback(self, faces: list[Address]) -> bool:
        """Whether the allow list speaks of loopback itself: `0.0.0.0/0` does not mean it."""
        own = [place for place in self.allow.ranges if LOOPBACK.holds(place[0]) and LOOPBACK.holds(place[-1])]
        return any(face in place for face in faces for place in own)

    def check_all(self, host: str, addresses: Iterable[str]) -> None:
        """Refuse *host* where one of *addresses*, as a look-up gives them, is not allowed. Raises `EgressDenied`."""
        for text in addresses:
            self.check(host, ip_address(text.partition("%")[0]))


def read_rules(text: str) -> Rules:
    """A list with commas or blanks between: `10.0.0.0/8`, `192.0.2.7`, `db.example.com`, `*.example.com`. Raises `ValueError`."""
    ranges: list[Range] = []
    names: list[str] = []
    for item in text.replace(",", " ").split():
        try:
            ranges.append(ip_network(item.strip("[]")))
        except ValueError:
            if not _is_name(item):
                raise ValueError(
                    f"{item} is no address, no range of addresses (the host bits of which are 0), and no host name"
                ) from None
            names.append(canonical(item.removeprefix("*")) if item.startswith("*.") else canonical(item))
    return Rules(tuple(ranges), tuple(names))


def canonical(host: str) -> str:
    """A host name as look-ups see it: ASCII, in small letters, without a trailing dot or the brackets of an address."""
    plain = host.strip("[]").rstrip(".").lower()
    try:
        return plain.encode("idna").decode() if not plain.startswith(".") else "." + canonical(plain[1:])
    except UnicodeError:
        return plain


def as_address(host: str) -> Address | None:
    """The address that *host* spells, in any way that a look-up would take for one (`0x7f.1`, `2130706433`); else None."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    if not host or host[0] not in "0123456789" or not set(host) <= set("0123456789abcdefx."):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _is_name(item: str) -> bool:
    name = canonical(item.removeprefix("*."))
    labels = name.split(".")
    return (
        not labels[-1].isdigit()
        and len(name) <= 253
        and all(
            0 < len(label) <= 63 and set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_") for label in labels
        )
    )


def _faces(address: Address) -> Iterator[Address]:
    """
    *address* and those that it leads to; the first is the one that an allow list must hold.

    An IPv4 address inside an IPv6 one that a router or this system simply unwraps stands for it; a relay's (6to4,
    Teredo, ISATAP) stands beside it.
    """
    if isinstance(address, IPv4Address):
        yield address
        return
    packed = address.packed
    last = IPv4Address(packed[12:])
    if address.ipv4_mapped is not None or address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield last
        return
    yield address
    if address in _6TO4:
        yield IPv4Address(packed[2:6])
    elif address in _TEREDO:
        yield IPv4Address(packed[4:8])
        yield IPv4Address(struct.unpack("!I", packed[12:])[0] ^ 0xFFFFFFFF)
    elif packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe"):
        yield last


_ALLOW_HINT = "Whoever runs the worker adds it to MOORING_EGRESS_ALLOW."
_DENY_HINT = "Whoever runs the worker takes it out of MOORING_EGRESS_DENY."
_LOOPBACK_HINT = "Whoever runs the worker allows that with MOORING_EGRESS_LOOPBACK=true."


def _denied(host: str, why: str, hint: str) -> EgressDenied:
    return EgressDenied(f"the egress policy of this worker does not let it connect to {host}: {why}", hint=hint)


ANYWHERE_HERE = Egress(loopback=True)
"""The policy of a program on a developer's own machine: nothing is denied but what never makes sense."""
