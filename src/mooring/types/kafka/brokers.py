"""
Which brokers the driver may connect to.

It dials by itself, looks names up by itself, and connects to whatever brokers the first one tells of. So every
configured and every advertised one is judged before it is used; the driver's own look-up comes after that. Where no login
stands before it, we ask the brokers ourselves, before the driver hears of any.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable
from typing import Any

from mooring.errors import EgressDenied, Misconfigured, Unreachable
from mooring.plugin.network import Network

ASKED_S = 1.5
LONGEST_TELLING = 1024 * 1024
_METADATA = struct.pack(">hhih7si", 3, 1, 1, 7, b"mooring", 0)
"""Kafka's Metadata request, version 1, for no topic: the answer begins with the brokers."""


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


async def judge_told(network: Network, servers: Iterable[tuple[str, int]], tls: ssl.SSLContext | None) -> bool:
    """
    Ask the configured brokers which others there are, and judge those. Whether one of them answered.

    What goes wrong otherwise is the driver's to report. Raises `EgressDenied`.
    """
    told = await asyncio.gather(*(_told_by(network, host, port, tls) for host, port in servers), return_exceptions=True)
    for answer in told:
        if isinstance(answer, EgressDenied):
            raise answer
    answers = [answer for answer in told if isinstance(answer, list)]
    await allowed_brokers(network, {broker for answer in answers for broker in answer})
    return bool(answers)


async def _told_by(network: Network, host: str, port: int, tls: ssl.SSLContext | None) -> list[tuple[str, int]] | None:
    with contextlib.suppress(OSError, EOFError, Unreachable, Misconfigured, ValueError, struct.error):
        async with asyncio.timeout(ASKED_S):
            reader, writer = await network.open_connection(host, port, tls=tls)
            try:
                writer.write(struct.pack(">i", len(_METADATA)) + _METADATA)
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                if not 0 < size <= LONGEST_TELLING:
                    return None
                return _brokers_in(await reader.readexactly(size))
            finally:
                writer.close()
    return None


def _brokers_in(answer: bytes) -> list[tuple[str, int]]:
    """The brokers at the beginning of a Metadata response, version 1. Raises `ValueError`, `struct.error`."""
    _, count = struct.unpack_from(">ii", answer)
    at, found = 8, list[tuple[str, int]]()
    for _ in range(count):
        _, length = struct.unpack_from(">ih", answer, at)
        at += 6
        if length < 0 or at + length > len(answer):
            raise ValueError("a text that goes beyond the answer")
        host = answer[at : at + length].decode()
        port, rack = struct.unpack_from(">ih", answer, at + length)
        at += length + 6 + max(rack, 0)
        found.append((host, port))
    return found
