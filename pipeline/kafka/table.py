"""A table of ksqlDB that is folded from its topic: the newest change of each key, without deleted rows.

The topic is read from its start to the last stable offsets at the start of the read, and further where compaction may
have removed records before the read came to them. So each read is exact at known offsets and complete: it needs no
second read to confirm it. Memory is bounded; the rest is in a temporary folder, which after a crash the next run
removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from pipeline.columns import Column
from pipeline.errors import ReadStalled, SourceNotReadable, TimeIsOver, TopicChanged, ValueNotRepresentable
from pipeline.kafka.changes import Changes
from pipeline.kafka.connection import Brokers
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.reader import Reader
from pipeline.kafka.registry import RegistryClient
from pipeline.kafka.rows import refused
from pipeline.kafka.table_rows import TableRows
from pipeline.kafka.topic import Topic, look_at
from pipeline.limits import Limits
from pipeline.source import Look, Offsets, Source, StateNote, TableRead, TableState

_MOST_READS = 8
"""How often a topic is read, the later times only what came during the read before.

It matters where offsets without a record never end, as on a busy topic that is written in transactions. The last of
these reads takes moments: a record can be missing there only if within them it got a newer one of its key, the
segments of both were closed, and they were compacted.
"""

_BY_KSQLDB = "read this feed by ksqlDB: python manage_feeds.py update FEED --read-from ksqldb"


@dataclass(frozen=True)
class KafkaTable:
    """See `pipeline.source.TableSource`.

    `lag` is how many records of its sources the query that writes the table had not read when it was looked up.
    `holds_all` says whether ksqlDB stores the table's rows itself, so that they outlive the records of the topic.
    """

    kind: ClassVar[Literal["table"]] = "table"
    passing: ClassVar[tuple[()]] = ()
    read_by: ClassVar[str] = "its topic in Kafka, folded by key"
    is_watched: ClassVar[bool] = False
    source: Source
    declaration: Declaration
    brokers: Brokers
    registry: RegistryClient | None
    lag: int | None
    holds_all: bool

    def columns(self) -> tuple[Column, ...]:
        return self.declaration.columns

    def state(self) -> TableState:
        return TableState({self.source.topic: _read_to_the_end(self._topic().offsets)}, self.lag)

    def looks(self, _: TableState) -> Callable[[], Look] | None:
        return None

    def read(self, limits: Limits, watched: bool) -> TableRead:  # noqa: ARG002 # nothing watches it
        """Raises SourceNotReadable, TopicChanged, TopicGone, KafkaRefused, KafkaUnreachable; later also ReadStalled,
        TimeIsOver, ValueNotRepresentable, ScratchUnusable."""  # fmt: skip
        return self._fold(self._topic().offsets, limits, most_reads=_MOST_READS)

    def read_at(self, note: StateNote, limits: Limits) -> TableRead | None:
        """None for a state of another topic, or of one with later ends than now."""
        there, wanted = self._topic().offsets, note.get(self.source.topic)
        if wanted is None or len(note) > 1 or not wanted.keys() <= set(map(str, there)):
            return None
        ends = {partition: wanted.get(str(partition), (0, at.start))[1] for partition, at in there.items()}
        if any(end > there[partition].end for partition, end in ends.items()):
            return None
        spans = {p: Offsets(min(at.start, ends[p]), ends[p], ends[p]) for p, at in there.items()}
        return self._fold(spans, limits, most_reads=1)

    def _fold(self, ends: Mapping[int, Offsets], limits: Limits, most_reads: int) -> TableRead:
        self._refuse_lost(ends)
        state = TableState({self.source.topic: _read_to_the_end(ends)})

        def batches() -> Iterator[pa.RecordBatch]:
            rows = TableRows(self.declaration, self.registry)
            with Changes() as changes:
                reached = self._take(changes, rows, ends, limits, most_reads)
                read.state = TableState({self.source.topic: _read_to_the_end(reached)})
                yield from _newest_rows(changes, rows, self.holds_all)
            read.unreadable = dict(rows.left_out)

        read = TableRead(self.columns(), batches(), state=state)
        return read

    def _take(
        self, changes: Changes, rows: TableRows, ends: Mapping[int, Offsets], limits: Limits, most_reads: int = 1
    ) -> Mapping[int, Offsets]:
        """Adds the changes up to `ends`, or up to later ends; returns those.

        Compaction removes a record only if the topic has a newer one of its key, which may lie after the ends. So after
        a read that came upon offsets without a record, what came to the topic meanwhile is read too.
        """
        due, reached = {partition: (at.start, at.end) for partition, at in ends.items()}, dict(ends)
        for _ in range(most_reads):
            reached |= {p: Offsets(ends[p].start, end, end) for p, (_, end) in due.items()}
            found_all = self._read(changes, rows, due, limits)
            there = self._topic().offsets  # raises if it was recreated, so that no record of the new one is taken
            due = {p: (end, max(end, there[p].end)) for p, (_, end) in due.items() if p in there}
            if found_all or all(start == end for start, end in due.values()):
                break
        changes.find_newest()
        if (doubled := changes.doubled()) is not None:
            raise self._in_two_partitions(doubled)
        if self.declaration.timestamp:
            for deletes in changes.newest_deletes():
                rows.rows(deletes.records)
        return reached

    def _read(self, changes: Changes, rows: TableRows, spans: Mapping[int, tuple[int, int]], limits: Limits) -> bool:
        """Adds the changes at these offsets; returns whether each offset had a record."""
        reader, count = Reader(self.brokers, self.source.topic, spans, limits), 0
        try:
            for records in reader.batches():
                count += len(records)
                changes.add(*rows.changes(records))
        except ReadStalled as error:
            raise ReadStalled(error.message, "nothing of the table is kept; run the same command again") from None
        if reader.outcome != "exact":
            raise TimeIsOver(self.source.name)
        return count == sum(end - start for start, end in spans.values())

    def _topic(self) -> Topic:
        """The topic now. Raises TopicChanged if it was recreated since its table was looked up."""
        topic = look_at(self.brokers, self.source.topic)
        if self.source.topic_id and topic.id != self.source.topic_id:
            raise TopicChanged(f"the topic {topic.name} was recreated while it was read", "run the same command again")
        return topic

    def _refuse_lost(self, ends: Mapping[int, Offsets]) -> None:
        """Raises SourceNotReadable for lost records: ksqlDB still has their rows, except those of expired windows."""
        lost = [partition for partition, at in ends.items() if at.start > 0]
        if lost and self.holds_all and self.declaration.window is None:
            raise SourceNotReadable(
                f"the table {self.source.name} cannot be folded from its topic {self.source.topic}: the first records "
                f"of partition {lost[0]} are gone, by retention, and ksqlDB may still have rows of them",
                f"{_BY_KSQLDB}; or have the topic compacted only (cleanup.policy=compact), and recreate the table",
            )

    def _in_two_partitions(self, doubled: pa.RecordBatch) -> ValueNotRepresentable:
        places = " and ".join(
            f"offset {row['offset']} of partition {row['partition']}" for row in doubled.to_pylist()[:2]
        )
        return ValueNotRepresentable(
            f"the table {self.source.name} has a key in two partitions of its topic ({places}), and which of the rows "
            "ksqlDB gives is not known",
            "have all records of a key in one partition; it happens where partitions were added to the topic",
        )


_Row = tuple[int, bytes]
"""A partition, and a row's name in it."""


