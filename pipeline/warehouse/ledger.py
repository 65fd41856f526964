"""The ledger of snapshots: what was loaded, and what the current_* views show.

`etl_snapshots` and `etl_snapshot_facts` say what was loaded, in the transaction of its rows; `etl_current` names the
snapshot that each view shows. A crash leaves all lines of a load or none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.warehouse.connection import Connection, text_of


@dataclass(frozen=True)
class FactEntry:
    """A fact's line of the ledger. `lake_version` is None for rows that were read from ksqlDB."""

    fact: str
    feed: str
    lake_version: int | None
    row_count: int
    rejected_count: int
    content_hash: str


@dataclass(frozen=True)
class SnapshotEntry:
    """A snapshot of the ledger, newest data first; `shown` are the facts whose view shows it."""

    version: int
    taken_at: dt.datetime
    loaded_at: dt.datetime
    source: str
    status: str
    row_count: int
    rejected_count: int
    shown: tuple[str, ...]


def add_snapshot(connection: Connection, source: str, taken_at: dt.datetime, now: dt.datetime) -> int:
    """Adds a snapshot under the next number; part of the load's transaction."""
    ((newest,),) = connection.rows("SELECT COALESCE(MAX(snapshot_version), 0) FROM etl_snapshots")
    version = int(newest) + 1
    connection.insert(
        "etl_snapshots",
        ("snapshot_version", "snapshot_date", "taken_at", "loaded_at", "source", "status"),
        [(version, taken_at.date(), in_mysql(taken_at), in_mysql(now), source, "complete")],
    )
    return version


def add_fact(connection: Connection, version: int, entry: FactEntry) -> None:
    connection.insert(
        "etl_snapshot_facts",
        ("snapshot_version", "fact_table", "feed", "lake_version", "row_count", "rejected_count", "content_hash"),
        [(version, entry.fact, entry.feed, entry.lake_version, entry.row_count, entry.rejected_count,
          entry.content_hash)],
    )  # fmt: skip


def facts_of(connection: Connection, version: int) -> list[FactEntry]:
    """What a snapshot holds, fact by fact."""
    rows = connection.rows(
        "SELECT fact_table, feed, lake_version, row_count, rejected_count, content_hash FROM etl_snapshot_facts"
        " WHERE snapshot_version = %s ORDER BY fact_table",
        (version,),
    )
    return [
        FactEntry(str(fact), str(feed), None if lake is None else int(lake), int(count), int(rejected), str(content))
        for fact, feed, lake, count, rejected, content in rows
    ]


def is_newest(connection: Connection, fact: str, lake_version: int | None, taken_at: dt.datetime) -> bool:
    """Whether the warehouse has no younger rows of this fact; an earlier lake version is not.

    `taken_at` is that of the fact's own rows; its snapshot may have younger ones of other facts.
    """
    ((newest,),) = connection.rows(
        "SELECT MAX(s.taken_at) FROM etl_snapshot_facts AS l"
        " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version WHERE l.fact_table = %s"
        " AND (l.lake_version IS NULL OR l.lake_version > %s)",
        (fact, lake_version or 0),
    )
    return newest is None or bool(newest <= in_mysql(taken_at))


def leads_dimension(connection: Connection, dimension: str, taken_at: dt.datetime) -> bool:
    """Whether no fact that refers to the dimension has rows of a later day than `taken_at`.

    By the day: tables of one export are a few seconds apart, and may be loaded one by one in any order.
    """
    facts = connection.rows(
        "SELECT DISTINCT table_name FROM information_schema.key_column_usage"
        " WHERE table_schema = %s AND referenced_table_schema = %s AND referenced_table_name = %s",
        (connection.server.database, connection.server.database, dimension),
    )
    days = [
        connection.rows(
            "SELECT MAX(s.snapshot_date) FROM etl_snapshot_facts AS l"
            " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version WHERE l.fact_table = %s",
            (text_of(fact),),
        )[0][0]
        for (fact,) in facts
    ]
    return all(day is None or day <= in_mysql(taken_at).date() for day in days)


