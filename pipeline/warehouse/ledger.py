"""The ledger of snapshots: what was loaded, and what the current_* views show.

`etl_snapshots` and `etl_snapshot_facts` record loads, each in the transaction of its rows; `etl_current` names the
snapshot that each view shows. A crash leaves all ledger lines of a load or none.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import LakeWentBack
from pipeline.warehouse.connection import Connection, text_of
from pipeline.warehouse.mapping import ResolvedMapping, TableSnapshot


@dataclass(frozen=True)
class FactEntry:
    """A fact's line of the ledger. `lake_version` is None for rows that were read from ksqlDB.

    `lake_id` and `lake_files` identify the lake and the version's files; `moved_view` says whether the load moved the
    view. All three are None in lines of older releases, which did not record them.
    """

    fact: str
    feed: str
    lake_version: int | None
    row_count: int
    rejected_count: int
    content_hash: str
    lake_id: str | None = None
    lake_files: str | None = None
    moved_view: bool | None = None


@dataclass(frozen=True)
class SnapshotEntry:
    """A snapshot of the ledger; `shown` are the facts whose view shows it."""

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
        ("snapshot_version", "fact_table", "feed", "lake_version", "row_count", "rejected_count", "content_hash",
         "lake_id", "lake_files", "moved_view"),
        [(version, entry.fact, entry.feed, entry.lake_version, entry.row_count, entry.rejected_count,
          entry.content_hash, entry.lake_id, entry.lake_files, entry.moved_view)],
    )  # fmt: skip


def facts_of(connection: Connection, version: int) -> list[FactEntry]:
    """The ledger lines of a snapshot, one for each fact."""
    rows = connection.rows(
        "SELECT fact_table, feed, lake_version, row_count, rejected_count, content_hash, lake_id, lake_files,"
        " moved_view FROM etl_snapshot_facts WHERE snapshot_version = %s ORDER BY fact_table",
        (version,),
    )
    return [
        FactEntry(
            str(fact), str(feed), None if lake is None else int(lake), int(count), int(rejected), str(content),
            lake_id, files, None if moved is None else bool(moved),
        )
        for fact, feed, lake, count, rejected, content, lake_id, files, moved in rows
    ]  # fmt: skip


def is_newest(connection: Connection, fact: str, snapshot: TableSnapshot) -> bool:
    """Whether the warehouse has no younger rows of this fact.

    Snapshots of the same lake are compared by version, whatever its clock said. Rows of different origin, ksqlDB or
    another lake, are compared by `taken_at`; so are older ledger lines without a lake's id.
    """
    ((younger,),) = connection.rows(
        "SELECT COUNT(*) FROM etl_snapshot_facts AS l"
        " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version WHERE l.fact_table = %s AND"
        " IF(l.lake_id <=> %s AND l.lake_id IS NOT NULL, l.lake_version > %s,"
        " s.taken_at > %s AND NOT (l.lake_id IS NULL AND l.lake_version IS NOT NULL AND l.lake_version <= %s))",
        (fact, snapshot.lake_id, snapshot.lake_version or 0, in_mysql(snapshot.taken_at), snapshot.lake_version or 0),
    )
    return not younger


def time_in_order(connection: Connection, fact: str, snapshot: TableSnapshot) -> dt.datetime:
    """The time of the rows, but never before an earlier version of the same lake: its clock may have gone back."""
    ((earlier,),) = connection.rows(
        "SELECT MAX(s.taken_at) FROM etl_snapshot_facts AS l"
        " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version"
        " WHERE l.fact_table = %s AND l.lake_id = %s AND l.lake_version < %s",
        (fact, snapshot.lake_id, snapshot.lake_version or 0),
    )
    return snapshot.taken_at if earlier is None else max(snapshot.taken_at, earlier.replace(tzinfo=dt.UTC))


def leads_dimension(connection: Connection, dimension: str, taken_at: dt.datetime) -> bool:
    """Whether no fact that refers to the dimension has rows of a later day than `taken_at`.

    Days are compared, because tables of one export are a few seconds apart and may be loaded in any order.
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
    """Makes a fact's current_* view show a snapshot."""
    connection.run("DELETE FROM etl_current WHERE fact_table = %s", (fact,))
    connection.insert("etl_current", ("fact_table", "snapshot_version"), [(fact, version)])


