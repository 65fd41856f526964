"""Tables of this session only: a snapshot's members and rejects, and its rows where the fact refuses some of them.

Nothing here is seen by anyone else; a session that ends, however it ends, takes its staging tables along.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.fitting import Reject, StagedColumn
from pipeline.warehouse.mapping import Plan
from pipeline.warehouse.send import send_lines
from pipeline.warehouse.sorted_rows import Spool
from pipeline.warehouse.target import TargetColumn

REJECTS = "stg_rejects"


def stage_members(connection: Connection, spools: Sequence[Spool]) -> None:
    """Sends the dimensions' members and the rejects into staging tables, made anew."""
    connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(REJECTS)}")
    connection.run(
        f"CREATE TEMPORARY TABLE {quote(REJECTS)} (reject_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,"
        " fact_table VARCHAR(64) NOT NULL, row_key TEXT NOT NULL, column_name VARCHAR(64) NOT NULL,"
        " reason VARCHAR(500) NOT NULL, row_json LONGTEXT NOT NULL)"
        " ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )
    for spool in spools:
        plan = spool.plan
        if plan.members:
            _make_table(connection, plan.member_staging, plan.members)
            for lines in spool.member_lines():
                send_lines(connection, plan.member_staging, plan.members, lines)
        for rejects in spool.rejects():
            add_rejects(connection, plan, rejects)


def stage_rows(connection: Connection, spools: Sequence[Spool]) -> None:
    """Sends the facts' rows into staging tables, made anew."""
    for spool in spools:
        plan = spool.plan
        _make_table(connection, plan.staging, plan.columns)
        for lines in spool.row_lines():
            send_lines(connection, plan.staging, plan.columns, lines)


def add_rejects(connection: Connection, plan: Plan, rejects: Sequence[Reject]) -> None:
    """Keeps rejects until they are published."""
    connection.insert(
        REJECTS,
        ("fact_table", "row_key", "column_name", "reason", "row_json"),
        [(plan.fact, r.row_key[:1000], r.column[:64], r.reason[:500], r.row_json) for r in rejects],
    )


def _make_table(connection: Connection, table: str, columns: Sequence[StagedColumn]) -> None:
    declared = ",\n  ".join(f"{quote(column.name)} {_declare(column.target)}" for column in columns)
    connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote(table)}")
    connection.run(
        f"CREATE TEMPORARY TABLE {quote(table)} (\n  staging_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,\n"
        f"  {declared}\n) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )


def _declare(target: TargetColumn) -> str:
    return f"{target.column_type}{' COLLATE utf8mb4_bin' if target.is_text else ''} NULL"
