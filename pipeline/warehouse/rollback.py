"""Moves the current_* views to another snapshot, and records each move in `etl_rollbacks`.

One transaction: a crash leaves all moves done and recorded, or none.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pipeline.errors import SnapshotUnknown
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import in_mysql, list_snapshots, show


@dataclass(frozen=True)
class Move:
    """A view's move from one snapshot to another; `before` is None for a view that showed none."""

    fact: str
    before: int | None
    after: int


def roll_back(connection: Connection, version: int, now: dt.datetime, *, dry_run: bool = False) -> list[Move]:
    """Makes the views of a snapshot's facts show it, and records the moves; dimensions stay as they are.

    The next load of newer data moves the views again. A dry run is rolled back. Raises SnapshotUnknown.
    """
    with connection.hold_warehouse():
        return connection.in_transaction(lambda: _move_views(connection, version, now), commit=not dry_run)


def _move_views(connection: Connection, version: int, now: dt.datetime) -> list[Move]:
    facts = connection.rows(
        "SELECT l.fact_table, c.snapshot_version FROM etl_snapshot_facts AS l"
        " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version"
        " LEFT JOIN etl_current AS c ON c.fact_table = l.fact_table"
        " WHERE l.snapshot_version = %s AND s.status = 'complete' ORDER BY l.fact_table",
        (version,),
    )
    if not facts:
        there = ", ".join(str(entry.version) for entry in list_snapshots(connection)) or "none"
        raise SnapshotUnknown(f"the warehouse has no complete snapshot {version}", f"it has: {there}")
    shown = [(str(fact), None if before is None else int(before)) for fact, before in facts]
    moves = [Move(fact, before, version) for fact, before in shown if before != version]
    for move in moves:
        show(connection, move.fact, version)
    ((newest,),) = connection.rows("SELECT MAX(snapshot_version) FROM etl_snapshots")
    connection.insert(
        "etl_rollbacks",
        ("done_at", "fact_table", "from_version", "to_version", "after_version"),
        [(in_mysql(now), move.fact, move.before, version, newest) for move in moves],
    )
    return moves
