"""Deletes snapshots that no rule keeps, in chunks, so that transactions, locks and the undo log stay small.

An expiry that was interrupted leaves snapshots marked `expiring`, which no view shows and the next expiry deletes.
"""

from __future__ import annotations

import datetime as dt

from pipeline.errors import RetentionNotGiven
from pipeline.progress import Meter
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.ledger import SnapshotEntry, list_snapshots

DELETE_ROWS = 10_000
"""Fact rows of one DELETE."""


def expired_snapshots(entries: list[SnapshotEntry], keep: int | None, days: int | None, now: dt.datetime) -> list[int]:
    """The snapshots to delete, oldest first: all but the `keep` newest, those of the last `days`, and those in views.

    Raises RetentionNotGiven without a rule.
    """
    refuse_no_rule(keep, days)
    complete = [entry for entry in entries if entry.status == "complete"]
    kept = {entry.version for entry in complete[: keep or 0]}
    if days is not None:
        kept |= {entry.version for entry in complete if entry.taken_at > now - dt.timedelta(days=days)}
    return [entry.version for entry in reversed(entries) if entry.version not in kept and not entry.shown]


def refuse_no_rule(keep_snapshots: int | None, keep_days: int | None) -> None:
    """Raises RetentionNotGiven without a rule."""
    if keep_snapshots is None and keep_days is None:
        raise RetentionNotGiven("no rule says which snapshots to keep", "give --keep-snapshots, --keep-days or both")


def due(connection: Connection, keep_snapshots: int | None, keep_days: int | None, now: dt.datetime) -> list[int]:
    """The snapshots that `expire` would delete. Raises RetentionNotGiven without a rule."""
    return expired_snapshots(list_snapshots(connection), keep_snapshots, keep_days, now)


def expire(
    connection: Connection,
    keep_snapshots: int | None,
    keep_days: int | None,
    now: dt.datetime,
    meter: Meter | None = None,
) -> list[int]:
    """Deletes the snapshots that no rule keeps, in chunks; returns their numbers. `meter` counts their facts' rows."""
    with connection.hold_warehouse():
        meter, versions = meter or Meter("snapshots"), due(connection, keep_snapshots, keep_days, now)
        for version in versions:
            connection.in_transaction(lambda v=version: _mark(connection, v))  # type: ignore[misc] # bound at once
            facts = connection.rows(  # a fact that was dropped has no rows left
                "SELECT l.fact_table FROM etl_snapshot_facts AS l JOIN information_schema.tables AS t"
                " ON t.table_schema = %s AND t.table_name = l.fact_table WHERE l.snapshot_version = %s",
                (connection.server.database, version),
            )
            for table in [*(str(fact) for (fact,) in facts), "etl_rejects"]:
                _delete_rows(connection, table, version, meter)
            connection.in_transaction(
                lambda v=version: connection.run("DELETE FROM etl_snapshots WHERE snapshot_version = %s", (v,))  # type: ignore[misc] # as above
            )
    return versions


def _mark(connection: Connection, version: int) -> int:
    return connection.run("UPDATE etl_snapshots SET status = 'expiring' WHERE snapshot_version = %s", (version,))


def _delete_rows(connection: Connection, table: str, version: int, meter: Meter) -> None:
    def chunk() -> int:
        return connection.run(f"DELETE FROM {quote(table)} WHERE snapshot_version = %s LIMIT {DELETE_ROWS}", (version,))

    deleted = DELETE_ROWS
    while deleted == DELETE_ROWS:
        meter.add(deleted := connection.in_transaction(chunk))
