"""The lake's table: one instant at which rows exist, and nothing left behind by what came before it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from pipeline.errors import FeedLocked, LakeNotWritable, SchemaChanged, VersionUnknown
from pipeline.lake.leftovers import note_moves
from pipeline.lake.local_store import lake_folder
from pipeline.lake.lock import hold_feed
from pipeline.lake.retention import expire
from pipeline.lake.rewrite import roll_back, widen
from pipeline.lake.writer import StagedWriter
from pipeline.verify.files import check_files
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    SCHEMA,
    TABLE,
    add_rows,
    add_version,
    commit_id,
    glob,
    stream_feed,
    table_feed,
    values,
)
from tests.support import ROOT, cleaned, folder_of, lake_at, wait_until


def test_rows_and_bookmark_are_there_together(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 5, "a"), (DAY_MS, 2, 9, "b"), (-1, 0, 6, "c")])

    again = lake_at(tmp_path).table(stream_feed())
    assert values(again) == ["a", "b", "c"]
    assert again.bookmarks() == {0: (7, -1), 2: (10, DAY_MS)}
    assert [file.partition for file in sorted(again.files, key=lambda f: f.partition or "")] == [
        "1969-12-31", "1970-01-01", "1970-01-02",
    ]  # fmt: skip
    assert check_files(again).findings == ()


def test_bookmarks_survive_a_checkpoint_and_the_clean_up_of_the_log(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    for entry in (folder_of(table) / "_delta_log").glob("*.json"):
        if not entry.name.startswith(f"{table.delta_version:020}"):
            entry.unlink()

    again = lake_at(tmp_path).table(stream_feed())
    assert again.bookmarks() == {0: (1, 0)}
    assert check_files(again).findings == ()


def test_files_of_a_killed_run_are_never_read_and_are_removed_by_the_next(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    writer = StagedWriter(table.staging_folder("left"), SCHEMA, date_column="rowtime")
    writer.add(pa.RecordBatch.from_pylist([{"rowtime": 0, "v": "staged"}], schema=SCHEMA))
    (staged,) = writer.finish()
    moved = folder_of(table) / "date=1970-01-01" / f"{commit_id(2)}-00000-{staged.checksum}.parquet"
    note_moves(table.store, 2, commit_id(2), [str(moved.relative_to(folder_of(table)))])
    moved.write_bytes(staged.path.read_bytes())
    theirs = folder_of(table) / "date=1970-01-01" / "not-ours.parquet"
    theirs.write_bytes(b"x")

    assert values(lake_at(tmp_path).table(stream_feed())) == ["a"]
    table = cleaned(tmp_path, stream_feed(), grace_hours=1)

    assert not moved.exists()
    assert not (folder_of(table) / "_staging" / "left").exists()
    assert theirs.exists()
    assert values(table) == ["a"]


@pytest.mark.parametrize("left", [0, 1, 0.3, 0.9])
def test_a_log_entry_torn_by_a_power_cut_is_removed_with_its_rows(tmp_path: Path, left: float) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    add_rows(table, 2, [(0, 0, 1, "torn")])
    entry = folder_of(table) / "_delta_log" / f"{table.delta_version:020}.json"
    data = entry.read_bytes()
    entry.write_bytes(data[: int(len(data) * left)] if left < 1 else data[:1])

    again = cleaned(tmp_path, stream_feed(), grace_hours=1)

    assert values(again) == ["a"]
    assert again.bookmarks() == {0: (1, 0)}
    assert len(glob(again)) == 1
    assert check_files(again).findings == ()


def test_a_whole_log_is_left_as_it_is(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    before = sorted((path.name, path.read_bytes()) for path in (folder_of(table) / "_delta_log").iterdir())

    cleaned(tmp_path, stream_feed(), grace_hours=1)

    assert sorted((path.name, path.read_bytes()) for path in (folder_of(table) / "_delta_log").iterdir()) == before


def test_expired_dates_leave_the_log_first_and_the_disk_after_the_grace_period(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed(retention_days=30))
    today = int(NOW.timestamp() * 1000)
    add_rows(table, 1, [(today - 31 * DAY_MS, 0, 0, "old"), (today - 30 * DAY_MS, 0, 1, "kept"), (today, 0, 2, "new")])

    gone = expire(table, commit_id(2), NOW, max_share=1)

    assert gone == ["2026-10-20"]
    assert values(table) == ["kept", "new"]
    assert len(glob(table)) == 3
    assert table.remove_orphans(grace_hours=24 * 3650) == 0
    assert (folder_of(table) / "date=2026-10-20").exists()
    assert table.remove_orphans(grace_hours=0) == 1
    assert not (folder_of(table) / "date=2026-10-20").exists()
    assert len(glob(table)) == 2
    assert table.bookmarks() == {0: (3, today)}
    assert expire(table, commit_id(3), NOW, max_share=1) == []


def test_expired_files_stay_while_the_views_still_name_them(tmp_path: Path) -> None:
    feed = table_feed(retention_versions=1)
    lake_at(tmp_path).feeds.add(feed)
    table = lake_at(tmp_path).table(feed)
    add_version(table, 1, ["a"])
    lake_at(tmp_path).write_views()
    add_version(table, 2, ["a", "b"])
    expire(table, commit_id(3), NOW, max_share=1)

    assert lake_at(tmp_path).table(feed).remove_orphans(grace_hours=0) == 0
    lake_at(tmp_path).write_views()
    assert lake_at(tmp_path).table(feed).remove_orphans(grace_hours=0) == 1


def test_old_versions_expire_but_never_the_current_one(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed(retention_versions=2))
    for version in range(1, 5):
        add_version(table, version, ["k"] * version)

    assert expire(table, commit_id(9), NOW, max_share=1) == ["1", "2"]
    assert list(table.versions()) == [3, 4]
    aged = lake_at(tmp_path).table(table_feed(retention_days=1))
    assert expire(aged, commit_id(10), NOW + dt.timedelta(days=9), max_share=1) == ["3"]
    assert aged.current_version == 4


def test_rollback_publishes_old_rows_as_a_new_version(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, ["a", "b"])
    add_version(table, 2, ["a"])

    assert roll_back(table, 1, commit_id(3), NOW) == 3

    assert table.current_version == 3
    assert {version: sum(f.row_count for f in files) for version, files in table.versions().items()} == {
        1: 2,
        2: 1,
        3: 2,
    }
    assert check_files(table).findings == ()
    with pytest.raises(VersionUnknown, match="no version 7"):
        roll_back(table, 7, commit_id(4), NOW)


def test_an_empty_snapshot_is_a_version(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, ["a"])
    add_version(table, 2, [])

    assert table.current_version == 2
    assert sum(file.row_count for file in table.versions()[2]) == 0


def test_only_new_columns_are_taken_over(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])

    table.match_schema(SCHEMA.append(pa.field("w", pa.decimal128(9, 2))))

    assert table.schema.names == [*SCHEMA.names, "w"]
    assert next(table.read_batches(table.files)).to_pylist()[0]["w"] is None
    version = table.delta_version
    for changed in (SCHEMA.remove(3), SCHEMA.set(3, pa.field("v", pa.int64()))):
        with pytest.raises(SchemaChanged, match="no longer fit"):
            table.match_schema(changed)
    assert lake_at(tmp_path).table(stream_feed()).delta_version == version


def test_versions_keep_their_time_when_a_column_becomes_wider(tmp_path: Path) -> None:
    """By it retention lets them go, and the warehouse dates its snapshots."""
    table = lake_at(tmp_path).table(table_feed(retention_days=30))
    for version in (1, 2):
        add_version(table, version, ["a"], days=version, schema=TABLE.set(1, pa.field("amount", pa.decimal128(20, 10))))
    before = {version: files[0].added_at for version, files in table.versions().items()}

    widen(table, table.match_schema(TABLE), TABLE, commit_id(3), NOW + dt.timedelta(days=9))

    assert table.schema.field("amount").type == TABLE.field("amount").type
    assert {version: files[0].added_at for version, files in table.versions().items()} == before
    assert expire(table, commit_id(4), NOW + dt.timedelta(days=32), max_share=1) == ["1"]


def test_many_partitions_are_written_with_few_open_files(tmp_path: Path) -> None:
    writer = StagedWriter(tmp_path / "s", SCHEMA, date_column="rowtime")
    for day in list(range(90)) * 2:
        writer.add(pa.RecordBatch.from_pylist([{"rowtime": day * DAY_MS, "v": "x"}], schema=SCHEMA))

    staged = writer.finish()

    assert sum(file.row_count for file in staged) == 180
    assert len({file.partition for file in staged}) == 90


def test_a_feed_is_freed_when_its_holder_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pipeline.lake.lock import hold_feed\n"
        f"with hold_feed(Path({str(tmp_path)!r}), 'events', {{'pid': '1'}}): print('held', flush=True); time.sleep(999)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FeedLocked, match=r"held by another run \(pid 1\)"), hold_feed(tmp_path, "events", {}):
        pass

    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()

    wait_until(lambda: is_free(tmp_path), "the freed lock")


def is_free(root: Path) -> bool:
    with contextlib.suppress(FeedLocked), hold_feed(root, "events", {"pid": "2"}):
        return True
    return False


def test_a_root_that_is_not_on_a_disk_is_refused() -> None:
    assert lake_folder("file:///srv/my%20lake") == Path("/srv/my lake")
    with pytest.raises(LakeNotWritable, match="not on a local disk"):
        lake_folder("s3://bucket/lake")
