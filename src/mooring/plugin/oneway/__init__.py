"""
Ways on which only we speak: a TCP stream with an outbox in front of it, and datagrams. Syslog and GELF go there.

Nobody answers, so all that can be known is what TCP knows: that the connection stands, and that the machine at
the other end acknowledged every byte. Both are looked at for every message, before and after it is written.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mooring.plugin.connector import Answer
from mooring.plugin.network import Option
from mooring.plugin.oneway.datagrams import Datagrams, probe_datagrams
from mooring.plugin.oneway.faults import Interrupted, Talks, TooLong, oneway_error
from mooring.plugin.oneway.line import Line
from mooring.plugin.oneway.outbox import Outbox
from mooring.plugin.oneway.stream import Stream, unacknowledged

__all__ = [
    "Datagrams", "Interrupted", "Line", "Option", "Outbox", "Sent", "Stream", "Talks", "TooLong", "oneway_error",
    "probe_datagrams", "unacknowledged",
]  # fmt: skip


class Sent(Answer):
    """A message that went out, and what is known of it; that the server understood it, nobody says."""

    proof: Literal["acknowledged", "written", "none"] = Field(
        description="`acknowledged`: the other machine's TCP has every byte. `written`: this machine's has, and the"
        " connection stood before and after. `none`: it went as a datagram, of which nothing is known."
    )
    size: int = Field(description="Bytes of the message, framing included.")
