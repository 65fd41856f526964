"""What a snapshot tells of its dimension's members, folded to one row for each, whatever the snapshot's size.

The rows wait in DuckDB, in memory up to a limit and in a temporary folder beyond it. A process that is killed leaves
that folder behind.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import duckdb
import pyarrow as pa

from pipeline.feeds import DimensionMapping

_MEMORY = "256MB"


class Members(contextlib.AbstractContextManager["Members"]):
    """Collects rows, and gives one for each key.

    Each attribute is the one told last (by `latest_by`), else the greatest; NULL tells nothing. So the result does
    not depend on the order of the rows.
    """

    def __init__(self, dimension: DimensionMapping, schema: pa.Schema) -> None:
        others = [source for source in dimension.columns.values() if source != dimension.columns[dimension.key]]
        self._sources = list(dict.fromkeys([dimension.columns[dimension.key], *others]))
        self._latest_by = dimension.latest_by
        self._schema = pa.schema([schema.field(name) for name in self._sources])
        self._folder = tempfile.TemporaryDirectory(prefix="ksqldb-lake-members-")
        self._database = duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": self._folder.name})
        self._is_empty = True

    def __exit__(self, *exc: object) -> None:
        self._database.close()
        self._folder.cleanup()

    def add(self, batch: pa.RecordBatch) -> None:
        names = [f"c{place}" for place in range(len(self._sources))]
        columns = [batch.column(source) for source in self._sources]
        if self._latest_by is not None:
            names.append("told_at")
            columns.append(batch.column(self._latest_by))
        self._database.register("batch", pa.Table.from_arrays(columns, names=names))
        self._database.execute(
            "CREATE TABLE told AS SELECT * FROM batch" if self._is_empty else "INSERT INTO told SELECT * FROM batch"
        )
        self._database.unregister("batch")
        self._is_empty = False

    def batches(self) -> Iterator[pa.RecordBatch]:
        """One row a member, ordered by its key, in the lake's column names and types."""
        if self._is_empty:
            return
        listed = ["c0"] + [self._pick(f"c{place}") for place in range(1, len(self._sources))]
        for batch in self._database.sql(
            f"SELECT {', '.join(listed)} FROM told GROUP BY c0 ORDER BY c0"
        ).to_arrow_reader(65_536):
            yield pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(batch.columns, self._schema, strict=True)],
                schema=self._schema,
            )

    def _pick(self, column: str) -> str:
        if self._latest_by is None:
            return f"max({column})"
        told_last = f"arg_max({column}, row(told_at IS NOT NULL, told_at, {column}))"
        return f"{told_last} FILTER (WHERE {column} IS NOT NULL)"
