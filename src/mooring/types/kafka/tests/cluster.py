"""
Kafka inside the test's own process: librdkafka's mock cluster, which speaks the real protocol on real ports.

It knows topics, groups and injected errors; it knows neither TLS nor SASL.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

PRODUCE, METADATA = 0, 3


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    files = sorted(folder.glob("librdkafka*.so*"))
    if not files:
        pytest.skip("this build of the driver has no library of its own to take the mock cluster from")
    library = ctypes.CDLL(str(files[0]))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, answer, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_conf_set", number, [pointer, text, text, text, ctypes.c_size_t]),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_destroy", None, [pointer]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_cluster_destroy", None, [pointer]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_topic_set_error", None, [pointer, text, number]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_rtt", number, [pointer, ctypes.c_int32, number]),
        (
            "rd_kafka_mock_push_request_errors_array",
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(number)],
        ),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = answer, arguments
    return library


class MockCluster:
    """One broker, with ways to make it misbehave."""

    def __init__(self, library: ctypes.CDLL, handle: Any) -> None:
        self._library, self._handle = library, handle
        self.address: str = library.rd_kafka_mock_cluster_bootstraps(handle).decode()

    def create(self, topic: str, partitions: int = 1) -> None:
        self._library.rd_kafka_mock_topic_create(self._handle, topic.encode(), partitions, 1)

    def answer_topic_with(self, topic: str, error: int) -> None:
        """Metadata of *topic* carries *error* from now on."""
        self._library.rd_kafka_mock_topic_set_error(self._handle, topic.encode(), error)

    def answer_next_with(self, request: int, *errors: int) -> None:
        """The next requests of that sort fail, each with one of *errors*."""
        numbers = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._handle, request, len(errors), numbers)

    def slow(self, milliseconds: int) -> None:
        self._library.rd_kafka_mock_broker_set_rtt(self._handle, 1, milliseconds)

    def down(self) -> None:
        self._library.rd_kafka_mock_broker_set_down(self._handle, 1)

    def up(self) -> None:
        self._library.rd_kafka_mock_broker_set_up(self._handle, 1)


def everything(address: str, topic: str, count: int, within_s: float = 15) -> list[str]:
    """The values of the first *count* records of *topic* (of one partition), by a consumer of the test's own."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "test", "log_level": 0})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    values: list[str] = []
    until = time.monotonic() + within_s
    while len(values) < count and time.monotonic() < until:
        values += [message.value().decode() for message in consumer.consume(500, 0.2) if not message.error()]
    consumer.close()
    return values


@contextmanager
def mock_cluster() -> Iterator[MockCluster]:
    library, error = _library(), ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(settings, b"log_level", b"0", error, 512)
    client = library.rd_kafka_new(0, settings, error, 512)
    handle = library.rd_kafka_mock_cluster_new(client, 1)
    try:
        yield MockCluster(library, handle)
    finally:
        library.rd_kafka_mock_cluster_destroy(handle)
        library.rd_kafka_destroy(client)
