"""The complete rows of a table at one moment.

A pull query where the server allows it, else a push from earliest folded by key. No answer proves that a table pull
is whole: a cluster that loses a node sends status 200 and a third of the rows missing. So `settle` reads a doubtful
snapshot again and takes it only when it does not shrink between reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from pipeline.errors import ActionNeeded, TryLater
from pipeline.ksqldb.catalog import Source, SourceNotReadable, quote, true_ends
from pipeline.ksqldb.client import Client, TimeIsOver
from pipeline.ksqldb.framing import Ending, Framing
from pipeline.ksqldb.projection import LakeColumn, Projection, RowReader, project
from pipeline.ksqldb.push import Limits, start_push

_BATCH_ROWS = 65_536
_READS = 5


class SnapshotUnsettled(TryLater):
    """Reads of a table kept getting smaller; the last good snapshot stays the current one."""


class SnapshotShrank(ActionNeeded):
    """A table lost more rows at once than is believed without being told."""


class SnapshotDoubled(TryLater):
    """A read of a table held a key more than once; the last good snapshot stays the current one."""


class TableRead:
    """One read of a table. `batches` can be taken once; after it the read is proved complete."""

    def __init__(self, reader: RowReader, batches: Iterator[pa.RecordBatch]) -> None:
        self.columns: tuple[LakeColumn, ...] = reader.columns
        self.schema: pa.Schema = reader.schema
        self.batches = batches


def read_table(client: Client, source: Source, limits: Limits) -> TableRead:
    """All rows of the table now. Raises what `refuse_unreadable` raises."""
    refuse_unreadable(source)
    projection = project(source, positions=False)
    if source.pullable:
        return _pull(client, source, projection, limits)
    return _fold(client, source, projection, limits)


def refuse_unreadable(source: Source) -> None:
    """Raises SourceNotReadable for session windows: the server answers a scan with nothing, or with an error."""
    if source.window == "SESSION":
        raise SourceNotReadable(
            f"the table {source.name} has session windows: a scan of it answers with no rows although it has some",
            "derive a table with tumbling windows, or export the stream behind it",
        )


def _pull(client: Client, source: Source, projection: Projection, limits: Limits) -> TableRead:
    sql = f"SELECT {projection.select_list} FROM {quote(source.name)};"
    with limits.in_time(source.name):
        answer = client.query(sql, Framing.PLAIN_ARRAY, Ending.BRACKET, at_most_s=limits.left_s())
    with answer.closing_on_error():
        reader = projection.reader(answer.header)
    places = _key_places(projection)

    def batches() -> Iterator[pa.RecordBatch]:
        seen: list[Any] = []
        with answer:
            incoming = answer.rows()
            while True:
                with limits.in_time(source.name):
                    if limits.deadline is not None:
                        answer.wait_at_most(limits.left_s())
                    rows = next(incoming, None)
                if rows is None:
                    break
                seen.append(_fingerprints(rows.values, places))
                yield reader.batch(rows.values)
        _refuse_doubles(source, seen)

    return TableRead(reader, batches())


def _key_places(projection: Projection) -> list[int]:
    """Where in a row its key is; of a windowed table the window's bounds are part of it."""
    at, places = 0, list[int]()
    for plan in projection.plans:
        if plan.column.source.role == "KEY":
            places += range(at, at + len(plan.parts))
        at += len(plan.parts)
    return places


def _fingerprints(rows: Sequence[tuple[Any, ...]], places: Sequence[int]) -> Any:
    """Eight bytes a row, equal where the keys are, else different but for one chance in 10**6 at ten million rows."""
    keys = (repr([row[place] for place in places]) for row in rows)
    return np.fromiter(map(hash, keys), dtype=np.int64, count=len(rows))


def _refuse_doubles(source: Source, seen: list[Any]) -> None:
    fingerprints = np.concatenate([*seen, np.empty(0, dtype=np.int64)])
    doubles = len(fingerprints) - len(np.unique(fingerprints))
    if doubles:
        raise SnapshotDoubled(
            f"the answer for the table {source.name} is not to be believed: {doubles} of its rows have a key that "
            "another row has too",
            "nothing was kept of it; run the same command again",
        )


