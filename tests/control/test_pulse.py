"""Signs of life on a stream."""

from __future__ import annotations

import asyncio

from mooring.control.streams import Pulse


class FakeSocket:
    """Stands for a WebSocket; keeps what is sent through it, and hears nothing."""

    def __init__(self) -> None:
        self.frames: list[str] = []

    async def receive(self) -> str:
        raise AssertionError("a pulse only sends")

    async def send(self, text: str) -> None:
        self.frames.append(text)


async def test_a_sender_that_is_woken_all_the_time_pings_all_the_same():
    """A worker whose reports keep waking its sender, and who is sent nothing, hears a ping by every heartbeat."""
    waker, socket, pulse = asyncio.Event(), FakeSocket(), Pulse(every_s=0.05)

    async with asyncio.timeout(10):
        while len(socket.frames) < 3:
            asyncio.get_running_loop().call_later(0.005, waker.set)
            waker.clear()
            await pulse.wait(waker, socket)

    assert all('"ping"' in frame for frame in socket.frames)


async def test_what_was_sent_puts_the_ping_off():
    """Where something else was just sent, no ping is due."""
    waker, socket, pulse = asyncio.Event(), FakeSocket(), Pulse(every_s=30)
    waker.set()

    pulse.beat()
    await pulse.wait(waker, socket)

    assert socket.frames == []
