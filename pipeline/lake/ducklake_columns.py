"""The columns of a DuckLake catalog: a lake's columns, their parts, and how they are found in its files by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.lake.ducklake_tables import FIRST_COLUMN, PARTITION, TABLE, insert, value

_SCALARS = {
    pa.bool_(): "boolean",
    pa.int32(): "int32",
    pa.int64(): "int64",
    pa.float64(): "float64",
    pa.string(): "varchar",
    pa.binary(): "blob",
    pa.date32(): "date",
    pa.timestamp("us", tz="UTC"): "timestamptz",
}


@dataclass(frozen=True)
class CatalogColumn:
    """A column, or a part of a nested one. `path` names it, `in_file` is its name below the parent's in Parquet."""

    path: tuple[str, ...]
    type: str
    in_file: str

    @property
    def name(self) -> str:
        return self.path[-1]

    @property
    def is_nested(self) -> bool:
        return self.type in ("struct", "list", "map")

    def row(self, number: int, parent: int | None, place: int, snapshot: int) -> tuple[Any, ...]:
        """The column in the catalog, from `snapshot` on."""
        default = (None, "NULL", True, parent, "" if self.is_nested else "literal", "duckdb")
        return number, snapshot, None, TABLE, place + 1, self.name, self.type, *default


def _catalog_columns(schema: pa.Schema) -> Iterator[CatalogColumn]:
    """The columns of a lake's schema, each followed by its parts."""
    for field in schema:
        yield from _with_parts((), field.name, field.name, field.type)


def _with_parts(above: tuple[str, ...], name: str, in_file: str, kind: pa.DataType) -> Iterator[CatalogColumn]:
    path = (*above, name)
    if pa.types.is_struct(kind):
        yield CatalogColumn(path, "struct", in_file)
        for field in kind:
            yield from _with_parts(path, field.name, field.name, field.type)
    elif pa.types.is_list(kind):
        yield CatalogColumn(path, "list", in_file)
        yield from _with_parts(path, "element", "list", kind.value_type)  # Parquet has a group `list` in between
    elif pa.types.is_map(kind):
        yield CatalogColumn(path, "map", in_file)
        yield from _with_parts(path, "key", "key", kind.key_type)
        yield from _with_parts(path, "value", "value", kind.item_type)
    elif pa.types.is_decimal(kind):
        yield CatalogColumn(path, f"decimal({kind.precision},{kind.scale})", in_file)
    else:
        yield CatalogColumn(path, _SCALARS[kind], in_file)


def match_columns(
    database: duckdb.DuckDBPyConnection, schema: pa.Schema, partition_column: str, snapshot: int
) -> tuple[Mapping[str, int], int]:
    """Gives the catalog the columns of the lake, from `snapshot` on.

    Returns the ids of those that are not nested, by name, and the number of the schema.
    """
    wanted = list(_catalog_columns(schema))
    asked = "SELECT parent_column, column_name, column_id, column_type FROM ducklake_column WHERE end_snapshot IS NULL"
    known = {(parent, name): (number, kind) for parent, name, number, kind in database.execute(asked).fetchall()}
    next_id = value(database, f"SELECT coalesce(max(column_id) + 1, {FIRST_COLUMN}) FROM ducklake_column")
    ids, new = dict[tuple[str, ...], int](), list[tuple[Any, ...]]()
    for place, column in enumerate(wanted):
        parent = ids.get(column.path[:-1])
        number, kind = known.get((parent, column.name), (next_id, None))
        ids[column.path], next_id = number, max(next_id, number + 1)
        if kind != column.type:
            new.append(column.row(number, parent, place, snapshot))
    version = value(database, "SELECT coalesce(max(schema_version), 0) FROM ducklake_schema_versions")
    if new:
        if not known:
            partition = (PARTITION, TABLE, 0, ids[(partition_column,)], "identity")
            insert(database, "ducklake_partition_column", [partition])
        version += 1
        database.execute(
            "UPDATE ducklake_column SET end_snapshot = ? WHERE end_snapshot IS NULL AND list_contains(?, column_id)",
            [snapshot, [row[0] for row in new]],
        )
        insert(database, "ducklake_column", new)
        insert(database, "ducklake_schema_versions", [(snapshot, version, TABLE)])
        insert(database, "ducklake_column_mapping", [(version, TABLE, "map_by_name")])
        insert(database, "ducklake_name_mapping", _names(wanted, ids, version, partition_column))
    return {
        column.name: ids[column.path] for column in wanted if len(column.path) == 1 and not column.is_nested
    }, version


def _names(
    columns: list[CatalogColumn], ids: Mapping[tuple[str, ...], int], mapping: int, partition_column: str
) -> list[tuple[Any, ...]]:
    """How the columns are found in files: by name, below the parent's place; the partition is in the path."""
    places = {column.path: place for place, column in enumerate(columns)}
    return [
        (mapping, place, column.in_file, ids[column.path], places.get(column.path[:-1]),
         column.path == (partition_column,))
        for place, column in enumerate(columns)
    ]  # fmt: skip
