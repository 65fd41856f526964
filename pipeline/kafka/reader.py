"""Records of topic partitions between offsets, in batches that memory can hold.

No group is joined and nothing is committed to Kafka: partitions are assigned, each from its first offset. The client
skips offsets without a record (aborted transactions, transaction markers, compaction) and reports the end of a
partition, so a partition whose last offsets have no record does not block the read. The client fetches ahead into a
queue of a fixed size; while that is full nothing more is read from the socket.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from pipeline.errors import ReadStalled
from pipeline.kafka.connection import Brokers
from pipeline.kafka.consumer import Consumer, Mark, consumer
from pipeline.kafka.errors import GONE, Troubles
from pipeline.kafka.records import Records, joined
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


class Reader:
    """Reads `spans`: by partition the first offset and the end (exclusive). `outcome` is set when that is done."""

    def __init__(
        self,
        brokers: Brokers,
        topic: str,
        spans: Mapping[int, tuple[int, int]],
        limits: Limits,
        with_headers: bool = False,
    ) -> None:
        self._brokers, self._topic, self._limits, self._with_headers = brokers, topic, limits, with_headers
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
            options = {**self._brokers.options(), **_OPTIONS, **QUIET}
            reading = consumer(self._topic, options, self._troubles, self._with_headers)
            try:
                reading.assign({partition: first for partition, (first, _) in self._spans.items()})
                yield from self._read(reading)
            finally:
                reading.close()
        except KafkaException as error:
            raise self._troubles.error(error) from None

    def _read(self, reading: Consumer) -> Iterator[Records]:
        due = {partition: end for partition, (_, end) in self._spans.items()}
        held: list[Records] = []
        held_count, held_bytes, moved_at = 0, 0, time.monotonic()
        held_since = moved_at
        while due and not self._limits.over:
            came, marks = reading.take(self._most, _WAIT_S)
            at_end, now = self._at_end(marks, due), time.monotonic()
            if len(came) or at_end:
                moved_at = now
            elif now - moved_at >= self._limits.stall_s:
                if held:
                    yield self._within(held)
                raise self._stalled()
            if len(came):
                held_since = held_since if held else now
                held.append(came)
                came_bytes = came.batch.nbytes
                held_count, held_bytes = held_count + len(came), held_bytes + came_bytes
                self._most = max(1, min(_MOST_RECORDS, _MOST_BYTES * len(came) // came_bytes))
            passed = (self._passed(came) | at_end) & due.keys()
            for partition in passed:
                del due[partition]
            if passed and due:
                reading.pause(passed)
            full = held_count >= _MOST_RECORDS or held_bytes >= _MOST_BYTES
            if held and (full or not due or now - held_since >= _HELD_S):
                yield self._within(held)
                held, held_count, held_bytes, moved_at = [], 0, 0, time.monotonic()
        if held:
            yield self._within(held)
        self.outcome = "time limit" if due else "exact"

    def _at_end(self, marks: Sequence[Mark], due: Mapping[int, int]) -> set[int]:
        """The partitions whose end the client has reported. Raises for other errors."""
        if not marks:
            self._troubles.raise_lasting()
            return set()
        at_end = set[int]()
        for mark in marks:
            if mark.error.code() != KafkaError._PARTITION_EOF:
                self._judge(mark.error, mark.partition)
            elif mark.partition in due and mark.offset >= due[mark.partition]:
                at_end.add(mark.partition)
        return at_end

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

    def _within(self, held: Sequence[Records]) -> Records:
        """The records before the ends."""
        records = joined(held)
        return records.only(records.offsets < self._ends[records.partitions])

    def _stalled(self) -> ReadStalled:
        return ReadStalled(
            f"reading the topic {self._topic} stalled: nothing came for {self._limits.stall_s:g} s",
            "the rows that came are kept; look at the brokers, then run the same command again",
        )