def _refuse_hidden_keys(source: Source, projection: Projection) -> None:
    """For a deleted row: the server fills only key columns that are asked for as they are."""
    for plan in projection.plans:
        if plan.column.source.role == "KEY" and [part.sql for part in plan.parts] != [quote(plan.column.source.name)]:
            raise SourceNotReadable(
                f"a row of the table {source.name} was deleted, and the server does not tell which: its key column "
                f"{plan.column.source.name} has the type {plan.column.source.type}",
                "derive a table that can be pulled (CREATE TABLE ... AS SELECT), or one with a BIGINT or STRING key",
            )


def _fold(client: Client, source: Source, projection: Projection, limits: Limits) -> TableRead:
    """The table from its changes: the newest row of each key, without the deleted ones. Holds all rows in memory."""
    ends = true_ends(client, source)
    sql = f"SELECT {projection.select_list} FROM {quote(source.name)} EMIT CHANGES;"
    push = start_push(client, source, sql, limits, ends, {})
    with push.answer.closing_on_error():
        reader = projection.reader(push.header)
    key_places = _key_places(projection)

    def batches() -> Iterator[pa.RecordBatch]:
        newest: dict[str, tuple[Any, ...]] = {}
        for rows in push.rows():
            deletes = set(rows.tombstones)
            if deletes:
                _refuse_hidden_keys(source, projection)
            for place, row in enumerate(rows.values):
                key = repr([row[i] for i in key_places])
                if place in deletes:
                    newest.pop(key, None)
                else:
                    newest[key] = row
        if push.outcome == "time limit":
            raise TimeIsOver(source.name)
        kept = list(newest.values())
        for start in range(0, len(kept), _BATCH_ROWS):
            yield reader.batch(kept[start : start + _BATCH_ROWS])

    return TableRead(reader, batches())


class Stored(Protocol):
    """A read that was put somewhere: how many rows it has, and how to throw it away."""

    @property
    def row_count(self) -> int: ...
    def discard(self) -> None: ...


_S = TypeVar("_S", bound=Stored)


def settle(
    read: Callable[[], _S],
    table: str,
    previous_rows: int | None,
    recheck_s: float,
    max_shrink: float,
    sleep: Callable[[float], None],
) -> _S:
    """A snapshot that can be believed: `read` (which reads and stores all rows) once, or again while in doubt.

    In doubt is the first snapshot of a table and one with fewer rows than the last; it is taken when a later read is
    not smaller than the one before. `max_shrink` is the share of `previous_rows` that may be gone (1 takes any).
    Raises SnapshotUnsettled or SnapshotShrank; every read but the one returned is discarded.
    """
    best = read()
    if previous_rows is None or best.row_count < previous_rows:
        for _ in range(_READS):
            sleep(recheck_s)
            again = _discarding(best, read)
            best.discard()
            settled = again.row_count >= best.row_count
            best = again
            if settled:
                break
        else:
            rows = best.row_count
            best.discard()
            raise SnapshotUnsettled(
                f"the table {table} had fewer rows at each of {_READS + 1} reads, {rows} at the last: the cluster may "
                "be losing nodes",
                "look at the ksqlDB cluster, then run the same command again",
            )
    if previous_rows is not None and best.row_count < previous_rows * (1 - max_shrink):
        rows = best.row_count
        best.discard()
        raise SnapshotShrank(
            f"the table {table} has {rows} rows, and had {previous_rows} in its last snapshot: more than "
            f"{max_shrink:.0%} are gone, so this one is not published",
            "if the rows were really deleted, run once with --allow-shrink",
        )
    return best


def _discarding(stored: _S, read: Callable[[], _S]) -> _S:
    """Reads again; when that fails, the first read must not stay behind."""
    try:
        return read()
    except BaseException:
        stored.discard()
        raise
