"""
Which brokers the driver may connect to.

It dials by itself, looks names up by itself, and connects to whatever brokers the first one tells of. So every
configured and every advertised one is judged before it is used; the driver's own look-up comes after that.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from typing import Any

from mooring.errors import Unreachable
from mooring.plugin.network import Network


async def allowed_brokers(network: Network, servers: Iterable[tuple[str, int]]) -> None:
    """Judge every configured broker; one that does not resolve now is the driver's to report. Raises `EgressDenied`."""
    for host, port in servers:
        with contextlib.suppress(Unreachable):
            await network.resolve(host, port)


def judge_advertised(network: Network, metadata: Any) -> None:
    """Judge every broker that *metadata* tells of. Blocks, in a thread. Raises `EgressDenied`."""
    for broker in metadata.brokers.values():
        network.egress.check_host(broker.host)
        try:
            found = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            continue  # the driver does not reach it either
        network.egress.check_all(broker.host, (str(entry[4][0]) for entry in found))
