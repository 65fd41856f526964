"""A DuckLake catalog over the data files of a feed's table: DuckDB reads the same files, none is copied.

The catalog is `_ducklake/catalog.duckdb` of the table's folder, a database with one table of the feed's name. Each
Delta version that the log has is the DuckLake snapshot of the same number, with the time of its commit. Only what is
new since the last time is added, in a copy that takes the catalog's place whole: a crash leaves what was published
before. Nothing reads it to write the lake: it can be deleted at any time, and one that another program has written into
is made again from the log, as is one of commits that the log no longer has after a restore from a backup.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipeline.feeds import Feed
from pipeline.lake.ducklake_columns import match_columns
from pipeline.lake.ducklake_tables import FIRST_COLUMN, PARTITION, TABLE, TABLES, VERSION, insert, value
from pipeline.lake.files import DataFile, stage_bytes
from pipeline.lake.lake import Upkeep
from pipeline.lake.log import commit_checksum, oldest_version
from pipeline.lake.lost_history import still_has
from pipeline.lake.published import Published
from pipeline.lake.store import LOG
from pipeline.lake.table import LakeTable
from pipeline.scratch_database import database_errors

FOLDER = "_ducklake"
CATALOG = f"{FOLDER}/catalog.duckdb"
_AUTHOR = "ksqldb-lake"
_STORAGE = "v1.0.0"
"""The form of the database file: readers have older versions of DuckDB than this toolkit."""


def publish_feed_ducklake(upkeep: Upkeep, feed: Feed) -> Published:
    """As `publish_ducklake`, with the feed's lock."""
    with upkeep.lake.writing(feed, upkeep.holder) as table:
        return publish_ducklake(table)


