"""Network addresses of clients: whose they are behind proxies, and which of them count as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
MAX_HOPS = 32


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks in *text*: addresses and CIDRs with commas between them. Raises `ValueError`."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("must be addresses or CIDRs with commas, such as 10.0.0.0/8,192.0.2.7") from None


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine by its very name: nothing is looked up."""
    if host.lower().rstrip(".") == "localhost":
        return True
    address = _address(host.strip("[]"))
    return address is not None and address.is_loopback


def client_address(peer: str, forwarded_for: Iterable[str], proxies: Sequence[Network]) -> str:
    """
    Who is at the other end, where *peer* may be a proxy that says so in X-Forwarded-For.

    Read from right to left: each entry was appended by the hop before, and is believed as long as that hop is one of
    *proxies*. The first address that is none of them is the client. What is no address ends the search: the hop that
    is known last is answered.
    """
    nearest = _address(peer)
    if nearest is None or not _within(nearest, proxies):
        return peer
    hops = [hop for header in forwarded_for for hop in header.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        address = _address(_without_port(hop.strip()))
        if address is None:
            break
        nearest = address
        if not _within(nearest, proxies):
            break
    return str(nearest)


@lru_cache(maxsize=4096)
def limit_key(address: str) -> str:
    """What *address* is counted under: itself, or its /64, of which one client holds every address."""
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return address


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
