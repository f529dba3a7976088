"""What comes over the wire: cut into frames, read, and never trusted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring.types.activemq.amqp import codec
from mooring.types.activemq.amqp import connection as amqp
from mooring.types.activemq.amqp import message as amqp_message
from mooring.types.activemq.amqp.codec import Described
from mooring.types.activemq.amqp.links import Receiver, Sender
from mooring.types.activemq.faults import Garbled, Lost, Refused, TooLong
from mooring.types.activemq.inbox import LONGEST_ANSWER, Inbox
from mooring.types.activemq.messages import Incoming, Outgoing
from mooring.types.activemq.openwire import commands, marshal
from mooring.types.activemq.openwire import connection as openwire
from mooring.types.activemq.settings import Broker
from mooring.types.activemq.text import from_java, to_java
from mooring.types.activemq.wire import LONGEST_MESSAGE, Frames

BROKER = Broker("broker.example.com", 61616, "broker.example.com:61616")
MIB = 1024 * 1024
fuzzed = settings(max_examples=int(os.environ.get("MOORING_FUZZ", "100")), deadline=None)
"""However busy the machine is."""
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
FIELDS = (
    st.none() | st.booleans() | st.integers(0, 3) | st.integers(0, 2**33) | st.binary(max_size=3)
    | st.sampled_from(["s", "r"]) | st.lists(st.integers(0, 1), max_size=1)
)  # fmt: skip


def dispatch(kind: int, body: bytes, redeliveries: int = 0) -> bytes:
    """What a broker says when it gives a message of ours to consumer 7."""
    message = commands.command(kind, 1, False, body)[4:]
    said = commands.consumer_id("ID:c", 1, 7) + commands.destination("QUEUE", "q") + b"\x01" + message
    return commands.command(commands.DISPATCH, 5, False, said + marshal.integer(redeliveries))[4:]


def written(message: Outgoing) -> tuple[int, bytes]:
    writer = commands.MessageWriter(commands.producer_id("ID:p", 1, 1), commands.destination("QUEUE", "q"))
    return writer.write(message, 3, 1_700_000_000_000)


SAMPLE = dispatch(*written(Outgoing("hello", {"a": 1, "b": "c", "d": None, "e": 1.5}, group="g", reply_to="topic://r")))
AMQP_SAMPLE = amqp_message.write(
    Outgoing("hello", {"a": 1, "b": "c"}, correlation_id="c", content_type="text/plain"), "ID:1", "queue://q", False, 5
)


# Frames


@fuzzed
@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_frames_are_the_same_however_they_come(bodies, cuts):
    """A stream is cut into the same frames whatever pieces it comes in."""
    stream = b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    frames = Frames(4, lambda head: int.from_bytes(head, "big") + 4, 1000)

    found, at, turn = [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += list(frames.feed(stream[at : at + size]))
        at, turn = at + size, turn + 1

    assert [frame[4:] for frame in found] == bodies


def test_a_long_frame_is_refused_before_it_is_there():
    """A length beyond the limit ends it at once; nothing is kept for it."""
    frames = Frames(4, lambda head: int.from_bytes(head, "big") + 4, 1000)

    with pytest.raises(TooLong):
        list(frames.feed(b"\x7f\xff\xff\xff"))


@pytest.mark.parametrize("make", [openwire.Connection, amqp.Connection])
@pytest.mark.parametrize(
    "said",
    [b"\x00\x00\x00\x00" * 8, b"\xff" * 32, b"\x7f\xff\xff\xff" * 8, bytes(range(256)) * 4096, b"HTTP/1.1 400\r\n\r\n"],
)
async def test_what_is_no_protocol_ends_the_connection(make, said):
    """Lengths of nothing, huge ones, and endless nonsense end a connection with little in memory."""
    wire = make(BROKER)
    wire._wanted = asyncio.ensure_future(_login(wire))
    tracemalloc.start()
    try:
        for at in range(0, len(said), 4096):
            wire.data_received(said[at : at + 4096])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(wire.failure, Garbled | TooLong) and peak < 2 * MIB
    wire._wanted.cancel()


async def _login(wire: Any) -> None:
    await asyncio.sleep(60)


# OpenWire


@fuzzed
@given(TEXT)
def test_java_reads_and_writes_every_text(text):
    """A text is the same after it was written as Java does, zeros and the rarest letters included."""
    assert from_java(to_java(text)) == text


@fuzzed
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT | st.floats(allow_nan=False),
        max_size=6,
    )
)
def test_properties_come_back(values):
    """Properties are the same after they were written and read."""
    assert marshal.Reader(marshal.properties(values)).properties() == values


@fuzzed
@given(
    st.builds(
        Outgoing, body=TEXT | st.binary(), properties=st.dictionaries(TEXT.filter(bool), TEXT, max_size=3),
        correlation_id=st.none() | TEXT, type=st.none() | TEXT, priority=st.integers(0, 9), persistent=st.booleans(),
        group=st.none() | TEXT, content_type=st.none() | TEXT,
    )
)  # fmt: skip
def test_a_message_comes_back(message):
    """A message that we write is read as the same message."""
    read = commands.read(dispatch(*written(message), redeliveries=1))

    found = read.message
    assert (read.consumer, found.body, found.redelivered) == (7, message.body, True)
    assert (found.correlation_id, found.type, found.group, found.priority, found.persistent) == (
        message.correlation_id, message.type, message.group, message.priority, message.persistent,
    )  # fmt: skip
    assert {**message.properties, **found.properties} == found.properties


@fuzzed
@given(st.binary(max_size=400))
def test_any_bytes_are_a_command_or_garbled(data):
    """Reading a command ends with one, or with `Garbled`."""
    with contextlib.suppress(Garbled):
        commands.read(data)


@fuzzed
@given(
    st.integers(0, len(SAMPLE)), st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=6)
)
def test_a_damaged_message_is_a_command_or_garbled(length, changes):
    """A dispatch that was cut short, or has other bytes in it, does no harm."""
    data = bytearray(SAMPLE)
    for at, byte in changes:
        data[at] = byte
    with contextlib.suppress(Garbled, TooLong):
        commands.read(bytes(data[:length]))


def test_compressed_messages_are_read():
    """What a client compressed is read as what it was."""
    kind, body = written(Outgoing("hello " * 100))
    content = marshal.integer(600) + b"hello " * 100

    found = commands.read(dispatch(kind, compressed(body, content)))

    assert found.message.body == "hello " * 100


def test_a_compressed_bomb_is_too_long():
    """A small message that would become a huge one is refused without making it."""
    kind, body = written(Outgoing("x"))
    bomb = zlib.compress(bytes(64 * MIB))

    tracemalloc.start()
    try:
        with pytest.raises(TooLong):
            commands.read(dispatch(kind, replaced(body, marshal.integer(1) + b"x", bomb)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 3 * LONGEST_MESSAGE


def compressed(body: bytes, content: bytes) -> bytes:
    return replaced(body, content, zlib.compress(content))


def replaced(body: bytes, content: bytes, by: bytes) -> bytes:
    """The message with *by* for its content, marked as compressed."""
    before, after = body.split(marshal.octets(content))
    flags = marshal.NULL * 2
    # No properties, no object, no consumer; then whether it is compressed.
    assert after[1:3] == flags and after[3] == 0
    return before + marshal.octets(by) + after[:3] + b"\x01" + after[4:]


def test_maps_and_lists_are_values():
    """A map message is a map, a stream message a list; what is neither is given as its bytes."""
    content = marshal.properties({"a": 1, "b": "c"})
    _, body = written(Outgoing(content))
    stream = marshal.primitive(1) + marshal.primitive("x")
    _, listed = written(Outgoing(stream))
    _, broken = written(Outgoing(b"\xff\xff"))

    assert commands.read(dispatch(commands.MAP_MESSAGE, body)).message.body == {"a": 1, "b": "c"}
    assert commands.read(dispatch(commands.STREAM_MESSAGE, listed)).message.body == [1, "x"]
    found = commands.read(dispatch(commands.MAP_MESSAGE, broken)).message
    assert (found.body, found.kind) == (b"\xff\xff", "bytes")


@fuzzed
@given(st.lists(st.tuples(st.sampled_from(range(1, 40)), st.binary(max_size=60)), max_size=6))
def test_a_broker_that_says_anything_harms_nobody(said):
    """Whatever commands come, the connection goes on or has ended for a reason of ours."""

    async def meet() -> Exception | None:
        wire = openwire.Connection(BROKER)
        wire._format.set_result(commands.WireFormat(12, {}))
        wire.consumers[0] = Inbox().put
        waiting = wire.asking(commands.SESSION, b"")
        for kind, body in said:
            data = bytes((kind,)) + body
            wire.data_received(struct.pack(">i", len(data)) + data)
        waiting.cancel()
        return wire.failure

    assert isinstance(asyncio.run(meet()), Garbled | TooLong | Lost | Refused | None)


# AMQP


@fuzzed
@given(VALUES)
def test_values_come_back(value):
    """A value is the same after it was written and read."""
    assert codec.decode(codec.encode(value))[0] == value


@fuzzed
@given(st.binary(max_size=400))
def test_any_bytes_are_a_value_or_garbled(data):
    """Reading a value ends with one, or with `Garbled`."""
    with contextlib.suppress(Garbled):
        codec.decode(data)


@pytest.mark.parametrize("data", [
    b"\x00" * 5000, b"\xd0\xff\xff\xff\xff\xff\xff\xff\xff", b"\xf0\x00\x00\x00\x06\xff\xff\xff\xff\x40\x40",
    b"\xb0\x7f\xff\xff\xff", (b"\xc0\xff\xff" * 50).ljust(400, b"\x40"), b"\xf0\x00\x00\x00\x06\x00\x00\x00\x05\x00\x40",
])  # fmt: skip
def test_lengths_that_lie_are_garbled(data):
    """Counts, sizes and depths that cannot be are told without making room for them."""
    with pytest.raises(Garbled):
        codec.decode(data)


@fuzzed
@given(
    st.integers(0, len(AMQP_SAMPLE)),
    st.lists(st.tuples(st.integers(0, len(AMQP_SAMPLE) - 1), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_amqp_message_is_a_message(length, changes):
    """A message that makes no sense is given as its bytes; reading never fails."""
    data = bytearray(AMQP_SAMPLE)
    for at, byte in changes:
        data[at] = byte

    found = amqp_message.read(bytes(data[:length]), 1)

    assert isinstance(found, Incoming)


def test_data_in_parts_is_one_value():
    """Several data sections are one value."""
    payload = (
        codec.encode(Described(0x75, b"ab"))
        + codec.encode(Described(0x75, b"cd"))
        + codec.encode(Described(0x75, b"e"))
    )

    assert amqp_message.read(payload, 1).body == b"abcde"


@fuzzed
@given(
    st.lists(
        st.tuples(st.integers(0x0F, 0x19), st.lists(FIELDS, max_size=11), st.binary(max_size=20)),
        max_size=8,
    )
)
def test_a_peer_that_says_anything_harms_nobody(said):
    """Whatever performatives come, the connection goes on or has ended for a reason of ours."""

    async def meet() -> Exception | None:
        wire = amqp.Connection(BROKER)
        wire._header, wire._open = None, True
        for handle, link in enumerate((Sender("s"), Receiver("r", Inbox().put))):
            link.handle = handle
            wire._links[handle] = wire._theirs[handle] = wire._by_name[link.name, link.receives] = link
        for code, fields, payload in said:
            body = codec.encode(Described(code, fields)) + payload
            wire.data_received(struct.pack(">IBBH", 8 + len(body), 2, 0, 0) + body)
        return wire.failure

    assert isinstance(asyncio.run(meet()), Garbled | TooLong | Lost | Refused | None)


async def test_a_disposition_of_everything_costs_nothing():
    """A peer that settles four thousand million deliveries settles the ones that there are."""
    wire = amqp.Connection(BROKER)
    wire._header, wire._open = None, True
    sender = Sender("s")
    outcome: asyncio.Future[Described | None] = asyncio.get_running_loop().create_future()
    wire._deliveries[5] = sender, outcome

    body = codec.encode(Described(0x15, [True, 0, 2**32 - 2, True, Described(0x24, [])]))
    wire.data_received(struct.pack(">IBBH", 8 + len(body), 2, 0, 0) + body)

    assert outcome.done()


async def test_a_delivery_in_endless_parts_is_not_kept():
    """A message that goes on and on takes no more memory than the longest that is read."""
    inbox = Inbox()
    receiver = Receiver("r", inbox.put)
    part = bytes(MIB)
    tracemalloc.start()
    try:
        for _ in range(40):
            receiver.hear_transfer(Described(0x14, [0, 1, b"", 0, False, True]), bytes(part))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    receiver.hear_transfer(Described(0x14, [0, 1, b"", 0, False, False]), b"")
    with pytest.raises(TooLong):
        inbox.check()
    assert peak < LONGEST_MESSAGE + 4 * MIB


# Inbox


def test_an_inbox_keeps_as_much_as_an_answer_holds():
    """What does not fit is dropped, and all that comes after it, so that the order stays."""
    inbox = Inbox()

    for size in (LONGEST_ANSWER - 10, 20, 5):
        inbox.put(Incoming(body="x", size=size, ticket=size))

    assert [message.ticket for message in inbox.drain(10)] == [LONGEST_ANSWER - 10] and inbox.full
