"""A source whose rows are a list: what a new source has to implement, and no more. Most rows come twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa

from pipeline.columns import Column, SqlType, arrow_schema
from pipeline.errors import SourceUnknown
from pipeline.limits import Limits
from pipeline.source import Look, Offsets, Plan, Source, StreamRead, TableRead, TableState, Task

Row = tuple[int, int, int, str]  # rowtime, rowpartition, rowoffset, text
_TYPES = {"ROWTIME": "BIGINT", "ROWPARTITION": "INTEGER", "ROWOFFSET": "BIGINT", "TEXT": "STRING"}
STREAM_COLUMNS = tuple(Column(name, SqlType(type_)) for name, type_ in _TYPES.items())
TABLE_COLUMNS = (Column("ID", SqlType("BIGINT"), "KEY"), Column("TEXT", SqlType("STRING")))


@dataclass(frozen=True)
class ToyStream:
    """Plain values only, so that tasks of it can be staged in another process."""

    rows: tuple[Row, ...]
    seeks: bool = False
    without_row: int = 0  # offsets at each partition's end
    begins_at: int = 0
    kind: ClassVar[Literal["stream"]] = "stream"

    @property
    def source(self) -> Source:
        return Source("TOY", self.kind, "toy", len(self.ends()))

    def columns(self) -> tuple[Column, ...]:
        return STREAM_COLUMNS

    def ends(self) -> Mapping[int, Offsets]:
        highest = {p: max(row[2] for row in self.rows if row[1] == p) for _, p, _, _ in self.rows}
        return {p: Offsets(self.begins_at, last + 1 + self.without_row, 0) for p, last in highest.items()}

    def plan(self, whole: Task, _: Limits) -> Plan:
        """A task for each topic partition, or one that can be cut."""
        if self.seeks:
            return Plan(STREAM_COLUMNS, (whole,), seeks=True)
        ends = whole.ends or {}
        parts = ((p, {p: whole.start[p]} if p in whole.start else {}) for p in sorted(ends))
        tasks = (Task(whole.feed, "toy", start, {p: ends[p]}, whole.wanted, whole.accept_gap) for p, start in parts)
        return Plan(STREAM_COLUMNS, tuple(tasks))

    def read(self, task: Task, _: Limits) -> StreamRead:
        def batches() -> Iterator[pa.RecordBatch]:
            """From the witness before the bookmark on; each batch begins with two rows of the one before.

            Those of a part have rows from before and behind it besides, as a batch of the source may have.
            """
            more = 3 if task.is_part and not task.is_empty else 0
            for partition, end in (task.ends or {}).items():
                first = task.first(partition, end) - max(more, partition in task.start)
                rows = [row for row in self.rows if row[1] == partition and first <= row[2] < end.end + more]
                for at in range(0, len(rows), 3):
                    columns = zip(*rows[max(0, at - 2) : at + 3], strict=True)
                    schema = arrow_schema(STREAM_COLUMNS)
                    yield pa.RecordBatch.from_arrays(list(map(pa.array, columns)), schema.names).cast(schema)
            read.outcome = "exact"

        read = StreamRead(batches())
        return read


@dataclass(frozen=True)
class ToyTable:
    rows: tuple[dict[str, Any], ...]
    kind: ClassVar[Literal["table"]] = "table"
    source = Source("TOYS", "table", "toys", 1)
    passing = ()
    read_by = "a list"
    is_watched = False

    def columns(self) -> tuple[Column, ...]:
        return TABLE_COLUMNS

    def state(self) -> TableState:
        return TableState({"toys": {0: Offsets(0, len(self.rows), len(self.rows))}})

    def looks(self, _: TableState) -> Callable[[], Look] | None:
        return None

    def read_at(self, *_: object) -> TableRead | None:
        return None

    def read(self, _: Limits, watched: bool) -> TableRead:
        assert not watched
        schema = arrow_schema(TABLE_COLUMNS)
        return TableRead(TABLE_COLUMNS, iter([pa.RecordBatch.from_pylist(list(self.rows), schema=schema)]))


@dataclass(frozen=True)
class ToySource:
    stream: ToyStream
    table: ToyTable = ToyTable(())
    place: ClassVar[str] = "a list of rows"

    def apart(self) -> AbstractContextManager[ToySource]:
        return contextlib.nullcontext(self)

    def list(self) -> dict[str, str]:
        return {found.source.name: found.kind for found in (self.stream, self.table)}

    def find(self, name: str, read_from: str = "") -> ToyStream | ToyTable:
        assert not read_from
        for found in (self.stream, self.table):
            if found.source.name == name:
                return found
        raise SourceUnknown(f"{name!r} is not in the list")
