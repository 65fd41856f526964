"""A stream of ksqlDB whose rows are read from its topic: any offsets of any partition, by a seek.

The ends are those of committed records at the start, so each read ends `exact`, or at the time limit. The stream has
only plain values, so another process can read a task. A read that is killed leaves nothing at the brokers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import Column
from pipeline.errors import ReadStalled, TopicChanged
from pipeline.kafka.connection import Brokers
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.reader import Reader
from pipeline.kafka.registry import RegistryClient
from pipeline.kafka.rows import Rows
from pipeline.kafka.topic import Topic, look_at
from pipeline.limits import Limits
from pipeline.once import topic_recreated, windows_of
from pipeline.source import Offsets, Plan, Source, StreamRead, Task, Wanted


@dataclass(frozen=True)
class KafkaStream:
    """See `pipeline.source.StreamSource`."""

    kind: ClassVar[Literal["stream"]] = "stream"
    source: Source
    declaration: Declaration
    brokers: Brokers
    registry: RegistryClient | None

    def columns(self) -> tuple[Column, ...]:
        return self.declaration.columns

    def ends(self) -> Mapping[int, Offsets]:
        return self._topic().offsets

    def plan(self, whole: Task, _: Limits) -> Plan:
        return Plan(self.columns(), (whole,), seeks=True)

    def read(self, task: Task, limits: Limits) -> StreamRead:
        """Raises ReadStalled, TopicChanged, TopicGone, KafkaRefused, KafkaUnreachable."""
        if task.is_empty:
            return StreamRead(iter(()), outcome="exact")
        ends = task.ends or {}
        first = {p: task.first(p, at) for p, at in ends.items()}
        with_headers = bool(self.declaration.headers)
        reader = Reader(self.brokers, task.topic, self._spans(task, first), limits, with_headers)
        rows = Rows(self.declaration, self.registry, first)

        def batches() -> Iterator[pa.RecordBatch]:
            for records in reader.batches():
                batch = _wanted(rows.batch(records), task.wanted)
                read.unreadable += rows.take_left_out()
                yield batch
            if reader.outcome == "exact":
                self._topic()  # raises if the topic was recreated meanwhile, so that no row of the new one is taken
            read.outcome = reader.outcome

        read = StreamRead(batches())
        return read

    def _spans(self, task: Task, first: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        """From the witnesses before each bookmark that are still there, to the ends."""
        there, windows, spans = self._topic().offsets, windows_of(task), dict[int, tuple[int, int]]()
        for partition, at in (task.ends or {}).items():
            if first[partition] >= at.end:
                continue
            now = there.get(partition, Offsets(0, 0, 0))
            if max(now.end, now.written) < at.end:
                raise topic_recreated(task.topic, partition, now.end, at.end)
            if now.start > first[partition]:
                raise ReadStalled(
                    f"the topic {task.topic} lost rows of partition {partition} before they were read",
                    "run the same command again, which says what is lost",
                )
            from_witness = min(first[partition], windows.get(partition, (first[partition],))[0])
            # A bookmark may lie after the end: ksqlDB may have returned rows of transactions that are still open.
            spans[partition] = max(now.start, from_witness), min(now.end, at.end)
        return spans

    def _topic(self) -> Topic:
        """The topic now. Raises TopicChanged if it was recreated since its stream was looked up."""
        topic = look_at(self.brokers, self.source.topic)
        if self.source.topic_id and topic.id != self.source.topic_id:
            raise TopicChanged(
                f"the topic {topic.name} was recreated while it was read",
                "run the same command again, which says what has become of it",
            )
        return topic


def _wanted(batch: pa.RecordBatch, wanted: Wanted) -> pa.RecordBatch:
    if wanted.start_ms is None:
        return batch
    times = batch.column("rowtime")
    return batch.filter(pc.and_(pc.greater_equal(times, wanted.start_ms), pc.less(times, wanted.end_ms)))
