"""Where a table's snapshot goes: a feed's mapping, checked against the tables that exist in the warehouse.

Names, types and keys are checked here, before a load; lengths and ranges of values are checked row by row and make
rejects: see `pipeline.warehouse.fitting`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.columns import SCALARS, ksqldb_words, mysql_families
from pipeline.errors import MappingDoesNotFit
from pipeline.feeds import SNAPSHOT_COLUMNS, DimensionMapping, WarehouseMapping
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.fitting import MappedColumn
from pipeline.warehouse.target import TargetColumn, TargetTable, target_columns, target_table
from pipeline.warehouse.value_rules import RULES

_VALIDITY = ("valid_from", "valid_to", "is_current")


@dataclass(frozen=True)
class TableSnapshot:
    """One table's complete rows, from ksqlDB or from a lake version. `batches` can be called several times.

    `lake_id` is the id of the lake's Delta table, `lake_files` identifies the version's data files, `lake_newest` is
    the highest version that the lake has of this table.
    """

    feed: str
    mapping: WarehouseMapping
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    row_count: int
    lake_version: int | None
    taken_at: dt.datetime
    lake_id: str | None = None
    lake_files: str | None = None
    lake_newest: int | None = None


@dataclass(frozen=True)
class History:
    """The table with a dimension's versions (SCD2), and the attributes that it has."""

    dimension: str
    table: str
    key: str
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class ResolvedMapping:
    """Where the columns of a snapshot go: `columns` into the fact, `members` into its dimension, with its history."""

    snapshot: TableSnapshot
    columns: tuple[MappedColumn, ...]
    members: tuple[MappedColumn, ...] = ()
    history: History | None = None

    @property
    def declared(self) -> WarehouseMapping:
        """The mapping as the feed has it."""
        return self.snapshot.mapping

    @property
    def fact(self) -> str:
        return self.declared.fact

    @property
    def keys(self) -> tuple[str, ...]:
        return self.declared.keys

    @property
    def dimension(self) -> DimensionMapping | None:
        return self.declared.dimension

    @property
    def row_table(self) -> str:
        """The name of the session's temporary table for the fact's rows."""
        return f"stg_{self.fact}"[:64]

    @property
    def member_table(self) -> str:
        """The name of the session's temporary table for the dimension's members."""
        return f"stg_members_{self.fact}"[:64]

    @property
    def has_time(self) -> bool:
        """Whether the snapshot says when its dimension's attributes were true."""
        return self.dimension is not None and self.dimension.latest_by is not None


def resolve_mapping(connection: Connection, snapshot: TableSnapshot, scd2: Collection[str] = ()) -> ResolvedMapping:
    """Resolves a snapshot's mapping. `scd2` are the dimensions with a history, in a table named DIMENSION_history.

    Raises MappingDoesNotFit, or WarehouseRefused for a table that is missing, before anything is written.
    """
    mapping, dimension = snapshot.mapping, snapshot.mapping.dimension
    tables = [mapping.fact, *([dimension.table] if dimension else [])]
    targets = {table: target_table(connection, table) for table in tables}
    check_mapping(snapshot.feed, mapping, snapshot.schema, targets)
    columns = _mapped_columns(mapping.columns, targets[mapping.fact].columns, mapping.keys)
    if dimension is None:
        return ResolvedMapping(snapshot, columns)
    members = _mapped_columns(dimension.columns, targets[dimension.table].columns, (dimension.key,))
    history = None
    if dimension.table in scd2:
        history = _history_of(connection, dimension.table, dimension.key, targets[dimension.table].columns)
    return ResolvedMapping(snapshot, columns, members, history)


def _history_of(connection: Connection, dimension: str, key: str, known: Mapping[str, TargetColumn]) -> History:
    table = f"{dimension}_history"
    there = target_columns(connection, table)
    attributes = tuple(name for name in there if name in known and name != key)
    missing = [name for name in (key, *_VALIDITY) if name not in there]
    if missing or not attributes:
        raise MappingDoesNotFit(
            f"{table} lacks {', '.join(missing) or f'attributes of {dimension}'}",
            "docs/warehouse.md says what a history table needs",
        )
    return History(dimension, table, key, attributes)


