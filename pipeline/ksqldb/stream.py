"""A stream of ksqlDB as a source of rows: one task, read by a push query from earliest.

REST cannot seek, so the server scans the topic from its start and sends only rows that match the predicate: the wanted
rows, and the witnesses before each bookmark. Rows may come again; `once` drops them. The query is started when its task
is planned, because only its answer has the types of all columns; the same process reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import pyarrow as pa

from pipeline.columns import Column
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.columns import columns_of
from pipeline.ksqldb.describe import Description, quote, true_ends
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.push import PushRead, start_push
from pipeline.limits import Limits
from pipeline.once import windows_of
from pipeline.source import Offsets, Plan, StreamRead, Task


class KsqldbStream:
    """See `pipeline.source.StreamSource`."""

    kind: Literal["stream"] = "stream"

    def __init__(self, client: Client, source: Description) -> None:
        self.source = source
        self._client = client
        self._begun: PushRead | None = None

    def columns(self) -> tuple[Column, ...]:
        return columns_of(self._client, self.source, positions=True)

    def ends(self) -> Mapping[int, Offsets] | None:
        return true_ends(self._client, self.source)

    def plan(self, whole: Task, limits: Limits) -> Plan:
        """Starts the query: its answer has the key types of MAPs, which DESCRIBE lacks."""
        if whole.is_empty:
            return Plan(self.columns(), (whole,))
        self._begun = self._begin(whole, limits)
        return Plan(self._begun.answer.layout.columns, (whole,))

    def read(self, task: Task, limits: Limits) -> StreamRead:
        """Raises ReadStalled, TopicChanged, and what the client raises."""
        if task.is_empty:
            return StreamRead(iter(()), outcome="exact")
        push = self._begun or self._begin(task, limits)
        self._begun = None

        def batches() -> Iterator[pa.RecordBatch]:
            for rows in push.rows():
                yield rows.batch
            read.outcome, read.proved = push.outcome, push.answer.proved

        read = StreamRead(batches())
        return read

    def _begin(self, task: Task, limits: Limits) -> PushRead:
        projection = project(self.source, positions=True)
        sql = f"SELECT {projection.select_list} FROM {quote(self.source.name)}{predicate(task)} EMIT CHANGES;"
        # With true ends the read waits for new rows only, unless old ones are wanted too.
        old_by_ends = task.wanted.old and task.ends is not None
        scanned_to = {} if old_by_ends else {p: mark.next_offset for p, mark in task.start.items()}
        return start_push(self._client, self.source, sql, limits, task.ends, scanned_to, projection.layout)


def predicate(task: Task) -> str:
    """The WHERE clause, with a blank before it, for the wanted rows and the witnesses; empty for all rows."""
    if task.wanted.start_ms is not None:
        return f" WHERE ROWTIME >= {task.wanted.start_ms} AND ROWTIME < {task.wanted.end_ms}"
    if task.wanted.old or not task.start:
        return ""
    windows = windows_of(task)
    known = sorted(windows)
    terms = [f"(ROWPARTITION = {p} AND ROWOFFSET >= {windows[p][0]})" for p in known]
    terms += [f"ROWPARTITION = {p}" for p in range(known[-1]) if p not in windows]
    return " WHERE " + " OR ".join([*terms, f"ROWPARTITION > {known[-1]}"])
