"""Times in the ledger never go back, and are checked against the database server's clock.

The machines that export, that load and that run MySQL each have a clock. Within a lake, versions say what is newer;
times are compared only where there is nothing else, and a time that cannot be true does not enter the ledger.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

from pipeline.errors import ClockWrong
from pipeline.text import rfc3339
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import in_mysql
from pipeline.warehouse.mapping import TableSnapshot

MOST_APART = dt.timedelta(days=1)
"""Clocks that differ by more are an error: one of them is wrong."""
_STEP = dt.timedelta(milliseconds=1)  # the ledger's precision


def agreed_now(connection: Connection, now: dt.datetime) -> dt.datetime:
    """The time for new ledger entries: `now`, or just after the newest entry if that is later.

    Raises ClockWrong when the server's clock is more than a day away, or the ledger has a snapshot from the future.
    """
    ((server_now, newest),) = connection.rows("SELECT UTC_TIMESTAMP(3), MAX(taken_at) FROM etl_snapshots")
    ours = in_mysql(now)
    if abs(server_now - ours) > MOST_APART:
        raise ClockWrong(
            f"this machine's clock says {rfc3339(ours)}, that of MySQL at {connection.server.place} "
            f"{rfc3339(server_now)}; nothing was changed",
            "set the clock that is wrong, then run the same command again",
        )
    if newest is None or newest < ours:
        return now
    if newest - ours > MOST_APART:
        _refuse_future(connection, server_now)
    later: dt.datetime = newest + _STEP
    return later.replace(tzinfo=dt.UTC)


def not_after(snapshots: Sequence[TableSnapshot], now: dt.datetime) -> list[TableSnapshot]:
    """The snapshots with times no later than `now`: a lake's rows exist by now, whatever its clock said."""
    return [dataclasses.replace(snapshot, taken_at=min(snapshot.taken_at, now)) for snapshot in snapshots]


def _refuse_future(connection: Connection, server_now: dt.datetime) -> None:
    ((version, taken_at),) = connection.rows(
        "SELECT snapshot_version, taken_at FROM etl_snapshots WHERE taken_at > %s"
        " ORDER BY taken_at, snapshot_version LIMIT 1",
        (server_now,),
    )
    raise ClockWrong(
        f"snapshot {version} of the warehouse is from the future ({rfc3339(taken_at)}), so nothing could be newer; "
        "nothing was changed",
        f"python sync_to_mysql.py redate --snapshot {version} --taken-at {rfc3339(server_now)} --yes",
    )
