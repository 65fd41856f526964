"""Where a table's snapshot goes: a feed's mapping, resolved against the columns that are really there."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import MappingDoesNotFit
from pipeline.feeds import DimensionMapping, WarehouseMapping
from pipeline.warehouse.check_mapping import Target, check_mapping
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.fitting import FILLABLE, MappedColumn
from pipeline.warehouse.target import TargetColumn, engine_of, target_columns, unique_keys

_VALIDITY = ("valid_from", "valid_to", "is_current")


@dataclass(frozen=True)
class TableSnapshot:
    """One table's complete rows: read from ksqlDB, or from a lake version. `batches` can be taken again.

    `lake_id` is the lake's (its Delta table's), `lake_files` identifies the version's data files, `lake_newest` is the
    highest version that the lake has given to a snapshot of this table.
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
    """The table that keeps a dimension's versions (SCD2), and the attributes that it keeps."""

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
        """The table of the session that holds the fact's rows."""
        return f"stg_{self.fact}"[:64]

    @property
    def member_table(self) -> str:
        """The table of the session that holds the dimension's members."""
        return f"stg_members_{self.fact}"[:64]

    @property
    def has_time(self) -> bool:
        """Whether the snapshot says when its dimension's attributes were true."""
        return self.dimension is not None and self.dimension.latest_by is not None


def resolve_mapping(connection: Connection, snapshot: TableSnapshot, scd2: Collection[str] = ()) -> ResolvedMapping:
    """Raises MappingDoesNotFit, or WarehouseRefused for a table that is missing, before anything is written.

    `scd2` are the dimensions whose history is kept, in a table of that name with `_history` behind it.
    """
    mapping, dimension = snapshot.mapping, snapshot.mapping.dimension
    targets = {
        table: Target(target_columns(connection, table), unique_keys(connection, table), engine_of(connection, table))
        for table in [mapping.fact, *([dimension.table] if dimension else [])]
    }
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
        if targets[name].data_type not in FILLABLE:
            raise MappingDoesNotFit(
                f"the column {name} is of the type {targets[name].column_type}, which cannot be filled",
                f"declare it as one of {', '.join(sorted(FILLABLE))}",
            )
    return tuple(MappedColumn(name, source, targets[name], name in keys) for name, source in columns.items())
