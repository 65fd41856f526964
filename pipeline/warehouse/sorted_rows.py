"""A snapshot ready to be sent: rows sorted by key, members and rejects, stored here until the load needs them.

Rows are checked and converted once and sorted by the fact's keys (servers fill their indexes several times faster that
way); their attributes of the dimension's members are reduced to one row a member. All of it is in DuckDB, in memory up
to a limit and in a temporary folder beyond it, whatever the snapshot's size. While a piece is being sent, a thread gets
the next one ready.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from pipeline.exact_text import lines_of
from pipeline.fingerprint import ContentHash
from pipeline.progress import Meter
from pipeline.scratch import scratch_folder
from pipeline.scratch_database import database_errors, scratch_database
from pipeline.warehouse.fitting import Reject, split_rejects, texts_to_send
from pipeline.warehouse.mapping import ResolvedMapping

PIECE_BYTES = 8 * 2**20
"""About how much is converted, stored and sent at once."""
SHOWN_REJECTS = 5
_AHEAD = 2  # pieces that are converted while one is being stored


class SortedRows(contextlib.AbstractContextManager["SortedRows"]):
    """A snapshot's rows and members as lines (see `exact_text.lines_of`), and its rejects.

    `content_hash` is a hash of the mapping, the rows, the members and the rejects, whatever their order. `meter` counts
    the rows as they are sorted, and as they are sent.
    """

    def __init__(self, mapping: ResolvedMapping, meter: Meter | None = None) -> None:
        self.mapping, self._meter = mapping, meter or Meter(mapping.snapshot.feed)
        self._meter.begin("sorting", mapping.snapshot.row_count)
        self.row_count = 0
        self.member_count = 0
        self.reject_count = 0
        self.first_rejects: list[Reject] = []
        self.content_hash = ""
        self._byte_count = 0
        self._tables: set[str] = set()
        with contextlib.ExitStack() as kept:
            self._folder = kept.enter_context(scratch_folder())
            self._database = kept.enter_context(scratch_database(self._folder))
            self._pool = kept.enter_context(ThreadPoolExecutor(1))
            self._begun: Iterator[pa.Array] | None = None
            with database_errors(self._folder):
                self._fill()
            self._kept = kept.pop_all()

    def __exit__(self, *exc: object) -> None:
        self._kept.close()

    def begin_sorting(self) -> None:
        """Sorts the rows in a thread, up to the first piece that `row_lines` gives."""
        self._begun = self._ahead()

    def row_lines(self) -> Iterator[pa.Array]:
        """The fact's rows, ordered by its keys."""
        begun, self._begun = self._begun or self._ahead(), None
        self._meter.begin("sending", self.row_count)
        for lines in begun:
            yield lines
            self._meter.add(len(lines), lines.nbytes)

    def member_lines(self) -> Iterator[pa.Array]:
        """One row a member of the dimension, ordered by its key."""
        return self._lines("members", "k0")

    def rejects(self) -> Iterator[list[Reject]]:
        if "rejects" in self._tables:
            for batch in self._database.sql("SELECT * FROM rejects ORDER BY place").to_arrow_reader(1000):
                columns = [column.to_pylist() for column in batch.columns[1:]]
                yield [Reject(*values) for values in zip(*columns, strict=True)]

    def _ahead(self) -> Iterator[pa.Array]:
        """The rows' pieces in order, the next one of which is always under way."""
        keys = ", ".join(f"k{place}" for place in range(len(self.mapping.keys)))
        pieces = self._lines("rows", f"{keys}, line")
        return self._one_by_one(pieces, self._pool.submit(self._next, pieces))

    def _one_by_one(self, pieces: Iterator[pa.Array], waiting: Future[pa.Array | None]) -> Iterator[pa.Array]:
        while (lines := waiting.result()) is not None:
            waiting = self._pool.submit(self._next, pieces)
            yield lines

    def _next(self, pieces: Iterator[pa.Array]) -> pa.Array | None:
        with database_errors(self._folder):
            return next(pieces, None)

    def _lines(self, table: str, order: str) -> Iterator[pa.Array]:
        if table not in self._tables:
            return
        rows = max(1, PIECE_BYTES * self.row_count // max(self._byte_count, 1))
        for batch in self._database.cursor().sql(f"SELECT line FROM {table} ORDER BY {order}").to_arrow_reader(rows):
            yield batch.column(0).cast(pa.string())

    def _fill(self) -> None:
        digest = ContentHash()
        for part in _converted(self.mapping):
            digest.merge(part.digest)
            self._keep_rejects(part.rejects)
            self.row_count += len(part.lines)
            self._meter.add(len(part.lines) + len(part.rejects), part.lines.nbytes)
            self._byte_count += part.lines.nbytes
            self._keep("rows", [*part.keys, part.lines], [*(f"k{n}" for n in range(len(part.keys))), "line"])
            if self.mapping.members:
                self._keep_attributes(part.fitting)
        if "attributes" in self._tables:
            for batch in self._members():
                lines = lines_of(texts_to_send(batch, self.mapping.members))
                digest.add_lines(lines, b"member")
                self.member_count += len(lines)
                self._keep("members", [batch.column(0), lines], ["k0", "line"])
            self._database.execute("DROP TABLE attributes")
        digest.add_lines(pa.array([self.mapping.declared.model_dump_json()]), b"mapping")
        self.content_hash = digest.hexdigest()

    def _keep(self, table: str, columns: Sequence[pa.Array], names: Sequence[str]) -> None:
        if len(columns[0]) == 0:
            return
        self._database.register("batch", pa.Table.from_arrays(list(columns), names=list(names)))
        self._database.execute(
            f"INSERT INTO {table} SELECT * FROM batch"
            if table in self._tables
            else f"CREATE TABLE {table} AS SELECT * FROM batch"
        )
        self._database.unregister("batch")
        self._tables.add(table)

    def _keep_rejects(self, rejects: Sequence[Reject]) -> None:
        if not rejects:
            return
        places = pa.array(range(self.reject_count, self.reject_count + len(rejects)), pa.int64())
        texts = [
            pa.array([getattr(reject, name) for reject in rejects], pa.string())
            for name in ("row_key", "column", "reason", "row_json")
        ]
        self._keep("rejects", [places, *texts], ["place", "row_key", "column", "reason", "row_json"])
        self.reject_count += len(rejects)
        self.first_rejects += rejects[: SHOWN_REJECTS - len(self.first_rejects)]

    def _keep_attributes(self, batch: pa.RecordBatch) -> None:
        sources = self._member_sources()
        columns = [batch.column(source) for source in sources]
        names = [f"c{place}" for place in range(len(sources))]
        latest_by = self.mapping.dimension.latest_by if self.mapping.dimension else None
        if latest_by is not None:
            columns.append(batch.column(latest_by))
            names.append("known_at")
        self._keep("attributes", columns, names)

    def _member_sources(self) -> list[str]:
        """The lake columns that fill the dimension, its key first."""
        dimension = self.mapping.dimension
        assert dimension is not None
        return list(dict.fromkeys([dimension.columns[dimension.key], *dimension.columns.values()]))

    def _members(self) -> Iterator[pa.RecordBatch]:
        """One row a key, with the lake's names and types. Each attribute has its latest value, or else its greatest."""
        sources, schema = self._member_sources(), self.mapping.snapshot.schema
        columns = [f"c{place}" for place in range(len(sources))]
        told, listed = "attributes", ["c0", *(f"max({column})" for column in columns[1:])]
        if (
            self.mapping.has_time
        ):  # first each set of attributes with its latest time: most of a member's rows are alike
            told = f"(SELECT {', '.join(columns)}, max(known_at) AS known_at FROM attributes GROUP BY ALL)"
            listed[1:] = [
                f"arg_max({column}, row(known_at IS NOT NULL, known_at, {column})) FILTER (WHERE {column} IS NOT NULL)"
                for column in columns[1:]
            ]
        found = self._database.cursor().sql(f"SELECT {', '.join(listed)} FROM {told} GROUP BY c0")
        for batch in found.to_arrow_reader(65_536):
            columns = [
                column.cast(schema.field(name).type) for name, column in zip(sources, batch.columns, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(columns, names=sources)


@dataclass(frozen=True)
class _Part:
    """A piece of the snapshot, converted."""

    fitting: pa.RecordBatch
    rejects: list[Reject]
    keys: list[pa.Array]
    lines: pa.Array
    digest: ContentHash


def _converted(mapping: ResolvedMapping) -> Iterator[_Part]:
    """The snapshot's pieces in order; the next ones are converted while one is being stored."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Future[_Part]] = deque()
        for batch in mapping.snapshot.batches():
            for piece in _pieces(batch):
                waiting.append(pool.submit(_convert, piece, mapping))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = max(1, PIECE_BYTES * batch.num_rows // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _convert(piece: pa.RecordBatch, mapping: ResolvedMapping) -> _Part:
    fitting, rejects = split_rejects(piece, (*mapping.columns, *mapping.members), mapping.declared)
    lines, digest = lines_of(texts_to_send(fitting, mapping.columns)), ContentHash()
    digest.add_lines(lines)
    if rejects:
        digest.add_lines(lines_of([pa.array([reject.row_json for reject in rejects], pa.string())]), b"reject")
    keys = [fitting.column(mapping.declared.columns[key]) for key in mapping.keys]
    return _Part(fitting, rejects, keys, lines, digest)
