"""Two versions of a table compared, row by row of the same key: what is new, what is gone, what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.columns import KSQLDB_ROLE, duckdb_name
from pipeline.errors import KeyUnknown
from pipeline.exact_text import texts_of
from pipeline.lake.table import LakeTable
from pipeline.lake.time_travel import files_of_version

Kind = Literal["new", "gone", "changed"]


@dataclass(frozen=True)
class RowChange:
    """One row that differs. `values` has the old and the new value of each column that differs, as exact text.

    For a row that is new or gone it has all columns beside the key, with None on the side without the row.
    """

    kind: Kind
    key: Mapping[str, str | None]
    values: Mapping[str, tuple[str | None, str | None]]


@dataclass(frozen=True)
class Differences:
    """The differences between the versions `old` and `new`: counts, and the first rows that differ."""

    feed: str
    old: int
    new: int
    counts: Mapping[str, int]
    unchanged: int
    rows: tuple[RowChange, ...]


def compare_versions(table: LakeTable, old: int, new: int, most_rows: int) -> Differences:
    """Compares two versions that the lake retains. Raises VersionUnknown, KeyUnknown, LakeDamaged."""
    keys = [field.name for field in table.schema if (field.metadata or {}).get(KSQLDB_ROLE) == b"KEY"]
    if not keys:
        raise KeyUnknown(
            f"the lake does not know the key of {table.feed.name}: its rows cannot be told apart",
            f"python export_to_data_lake.py --table {table.feed.name}",
        )
    counts, rows = dict[str, int](new=0, gone=0, changed=0), list[RowChange]()
    with duckdb.connect() as connection:
        connection.register("before", _rows(table, old))
        connection.register("after", _rows(table, new))
        for batch in connection.sql(_query(table.schema, keys)).to_arrow_reader(10_000):
            for found in pc.value_counts(batch.column("kind")).to_pylist():
                counts[found["values"]] += found["counts"]
            if len(rows) < most_rows:
                rows += _changes(batch.slice(0, most_rows - len(rows)), table.schema, keys)
    before = sum(file.row_count for file in table.versions()[old])
    return Differences(table.feed.name, old, new, counts, before - counts["gone"] - counts["changed"], tuple(rows))


def _rows(table: LakeTable, version: int) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(table.schema, table.read_batches(files_of_version(table, version)))


def _query(schema: pa.Schema, keys: list[str]) -> str:
    """SQL for the rows that differ, both sides as a STRUCT, so that a table's column names cannot meet ours."""
    columns = [duckdb_name(name) for name in schema.names]
    same_key = " AND ".join(f"o.row.{key} IS NOT DISTINCT FROM n.row.{key}" for key in map(duckdb_name, keys))
    row = f"struct_pack({', '.join(f'{column} := {column}' for column in columns)}) AS row"
    return (
        "SELECT CASE WHEN o.row IS NULL THEN 'new' WHEN n.row IS NULL THEN 'gone' ELSE 'changed' END AS kind,"
        " o.row AS before, n.row AS after"
        f" FROM (SELECT {row} FROM before) AS o FULL OUTER JOIN (SELECT {row} FROM after) AS n ON {same_key}"
        " WHERE o.row IS DISTINCT FROM n.row ORDER BY coalesce(n.row, o.row)"
    )


def _changes(batch: pa.RecordBatch, schema: pa.Schema, keys: list[str]) -> Iterator[RowChange]:
    sides: list[dict[str, list[Any]]] = []
    for side in ("before", "after"):
        rows = batch.column(side)
        fields = [pc.struct_field(rows, [place]) for place in range(len(schema))]
        sides.append({name: texts_of(values).to_pylist() for name, values in zip(schema.names, fields, strict=True)})
    before, after = sides
    for place, kind in enumerate(batch.column("kind").to_pylist()):
        key_side = before if kind == "gone" else after
        values = {
            name: (before[name][place], after[name][place])
            for name in schema.names
            if name not in keys and (kind != "changed" or before[name][place] != after[name][place])
        }
        yield RowChange(kind, {key: key_side[key][place] for key in keys}, values)
