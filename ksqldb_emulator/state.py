"""The state of the emulated server: its sources, its clock, and its live push queries."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ksqldb_emulator.cluster import Cluster
from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.faults import Fault

POLL_RECORDS = 1000
"""Kafka's max.poll.records: the records of one fetch."""

_ids = itertools.count(int(time.time() * 1000) % 10**9 * 1000)


@dataclass
class LiveQuery:
    """A push query and the progress that SHOW QUERIES EXTENDED shows of it.

    `fetched` is the highest offset fetched so far, not the topic's end; `committed` follows `processed` at each
    commit. Both are -1 until the first fetch, and for ever on an empty partition.
    """

    id: str
    text: str
    source: Source
    commit_s: float
    threads: int
    fault: Fault
    started: float = field(default_factory=time.monotonic)
    closing: bool = False
    killed: bool = False
    fetched: dict[int, int] = field(default_factory=dict)
    processed: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    last_commit: float = 0.0

    def commit(self, now: float) -> None:
        if now - self.last_commit >= self.commit_s:
            self.committed, self.last_commit = dict(self.processed), now

    def shown_positions(self, now: float) -> dict[int, tuple[int, int]]:
        """By partition. With more than one thread, tasks vanish for a while early on and come back as new."""
        age = now - self.started
        partitions = range(self.source.partitions)
        if self.fault.frozen:
            return dict.fromkeys(partitions, (-1, -1))
        if self.threads > 1 and 0.5 <= age < 2.5:
            return {p: self._position(p) if age >= 1.5 and p % 2 else (-1, -1) for p in partitions if age >= 1.5}
        return {partition: self._position(partition) for partition in partitions}

    def _position(self, partition: int) -> tuple[int, int]:
        return self.fetched.get(partition, -1), self.committed.get(partition, -1)


class State:
    """The server's memory. Safe to add records from another thread: lists only grow."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.sources = dataset.sources
        self.live: dict[str, LiveQuery] = {}
        self.cluster = Cluster()
        self.restart()

    def restart(self, starting_s: float = 0.0, refuse_pulls_s: float = 0.0) -> None:
        """As after a restart: 503 for a while, then table pulls are refused; live queries break off."""
        self.started = time.monotonic()
        self.ready_at = self.started + starting_s
        self.pulls_at = self.ready_at + refuse_pulls_s
        for query in self.live.values():
            query.killed = True
        self.live.clear()

    def find(self, name: str) -> Source | None:
        return next((source for source in self.sources if source.name == name), None)

    def visible(self, source: Source, start: int = 0, at_most: int | None = None) -> list[Record]:
        """The records that are there by now, from place `start` of the list on."""
        age = time.monotonic() - self.started
        end = None if at_most is None else start + at_most
        return list(itertools.takewhile(lambda record: record.at_s <= age, source.records[start:end]))

    def live_records(self, source: Source) -> Iterator[Record]:
        """Those whose offset retention has not deleted."""
        return (record for record in self.visible(source) if record.offset >= source.log_start.get(record.partition, 0))

    def topic_bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """Start and end offset of each partition of a topic that a source reads."""
        for source in self.sources:
            if source.topic == topic:
                ends: dict[int, int] = {}
                for record in self.visible(source):
                    ends[record.partition] = record.offset + 1
                starts = source.log_start
                return {p: (starts.get(p, 0), max(ends.get(p, 0), starts.get(p, 0))) for p in range(source.partitions)}
        return {}

    def rows_of_table(self, source: Source) -> list[dict[str, Any]]:
        """The newest row of each key, deletes applied: what a pull reads."""
        newest: dict[str, dict[str, Any]] = {}
        for record in self.visible(source):
            row = row_of(record)
            key = f"{key_of(source, row)}{record.window}"
            newest.pop(key, None)
            if record.values is not None:
                newest[key] = row
        return list(newest.values())

    def new_id(self, push: bool, source: str) -> str:
        return f"transient_{source}_{next(_ids)}" if push else f"query_{next(_ids)}"


def key_of(source: Source, row: dict[str, Any]) -> str:
    """A row's key, without its window: what Kafka spreads over partitions."""
    return repr([row.get(name) for name in source.keys])


def row_of(record: Record) -> dict[str, Any]:
    """A record as a row: its columns, the pseudo columns, and the window's bounds."""
    if record.values is None:
        return dict(record.key or {})
    row = {
        "ROWTIME": record.rowtime,
        "ROWPARTITION": record.partition,
        "ROWOFFSET": record.offset,
        **record.values,
    }
    if record.window is not None:
        row["WINDOWSTART"], row["WINDOWEND"] = record.window
    return row
