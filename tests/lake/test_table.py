"""The lake's table: one instant at which rows exist, and nothing left behind by what came before it."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from manage_feeds import feeds_of
from pipeline.feeds import Feed, FeedInvalid, parse_feed
from pipeline.lake.catalog import describe_table, write_metadata, write_views
from pipeline.lake.columns import SchemaChanged
from pipeline.lake.feed_store import FeedExists, FeedStore, FeedUnknown
from pipeline.lake.storage import FeedLocked, LakeDamaged, LakeNotWritable, hold_feed, lake_folder
from pipeline.lake.table import Change, LakeTable
from pipeline.lake.upkeep import VersionUnknown, expire, roll_back, rows_not_in, verify, widen
from pipeline.lake.writer import StagedWriter
from tests.support import ROOT

NOW = dt.datetime(2026, 11, 20, 6, 0, tzinfo=dt.UTC)
DAY_MS = 86_400_000
SCHEMA = pa.schema(
    [("rowtime", pa.int64()), ("rowpartition", pa.int32()), ("rowoffset", pa.int64()), ("v", pa.string())]
)
TABLE = pa.schema([("k", pa.string()), ("amount", pa.decimal128(38, 10))])


def stream_feed(**fields: Any) -> Feed:
    return parse_feed({"name": "events", "type": "stream", "source": "EVENTS"} | fields, "events")


def table_feed(**fields: Any) -> Feed:
    return parse_feed({"name": "totals", "type": "table", "source": "TOTALS"} | fields, "totals")


def commit_id(number: int) -> str:
    return f"20261120T060000Z-{number:08x}"


def add_rows(table: LakeTable, number: int, rows: list[tuple[int, int, int, str]]) -> None:
    """Commits (rowtime, partition, offset, v) rows with their bookmarks."""
    if not table.exists:
        table.create(SCHEMA, "topic")
    writer = StagedWriter(table.staging_folder(commit_id(number)), SCHEMA, date_column="rowtime")
    names = SCHEMA.names
    writer.add(pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=SCHEMA))
    marks = {partition: (offset + 1, rowtime) for rowtime, partition, offset, _ in rows}
    change = Change(adds=writer.finish(), bookmarks=marks, partitions=3, note={"kind": "stream"})
    table.commit(commit_id(number), change, NOW)


def add_version(table: LakeTable, version: int, keys: list[str], days: int = 0, schema: pa.Schema = TABLE) -> None:
    if not table.exists:
        table.create(schema, "")
    writer = StagedWriter(table.staging_folder(commit_id(version)), schema, partition=str(version))
    if keys:
        rows = [{"k": key, "amount": Decimal("1.0000000001")} for key in keys]
        writer.add(pa.RecordBatch.from_pylist(rows, schema=schema))
    change = Change(adds=writer.finish(), current_version=version, note={"kind": "snapshot", "version": version})
    table.commit(commit_id(version), change, NOW + dt.timedelta(days=days))


def values(table: LakeTable) -> list[str]:
    return sorted(row["v"] for batch in table.read_batches(table.files) for row in batch.to_pylist())


def glob(table: LakeTable) -> list[Path]:
    return sorted(table.folder.glob("*/*.parquet"))


def test_rows_and_bookmark_are_there_together(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 5, "a"), (DAY_MS, 2, 9, "b"), (-1, 0, 6, "c")])

    again = LakeTable(tmp_path, stream_feed())
    assert values(again) == ["a", "b", "c"]
    assert again.bookmarks() == {0: (7, -1), 2: (10, DAY_MS)}
    assert [file.partition for file in sorted(again.files, key=lambda f: f.partition or "")] == [
        "1969-12-31", "1970-01-01", "1970-01-02",
    ]  # fmt: skip
    assert verify(again) == []


def test_bookmarks_survive_a_checkpoint_and_the_clean_up_of_the_log(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    table._table.create_checkpoint()
    for entry in (table.folder / "_delta_log").glob("*.json"):
        if not entry.name.startswith(f"{table.delta_version:020}"):
            entry.unlink()

    again = LakeTable(tmp_path, stream_feed())
    assert again.bookmarks() == {0: (1, 0)}
    assert verify(again) == []


def test_files_of_a_killed_run_are_never_read_and_are_removed_by_the_next(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    writer = StagedWriter(table.staging_folder("left"), SCHEMA, date_column="rowtime")
    writer.add(pa.RecordBatch.from_pylist([{"rowtime": 0, "v": "staged"}], schema=SCHEMA))
    (staged,) = writer.finish()
    moved = table.folder / "date=1970-01-01" / f"{commit_id(2)}-00000-{staged.checksum}.parquet"
    moved.write_bytes(staged.path.read_bytes())
    theirs = table.folder / "date=1970-01-01" / "not-ours.parquet"
    theirs.write_bytes(b"x")

    assert values(LakeTable(tmp_path, stream_feed())) == ["a"]
    assert table.remove_orphans(grace_hours=1) == 1

    assert not moved.exists()
    assert not (table.folder / "_staging").exists()
    assert theirs.exists()
    assert values(table) == ["a"]


@pytest.mark.parametrize("left", [0, 1, 0.3, 0.9])
def test_a_log_entry_torn_by_a_power_cut_is_removed_with_its_rows(tmp_path: Path, left: float) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    add_rows(table, 2, [(0, 0, 1, "torn")])
    entry = table.folder / "_delta_log" / f"{table.delta_version:020}.json"
    data = entry.read_bytes()
    entry.write_bytes(data[: int(len(data) * left)] if left < 1 else data[:1])

    again = LakeTable.for_writing(tmp_path, stream_feed(), grace_hours=1)

    assert values(again) == ["a"]
    assert again.bookmarks() == {0: (1, 0)}
    assert len(glob(again)) == 1
    assert verify(again) == []


def test_a_whole_log_is_left_as_it_is(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    before = sorted((path.name, path.read_bytes()) for path in (table.folder / "_delta_log").iterdir())

    LakeTable.for_writing(tmp_path, stream_feed(), grace_hours=1)

    assert sorted((path.name, path.read_bytes()) for path in (table.folder / "_delta_log").iterdir()) == before


def test_expired_dates_leave_the_log_first_and_the_disk_after_the_grace_period(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed(retention_days=30))
    today = int(NOW.timestamp() * 1000)
    add_rows(table, 1, [(today - 31 * DAY_MS, 0, 0, "old"), (today - 30 * DAY_MS, 0, 1, "kept"), (today, 0, 2, "new")])

    gone = expire(table, commit_id(2), NOW)

    assert gone == ["2026-10-20"]
    assert values(table) == ["kept", "new"]
    assert len(glob(table)) == 3
    assert table.remove_orphans(grace_hours=24 * 3650) == 0
    assert table.remove_orphans(grace_hours=0) == 1
    assert len(glob(table)) == 2
    assert table.bookmarks() == {0: (3, today)}
    assert expire(table, commit_id(3), NOW) == []


def test_expired_files_stay_while_the_views_still_name_them(tmp_path: Path) -> None:
    feed = table_feed(retention_versions=1)
    FeedStore(tmp_path).add(feed)
    table = LakeTable(tmp_path, feed)
    add_version(table, 1, ["a"])
    write_views(tmp_path)
    add_version(table, 2, ["a", "b"])
    expire(table, commit_id(3), NOW)

    assert LakeTable(tmp_path, feed).remove_orphans(grace_hours=0) == 0
    write_views(tmp_path)
    assert LakeTable(tmp_path, feed).remove_orphans(grace_hours=0) == 1


def test_old_versions_expire_but_never_the_current_one(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, table_feed(retention_versions=2))
    for version in range(1, 5):
        add_version(table, version, ["k"] * version)

    assert expire(table, commit_id(9), NOW) == ["1", "2"]
    assert list(table.versions()) == [3, 4]
    aged = LakeTable(tmp_path, table_feed(retention_days=1))
    assert expire(aged, commit_id(10), NOW + dt.timedelta(days=9)) == ["3"]
    assert aged.current_version == 4


def test_rollback_publishes_old_rows_as_a_new_version(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, table_feed())
    add_version(table, 1, ["a", "b"])
    add_version(table, 2, ["a"])

    assert roll_back(table, 1, commit_id(3), NOW) == 3

    assert table.current_version == 3
    assert {version: sum(f.row_count for f in files) for version, files in table.versions().items()} == {
        1: 2,
        2: 1,
        3: 2,
    }
    assert verify(table) == []
    with pytest.raises(VersionUnknown, match="no version 7"):
        roll_back(table, 7, commit_id(4), NOW)


def test_an_empty_snapshot_is_a_version(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, table_feed())
    add_version(table, 1, ["a"])
    add_version(table, 2, [])

    assert table.current_version == 2
    assert sum(file.row_count for file in table.versions()[2]) == 0


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped"])
def test_verify_finds_a_file_that_is_not_what_was_written(tmp_path: Path, harm: str) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 0, 1, "b")])
    (path,) = glob(table)
    data = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    (finding,) = verify(LakeTable(tmp_path, stream_feed()))

    assert {"missing": "missing", "cut": "size is", "flipped": "checksum differs"}[harm] in finding.what


def test_verify_finds_rows_that_are_there_twice_or_ahead_of_the_bookmark(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 0, 1, "b")])
    writer = StagedWriter(table.staging_folder("x"), SCHEMA, date_column="rowtime")
    rows = [{"rowtime": 0, "rowpartition": 0, "rowoffset": offset, "v": "again"} for offset in (1, 7)]
    writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
    table.commit(commit_id(2), Change(adds=writer.finish()), NOW)

    found = {finding.what: finding.detail for finding in verify(table)}

    assert found == {
        "row is there more than once": "partition 0 offset 1: 2",
        "offset is not before the bookmark": "partition 0: 7, bookmark 2",
    }


def test_only_new_columns_are_taken_over(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])

    table.match_schema(SCHEMA.append(pa.field("w", pa.decimal128(9, 2))))

    assert table.schema.names == [*SCHEMA.names, "w"]
    assert next(table.read_batches(table.files)).to_pylist()[0]["w"] is None
    version = table.delta_version
    for changed in (SCHEMA.remove(3), SCHEMA.set(3, pa.field("v", pa.int64()))):
        with pytest.raises(SchemaChanged, match="no longer fit"):
            table.match_schema(changed)
    assert LakeTable(tmp_path, stream_feed()).delta_version == version


def test_versions_keep_their_time_when_a_column_becomes_wider(tmp_path: Path) -> None:
    """By it retention lets them go, and the warehouse dates its snapshots."""
    table = LakeTable(tmp_path, table_feed(retention_days=30))
    for version in (1, 2):
        add_version(table, version, ["a"], days=version, schema=TABLE.set(1, pa.field("amount", pa.decimal128(20, 10))))
    before = {version: files[0].added_at for version, files in table.versions().items()}

    widen(table, table.match_schema(TABLE), TABLE, commit_id(3), NOW + dt.timedelta(days=9))

    assert table.schema.field("amount").type == TABLE.field("amount").type
    assert {version: files[0].added_at for version, files in table.versions().items()} == before
    assert expire(table, commit_id(4), NOW + dt.timedelta(days=32)) == ["1"]


def test_rows_not_in_tells_rows_by_their_place(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 1, 0, "b"), (0, 1, 1, "c")])
    writer = StagedWriter(tmp_path / "new", SCHEMA, date_column="rowtime")
    rows = [{"rowtime": 5, "rowpartition": 1, "rowoffset": offset, "v": "new"} for offset in (0, 8)]
    writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))

    rest = [row["v"] for batch in rows_not_in(table, table.files, writer.finish()) for row in batch.to_pylist()]

    assert rest == ["a", "c"]


def test_many_partitions_are_written_with_few_open_files(tmp_path: Path) -> None:
    writer = StagedWriter(tmp_path / "s", SCHEMA, date_column="rowtime")
    for day in list(range(90)) * 2:
        writer.add(pa.RecordBatch.from_pylist([{"rowtime": day * DAY_MS, "v": "x"}], schema=SCHEMA))

    staged = writer.finish()

    assert sum(file.row_count for file in staged) == 180
    assert len({file.partition for file in staged}) == 90


def test_views_and_metadata_are_made_from_the_log(tmp_path: Path) -> None:
    root = tmp_path / "it's a lake"
    store = FeedStore(root)
    store.add(stream_feed())
    store.add(table_feed())
    events, totals = LakeTable(root, stream_feed()), LakeTable(root, table_feed())
    events.create(SCHEMA, "topic")
    add_version(totals, 1, ["a"])
    add_version(totals, 2, ["a", "b"])

    views = write_views(root).read_text(encoding="utf-8")
    write_metadata(totals)

    with duckdb.connect() as connection:
        connection.execute(views)
        assert connection.sql("SELECT count(*) FROM events").fetchall() == [(0,)]
        assert connection.sql("SELECT k, version FROM totals_current ORDER BY k").fetchall() == [("a", 2), ("b", 2)]
        assert connection.sql("SELECT count(*) FROM totals_history").fetchall() == [(3,)]
    told = json.loads((totals.folder / "_metadata.json").read_text(encoding="utf-8"))
    assert told == describe_table(totals)
    assert (told["current_version"], told["totals"]["rows"], len(told["partitions"])) == (2, 3, 2)


def test_views_have_the_columns_of_the_schema_also_over_older_files(tmp_path: Path) -> None:
    FeedStore(tmp_path).add(table_feed())
    FeedStore(tmp_path).add(stream_feed())
    totals, events = LakeTable(tmp_path, table_feed()), LakeTable(tmp_path, stream_feed())
    add_version(totals, 1, ["a"])
    add_rows(events, 1, [(0, 0, 0, "a")])
    new = [("x", pa.decimal128(9, 2)), ("y", pa.list_(pa.struct([("z", pa.timestamp("us", "UTC"))])))]
    totals.match_schema(pa.schema([*TABLE, *map(pa.field, *zip(*new, strict=True))]))
    events.match_schema(pa.schema([*SCHEMA, *map(pa.field, *zip(*new, strict=True))]))

    with duckdb.connect() as connection:
        connection.execute(write_views(tmp_path).read_text(encoding="utf-8"))
        totals_view = connection.sql("SELECT * FROM totals_current")
        events_view = connection.sql("SELECT * FROM events")
        assert totals_view.fetchall() == [("a", Decimal("1.0000000001"), None, None, 1)]
        assert events_view.fetchall() == [(0, 0, 0, "a", None, None, dt.date(1970, 1, 1))]
        assert totals_view.columns == ["k", "amount", "x", "y", "version"]
        assert events_view.columns == [*SCHEMA.names, "x", "y", "date"]
        expected = ["DECIMAL(9,2)", "STRUCT(z TIMESTAMP WITH TIME ZONE)[]", "DATE"]
        assert [str(type_) for type_ in events_view.types[-3:]] == expected


@pytest.mark.parametrize("folder", ["env=prod", "v=5", "date=1999-01-01", "date=x", "version=9"])
def test_folders_above_the_lake_are_no_columns_of_its_views(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder / "lake"
    FeedStore(root).add(stream_feed())
    FeedStore(root).add(table_feed())
    add_rows(LakeTable(root, stream_feed()), 1, [(0, 0, 0, "a"), (DAY_MS, 0, 1, "b")])
    for version in (1, 2):
        add_version(LakeTable(root, table_feed()), version, ["a"])

    with duckdb.connect() as connection:
        connection.execute(write_views(root).read_text(encoding="utf-8"))
        events = connection.sql("SELECT * FROM events ORDER BY date")
        assert events.columns == [*SCHEMA.names, "date"]
        assert events.fetchall() == [
            (0, 0, 0, "a", dt.date(1970, 1, 1)),
            (DAY_MS, 0, 1, "b", dt.date(1970, 1, 2)),
        ]
        assert connection.sql("SELECT k, version FROM totals_current").fetchall() == [("a", 2)]
        assert connection.sql("SELECT k, version FROM totals_history ORDER BY 2").fetchall() == [("a", 1), ("a", 2)]


def test_rows_without_a_date_are_in_the_views(tmp_path: Path) -> None:
    for root in (tmp_path / "plain", tmp_path / "env=prod"):
        FeedStore(root).add(stream_feed(partitioning="date:d"))
        table = LakeTable(root, stream_feed(partitioning="date:d"))
        schema = SCHEMA.append(pa.field("d", pa.date32()))
        table.create(schema, "topic")
        writer = StagedWriter(table.staging_folder("x"), schema, date_column="d")
        writer.add(pa.RecordBatch.from_pylist([{"rowtime": 0, "rowpartition": 0, "rowoffset": 0}], schema=schema))
        table.commit(commit_id(1), Change(adds=writer.finish()), NOW)

        with duckdb.connect() as connection:
            connection.execute(write_views(root).read_text(encoding="utf-8"))
            assert connection.sql("SELECT rowoffset, date FROM events").fetchall() == [(0, None)]


def test_a_damaged_feed_keeps_its_old_views_while_others_get_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FeedStore(tmp_path)
    store.add(stream_feed())
    store.add(table_feed())
    store.add(stream_feed(name="unseen"))
    events, totals = LakeTable(tmp_path, stream_feed()), LakeTable(tmp_path, table_feed())
    add_rows(events, 1, [(0, 0, 0, "a")])
    add_version(totals, 1, ["a"])
    before = write_views(tmp_path).read_text(encoding="utf-8")
    add_rows(LakeTable(tmp_path, stream_feed(name="unseen")), 2, [(0, 0, 0, "a")])
    add_version(totals, 2, ["a", "b"])
    for name in ("events", "unseen"):
        (tmp_path / "streams" / name / "_delta_log" / f"{0:020}.json").write_bytes(b"{")

    for _ in range(2):
        after = write_views(tmp_path).read_text(encoding="utf-8")

    with duckdb.connect() as connection:
        connection.execute(after)
        assert connection.sql("SELECT v FROM events").fetchall() == [("a",)]
        assert connection.sql("SELECT count(*) FROM totals_history").fetchall() == [(3,)]
    start = before.index('CREATE OR REPLACE VIEW "events"')
    assert before[start : before.index(";", start)] in after
    assert "unseen" not in after
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert "the feed events cannot be read" in told[0]


def test_a_feed_is_freed_when_its_holder_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pipeline.lake.storage import hold_feed\n"
        f"with hold_feed(Path({str(tmp_path)!r}), 'events', {{'pid': '1'}}): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FeedLocked, match=r"held by another run \(pid 1\)"), hold_feed(tmp_path, "events", {}):
        pass

    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()

    deadline = time.monotonic() + 5
    while True:
        try:
            with hold_feed(tmp_path, "events", {"pid": "2"}):
                break
        except FeedLocked:
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../x"},
        {"name": "UPPER"},
        {"source": "a; DROP STREAM b"},
        {"source": "a`b"},
        {"unknown": 1},
        {"storage_mode": "OVERWRITE"},
        {"partitioning": "version"},
        {"retention_versions": 3},
        {"retention_days": 0},
        {"warehouse": {"fact": "f", "keys": ["k"], "columns": {"k": "k"}}},
    ],
)
def test_a_feed_that_breaks_a_rule_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FeedInvalid):
        stream_feed(**wrong)


def test_feeds_are_kept_moved_and_never_overwritten(tmp_path: Path) -> None:
    store = FeedStore(tmp_path)
    store.add(stream_feed())
    with pytest.raises(FeedExists):
        store.add(stream_feed())
    store.archive("events")
    assert store.list() == ()
    with pytest.raises(FeedExists, match="archived"):
        store.add(stream_feed())
    with pytest.raises(FeedUnknown) as raised:
        store.get("events")
    assert "restore events" in raised.value.hint
    store.restore("events")
    assert store.get("events") == stream_feed()
    store.delete("events")
    with pytest.raises(FeedUnknown):
        store.delete("events")


@pytest.mark.parametrize("archived", [False, True])
def test_two_feeds_never_have_one_view(tmp_path: Path, archived: bool) -> None:
    store = FeedStore(tmp_path)
    store.add(table_feed())
    if archived:
        store.archive("totals")

    for name in ("totals_current", "totals_history"):
        with pytest.raises(FeedExists, match=f"the feed totals has a view '{name}' already"):
            store.add(stream_feed(name=name))
    store.add(table_feed(name="totals_current"))


def test_feeds_that_share_a_view_all_the_same_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = FeedStore(tmp_path)
    store.save(table_feed())
    store.save(stream_feed(name="totals_history"))

    write_views(tmp_path)

    assert capsys.readouterr().err == (
        "views.sql shows only one of two feeds as totals_history: archive one, and add it under another name\n"
    )


def test_sources_whose_views_would_clash_are_left_to_a_person() -> None:
    found, unnamed = feeds_of({"X": "table", "X_CURRENT": "stream", "TOTALS_HISTORY": "stream"}, [table_feed()])

    assert [feed.name for feed in found] == ["x"]
    assert unnamed == ["TOTALS_HISTORY", "X_CURRENT"]


def test_a_feed_file_under_another_name_is_refused(tmp_path: Path) -> None:
    store = FeedStore(tmp_path)
    store.add(stream_feed())
    (tmp_path / "feeds/active/events.json").rename(tmp_path / "feeds/active/other.json")

    with pytest.raises(FeedInvalid, match="holds the feed 'events'"):
        store.list()


def test_a_damaged_log_or_file_is_named(tmp_path: Path) -> None:
    table = LakeTable(tmp_path, stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    for path in glob(table):
        path.write_bytes(b"no parquet")

    with pytest.raises(LakeDamaged, match="cannot be read"):
        values(table)


def test_a_root_that_is_not_on_a_disk_is_refused() -> None:
    assert lake_folder("file:///srv/my%20lake") == Path("/srv/my lake")
    with pytest.raises(LakeNotWritable, match="not on a local disk"):
        lake_folder("s3://bucket/lake")
