"""A table of ksqlDB as a source of rows: all of them at one moment.

It is read by a pull query where the server allows that, else by a push from earliest, of which the newest row of each
key counts. No answer proves a pull complete, so there is a look at the cluster before and after each pull: see
`export.believed`. A push reads the table's own topic on one node, so the death of another node does not affect it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.columns import Column
from pipeline.errors import (
    AnswerIncomplete,
    QueryFailed,
    ServerNotReady,
    ServerUnreachable,
    SnapshotDoubled,
    SourceNotReadable,
    TimeIsOver,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.cluster import look_at_query
from pipeline.ksqldb.columns import columns_of
from pipeline.ksqldb.describe import Description, lag, quote, table_offsets, true_ends
from pipeline.ksqldb.framing import Ending, Framing
from pipeline.ksqldb.newest_rows import NewestRows, row_keys
from pipeline.ksqldb.projection import Projection, project
from pipeline.ksqldb.push import start_push
from pipeline.limits import Limits
from pipeline.source import Look, StateNote, TableRead, TableState


class KsqldbTable:
    """See `pipeline.source.TableSource`."""

    kind: Literal["table"] = "table"
    passing = (AnswerIncomplete, QueryFailed, ServerNotReady, ServerUnreachable, SnapshotDoubled)
    """Errors of a pull while a node dies; a key comes twice while a task moves and two hosts have it."""

    def __init__(self, client: Client, source: Description) -> None:
        self.source = source
        self._client = client

    @property
    def read_by(self) -> str:
        return "a pull query" if self.source.pullable else "a push query, folded by key"

    @property
    def is_watched(self) -> bool:
        return self.source.pullable

    def columns(self) -> tuple[Column, ...]:
        refuse_unreadable(self.source)
        return columns_of(self._client, self.source, positions=False)

    def state(self) -> TableState:
        offsets = table_offsets(self._client, self.source)
        return TableState(offsets, lag(offsets) if self.source.pullable else None)

    def looks(self, state: TableState) -> Callable[[], Look] | None:
        """None where the server lists no query that writes the table, so that a look could prove nothing."""
        return look_at_query(self._client, self.source, state.offsets) if self.source.pullable else None

    def read(self, limits: Limits, watched: bool) -> TableRead:
        refuse_unreadable(self.source)
        read = _pull if self.source.pullable and watched else _fold
        return read(self._client, self.source, project(self.source, positions=False), limits)

    def read_at(self, _note: StateNote, _limits: Limits) -> TableRead | None:
        return None


def refuse_unreadable(source: Description) -> None:
    """Raises SourceNotReadable for session windows: the server answers a scan with nothing, or with an error."""
    if source.window == "SESSION":
        raise SourceNotReadable(
            f"the table {source.name} has session windows: a scan of it answers with no rows although it has some",
            "set KAFKA_BOOTSTRAP_SERVERS: it can be read from Kafka; or export the stream behind it",
        )


def _pull(client: Client, source: Description, projection: Projection, limits: Limits) -> TableRead:
    sql = f"SELECT {projection.select_list} FROM {quote(source.name)};"
    # A pull answers immediately and without pauses: if it is silent, it waits for a node that died.
    silent_s = min(client.connection.timeout_s, client.connection.stall_s)
    with limits.in_time(source.name):
        turn = client.take_turn(limits, source.name)
        framing, ending, left_s = Framing.PLAIN_ARRAY, Ending.BRACKET, limits.left_s()
        answer = client.query(
            sql, framing, ending, at_most_s=left_s, silent_s=silent_s, layout_of=projection.layout, turn=turn
        )

    def batches() -> Iterator[pa.RecordBatch]:
        seen: list[Any] = []
        with answer:
            incoming = answer.rows()
            while True:
                with limits.in_time(source.name):
                    if limits.deadline is not None:
                        answer.wait_at_most(min(silent_s, limits.left_s() or silent_s))
                    rows = next(incoming, None)
                if rows is None:
                    break
                keys = row_keys(rows.batch, answer.layout)
                seen.append(np.fromiter(map(hash, keys), np.int64, len(keys)))
                yield rows.batch
        _refuse_doubles(source, seen)

    return TableRead(answer.layout.columns, batches())


def _refuse_doubles(source: Description, seen: list[Any]) -> None:
    # Eight bytes a row: with ten million rows the chance that two different keys have one fingerprint is 1 in 10**6.
    fingerprints = np.concatenate([*seen, np.empty(0, dtype=np.int64)])
    doubles = len(fingerprints) - len(np.unique(fingerprints))
    if doubles:
        raise SnapshotDoubled(
            f"the answer for the table {source.name} is not to be believed: {doubles} of its rows have a key that "
            "another row has too",
            "nothing was kept of it; run the same command again",
        )


def _refuse_hidden_keys(source: Description, projection: Projection) -> None:
    """Raises for a deleted row with an unknown key: the server fills only key columns that are selected unchanged."""
    for plan in projection.plans:
        if plan.column.role == "KEY" and [part.sql for part in plan.parts] != [quote(plan.column.name)]:
            raise SourceNotReadable(
                f"a row of the table {source.name} was deleted, and the server does not say which: its key column "
                f"{plan.column.name} has the type {plan.column.type}",
                "derive a table that can be pulled (CREATE TABLE ... AS SELECT), or one with a BIGINT or STRING key",
            )


def _fold(client: Client, source: Description, projection: Projection, limits: Limits) -> TableRead:
    """The table from its changes: the newest row of each key, without deleted rows. Holds all rows in memory.

    Not proved where another node runs the query, which then cannot be ended: its connection is dropped when no row came
    for a while.
    """
    ends = true_ends(client, source)
    sql = f"SELECT {projection.select_list} FROM {quote(source.name)} EMIT CHANGES;"
    push = start_push(client, source, sql, limits, ends, {}, projection.layout)
    layout = push.answer.layout

    def batches() -> Iterator[pa.RecordBatch]:
        newest = NewestRows(layout)
        for rows in push.rows():
            if rows.tombstones:
                _refuse_hidden_keys(source, projection)
            newest.add(rows)
        if push.outcome == "time limit":
            raise TimeIsOver(source.name)
        read.proved = push.answer.proved
        yield from newest.batches()

    read = TableRead(layout.columns, batches())
    return read
