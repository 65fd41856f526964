"""Where a table's snapshot goes: the columns that are staged, checked against the tables that are really there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import MappingDoesNotFit
from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.check_mapping import Target, check_mapping
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.fitting import FILLABLE, StagedColumn
from pipeline.warehouse.target import TargetColumn, engine_of, target_columns, unique_keys

_VALIDITY = ("valid_from", "valid_to", "is_current")


@dataclass(frozen=True)
class TableSnapshot:
    """One table's complete rows: read from ksqlDB, or from a lake version. `batches` can be taken again.

    `lake_id` is the lake's (its Delta table's), `lake_files` tells the version's data files from any others.
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


@dataclass(frozen=True)
class History:
    """The table that keeps a dimension's versions (SCD2), and the attributes that it keeps."""

    dimension: str
    table: str
    key: str
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The staging columns of a snapshot: `columns` for the fact, `members` for its dimension, with its history."""

    snapshot: TableSnapshot
    columns: tuple[StagedColumn, ...]
    members: tuple[StagedColumn, ...] = ()
    history: History | None = None

    @property
    def mapping(self) -> WarehouseMapping:
        return self.snapshot.mapping

    @property
    def fact(self) -> str:
        return self.mapping.fact

    @property
    def staging(self) -> str:
        return f"stg_{self.fact}"[:64]

    @property
    def member_staging(self) -> str:
        return f"stg_members_{self.fact}"[:64]

    @property
    def has_time(self) -> bool:
        """Whether the snapshot tells when its dimension's attributes were true."""
        dimension = self.mapping.dimension
        return dimension is not None and dimension.latest_by is not None


def make_plan(connection: Connection, snapshot: TableSnapshot, scd2: Collection[str] = ()) -> Plan:
    """Raises MappingDoesNotFit, or WarehouseRefused for a table that is missing, before anything is written.

    `scd2` are the dimensions whose history is kept, in a table of that name with `_history` behind it.
    """
    mapping, dimension = snapshot.mapping, snapshot.mapping.dimension
    targets = {
        table: Target(target_columns(connection, table), unique_keys(connection, table), engine_of(connection, table))
        for table in [mapping.fact, *([dimension.table] if dimension else [])]
    }
    check_mapping(snapshot.feed, mapping, snapshot.schema, targets)
    columns = _staged(mapping.columns, targets[mapping.fact].columns, mapping.keys)
    if dimension is None:
        return Plan(snapshot, columns)
    members = _staged(dimension.columns, targets[dimension.table].columns, (dimension.key,))
    history = None
    if dimension.table in scd2:
        history = _history_of(connection, dimension.table, dimension.key, targets[dimension.table].columns)
    return Plan(snapshot, columns, members, history)


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


def _staged(
    columns: Mapping[str, str], targets: Mapping[str, TargetColumn], keys: Collection[str]
) -> tuple[StagedColumn, ...]:
    for name in columns:
        if targets[name].data_type not in FILLABLE:
            raise MappingDoesNotFit(
                f"the column {name} is of the type {targets[name].column_type}, which cannot be filled",
                f"declare it as one of {', '.join(sorted(FILLABLE))}",
            )
    return tuple(StagedColumn(name, source, targets[name], name in keys) for name, source in columns.items())
