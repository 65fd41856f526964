"""Temporary tables of a session: a snapshot's members and rejects, and its rows if the fact refuses some of them.

Other sessions do not see them, and the server drops them when the session ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.fitting import MappedColumn, Reject
from pipeline.warehouse.mapping import ResolvedMapping
from pipeline.warehouse.send import send_lines
from pipeline.warehouse.sorted_rows import SortedRows
from pipeline.warehouse.target import TargetColumn

_REJECTS = "stg_rejects"


def send_members(connection: Connection, tables: Sequence[SortedRows]) -> None:
    """Sends the dimensions' members and the rejects into new tables of this session."""
    connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(_REJECTS)}")
    connection.run(
        f"CREATE TEMPORARY TABLE {quote(_REJECTS)} (reject_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
        " fact_table VARCHAR(64) NOT NULL, row_key TEXT NOT NULL, column_name VARCHAR(64) NOT NULL,"
        " reason VARCHAR(500) NOT NULL, row_json LONGTEXT NOT NULL)"
        " ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )
    for rows in tables:
        mapping = rows.mapping
        if mapping.members:
            _make_table(connection, mapping.member_table, mapping.members)
            for lines in rows.member_lines():
                send_lines(connection, mapping.member_table, mapping.members, lines)
        for rejects in rows.rejects():
            add_rejects(connection, mapping, rejects)


def send_rows(connection: Connection, tables: Sequence[SortedRows]) -> None:
    """Sends the facts' rows into new tables of this session."""
    for rows in tables:
        mapping = rows.mapping
        _make_table(connection, mapping.row_table, mapping.columns)
        for lines in rows.row_lines():
            send_lines(connection, mapping.row_table, mapping.columns, lines)


def add_rejects(connection: Connection, mapping: ResolvedMapping, rejects: Sequence[Reject]) -> None:
    """Keeps rejects until they are published."""
    connection.insert(
        _REJECTS,
        ("fact_table", "row_key", "column_name", "reason", "row_json"),
        [(mapping.fact, r.row_key[:1000], r.column[:64], r.reason[:500], r.row_json) for r in rejects],
    )


def publish_rejects(connection: Connection, version: int) -> None:
    """Records the kept rejects under a snapshot of the warehouse."""
    connection.run(
        "INSERT INTO etl_rejects (snapshot_version, fact_table, row_key, column_name, reason, row_json)\n"
        f"SELECT %s, fact_table, row_key, column_name, reason, row_json FROM {quote(_REJECTS)} ORDER BY reject_id",
        (version,),
    )


def _make_table(connection: Connection, table: str, columns: Sequence[MappedColumn]) -> None:
    declared = ",\n  ".join(f"{quote(column.name)} {_declare(column.target)}" for column in columns)
    connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(table)}")
    connection.run(
        f"CREATE TEMPORARY TABLE {quote(table)} (\n  staging_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,\n"
        f"  {declared}\n) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )


def _declare(target: TargetColumn) -> str:
    return f"{target.column_type}{' COLLATE utf8mb4_bin' if target.is_text else ''} NULL"
