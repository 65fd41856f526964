"""The DuckLake catalog of a feed: each Delta version is the snapshot of its number, by DuckDB's own extension."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.errors import DiskFull, LakeDamaged
from pipeline.fingerprint import ContentHash
from pipeline.lake.compaction import Compacted, Goal, compact_part
from pipeline.lake.ducklake import CATALOG, publish_ducklake
from pipeline.lake.local_store import LocalStore
from pipeline.lake.rewrite import roll_back, widen
from pipeline.lake.table import LakeTable
from tests.lake.bucket_lakes import lake_of
from tests.lake.by_ducklake import read_by_ducklake
from tests.lake.changed_streams import (
    MORE,
    add_old_and_new_rows,
    compact_and_expire,
    drop_first_entries,
    restored_after,
)
from tests.lake.small_tables import DAY_MS, NOW, SCHEMA, add_rows, add_version, commit_id, stream_feed, table_feed
from tests.private_seaweedfs import KEY, SECRET, PrivateSeaweedfs
from tests.readers.lake import hash_of, made

pytestmark = pytest.mark.long  # all of them together

LATER = NOW + dt.timedelta(days=3)


def stream(root: Path, **fields: object) -> LakeTable:
    return LakeTable(LocalStore(root), stream_feed(**fields), print)


def asked(table: LakeTable, *queries: str) -> list[pa.Table]:
    return read_by_ducklake(
        table.uri(CATALOG), *(query.replace("FEED", f"lake.{table.feed.name}") for query in queries)
    )


def versions(table: LakeTable) -> list[int]:
    return asked(table, "SELECT snapshot_id FROM ducklake_snapshots('lake') ORDER BY 1")[0]["snapshot_id"].to_pylist()


def check(table: LakeTable) -> None:
    """Compares each snapshot with its Delta version, and both with the partition in the path."""
    numbers = versions(table)
    assert numbers[-1] == table.delta_version
    column, counts = table.partition_column, []
    for version, found in zip(numbers, asked(table, *(f"FROM FEED AT (VERSION => {n})" for n in numbers)), strict=True):
        names = [name for name in table.schema.names if name in found.column_names]
        schema = pa.schema([table.schema.field(name).remove_metadata() for name in names])
        here, files = ContentHash(), table.files_at(version)
        for batch in table.read_batches(files):
            here.add_batch(batch.select(names))
        assert hash_of(found, schema) == (here.row_count, here.hexdigest()), version
        wanted = {file.partition for file in files if file.row_count}
        assert {None if value is None else str(value) for value in found[column].to_pylist()} == wanted
        counts.append(here.row_count)
    many = ", ".join(f"(SELECT count(*) FROM FEED AT (VERSION => {n})) AS c{n}" for n in numbers)
    assert list(asked(table, f"SELECT {many}")[0].to_pylist()[0].values()) == counts


def test_each_version_is_the_snapshot_of_its_number_and_only_new_ones_are_added(tmp_path: Path) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a"), (DAY_MS, 1, 0, "b")])
    add_rows(table, 2, [(0, 0, 1, "c"), (-(10**17), 1, 1, "outside of the calendar")])

    first = publish_ducklake(table)
    check(table)
    add_rows(table, 3, [(2 * DAY_MS, 0, 2, "d")])
    second = publish_ducklake(table)
    content = table.store.read(CATALOG)
    again = publish_ducklake(table)

    check(table)
    assert (first.snapshots, first.new_snapshots, second.snapshots, second.new_snapshots) == (3, 3, 4, 1)
    assert (again.snapshots, again.new_snapshots, table.store.read(CATALOG)) == (4, 0, content)
    third, second_at, *_ = (dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC) for entry in table.history())
    moments = asked(table, *(f"FROM FEED AT (TIMESTAMP => TIMESTAMPTZ '{one}')" for one in (second_at, third)))
    assert [one.num_rows for one in moments] == [4, 5]


def test_a_question_about_one_day_or_of_late_offsets_finds_its_rows_and_opens_few_files(tmp_path: Path) -> None:
    table = stream(tmp_path)
    for day in range(5):
        add_rows(table, day + 1, [(day * DAY_MS, 0, day, "v")])
    add_rows(table, 6, [(-(10**17), 1, 1, "outside of the calendar")])
    publish_ducklake(table)
    assert asked(table, "SELECT v FROM FEED WHERE date IS NULL")[0].num_rows == 1
    for file in table.files:
        if file.partition in ("1970-01-01", "1970-01-02", "1970-01-05"):  # which no answer needs
            Path(table.uri(file.path)).unlink()

    found = asked(
        table,
        "SELECT v FROM FEED WHERE date = DATE '1970-01-03'",
        "SELECT v FROM FEED WHERE rowoffset = 3",
    )

    assert [one.num_rows for one in found] == [1, 1]


def test_conditions_on_columns_without_statistics_lose_no_row(tmp_path: Path) -> None:
    table = LakeTable(LocalStore(tmp_path), table_feed(), print)
    add_version(table, 1, ["a", "b"])
    add_version(table, 2, ["a"])
    publish_ducklake(table)

    found = asked(
        table, "FROM FEED WHERE k = 'b'", "FROM FEED WHERE amount > 1", "FROM FEED WHERE k IS NOT NULL",
        "FROM FEED WHERE amount IS NULL", "FROM FEED WHERE version = 2",
    )  # fmt: skip

    assert [one.num_rows for one in found] == [1, 3, 3, 0, 1]


def test_expired_and_compacted_files_are_in_older_snapshots_only(tmp_path: Path) -> None:
    table = stream(tmp_path, retention_days=10)
    add_old_and_new_rows(table)
    publish_ducklake(table)
    compact_and_expire(table, LATER)

    done = publish_ducklake(table)

    check(table)
    assert done.new_snapshots == 2
    assert asked(table, "SELECT data_file FROM ducklake_list_files('lake', 'events')")[0].num_rows == 1


def test_a_rollback_is_a_snapshot(tmp_path: Path) -> None:
    table = LakeTable(LocalStore(tmp_path), table_feed(), print)
    add_version(table, 1, ["a", "b"])
    add_version(table, 2, [])
    publish_ducklake(table)

    roll_back(table, 1, commit_id(3), NOW)
    publish_ducklake(table)

    check(table)
    assert asked(table, "FROM FEED WHERE version = 3")[0].num_rows == 2


def test_every_type_is_read_as_it_was_written(tmp_path: Path) -> None:
    for state in made(tmp_path):
        if state.newest:
            catalog = f"{state.folder}/{CATALOG}"
            found = read_by_ducklake(catalog, f"FROM lake.{state.feed.name}")[0]
            assert hash_of(found, state.schema) == (state.rows, state.hash)


def test_new_columns_of_every_type_are_columns_of_the_snapshots_after_them(tmp_path: Path) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_ducklake(table)
    before = table.delta_version
    table.match_schema(pa.schema([*SCHEMA, *MORE]))

    publish_ducklake(table)

    check(table)
    now, then = asked(table, "FROM FEED", f"FROM FEED AT (VERSION => {before})")
    assert now.column_names == [*SCHEMA.names, "date", *(name for name, _ in MORE)]
    assert then.column_names == [*SCHEMA.names, "date"]


def test_a_column_that_became_wider_is_as_it_was_in_older_snapshots(tmp_path: Path) -> None:
    def schema(number: pa.DataType, digits: int) -> pa.Schema:
        nested = pa.struct([("x", number), ("l", pa.list_(number))])
        return pa.schema([("k", pa.string()), ("amount", pa.decimal128(digits, 10)), ("n", number), ("s", nested)])

    table = LakeTable(LocalStore(tmp_path), table_feed(), print)
    add_version(table, 1, ["a", "b"], schema=schema(pa.int32(), 20))
    publish_ducklake(table)
    before, wide = table.delta_version, schema(pa.int64(), 38)
    widen(table, table.match_schema(wide), wide, commit_id(5), NOW)
    add_version(table, 2, ["a"], schema=wide)

    publish_ducklake(table)

    now, then = asked(table, "FROM FEED", f"FROM FEED AT (VERSION => {before})")
    assert [(one.num_rows, str(one.schema.field("n").type)) for one in (now, then)] == [(3, "int64"), (2, "int32")]
    assert sorted(now["k"].to_pylist()) == ["a", "a", "b"]
    assert str(now.schema.field("s").type) == "struct<x: int64, l: list<element: int64>>"


def test_snapshots_that_the_log_no_longer_has_are_left_out_with_their_files(tmp_path: Path) -> None:
    table = stream(tmp_path)
    for number in range(3):
        add_rows(table, number + 1, [(0, 0, number, "v")])
    compact_part(table, Goal(10**6, None), commit_id(9), NOW, Compacted("events"))
    publish_ducklake(table)
    drop_first_entries(table, LATER)
    add_rows(table, 30, [(0, 0, 90, "v")], LATER)

    publish_ducklake(table)

    check(table)
    assert versions(table)[0] >= 3
    with duckdb.connect(table.uri(CATALOG), read_only=True) as catalog:
        assert catalog.sql("SELECT count(*) FROM ducklake_data_file").fetchall() == [(len(table.files),)]


def test_a_lake_that_was_moved_or_a_catalog_that_others_wrote_into_is_published_again(tmp_path: Path) -> None:
    table = stream(tmp_path / "one")
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_ducklake(table)
    (tmp_path / "one").rename(tmp_path / "two")
    moved = stream(tmp_path / "two")

    assert publish_ducklake(moved).new_snapshots == 0
    check(moved)

    catalog = Path(moved.uri(CATALOG))
    with duckdb.connect(str(catalog)) as theirs:
        theirs.execute("INSERT INTO ducklake_snapshot SELECT 99, now(), 1, 9, 9")
    assert publish_ducklake(moved).new_snapshots == 2
    check(moved)
    for content in (b"", b"no database", catalog.read_bytes()[:9_000]):
        catalog.write_bytes(content)
        assert publish_ducklake(moved).new_snapshots == 2
        check(moved)


@pytest.mark.parametrize("is_of_earlier_release", [False, True])
@pytest.mark.parametrize("commits", range(4))
def test_a_log_that_was_restored_from_a_backup_is_published_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int, is_of_earlier_release: bool
) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    with restored_after(table, tmp_path / "backup"), monkeypatch.context() as patched:
        add_rows(table, 2, [(0, 0, 1, "lost b")])
        add_rows(table, 3, [(0, 0, 2, "lost c")])
        if is_of_earlier_release:
            patched.setattr("pipeline.lake.ducklake.commit_checksum", lambda _: None)
        publish_ducklake(table)
    for number in range(commits):
        add_rows(table, 4 + number, [(0, 0, 1 + number, "b")])

    assert publish_ducklake(table).new_snapshots == 2 + commits
    check(table)


def test_a_run_that_dies_leaves_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_ducklake(table)
    add_rows(table, 2, [(0, 0, 1, "b")])

    def full(*_: object) -> None:
        raise DiskFull("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(DiskFull):
        patched.setattr(LocalStore, "replace", full)
        publish_ducklake(table)
    assert asked(table, "FROM FEED")[0].num_rows == 1

    publish_ducklake(table)

    check(table)


@pytest.mark.server
def test_a_catalog_in_a_bucket_is_read_there(root: str, seaweedfs: PrivateSeaweedfs) -> None:
    with lake_of(root, seaweedfs.access).writing(stream_feed(), {}) as table:
        for number in (1, 2):
            add_rows(table, number, [(0, 0, number, "a")])
            published = publish_ducklake(table)

    place = f"ENDPOINT '127.0.0.1:{seaweedfs.port}', USE_SSL false, URL_STYLE 'path'"
    found = read_by_ducklake(
        published.location,
        "FROM lake.events",
        "FROM lake.events AT (VERSION => 1)",
        secret=f"KEY_ID '{KEY}', SECRET '{SECRET}', {place}",
    )

    assert [one.num_rows for one in found] == [2, 1]


def test_readers_cannot_write_into_it_by_accident(tmp_path: Path) -> None:
    table = stream(tmp_path)
    add_rows(table, 1, [(0, 0, 0, "a")])
    publish_ducklake(table)

    with pytest.raises(RuntimeError, match="read-only"):
        read_by_ducklake(table.uri(CATALOG), "FROM ducklake_expire_snapshots('lake', older_than => now())")


def test_a_feed_without_data_has_none(tmp_path: Path) -> None:
    with pytest.raises(LakeDamaged, match="no data"):
        publish_ducklake(stream(tmp_path))
    assert "_ducklake" not in [path.name for path in tmp_path.rglob("*")]
