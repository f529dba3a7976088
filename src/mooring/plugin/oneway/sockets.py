"""Sockets that do not block, to a resolved address."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

Option = tuple[int, int, int]
"""A socket option to set before connecting: level, name, value."""


async def connected_to(address: tuple[Any, ...], options: tuple[Option, ...]) -> socket.socket:
    sock = new_socket(address, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def new_socket(address: tuple[Any, ...], kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if len(address) > 2 else socket.AF_INET, kind)  # IPv6 has two more parts
    sock.setblocking(False)
    return sock
