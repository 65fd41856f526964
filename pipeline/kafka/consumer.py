"""The two ways to take records from Kafka's client in batches; both give the same.

confluent-kafka makes an object for each record, whose attributes are asked for one by one: that costs three times as
much as librdkafka does for the record itself. Where the native module is built, it calls the librdkafka that
confluent-kafka has loaded, through its public C interface, and makes columns of the records at once. Headers come
through confluent-kafka alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import confluent_kafka.cimpl
import pyarrow as pa
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message, TopicPartition

from pipeline.cycles import without_collections
from pipeline.decode.engine import engine
from pipeline.kafka.errors import Troubles
from pipeline.kafka.records import SCHEMA, Records


@dataclass(frozen=True)
class Mark:
    """An error in a partition at an offset; the end of a partition comes as one too."""

    error: KafkaError
    partition: int
    offset: int


class Consumer(Protocol):
    """Reads partitions of one topic. Its methods raise KafkaException."""

    def assign(self, first: Mapping[int, int]) -> None:
        """To be called once: by partition the offset from which to read."""

    def take(self, most: int, wait_s: float) -> tuple[Records, Sequence[Mark]]:
        """At most so many records and marks, those that came in time; the order in a partition is that of offsets."""

    def pause(self, partitions: Iterable[int]) -> None: ...

    def close(self) -> None: ...


def consumer(topic: str, options: Mapping[str, Any], troubles: Troubles, with_headers: bool) -> Consumer:
    """A consumer with librdkafka's settings; `troubles` hears its errors. Raises KafkaException."""
    if engine().name == "native" and not with_headers:
        try:
            return NativeConsumer(topic, options, troubles)
        except OSError:  # its functions are not found: librdkafka was linked in another way
            pass
    return MessageConsumer(topic, options, troubles, with_headers)


class MessageConsumer:
    """See `Consumer`: confluent-kafka's own."""

    def __init__(self, topic: str, options: Mapping[str, Any], troubles: Troubles, with_headers: bool) -> None:
        self._topic, self._with_headers, self._troubles = topic, with_headers, troubles
        self._consumer = confluent_kafka.Consumer({**options, "error_cb": troubles.hear})

    def assign(self, first: Mapping[int, int]) -> None:
        self._consumer.assign([TopicPartition(self._topic, partition, at) for partition, at in first.items()])

    def take(self, most: int, wait_s: float) -> tuple[Records, Sequence[Mark]]:
        with without_collections():
            messages = self._consumer.consume(most, wait_s)
            marks = [_mark(message) for message in messages if message.error() is not None]
            if marks:
                messages = [message for message in messages if message.error() is None]
            return _records(messages, self._with_headers), marks

    def pause(self, partitions: Iterable[int]) -> None:
        self._consumer.pause([TopicPartition(self._topic, partition) for partition in partitions])

    def close(self) -> None:
        self._consumer.close()


class NativeConsumer:
    """See `Consumer`: librdkafka, without confluent-kafka's objects. Raises OSError where it is not found."""

    def __init__(self, topic: str, options: Mapping[str, Any], troubles: Troubles) -> None:
        import ksqldb_lake_native

        from pipeline.decode.native_payloads import Handed

        self._topic, self._troubles, self._handed = topic, troubles, Handed
        try:
            self._consumer = ksqldb_lake_native.Consumer(
                confluent_kafka.cimpl.__file__, [(name, _text(value)) for name, value in options.items()]
            )
        except ValueError as error:
            raise KafkaException(KafkaError(*error.args)) from None

    def assign(self, first: Mapping[int, int]) -> None:
        try:
            self._consumer.assign(self._topic, list(first.items()))
        except ValueError as error:
            raise KafkaException(KafkaError(*error.args)) from None

    def take(self, most: int, wait_s: float) -> tuple[Records, Sequence[Mark]]:
        array, marks, heard = self._consumer.take(most, round(wait_s * 1000))
        for code, words in heard:
            self._troubles.hear(KafkaError(code, words))
        records = Records(pa.record_batch(self._handed(SCHEMA, array)))
        return records, [Mark(KafkaError(code), partition, offset) for code, partition, offset in marks]

    def pause(self, partitions: Iterable[int]) -> None:
        try:
            self._consumer.pause(self._topic, list(partitions))
        except ValueError as error:
            raise KafkaException(KafkaError(*error.args)) from None

    def close(self) -> None:
        self._consumer.close()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mark(message: Message) -> Mark:
    error: Any = message.error()
    partition: Any = message.partition()
    offset: Any = message.offset()
    return Mark(error, partition, offset)


def _records(messages: list[Message], with_headers: bool) -> Records:
    kinds_and_times: Any = map(Message.timestamp, messages)
    columns: list[Any] = [
        list(map(Message.partition, messages)),
        list(map(Message.offset, messages)),
        [None if kind == TIMESTAMP_NOT_AVAILABLE else time for kind, time in kinds_and_times],
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    headers: list[Any] = [message.headers() or [] for message in messages] if with_headers else []
    return Records(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA), headers)
