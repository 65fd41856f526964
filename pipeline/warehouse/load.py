"""Whole-star loads: all tables of a sync in one transaction, with their ledger rows.

Rows go into session-private staging tables first, outside the transaction; then set-based statements fill dimensions,
facts, ledger, rejects and the pointer of the current_* views, and one COMMIT makes the new star visible. Killed at
any point before it, client or server, the old star stays as it was and the staging tables are gone with the session.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.content import ContentHash
from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.bulk import StagedRowsLost, send_rows
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.ledger import (
    FactEntry,
    add_fact,
    add_snapshot,
    is_newest,
    known_lake_versions,
    same_content,
    show,
)
from pipeline.warehouse.rows import FILLABLE, Reject, StagedColumn, convert_batch, to_json
from pipeline.warehouse.schema import MappingDoesNotFit, TargetColumn, check_mapping, target_columns

SENT_ROWS = 5000
"""Rows that are converted before they are sent; the largest temporary file holds as many."""


@dataclass(frozen=True)
class TableSnapshot:
    """One table's complete rows: read from ksqlDB, or from a lake version. `batches` can be taken again."""

    feed: str
    mapping: WarehouseMapping
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    row_count: int
    lake_version: int | None
    taken_at: dt.datetime


@dataclass
class LoadedFact:
    """What became of one table of a sync; where `is_newest` is false its view goes on showing younger rows."""

    feed: str
    fact: str
    rows: int = 0
    rejects: list[Reject] = field(default_factory=list)
    new_members: list[str] = field(default_factory=list)
    content_hash: str = ""
    lake_version: int | None = None
    is_newest: bool = True

    @property
    def ledger_entry(self) -> FactEntry:
        return FactEntry(self.fact, self.feed, self.lake_version, self.rows, len(self.rejects), self.content_hash)


@dataclass
class Loaded:
    """What a sync did. `version` is None when nothing was loaded; `unchanged` says that it was there already.

    `in_bulk` says that rows were sent by LOAD DATA LOCAL, else by INSERT.
    """

    facts: list[LoadedFact]
    version: int | None = None
    unchanged: bool = False
    in_bulk: bool = False


def load_star(
    connection: Connection, snapshots: Sequence[TableSnapshot], source: str, now: dt.datetime, dry_run: bool = False
) -> Loaded:
    """Loads the snapshots as one new snapshot of the warehouse, or finds that they are there already.

    Raises MappingDoesNotFit before anything is written, and the connection's errors. Where others hold rows that are
    needed, the transaction is tried again a few times.
    """
    plans = [_Plan(connection, snapshot) for snapshot in snapshots]
    with connection.hold_warehouse():
        known = known_lake_versions(
            connection, ((p.fact, p.snapshot.feed, p.snapshot.lake_version, p.snapshot.taken_at) for p in plans)
        )
        if source == "lake" and known is not None:
            return Loaded([LoadedFact(p.snapshot.feed, p.fact, p.snapshot.row_count) for p in plans], known, True)
        facts = [_stage(connection, plan) for plan in plans]
        taken_at = max(snapshot.taken_at for snapshot in snapshots)
        if source == "ksqldb":
            same = same_content(connection, ((fact.fact, fact.content_hash) for fact in facts), taken_at.date())
            if same is not None:
                return Loaded(facts, same, True)
        if dry_run:
            return Loaded(facts)

        def publish() -> int:
            for fact in facts:
                fact.is_newest = is_newest(connection, fact.fact, taken_at)
            version = add_snapshot(connection, source, taken_at, now)
            # Attributes that are told with a time are put in last, so that they win over those told without.
            for plan, fact in sorted(zip(plans, facts, strict=True), key=lambda pair: pair[0].has_time):
                _fill_dimension(connection, plan, fact)
                _fill_fact(connection, plan, fact, version, taken_at)
                add_fact(connection, version, fact.ledger_entry)
                if fact.is_newest:
                    show(connection, fact.fact, version)
            return version

        return Loaded(facts, connection.in_transaction(publish), in_bulk=connection.takes_local_files)


