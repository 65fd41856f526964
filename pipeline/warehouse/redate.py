"""Corrects the time of a snapshot: in the ledger, its facts and the histories of dimensions.

One transaction: a crash leaves the old time everywhere, or the new one.
"""

from __future__ import annotations

import datetime as dt

from pipeline.errors import NoTimeForSnapshot, SnapshotUnknown
from pipeline.text import rfc3339
from pipeline.warehouse.connection import Connection, quote, text_of
from pipeline.warehouse.ledger import facts_of, in_mysql, list_snapshots


def redate(connection: Connection, version: int, taken_at: dt.datetime, *, dry_run: bool = False) -> dt.datetime:
    """Gives a snapshot another time; returns its old time. A dry run only checks.

    Raises SnapshotUnknown, and NoTimeForSnapshot for a time in the future, or a time that would change the order of
    snapshots or of a dimension's versions.
    """
    with connection.hold_warehouse():
        before = _checked(connection, version, taken_at)
        if not dry_run:
            connection.in_transaction(lambda: _move(connection, version, in_mysql(before), in_mysql(taken_at)))
        return before


def _checked(connection: Connection, version: int, taken_at: dt.datetime) -> dt.datetime:
    entries = list_snapshots(connection)
    place = next((place for place, entry in enumerate(entries) if entry.version == version), None)
    if place is None:
        there = ", ".join(str(entry.version) for entry in entries) or "none"
        raise SnapshotUnknown(f"the warehouse has no snapshot {version}", f"it has: {there}")
    before = entries[place].taken_at
    ((server_now,),) = connection.rows("SELECT UTC_TIMESTAMP(3)")
    least = [entry.taken_at for entry in entries[place + 1 : place + 2]]
    for table in _histories(connection):
        began = connection.rows(
            f"SELECT MAX(valid_from) FROM {quote(table)} WHERE valid_from < %s", (in_mysql(before),)
        )
        least += [moment.replace(tzinfo=dt.UTC) for (moment,) in began if moment is not None]
    most = [server_now.replace(tzinfo=dt.UTC), *(entry.taken_at for entry in entries[place - 1 : place])]
    if taken_at >= min(most) or (least and taken_at <= max(least)):
        after = f"after {rfc3339(max(least))} and " if least else ""
        raise NoTimeForSnapshot(
            f"snapshot {version} cannot be of {rfc3339(taken_at)}: its place is {after}before {rfc3339(min(most))}",
            "give a time in between; of several wrong snapshots the oldest comes first (sync_to_mysql.py history)",
        )
    return before


def _move(connection: Connection, version: int, before: dt.datetime, after: dt.datetime) -> None:
    connection.run(
        "UPDATE etl_snapshots SET taken_at = %s, snapshot_date = %s, loaded_at = LEAST(loaded_at, UTC_TIMESTAMP(3))"
        " WHERE snapshot_version = %s",
        (after, after.date(), version),
    )
    for entry in facts_of(connection, version):
        connection.run(
            f"UPDATE {quote(entry.fact)} SET snapshot_date = %s WHERE snapshot_version = %s", (after.date(), version)
        )
    for table in _histories(connection):
        for column in ("valid_to", "valid_from"):
            connection.run(f"UPDATE {quote(table)} SET {column} = %s WHERE {column} = %s", (after, before))


def _histories(connection: Connection) -> list[str]:
    """The tables that keep a dimension's versions."""
    rows = connection.rows(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = %s AND column_name = 'valid_from'"
        " AND table_name LIKE '%%\\_history' ORDER BY table_name",
        (connection.server.database,),
    )
    return [text_of(table) for (table,) in rows]
