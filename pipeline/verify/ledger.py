"""Checks the ledger against itself, its facts and what the current_* views show; changes nothing.

What a load, a rollback and an expiry leave is known exactly, so any other state was made by hand.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.findings import Finding
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.ledger import FactEntry, SnapshotEntry, facts_of, list_snapshots

Line = tuple[SnapshotEntry, FactEntry]


def ledger_lines(connection: Connection, fact: str) -> list[Line]:
    """The ledger's lines of one fact, with their complete snapshots, newest data first."""
    return [
        (snapshot, entry)
        for snapshot in list_snapshots(connection)
        if snapshot.status == "complete"
        for entry in facts_of(connection, snapshot.version)
        if entry.fact == fact
    ]


def ledger_findings(connection: Connection, feed: str, fact: str, lines: list[Line]) -> list[Finding]:
    """What is wrong with a fact's ledger: dates, origin, the view, and rows that no line names."""
    found = [
        *_date_findings(connection, fact, lines),
        *_origin_findings(fact, lines),
        *_view_findings(connection, fact, lines),
        *_stray_rows(connection, fact),
    ]
    return [Finding(feed, what, detail) for what, detail in found]


def _date_findings(connection: Connection, fact: str, lines: list[Line]) -> Iterator[tuple[str, str]]:
    dates = dict(connection.rows("SELECT snapshot_version, snapshot_date FROM etl_snapshots"))
    for snapshot, _ in lines:
        day, number = snapshot.taken_at.date(), snapshot.version
        if dates.get(number) != day:
            yield "a snapshot's date is not that of its time", f"snapshot {number}: {dates.get(number)}, taken on {day}"
        ((wrong,),) = connection.rows(
            f"SELECT COUNT(*) FROM {quote(fact)} WHERE snapshot_version = %s AND snapshot_date <> %s", (number, day)
        )
        if wrong:
            yield "rows have another date than their snapshot", f"snapshot {number} of {fact}: {wrong} rows, not {day}"


def _origin_findings(fact: str, lines: list[Line]) -> Iterator[tuple[str, str]]:
    for snapshot, entry in lines:
        what = f"snapshot {snapshot.version} of {fact}"
        if snapshot.source == "lake" and entry.lake_version is None:
            yield "the ledger has no lake version for rows of the lake", what
        if snapshot.source != "lake" and entry.lake_version is not None:
            yield "the ledger has a lake version for rows of ksqlDB", what


def _view_findings(connection: Connection, fact: str, lines: list[Line]) -> Iterator[tuple[str, str]]:
    shown = connection.rows("SELECT snapshot_version FROM etl_current WHERE fact_table = %s", (fact,))
    versions = {entry.version for entry, _ in lines}
    if not lines:
        return
    if not shown:
        yield "the view shows no snapshot", f"the current_* view of {fact}, which has {len(lines)}"
    elif shown[0][0] not in versions:
        yield "the view shows a snapshot without rows of its fact", f"snapshot {shown[0][0]} of {fact}"
    elif shown[0][0] not in (due := _due(connection, fact, lines)):
        yield (
            "the view shows another snapshot than the last load or rollback left",
            f"snapshot {shown[0][0]} of {fact}, not {' or '.join(map(str, sorted(due)))}",
        )


def _due(connection: Connection, fact: str, lines: list[Line]) -> set[int]:
    """The snapshots that the view may show: the one to which the last load or rollback moved it.

    Two where their order was not recorded yet: the last load and the last rollback.
    """
    moved = [snapshot.version for snapshot, entry in lines if entry.moved_view]
    if not moved and any(entry.moved_view is None for _, entry in lines):
        moved = [next(snapshot.version for snapshot, entry in lines if entry.moved_view is None)]
    rollbacks = connection.rows(
        "SELECT to_version, after_version FROM etl_rollbacks WHERE fact_table = %s ORDER BY rollback_id DESC LIMIT 1",
        (fact,),
    )
    newest = max(moved, default=0)
    if not rollbacks:
        return {newest}
    ((to_version, after_version),) = rollbacks
    if after_version is None:
        return {newest, int(to_version)}
    return {int(to_version)} if after_version >= newest else {newest}


def _stray_rows(connection: Connection, fact: str) -> Iterator[tuple[str, str]]:
    rows = connection.rows(
        f"SELECT DISTINCT f.snapshot_version FROM {quote(fact)} AS f LEFT JOIN etl_snapshot_facts AS l"
        " ON l.snapshot_version = f.snapshot_version AND l.fact_table = %s WHERE l.snapshot_version IS NULL"
        " ORDER BY 1",
        (fact,),
    )
    for (version,) in rows:
        yield "rows that the ledger does not have", f"snapshot {version} of {fact}"