def show(connection: Connection, fact: str, version: int) -> None:
    """Lets a fact's current_* view show a snapshot."""
    connection.run("DELETE FROM etl_current WHERE fact_table = %s", (fact,))
    connection.insert("etl_current", ("fact_table", "snapshot_version"), [(fact, version)])


def known_lake_versions(
    connection: Connection, wanted: Iterable[tuple[str, str, int | None, dt.datetime]]
) -> int | None:
    """The complete snapshot that holds these lake versions: fact, feed, version, and when the version was written.

    A version that was written again after it was loaded is another one.
    """
    found: set[int] | None = None
    for fact, feed, lake_version, written_at in wanted:
        rows = connection.rows(
            "SELECT l.snapshot_version FROM etl_snapshot_facts AS l"
            " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version"
            " WHERE l.fact_table = %s AND l.feed = %s AND l.lake_version = %s"
            " AND s.status = 'complete' AND s.loaded_at >= %s",
            (fact, feed, lake_version, in_mysql(written_at)),
        )
        versions = {int(version) for (version,) in rows}
        found = versions if found is None else found & versions
    return max(found) if found else None


def same_content(connection: Connection, hashes: Iterable[tuple[str, str]], day: dt.date) -> int | None:
    """The snapshot that the views show, when it was taken on this day and holds rows of these hashes (fact, hash).

    Not after a rollback: the dimensions then hold what a younger snapshot told.
    """
    versions = set()
    for fact, content_hash in hashes:
        rows = connection.rows(
            "SELECT l.snapshot_version FROM etl_current AS c"
            " JOIN etl_snapshot_facts AS l ON l.snapshot_version = c.snapshot_version AND l.fact_table = c.fact_table"
            " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version"
            " WHERE c.fact_table = %s AND l.content_hash = %s AND s.snapshot_date = %s"
            " AND NOT EXISTS (SELECT 1 FROM etl_snapshot_facts AS f JOIN etl_snapshots AS younger"
            " ON younger.snapshot_version = f.snapshot_version WHERE f.fact_table = c.fact_table"
            " AND (younger.taken_at, younger.snapshot_version) > (s.taken_at, s.snapshot_version))",
            (fact, content_hash, day),
        )
        versions.add(int(rows[0][0]) if rows else None)
    return versions.pop() if len(versions) == 1 else None


def previous_row_counts(connection: Connection) -> dict[str, int]:
    """Rows (with rejects) of each feed in the snapshot that its current_* view shows."""
    rows = connection.rows(
        "SELECT l.feed, l.row_count + l.rejected_count FROM etl_current AS c"
        " JOIN etl_snapshot_facts AS l ON l.snapshot_version = c.snapshot_version AND l.fact_table = c.fact_table"
    )
    return {str(feed): int(count) for feed, count in rows}


def list_snapshots(connection: Connection) -> list[SnapshotEntry]:
    """Every snapshot, the one with the newest data first."""
    shown: dict[int, list[str]] = {}
    for fact, version in connection.rows("SELECT fact_table, snapshot_version FROM etl_current ORDER BY fact_table"):
        shown.setdefault(int(version), []).append(str(fact))
    rows = connection.rows(
        "SELECT s.snapshot_version, s.taken_at, s.loaded_at, s.source, s.status,"
        " COALESCE(SUM(l.row_count), 0), COALESCE(SUM(l.rejected_count), 0)"
        " FROM etl_snapshots AS s LEFT JOIN etl_snapshot_facts AS l ON l.snapshot_version = s.snapshot_version"
        " GROUP BY s.snapshot_version, s.taken_at, s.loaded_at, s.source, s.status"
        " ORDER BY s.taken_at DESC, s.snapshot_version DESC"
    )
    return [
        SnapshotEntry(
            int(version), taken_at.replace(tzinfo=dt.UTC), loaded_at.replace(tzinfo=dt.UTC), str(source), str(status),
            int(count), int(rejected), tuple(shown.get(int(version), ())),
        )
        for version, taken_at, loaded_at, source, status, count, rejected in rows
    ]  # fmt: skip


def in_mysql(moment: dt.datetime) -> dt.datetime:
    """As MySQL takes it: UTC without a zone, in milliseconds."""
    plain = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return plain.replace(microsecond=plain.microsecond // 1000 * 1000)