def publish_ducklake(table: LakeTable) -> Published:
    """Brings the table's DuckLake catalog up to its newest Delta version. Only under the feed's lock.

    Raises LakeDamaged for a table without data, ScratchUnusable, and the errors of the store.
    """
    newest, oldest, place = table.delta_version, oldest_version(table.store.names(LOG)), f"{table.uri()}/"
    with table.store.scratch() as folder, database_errors(folder):
        path = folder / "catalog.duckdb"
        with _opened(path, table, oldest) as database:
            last = value(database, "SELECT max(snapshot_id) FROM ducklake_snapshot")
            first = oldest if last is None else max(oldest, last + 1)
            was_at = value(database, "SELECT value FROM ducklake_metadata WHERE key = 'data_path'")
            is_changed = first <= newest or was_at != place
            if is_changed:
                database.execute("UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [place])
                _add_versions(database, table, range(first, newest + 1))
                _leave_out(database, oldest)
            count = value(database, "SELECT count(*) FROM ducklake_snapshot")
        if is_changed:
            table.store.replace(CATALOG, path.read_bytes())
    location = table.uri(CATALOG)
    return Published(table.feed.name, location, location, newest, count, newest + 1 - first, "ducklake")


def _opened(path: Path, table: LakeTable, oldest: int) -> duckdb.DuckDBPyConnection:
    """A private copy of the catalog; an empty one where there is none of this table that we alone have written."""
    if table.store.size(CATALOG) is not None:
        stage_bytes(table.store.read(CATALOG), path)  # `fetch` may give a link to the file itself
        try:
            known = _connected(path)
            if _is_ours(known, table):
                return known
            known.close()
        except duckdb.Error:
            pass  # it is no database, or not of these tables: it is made again
        path.unlink()
    made = _connected(path)
    made.execute(TABLES)
    metadata = {"version": VERSION, "created_by": _AUTHOR, "data_path": "", "encrypted": "false"}
    insert(made, "ducklake_metadata", [(key, text, None, None) for key, text in metadata.items()])
    insert(made, "ducklake_schema", [(0, table.id, oldest, None, "main", "", True)])
    insert(made, "ducklake_table", [(TABLE, table.id, oldest, None, 0, table.feed.name, "", True)])
    insert(made, "ducklake_table_stats", [(TABLE, 0, 0, 0)])
    insert(made, "ducklake_partition_info", [(PARTITION, TABLE, oldest, None)])
    return made


def _connected(path: Path) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    place = str(path).replace("'", "''")
    database.execute(f"ATTACH '{place}' AS catalog (STORAGE_VERSION '{_STORAGE}')")
    database.execute("USE catalog")
    return database


def _is_ours(database: duckdb.DuckDBPyConnection, table: LakeTable) -> bool:
    """Whether the catalog is of this table and of what its log has, and each snapshot in it is from here."""
    asked = """SELECT (SELECT list(table_uuid::VARCHAR) FROM ducklake_table), max(snapshot_id),
        count(*) = (SELECT count(*) FROM ducklake_snapshot_changes WHERE author = ?),
        (SELECT arg_max(coalesce(commit_extra_info, ''), snapshot_id) FROM ducklake_snapshot_changes)
        FROM ducklake_snapshot"""
    tables, last, is_written_here, checksum = database.execute(asked, [_AUTHOR]).fetchall()[0]
    if tables != [table.id] or last is None or not is_written_here:
        return False
    return still_has(table, last, checksum, _live_files(database))


def _live_files(database: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The numbers of the files of the newest snapshot, by their paths."""
    asked = "SELECT path, data_file_id FROM ducklake_data_file WHERE end_snapshot IS NULL"
    return dict(database.execute(asked).fetchall())


class _Growth:
    """Rows that are to be added to the catalog's tables, and files that are to end, version by version."""

    def __init__(self, database: duckdb.DuckDBPyConnection, table: LakeTable, first: int) -> None:
        self._database, self._partition_column = database, table.partition_column
        self._columns, self._schema_version = match_columns(database, table.head.schema, table.partition_column, first)
        self._live = _live_files(database)
        self._next_file = value(database, "SELECT coalesce(max(data_file_id) + 1, 1) FROM ducklake_data_file")
        self._next_row = value(database, "SELECT next_row_id FROM ducklake_table_stats")
        self._at_ms = value(database, "SELECT max(epoch_ms(snapshot_time)) FROM ducklake_snapshot") or 0
        self._rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)

    def add(self, version: int, files: Iterable[DataFile], info: Mapping[str, Any]) -> None:
        """Adds the snapshot of a version with these files, by its commit information. Times in the catalog never go
        back.
        """
        after = {file.path: file for file in files}
        gone, new = [path for path in self._live if path not in after], after.keys() - self._live.keys()
        for path in gone:
            self._rows["ended"].append((self._live.pop(path), version))
        for path in sorted(new):
            self._add_file(version, after[path])
        self._at_ms = max(self._at_ms, info.get("timestamp") or 0)
        moment = dt.datetime.fromtimestamp(self._at_ms / 1000, dt.UTC)
        next_id = FIRST_COLUMN + len(self._columns)
        self._rows["ducklake_snapshot"].append((version, moment, self._schema_version, next_id, self._next_file))
        kinds = [*(["inserted_into_table"] if new else []), *(["deleted_from_table"] if gone else [])]
        made = ",".join(f"{kind}:{TABLE}" for kind in kinds)
        self._rows["ducklake_snapshot_changes"].append((version, made, _AUTHOR, None, commit_checksum(info)))

    def _add_file(self, version: int, file: DataFile) -> None:
        number = self._live[file.path] = self._next_file
        self._rows["ducklake_data_file"].append(
            (number, TABLE, version, None, None, file.path, True, "parquet", file.row_count, file.size_bytes, None,
             self._next_row, PARTITION, None, self._schema_version, None)
        )  # fmt: skip
        self._rows["ducklake_file_partition_value"].append((number, TABLE, 0, file.partition))
        for name, column in self._columns.items():  # a reader skips a file without a row of the column it looks for
            bounds: tuple[int | str | None, ...] = file.bounds.get(name, (None, None))
            nulls = None
            if name == self._partition_column:
                bounds, nulls = (file.partition,) * 2, 0 if file.partition is not None else file.row_count
            texts = [None if bound is None else str(bound) for bound in bounds]
            self._rows["ducklake_file_column_stats"].append(
                (number, TABLE, column, None, file.row_count, nulls, *texts, None, None)
            )
        self._next_file, self._next_row = number + 1, self._next_row + file.row_count

    def write(self) -> None:
        ended = self._rows.pop("ended", [])
        for name, rows in self._rows.items():
            insert(self._database, name, rows)
        self._database.execute("CREATE TEMP TABLE ended (id BIGINT, version BIGINT)")
        insert(self._database, "temp.ended", ended)
        self._database.execute(
            "UPDATE ducklake_data_file SET end_snapshot = ended.version FROM ended WHERE data_file_id = ended.id"
        )
        size = "coalesce((SELECT sum(file_size_bytes) FROM ducklake_data_file WHERE end_snapshot IS NULL), 0)"
        self._database.execute(
            f"UPDATE ducklake_table_stats SET record_count = ?, next_row_id = ?, file_size_bytes = {size}",
            [self._next_row, self._next_row],
        )


def _add_versions(database: duckdb.DuckDBPyConnection, table: LakeTable, versions: range) -> None:
    """Adds the snapshots of these Delta versions, which follow those that the catalog has."""
    if versions:
        infos = {entry["version"]: entry for entry in table.history()}
        growth = _Growth(database, table, versions[0])
        for version in versions:
            growth.add(version, table.files_at(version), infos.get(version, {}))
        growth.write()


def _leave_out(database: duckdb.DuckDBPyConnection, oldest: int) -> None:
    """Removes the snapshots of Delta versions that the log no longer has, and the files that only these had."""
    for name in ("ducklake_snapshot", "ducklake_snapshot_changes"):
        database.execute(f"DELETE FROM {name} WHERE snapshot_id < ?", [oldest])
    gone = "SELECT data_file_id FROM ducklake_data_file WHERE end_snapshot <= ?"
    for name in ("ducklake_file_column_stats", "ducklake_file_partition_value", "ducklake_data_file"):
        database.execute(f"DELETE FROM {name} WHERE data_file_id IN ({gone})", [oldest])