def _newest_rows(changes: Changes, rows: TableRows, holds_all: bool) -> Iterator[pa.RecordBatch]:
    """The rows of all newest changes; a record that is no change leaves the row of the last change before it."""
    passed_over = dict[_Row, tuple[int, int, str]]()
    for found in changes.newest():
        batch, unread = rows.rows(found.records)
        yield batch
        if unread:
            records, numbers = found.records.take(pa.array(list(unread))), found.numbers[list(unread)].tolist()
            told = zip(numbers, records.column("offset").to_pylist(), unread.values(), strict=True)
            passed_over |= zip(rows.rows_of(records), told, strict=True)
    if not passed_over:
        return
    last = _last_before(changes, rows, [number for number, _, _ in passed_over.values()])
    for row in passed_over.keys() - last.keys() if holds_all else ():  # compaction may have removed the row before it
        raise refused(row[0], *passed_over[row][1:])
    for found in changes.get([number for number in last.values() if number is not None]):
        yield rows.rows(found.records)[0]


def _last_before(changes: Changes, rows: TableRows, numbers: Sequence[int]) -> dict[_Row, int | None]:
    """For the rows of these changes the number of the last change before them; None for a delete."""
    last: dict[_Row, int | None] = {}
    for found in changes.before(numbers):
        _, unread = rows.rows(found.records)
        deletes = found.records.column("value").is_null().to_pylist()
        for place, row in enumerate(rows.rows_of(found.records)):
            if place not in unread:
                last[row] = None if deletes[place] else int(found.numbers[place])
    return last


def _read_to_the_end(ends: Mapping[int, Offsets]) -> dict[int, Offsets]:
    return {partition: Offsets(at.start, at.end, at.end) for partition, at in ends.items()}