def refuse_older_lake(connection: Connection, mappings: Iterable[ResolvedMapping]) -> None:
    """Raises LakeWentBack where the ledger has later versions of a lake's table than the lake itself.

    The lake would give its next versions numbers that the ledger has for other rows, so versions would have no order.
    """
    lost = []
    for mapping in mappings:
        snapshot = mapping.snapshot
        ((newest,),) = connection.rows(
            "SELECT MAX(lake_version) FROM etl_snapshot_facts WHERE fact_table = %s AND feed = %s AND lake_id = %s",
            (mapping.fact, snapshot.feed, snapshot.lake_id),
        )
        if snapshot.lake_newest is not None and newest is not None and newest > snapshot.lake_newest:
            lost.append((snapshot.feed, snapshot.lake_newest, int(newest)))
    if lost:
        tables = "; ".join(
            f"{feed} is at version {there}, and version {ours} of it is in the warehouse" for feed, there, ours in lost
        )
        raise LakeWentBack(
            f"the lake was restored from an older backup, or this is an older copy of it: {tables}; nothing was loaded",
            " && ".join(f"python export_to_data_lake.py --table {feed} --version {ours + 1}" for feed, _, ours in lost),
        )


def same_lake_versions(connection: Connection, wanted: Iterable[tuple[str, TableSnapshot, str | None]]) -> int | None:
    """The newest complete snapshot that has all the `wanted` lake versions: fact, version, and the hash of its rows.

    Without a hash a version is recognised by its data files; with a hash also by its rows, because the files may have
    been rewritten for a wider type, or an older ledger line may not record them. A version that was exported again with
    other rows, or another lake's version of the same number, does not count.
    """
    found = [_snapshots_with(connection, fact, snapshot, content_hash) for fact, snapshot, content_hash in wanted]
    return max(set.intersection(*found), default=None)


def _snapshots_with(connection: Connection, fact: str, snapshot: TableSnapshot, content_hash: str | None) -> set[int]:
    """The snapshots with a lake version, from the newest back to the first with other rows under that version."""
    lines = connection.rows(
        "SELECT l.snapshot_version, l.lake_files, l.content_hash FROM etl_snapshot_facts AS l"
        " JOIN etl_snapshots AS s ON s.snapshot_version = l.snapshot_version"
        " WHERE l.fact_table = %s AND l.feed = %s AND l.lake_version = %s"
        " AND (l.lake_id = %s OR l.lake_id IS NULL) AND s.status = 'complete' ORDER BY l.snapshot_version DESC",
        (fact, snapshot.feed, snapshot.lake_version, snapshot.lake_id),
    )
    same = itertools.takewhile(lambda line: line[1] == snapshot.lake_files or line[2] == content_hash, lines)
    return {int(version) for version, _, _ in same}


def record_identity(connection: Connection, version: int, fact: str, snapshot: TableSnapshot) -> None:
    """Records the lake's id and files in a ledger line that was recognised by its rows."""
    connection.run(
        "UPDATE etl_snapshot_facts SET lake_id = %s, lake_files = %s WHERE snapshot_version = %s AND fact_table = %s",
        (snapshot.lake_id, snapshot.lake_files, version, fact),
    )


def same_content(connection: Connection, hashes: Iterable[tuple[str, str]], day: dt.date) -> int | None:
    """The snapshot that the views show, if it was taken on this day and has rows of these hashes (fact, hash).

    None after a rollback: the dimensions then have values of a younger snapshot.
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
    """The moment as MySQL stores it: UTC without a zone, in milliseconds."""
    plain = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return plain.replace(microsecond=plain.microsecond // 1000 * 1000)
