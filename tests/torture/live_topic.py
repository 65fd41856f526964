"""A topic of a real broker and the stream over it at the emulator, and all that becomes of a topic while it is used.

Both have the same rows at the same offsets. Kafka is always first: whatever ksqlDB has, it has from there. ksqlDB runs
with exactly-once here: it has no rows of aborted transactions.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its own list
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from demo.private_kafka import create_topic
from ksqldb_emulator.dataset import Record
from ksqldb_emulator.testing import PATIENCE_S, Emulator, comes_true
from pipeline.kafka.connection import Brokers
from pipeline.kafka.topic import look_at
from tests.kafka.topics import has_partitions, producer, write
from tests.torture.victim import KEYS

SOURCE, TOPIC = "EVENTS", "events"
_LARGE_BYTES = 10_000_000
_STEP_MS = 200
_PARTITIONS = 3
_MOST_PARTITIONS = 6
_COMPACT = {
    "cleanup.policy": "compact",
    "segment.ms": str(_STEP_MS // 2),
    "min.cleanable.dirty.ratio": "0.01",
    "max.compaction.lag.ms": "200",
}
_KEEP = {"cleanup.policy": "delete", "segment.ms": "604800000"}
Place = tuple[int, int]


@dataclass
class LiveTopic:
    """`rows` are all that ever came to the topic, the number of each by its place; `optional` are the places of those
    that the topic may have lost before the lake had them.
    """

    servers: str
    emulator: Emulator
    rng: random.Random
    rows: dict[Place, int] = field(default_factory=dict)
    optional: set[Place] = field(default_factory=set)
    ends: dict[int, int] = field(default_factory=dict)
    _numbers: int = 0
    _newest_ms: int = 0

    def start(self) -> None:
        """Makes the topic of what the emulator has."""
        records = self.emulator.source(SOURCE).records
        _create(self.servers)
        self.ends = dict.fromkeys(range(_PARTITIONS), 0)
        self._newest_ms = max(record.rowtime for record in records)
        for record in records:
            self._count(record)
        write(self.servers, self.emulator.source(SOURCE), records)

    @property
    def source_rows(self) -> Counter[tuple[int, int, int]]:
        """(partition, offset, n) of every row that ever came."""
        return Counter((partition, offset, n) for (partition, offset), n in self.rows.items())

    def arrive(self, count: int, text: str = "x" * 400) -> None:
        """So many rows, in partitions at random."""
        records = [self._next(text) for _ in range(count)]
        write(self.servers, self.emulator.source(SOURCE), records)
        for record in records:
            self._count(record)
        self.emulator.append(SOURCE, records)

    def arrive_large(self) -> None:
        """A row of 10 MB, and some behind it."""
        self.arrive(1, "y" * _LARGE_BYTES)
        self.arrive(5)

    def transact(self, count: int, commit: bool) -> None:
        """A transaction that ends one way or the other; it is open for a moment. Its mark has an offset as well."""
        client = producer(self.servers, **{"transactional.id": "torture", "log_level": 0})
        client.init_transactions(PATIENCE_S)
        client.begin_transaction()
        records = [self._next("in a transaction") for _ in range(count)]
        write(self.servers, self.emulator.source(SOURCE), records, client)
        (client.commit_transaction if commit else client.abort_transaction)(PATIENCE_S)
        marks = [replace(records[0], partition=p, offset=self._take(p), values=None) for p in _partitions(records)]
        assert comes_true(self._is_settled), "the marks of a transaction did not come"
        if commit:
            for record in records:
                self._count(record)
        kept = records if commit else [replace(record, values=None) for record in records]
        self.emulator.append(SOURCE, [*kept, *marks])

    def compact(self, bookmarks: Mapping[int, int]) -> None:
        """Lets the broker drop records that have a later one of the same key, until some are gone."""
        before = self._there()

        def gone() -> bool:
            self.arrive(4)  # into a new segment: only those before it are compacted
            return not before <= self._there()

        self._configure(_COMPACT)
        assert comes_true(gone), "nothing was compacted"
        self._configure(_KEEP)
        records, newest = self.emulator.source(SOURCE).records, dict[tuple[int, str], int]()
        for record in records:
            if record.values is not None:
                newest[record.partition, record.values["K"]] = record.offset
        there = self._there()
        for at, record in enumerate(records):
            place = record.partition, record.offset
            if record.values is None:
                continue
            if record.offset < newest[record.partition, record.values["K"]] and place not in self._known(bookmarks):
                self.optional.add(place)
            if place not in there:
                records[at] = replace(record, values=None)

    def expire(self, bookmarks: Mapping[int, int], past: bool) -> bool:
        """Deletes the first records of a partition, `past` its bookmark or not; whether rows may be lost by that."""
        self.arrive(8)
        partition = self.rng.choice(sorted(p for p, due in bookmarks.items() if self.ends[p] > due) or [0])
        due, end = bookmarks.get(partition, 0), self.ends[partition]
        start = self.emulator.source(SOURCE).log_start.get(partition, 0)
        first = self.rng.randint(due + 1, end) if past and end > due else self.rng.randint(min(start, due), due)
        if first <= start:
            return False
        wanted = TopicPartition(TOPIC, partition, first)
        self._ask(lambda admin: admin.delete_records([wanted]))
        known = self._known(bookmarks)
        self.optional |= {place for place in self.rows if place[0] == partition and place[1] < first} - known
        self.emulator.source(SOURCE).log_start[partition] = first
        return partition in bookmarks and first > due

    def add_partition(self) -> None:
        count = len(self.ends) + 1
        if count > _MOST_PARTITIONS:
            return
        self._ask(lambda admin: admin.create_partitions([NewPartitions(TOPIC, count)]))
        assert comes_true(lambda: has_partitions(self.servers, TOPIC, count)), "a new partition has no leader"
        self.emulator.source(SOURCE).partitions = count
        self.ends[count - 1] = 0

    def recreate(self) -> None:
        """Another topic of the same name: shorter than the old one in each partition, or longer in each."""
        old = dict(self.ends)
        self._ask(lambda admin: admin.delete_topics([TOPIC]))
        assert comes_true(self._is_created), "a topic cannot be made again"
        self.rows, self.optional, self.ends = {}, set(), dict.fromkeys(range(_PARTITIONS), 0)
        source = self.emulator.source(SOURCE)
        fresh = replace(source, records=[source.records[0]], log_start={}, partitions=_PARTITIONS)
        longer = self.rng.random() < 0.5
        lengths = {p: old[p] + self.rng.randint(1, 40) if longer else min(old[p] // 2, 60) for p in self.ends}
        records = [self._next("another", p) for p, length in lengths.items() for _ in range(length)]
        write(self.servers, fresh, records)
        for record in records:
            self._count(record)
        self.emulator.replace_source(replace(fresh, records=records))

    def _next(self, text: str, partition: int | None = None) -> Record:
        """A new record at the next offset of a partition, at random where none is named.

        Each is later than all before, and than the marks of transactions, which have the broker's time: a broker begins
        a new segment by how much later a record is than the newest of the segment's first batch.
        """
        partition = self.rng.randrange(len(self.ends)) if partition is None else partition
        self._numbers += 1
        n = 1_000_000 + self._numbers
        values = {"K": f"ké{n % KEYS}", "N": n, "TEXT": text}
        self._newest_ms = max(self._newest_ms + _STEP_MS, int(time.time() * 1000))
        return Record(partition, self._take(partition), self._newest_ms, values)

    def _take(self, partition: int) -> int:
        self.ends[partition] += 1
        return self.ends[partition] - 1

    def _count(self, record: Record) -> None:
        assert record.values is not None
        self.rows[record.partition, record.offset] = record.values["N"]
        self.ends[record.partition] = max(self.ends[record.partition], record.offset + 1)

    def _known(self, bookmarks: Mapping[int, int]) -> set[Place]:
        """The rows that the lake has at these bookmarks, and keeps."""
        return {(p, offset) for p, offset in self.rows if offset < bookmarks.get(p, 0)} - self.optional

    def _there(self) -> set[Place]:
        """Where the topic has committed records."""
        options: dict[str, Any] = {"bootstrap.servers": self.servers, "group.id": "truth", "enable.partition.eof": True}
        client, places, due = Consumer(options | {"isolation.level": "read_committed"}), set[Place](), set(self.ends)
        starts = self.emulator.source(SOURCE).log_start
        client.assign([TopicPartition(TOPIC, partition, starts.get(partition, 0)) for partition in due])
        while due:
            for message in client.consume(1000, 0.1):
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None
                if message.error() is None:
                    places.add((partition, offset))
                else:
                    due.discard(partition)
        client.close()
        return places

    def _is_settled(self) -> bool:
        ends = look_at(Brokers(self.servers), TOPIC).offsets
        return all(ends[p].end == ends[p].written == end for p, end in self.ends.items())

    def _is_created(self) -> bool:
        try:
            _create(self.servers)
        except KafkaException:
            return False
        return comes_true(lambda: has_partitions(self.servers, TOPIC, _PARTITIONS))

    def _configure(self, config: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=entries)
        self._ask(lambda admin: admin.incremental_alter_configs([resource]))

    def _ask(self, question: Callable[[AdminClient], Mapping[Any, Future[Any]]]) -> None:
        """A broker that has just started may know no leaders for a moment."""

        def is_answered() -> bool:
            admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
            try:
                for answer in question(admin).values():
                    answer.result(PATIENCE_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._NOENT:
                    raise
                return False
            return True

        assert comes_true(is_answered), "the broker has no leaders"


def _create(servers: str) -> None:
    """The topic, which takes records of any time: after 18,000 of them `_next` is an hour ahead of the broker."""
    create_topic(servers, TOPIC, _PARTITIONS, message_timestamp_after_max_ms=str(2**63 - 1))


def _partitions(records: list[Record]) -> list[int]:
    return sorted({record.partition for record in records})