def _mapped_columns(
    columns: Mapping[str, str], targets: Mapping[str, TargetColumn], keys: Collection[str]
) -> tuple[MappedColumn, ...]:
    for name in columns:
        if targets[name].data_type not in RULES:
            raise MappingDoesNotFit(
                f"the column {name} is of the type {targets[name].column_type}, which cannot be filled",
                f"declare it as one of {', '.join(sorted(RULES))}",
            )
    return tuple(MappedColumn(name, source, targets[name], name in keys) for name, source in columns.items())


def check_mapping(feed: str, mapping: WarehouseMapping, source: pa.Schema, targets: Mapping[str, TargetTable]) -> None:
    """Raises MappingDoesNotFit naming everything that would prevent the load of every row or of a second snapshot.

    `targets` are the mapping's tables by name.
    """
    dimension, fact = mapping.dimension, targets[mapping.fact]
    problems = list(_column_problems(mapping.fact, fact, mapping.columns, source, SNAPSHOT_COLUMNS))
    problems += _key_problems(mapping, fact)
    if dimension is not None:
        target = targets[dimension.table]
        problems += _column_problems(dimension.table, target, dimension.columns, source, ())
        if frozenset({dimension.key}) not in target.unique_keys:
            problems.append(f"{dimension.table} has no unique key of {dimension.key}")
        if dimension.latest_by and dimension.latest_by not in source.names:
            problems.append(f"the source has no column {dimension.latest_by}")
    for table, target in targets.items():
        if target.engine != "InnoDB":  # its rows would stay when a load is rolled back
            problems.append(f"{table} is kept by {target.engine}, not by InnoDB, and so takes no part in a transaction")
    if problems:
        raise MappingDoesNotFit(
            f"the warehouse mapping of {feed} does not fit: {'; '.join(dict.fromkeys(problems))}",
            f"correct 'warehouse' in the feed's file, or the table; python manage_feeds.py ddl {feed} --new-mapping "
            "shows a table that fits the source",
        )


def _column_problems(
    table: str, target: TargetTable, columns: Mapping[str, str], source: pa.Schema, filled: tuple[str, ...]
) -> Iterator[str]:
    """`filled` are the columns that a load fills besides the mapped ones."""
    for name in filled:
        if name not in target.columns:
            yield f"{table} has no column {name}"
    for name, column in columns.items():
        there = target.columns.get(name)
        if there is None:
            yield f"{table} has no column {name}"
        if column not in source.names:
            yield f"the source has no column {column}"
        elif there is not None and there.is_generated:
            yield f"{table}.{name} is generated by the server, so nothing can be loaded into it"
        elif there is not None and not _can_hold(there, kind := source.field(column).type):
            yield f"{table}.{name} is {there.column_type.upper()}, which cannot hold {column}, {ksqldb_words(kind)}"
    for name, there in target.columns.items():
        if name not in columns and name not in filled and there.must_be_filled:
            yield f"{table}.{name} is NOT NULL without a default, and the mapping does not fill it"


def _key_problems(mapping: WarehouseMapping, fact: TargetTable) -> Iterator[str]:
    grain = {"snapshot_version", *mapping.keys}
    if not any(key - {"snapshot_date"} == grain for key in fact.unique_keys):
        yield f"{mapping.fact} has no unique key of {', '.join(['snapshot_version', *mapping.keys])}"
    for key in fact.unique_keys:
        if key <= set(mapping.columns):
            yield (
                f"{mapping.fact} has a unique key of {', '.join(sorted(key))} without snapshot_version, which would "
                "refuse the same rows in the next snapshot"
            )


def _can_hold(target: TargetColumn, kind: pa.DataType) -> bool:
    """Whether a MySQL column can store a lake column's type; MySQL types that the table of types lacks pass here."""
    if target.family == "double" and "(" in target.column_type:  # a DOUBLE(10,2) rounds in silence
        return False
    known = {family for row in SCALARS.values() for family in row.mysql_families}
    return target.family in mysql_families(kind) or target.family not in known
