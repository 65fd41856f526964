"""Records of topic partitions between offsets, in batches that memory can hold.

No group is joined and nothing is committed to Kafka: partitions are assigned, each from its first offset. The client
skips offsets without a record (aborted transactions, transaction markers, compaction) and reports the end of a
partition, so a partition whose last offsets have no record does not block the read. The client fetches ahead into a
queue of a fixed size; while that is full nothing more is read from the socket.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.cycles import without_collections
from pipeline.errors import ReadStalled
from pipeline.kafka.connection import Brokers
from pipeline.kafka.errors import GONE, Troubles
from pipeline.kafka.topic import QUIET, look_at
from pipeline.limits import Limits
from pipeline.source import Outcome

_MOST_RECORDS = 8_192
_MOST_BYTES = 16 * 2**20
_FIRST_RECORDS = 512
_WAIT_S = 0.1
_HELD_S = 0.5
"""How long a batch that is not full waits for more."""

_OPTIONS: Mapping[str, Any] = {
    "group.id": "data-lake",  # the client requires a name; no group is joined
    "client.id": "data-lake",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    "check.crcs": True,
    "queued.max.messages.kbytes": 32 * 1024,
    "fetch.queue.backoff.ms": 20,
    "fetch.wait.max.ms": 100,
}


@dataclass(frozen=True)
class Records:
    """A batch of records, by offset within each partition; places are numpy arrays with one entry a record."""

    messages: list[Message]
    partitions: Any
    offsets: Any

    @classmethod
    def of(cls, messages: list[Message]) -> Records:
        """Calls for partition and offset once a record: each call costs as much as a tenth of its decoding."""
        partitions: Any = map(Message.partition, messages)
        offsets: Any = map(Message.offset, messages)
        count = len(messages)
        return cls(messages, np.fromiter(partitions, np.int32, count), np.fromiter(offsets, np.int64, count))


class Reader:
    """Reads `spans`: by partition the first offset and the end (exclusive). `outcome` is set when that is done."""

    def __init__(self, brokers: Brokers, topic: str, spans: Mapping[int, tuple[int, int]], limits: Limits) -> None:
        self._brokers, self._topic, self._limits = brokers, topic, limits
        self._spans = {p: span for p, span in spans.items() if span[0] < span[1]}
        self._troubles = Troubles(topic, brokers.servers)
        self._most = _FIRST_RECORDS
        self._ends = np.full(max(self._spans, default=0) + 1, -1, np.int64)
        for partition, (_, end) in self._spans.items():
            self._ends[partition] = end
        self.outcome: Outcome | None = None

    def batches(self) -> Iterator[Records]:
        """Raises ReadStalled, after the last records, when no more come or retention is faster than the read.

        Raises TopicGone, KafkaRefused, KafkaUnreachable.
        """
        if not self._spans:
            self.outcome = "exact"
            return
        try:
            consumer = Consumer({**self._brokers.options(), **_OPTIONS, **QUIET, "error_cb": self._troubles.hear})
            try:
                consumer.assign([TopicPartition(self._topic, p, first) for p, (first, _) in self._spans.items()])
                yield from self._read(consumer)
            finally:
                consumer.close()
        except KafkaException as error:
            raise self._troubles.error(error) from None

    def _read(self, consumer: Consumer) -> Iterator[Records]:
        due = {partition: end for partition, (_, end) in self._spans.items()}
        held: list[Records] = []
        held_count, held_bytes, moved_at = 0, 0, time.monotonic()
        held_since = moved_at
        while due and not self._limits.over:
            with without_collections():
                messages, at_end = self._sorted(consumer.consume(self._most, _WAIT_S), due)
            came, now = Records.of(messages), time.monotonic()
            if messages or at_end:
                moved_at = now
            elif now - moved_at >= self._limits.stall_s:
                if held:
                    yield self._within(held)
                raise self._stalled()
            if messages:
                held_since = held_since if held else now
                held.append(came)
                came_bytes = sum(map(len, messages))
                held_count, held_bytes = held_count + len(messages), held_bytes + came_bytes
                self._most = max(1, min(_MOST_RECORDS, _MOST_BYTES * len(messages) // (came_bytes + 1)))
            passed = (self._passed(came) | at_end) & due.keys()
            for partition in passed:
                del due[partition]
            if passed and due:
                consumer.pause([TopicPartition(self._topic, partition) for partition in passed])
            full = held_count >= _MOST_RECORDS or held_bytes >= _MOST_BYTES
            if held and (full or not due or now - held_since >= _HELD_S):
                yield self._within(held)
                held, held_count, held_bytes, moved_at = [], 0, 0, time.monotonic()
        if held:
            yield self._within(held)
        self.outcome = "time limit" if due else "exact"

    def _sorted(self, messages: list[Message], due: Mapping[int, int]) -> tuple[list[Message], set[int]]:
        """The records, and the partitions whose end the client has reported. Raises for errors among the messages."""
        errors = [message for message in messages if message.error() is not None]
        if not errors:
            self._troubles.raise_lasting()
            return messages, set()
        at_end = set[int]()
        for message in errors:
            error: Any = message.error()
            partition: Any = message.partition()
            offset: Any = message.offset()
            if error.code() != KafkaError._PARTITION_EOF:
                self._judge(error, partition)
            elif partition in due and offset >= due[partition]:
                at_end.add(partition)
        return [message for message in messages if message.error() is None], at_end

    def _judge(self, error: KafkaError, partition: int | None) -> None:
        """Raises for an error that does not pass by itself; after others the client goes on."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise ReadStalled(
                f"the topic {self._topic} lost rows of partition {partition} before they were read",
                "the rows that came are kept; run the same command again, which says what is lost",
            )
        if error.code() in GONE:
            look_at(self._brokers, self._topic)  # raises when it is gone; a broker that starts may not know it yet
        self._troubles.hear(error)
        self._troubles.raise_lasting()

    def _passed(self, came: Records) -> set[int]:
        """The partitions whose last wanted record, or a later one, has come."""
        return set(came.partitions[came.offsets >= self._ends[came.partitions] - 1].tolist())

    def _within(self, held: list[Records]) -> Records:
        """The records before the ends."""
        messages = held[0].messages if len(held) == 1 else [message for each in held for message in each.messages]
        partitions = np.concatenate([each.partitions for each in held])
        offsets = np.concatenate([each.offsets for each in held])
        within = offsets < self._ends[partitions]
        if within.all():
            return Records(messages, partitions, offsets)
        kept = [message for message, good in zip(messages, within.tolist(), strict=True) if good]
        return Records(kept, partitions[within], offsets[within])

    def _stalled(self) -> ReadStalled:
        return ReadStalled(
            f"reading the topic {self._topic} stalled: nothing came for {self._limits.stall_s:g} s",
            "the rows that came are kept; look at the brokers, then run the same command again",
        )
