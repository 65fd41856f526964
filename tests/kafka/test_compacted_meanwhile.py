"""Tables folded from a topic that is compacted while it is read: no key is missing, and none has an older row.

The log here is a dictionary: a real broker compacts when it likes, and never at the record that a read has come to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from pipeline.columns import Column, SqlType
from pipeline.errors import TimeIsOver
from pipeline.kafka import table as module
from pipeline.kafka.connection import Brokers
from pipeline.kafka.declaration import Declaration
from pipeline.kafka.formats.payload import Payload
from pipeline.kafka.records import SCHEMA, Records
from pipeline.kafka.table import KafkaTable
from pipeline.kafka.topic import Topic
from pipeline.limits import Limits
from pipeline.source import Offsets, Source

KEY, VALUE = Column("K", SqlType("STRING"), "KEY"), Column("V", SqlType("BIGINT"))


@dataclass
class Log:
    """Partitions of a topic, by offset the key and the value; `meanwhile` happens before each record that is read."""

    partitions: int = 1
    records: dict[tuple[int, int], tuple[str, int]] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    reads: list[dict[int, tuple[int, int]]] = field(default_factory=list)
    meanwhile: Callable[[int, int], object] = lambda *_: None

    def write(self, key: str, value: int, partition: int = 0) -> None:
        offset = self.ends.get(partition, 0)
        self.records[partition, offset], self.ends[partition] = (key, value), offset + 1

    def mark(self, partition: int = 0) -> None:
        """The end of a transaction: an offset without a record."""
        self.ends[partition] = self.ends.get(partition, 0) + 1

    def compact(self) -> None:
        """Removes each record that has a newer one of its key."""
        newest = {(p, self.records[p, offset][0]): offset for p, offset in sorted(self.records)}
        self.records = {at: had for at, had in self.records.items() if newest[at[0], had[0]] == at[1]}

    def look(self, *_: object) -> Topic:
        ends = {p: self.ends.get(p, 0) for p in range(self.partitions)}
        return Topic("t", "id", {p: Offsets(0, end, end, end) for p, end in ends.items()})

    def reader(self, _: Brokers, __: str, spans: Mapping[int, tuple[int, int]], limits: Limits) -> Any:
        log = self

        class Reader:
            outcome: str | None = None

            def batches(self) -> Iterator[Records]:
                log.reads.append(dict(spans))
                for partition, (start, end) in spans.items():
                    for offset in range(start, end):
                        log.meanwhile(partition, offset)
                        if (partition, offset) in log.records:
                            yield log.as_read(partition, offset)
                self.outcome = "time limit" if limits.over else "exact"

        return Reader()

    def as_read(self, partition: int, offset: int) -> Records:
        key, value = self.records[partition, offset]
        row = {"partition": partition, "offset": offset, "time": 1, "key": key.encode(),
               "value": json.dumps({"V": value}).encode()}  # fmt: skip
        return Records(pa.RecordBatch.from_pylist([row], schema=SCHEMA))

    @property
    def table(self) -> KafkaTable:
        key, value = Payload("KAFKA", (("K", KEY.type),), wrapped=False), Payload("JSON", (("V", VALUE.type),))
        declaration = Declaration((KEY, VALUE), key, value, (), "", "")
        source = Source("T", "table", "t", self.partitions, topic_id="id")
        return KafkaTable(source, declaration, Brokers("x"), None, None, holds_all=True)

    def fold(self, limits: Limits | None = None) -> tuple[dict[str, int], Any]:
        """The rows, and the noted state."""
        read = self.table.read(limits or Limits(), watched=False)
        rows = {row["k"]: row["v"] for batch in read.batches for row in batch.to_pylist()}
        assert read.state is not None
        return rows, read.state.note


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setattr(module, "look_at", made.look)
    monkeypatch.setattr(module, "Reader", made.reader)
    for key in "abc":
        made.write(key, 1)
    return made


def test_a_key_whose_record_was_removed_for_a_newer_one_is_not_missing(log: Log) -> None:
    def meanwhile(_: int, offset: int) -> None:
        if offset == 1 and log.ends[0] == 3:
            log.write("b", 2)
            log.compact()

    log.meanwhile = meanwhile

    assert log.fold() == ({"a": 1, "b": 2, "c": 1}, {"t": {"0": [4, 4]}})
    assert log.reads == [{0: (0, 3)}, {0: (3, 4)}]


def test_a_key_whose_last_record_was_removed_has_no_older_row(log: Log) -> None:
    log.write("a", 2)

    def meanwhile(_: int, offset: int) -> None:
        if offset == 2 and log.ends[0] == 4:
            log.write("a", 3)
            log.compact()

    log.meanwhile = meanwhile

    assert log.fold() == ({"a": 3, "b": 1, "c": 1}, {"t": {"0": [5, 5]}})


def test_it_is_read_on_until_a_read_finds_all_its_offsets(log: Log) -> None:
    """The key is written and its record before removed in the second read too; the other partition is read as far."""
    log.partitions = 2
    log.write("z", 1, partition=1)

    def meanwhile(partition: int, offset: int) -> None:
        if partition == 0 and (offset, log.ends[0]) in ((1, 3), (3, 4)):
            log.write("b", log.ends[0])
            log.write("z", log.ends[0], partition=1)
            log.compact()

    log.meanwhile = meanwhile

    assert log.fold() == ({"a": 1, "b": 4, "c": 1, "z": 5}, {"t": {"0": [5, 5], "1": [3, 3]}})
    assert log.reads == [{0: (0, 3), 1: (0, 1)}, {0: (3, 4), 1: (1, 2)}, {0: (4, 5), 1: (2, 3)}]


def test_a_topic_without_a_missing_offset_is_read_once_and_one_that_stands_still_too(log: Log) -> None:
    log.meanwhile = lambda _, offset: log.write("d", offset)
    assert log.fold() == ({"a": 1, "b": 1, "c": 1}, {"t": {"0": [3, 3]}})

    log.meanwhile = lambda *_: None
    log.compact()
    assert log.fold() == ({"a": 1, "b": 1, "c": 1, "d": 2}, {"t": {"0": [6, 6]}})
    assert log.reads == [{0: (0, 3)}, {0: (0, 6)}]


def test_a_topic_that_always_has_a_transaction_more_is_not_read_for_ever(log: Log) -> None:
    def meanwhile(_: int, offset: int) -> None:
        if (0, offset) in log.records:
            log.write("a", offset + 10)
            log.mark()

    log.mark()
    log.meanwhile = meanwhile

    rows, state = log.fold()

    last = log.reads[-1][0][1]
    assert len(log.reads) == module._MOST_READS
    assert (rows.keys(), state) == ({"a", "b", "c"}, {"t": {"0": [last, last]}})
    assert rows["a"] == max(value for (_, at), (key, value) in log.records.items() if key == "a" and at < last)


def test_time_may_be_over_while_it_is_read_on(log: Log) -> None:
    limits = Limits(deadline=float("inf"))

    def meanwhile(_: int, offset: int) -> None:
        if offset == 1:
            log.records.pop((0, 0), None)
            log.write("a", 2)
        if offset == 3:
            object.__setattr__(limits, "deadline", 0.0)

    log.records.pop((0, 0))
    log.meanwhile = meanwhile

    with pytest.raises(TimeIsOver):
        log.fold(limits)


def test_a_state_that_was_noted_before_is_not_read_beyond(log: Log) -> None:
    log.write("b", 2)
    log.compact()

    read = log.table.read_at({"t": {"0": [3, 3]}}, Limits())

    assert read is not None
    assert sorted(row["k"] for batch in read.batches for row in batch.to_pylist()) == ["a", "c"]
    assert log.reads == [{0: (0, 3)}]