class _Plan:
    """Where one snapshot goes: staging columns, and the target columns that they are checked against."""

    def __init__(self, connection: Connection, snapshot: TableSnapshot) -> None:
        mapping = snapshot.mapping
        self.snapshot, self.mapping, self.fact = snapshot, mapping, mapping.fact
        self.staging = f"stg_{mapping.fact}"[:64]
        fact_columns = target_columns(connection, mapping.fact)
        targets: dict[str, Mapping[str, TargetColumn]] = {mapping.fact: fact_columns}
        dimension = mapping.dimension
        if dimension is not None:
            targets[dimension.table] = target_columns(connection, dimension.table)
        check_mapping(snapshot.feed, mapping, snapshot.schema.names, targets)
        self.columns = [
            StagedColumn(name, source, fact_columns[name], name in mapping.keys)
            for name, source in mapping.columns.items()
        ]
        self.attributes: dict[str, str] = {}  # dimension column -> staging column
        if dimension is not None:
            there = targets[dimension.table]
            for name, source in dimension.columns.items():
                staged = f"dim_{name}"
                self.columns.append(StagedColumn(staged, source, there[name], name == dimension.key))
                self.attributes[name] = staged
            if dimension.latest_by is not None:
                told = [column for column in self.columns if column.source == dimension.latest_by]
                self.latest_by = told[0].name if told else None
            else:
                self.latest_by = None
        for column in self.columns:
            if column.target.data_type not in FILLABLE:
                raise MappingDoesNotFit(
                    f"{mapping.fact}: the column {column.target.name} is of the type {column.target.column_type},"
                    " which cannot be filled",
                    f"declare it as one of {', '.join(sorted(FILLABLE))}",
                )

    @property
    def has_time(self) -> bool:
        return self.mapping.dimension is not None and self.latest_by is not None


