"""Both consumers give the same records and report the same errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import confluent_kafka.cimpl
import pytest
from confluent_kafka import KafkaError, KafkaException

from demo.private_process import free_port
from ksqldb_emulator.testing import comes_true
from pipeline.kafka.consumer import Consumer, MessageConsumer, NativeConsumer, consumer
from pipeline.kafka.errors import Troubles
from pipeline.kafka.reader import _OPTIONS
from pipeline.kafka.records import Records, joined
from pipeline.kafka.topic import QUIET
from tests.decode.engines import needs_native
from tests.kafka.topics import new_topic, producer

pytestmark = needs_native

Marks = set[tuple[int, int, int]]


class Heard(Troubles):
    """Keeps the codes of the errors that it hears."""

    def __init__(self) -> None:
        super().__init__("t", "servers")
        self.codes = set[int]()

    def hear(self, error: KafkaError) -> None:
        self.codes.add(error.code())


def natively(topic: str, options: Mapping[str, Any], heard: Heard) -> Consumer:
    return NativeConsumer(topic, options, heard)


def by_messages(topic: str, options: Mapping[str, Any], heard: Heard) -> Consumer:
    return MessageConsumer(topic, options, heard, with_headers=False)


WAYS = pytest.mark.parametrize("make", [natively, by_messages])


def options(servers: str, **more: Any) -> dict[str, Any]:
    return {**_OPTIONS, **QUIET, "bootstrap.servers": servers} | more


def all_of(reading: Consumer, first: Mapping[int, int]) -> tuple[Records, Marks]:
    """What comes until the end of each partition was reported."""
    parts, marks = list[Records](), Marks()
    reading.assign(first)
    while len(marks) < len(first):
        records, some = reading.take(100, 1)
        parts.append(records)
        marks |= {(mark.error.code(), mark.partition, mark.offset) for mark in some}
    reading.close()
    return joined(parts), marks


def test_records_and_ends_are_the_same(kafka: str) -> None:
    topic, sent = new_topic(kafka, 2), producer(kafka)
    for number in range(300):
        sent.produce(topic, b"v" * (number % 7), b"k%d" % number, number % 2, timestamp=number)
    for key, value in [(None, None), (b"", b""), (b"key", None), (None, b"x" * 3_000_000)]:
        sent.produce(topic, value, key, 1, timestamp=5)
    assert sent.flush(60) == 0

    found, expected = (all_of(make(topic, options(kafka), Heard()), {0: 10, 1: 0}) for make in (natively, by_messages))

    order = [("partition", "ascending"), ("offset", "ascending")]
    assert found[0].batch.sort_by(order).equals(expected[0].batch.sort_by(order))
    assert found[1] == expected[1] == {(KafkaError._PARTITION_EOF, 0, 150), (KafkaError._PARTITION_EOF, 1, 154)}
    assert len(found[0]) == 140 + 154


@WAYS
def test_a_paused_partition_gives_nothing_more(kafka: str, make: Callable[..., Consumer]) -> None:
    topic, sent = new_topic(kafka, 2), producer(kafka)
    reading = make(topic, options(kafka), Heard())
    reading.assign({0: 0, 1: 0})
    reading.pause([0])
    for number in range(4):
        sent.produce(topic, b"v", None, number % 2)
    assert sent.flush(60) == 0

    parts = list[Records]()

    def two_have_come() -> bool:
        parts.append(reading.take(100, 0.1)[0])
        return sum(map(len, parts)) == 2

    assert comes_true(two_have_come)
    reading.close()
    assert joined(parts).partitions.tolist() == [1, 1]


@WAYS
@pytest.mark.parametrize("wrong", [{"ssl.ca.location": "/nowhere", "security.protocol": "SSL"}, {"no.such": "setting"}])
def test_settings_that_the_client_refuses_are_its_error(make: Callable[..., Consumer], wrong: dict[str, str]) -> None:
    with pytest.raises(KafkaException) as refused:
        make("t", options("127.0.0.1:1", **wrong), Heard())

    assert refused.value.args[0].code() == KafkaError._INVALID_ARG


@WAYS
def test_errors_of_the_client_are_heard(make: Callable[..., Consumer]) -> None:
    heard = Heard()
    reading = make("t", options(f"127.0.0.1:{free_port()}"), heard)
    reading.assign({0: 0})

    def all_are_down() -> bool:
        reading.take(1, 0.1)
        return KafkaError._ALL_BROKERS_DOWN in heard.codes

    assert comes_true(all_are_down)
    reading.close()
    reading.close()


def test_a_librdkafka_that_is_not_found_leaves_it_to_messages(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent_kafka.cimpl, "__file__", "/nowhere.so")

    made = consumer("t", options(kafka), Heard(), with_headers=False)

    made.close()
    assert isinstance(made, MessageConsumer)


def test_headers_come_by_messages(kafka: str) -> None:
    topic, sent = new_topic(kafka), producer(kafka)
    sent.produce(topic, b"v", headers=[("h", b"1"), ("h", None)])
    sent.produce(topic, b"v")
    assert sent.flush(60) == 0

    found, _ = all_of(consumer(topic, options(kafka), Heard(), with_headers=True), {0: 0})

    assert found.headers == [[("h", b"1"), ("h", None)], []]