def _stage(connection: Connection, plan: _Plan) -> LoadedFact:
    """Streams the snapshot into its staging table; rows that do not fit become rejects."""
    declared = ",\n  ".join(f"{quote(column.name)} {_declare(column.target)}" for column in plan.columns)
    connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(plan.staging)}")
    connection.run(
        f"CREATE TEMPORARY TABLE {quote(plan.staging)} (\n  staging_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,\n"
        f"  {declared}\n) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )
    fact = LoadedFact(plan.snapshot.feed, plan.fact, lake_version=plan.snapshot.lake_version)
    digest = ContentHash()
    waiting: list[tuple[Any, ...]] = []
    for batch in plan.snapshot.batches():
        for row in convert_batch(batch, plan.columns, plan.mapping):
            if isinstance(row, Reject):
                fact.rejects.append(row)
                digest.add((row.row_json,))
                continue
            digest.add(row)
            waiting.append(row)
            if len(waiting) == SENT_ROWS:
                send_rows(connection, plan.staging, plan.columns, waiting)
                fact.rows += len(waiting)
                waiting.clear()
    send_rows(connection, plan.staging, plan.columns, waiting)
    fact.rows += len(waiting)
    _reject_doubles(connection, plan, fact)
    fact.content_hash = digest.hexdigest()
    return fact


def _declare(target: TargetColumn) -> str:
    collate = " COLLATE utf8mb4_bin" if target.data_type in ("char", "varchar") or "text" in target.data_type else ""
    return f"{target.column_type}{collate} NULL"


def _reject_doubles(connection: Connection, plan: _Plan, fact: LoadedFact) -> None:
    """Of rows that the fact's unique key cannot tell apart, the first stays; the others are rejects."""
    keys = ", ".join(quote(key) for key in plan.mapping.keys)
    names = [column.name for column in plan.columns]
    listed = ", ".join(quote(name) for name in names)
    doubles = connection.rows(
        f"SELECT staging_id, {listed} FROM (SELECT staging_id, {listed}, ROW_NUMBER() OVER (PARTITION BY {keys}"
        f" ORDER BY staging_id) AS place FROM {quote(plan.staging)}) AS numbered WHERE place > 1"
    )
    for staging_id, *values in doubles:
        row = dict(zip(names, values, strict=True))
        whole = {column.source: row[column.name] for column in plan.columns}
        key = {name: row[name] for name in plan.mapping.keys}
        fact.rejects.append(
            Reject(to_json(key), plan.mapping.keys[0], "the key is there twice for MySQL", to_json(whole))
        )
        connection.run(f"DELETE FROM {quote(plan.staging)} WHERE staging_id = %s", (staging_id,))
        fact.rows -= 1


def _fill_dimension(connection: Connection, plan: _Plan, fact: LoadedFact) -> None:
    """Adds members that the dimension does not know, and takes over attributes that the snapshot tells.

    A snapshot that is not the newest fills in what the dimension does not know, and overwrites nothing.
    """
    dimension = plan.mapping.dimension
    if dimension is None:
        return
    table, key, staged_key = quote(dimension.table), quote(dimension.key), quote(plan.attributes[dimension.key])
    new = connection.rows(
        f"SELECT DISTINCT s.{staged_key} FROM {quote(plan.staging)} AS s"
        f" LEFT JOIN {table} AS d ON d.{key} = s.{staged_key} WHERE d.{key} IS NULL ORDER BY 1"
    )
    fact.new_members = [str(member) for (member,) in new]
    others = [name for name in dimension.columns if name != dimension.key]
    names = ", ".join(quote(name) for name in (dimension.key, *others))
    staging = quote(plan.staging)
    if plan.latest_by is not None:
        inner = ", ".join(f"{quote(plan.attributes[name])} AS {quote(name)}" for name in (dimension.key, *others))
        numbered = (
            f"SELECT {inner}, ROW_NUMBER() OVER (PARTITION BY {staged_key} ORDER BY {quote(plan.latest_by)} DESC,"
            f" staging_id) AS place FROM {staging}"
        )
        picked = f"SELECT {names} FROM ({numbered}) AS numbered WHERE place = 1"
    else:
        greatest = [f"MAX({quote(plan.attributes[name])}) AS {quote(name)}" for name in others]
        listed = ", ".join([f"{staged_key} AS {key}", *greatest])
        picked = f"SELECT {listed} FROM {staging} GROUP BY {staged_key}"
    updates = ", ".join(
        f"{table}.{quote(name)} = COALESCE({', '.join(order)})"
        for name in others
        for there in [f"{table}.{quote(name)}"]
        for order in [[f"told.{quote(name)}", there] if fact.is_newest else [there, f"told.{quote(name)}"]]
    )
    connection.run(
        f"INSERT INTO {table} ({names})\nSELECT {', '.join(f'told.{quote(name)}' for name in (dimension.key, *others))}"
        f" FROM ({picked}) AS told\nON DUPLICATE KEY UPDATE {updates or f'{table}.{key} = {table}.{key}'}"
    )


def _fill_fact(connection: Connection, plan: _Plan, fact: LoadedFact, version: int, taken_at: dt.datetime) -> None:
    names = ", ".join(quote(name) for name in plan.mapping.columns)
    keys = ", ".join(quote(key) for key in plan.mapping.keys)
    inserted = connection.run(
        f"INSERT INTO {quote(plan.fact)} (snapshot_version, snapshot_date, {names})\n"
        f"SELECT %s, %s, {names} FROM {quote(plan.staging)} ORDER BY {keys}",
        (version, taken_at.date()),
    )
    if inserted != fact.rows:
        raise StagedRowsLost(
            f"{inserted} of {fact.rows} staged rows reached {plan.fact}; nothing was loaded", "run the command again"
        )
    connection.insert(
        "etl_rejects",
        ("snapshot_version", "fact_table", "row_key", "column_name", "reason", "row_json"),
        [(version, plan.fact, r.row_key[:1000], r.column, r.reason[:500], r.row_json) for r in fact.rejects],
    )
