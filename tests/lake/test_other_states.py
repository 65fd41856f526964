"""A lake in a state that no run of its own left: another engine's checkpoint, a log from a backup, a copy elsewhere."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Collection
from pathlib import Path

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import LogDamaged
from pipeline.lake.checkpoint import write_checkpoint
from pipeline.lake.entry import private_log
from pipeline.lake.log import checkpoint_parts, checkpoints
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import find_expired
from pipeline.verify.files import check_files
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    add_rows,
    add_version,
    commit_id,
    glob,
    stream_feed,
    table_feed,
    values,
)
from tests.support import cleaned, folder_of, lake_at

EVENTS = stream_feed()


def log_of(table: LakeTable) -> Path:
    return folder_of(table) / "_delta_log"


def checkpoint_in_parts(table: LakeTable, missing: Collection[int] = ()) -> None:
    """As an engine writes it that divides checkpoints, and that died before the `missing` parts of three."""
    version = table.delta_version
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    whole = log_of(table) / f"{version:020}.checkpoint.parquet"
    rows = pq.read_table(whole)
    whole.unlink()
    (log_of(table) / "_last_checkpoint").unlink()
    size = -(-rows.num_rows // 3)
    for number in {0, 1, 2} - set(missing):
        part = whole.with_name(f"{version:020}.checkpoint.{number + 1:010}.{3:010}.parquet")
        pq.write_table(rows.slice(number * size, size), part)


@pytest.mark.parametrize("missing", [(), (0,), (1,), (2,), (0, 1)])
def test_a_checkpoint_in_parts_counts_when_all_of_it_is_there(tmp_path: Path, missing: tuple[int, ...]) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 1, 3, "b")])
    add_rows(table, 2, [(0, 0, 1, "c")])
    checkpoint_in_parts(table, missing)

    again = lake_at(tmp_path).table(EVENTS)
    assert (values(again), again.bookmarks()) == (["a", "b", "c"], {0: (2, 0), 1: (4, 0)})
    add_rows(again, 3, [(0, 0, 2, "d")])
    held = cleaned(tmp_path, EVENTS)
    assert (values(held), held.bookmarks()) == (["a", "b", "c", "d"], {0: (3, 0), 1: (4, 0)})


def test_the_files_of_checkpoints_are_known_by_their_names() -> None:
    one, two, three = (f"{number:020}.checkpoint" for number in (1, 2, 3))
    names = [
        f"{one}.parquet", f"{one}.{1:010}.{2:010}.parquet", f"{two}.{1:010}.{2:010}.parquet",
        f"{two}.{2:010}.{2:010}.parquet", f"{three}.0b5d-11.parquet", f"{three}.parquet.tmp", "4.checkpoint.parquet",
    ]  # fmt: skip
    assert checkpoints(names) == [1, 2, 3]
    assert [checkpoint_parts(names, version) for version in range(1, 5)] == [names[:1], names[2:4], names[4:5], []]


@pytest.mark.parametrize("hint", ['{"version":3,"size":5}', "{}", "[]", "3", '{"version":null}', '{"version":[]}'])
def test_a_hint_to_a_checkpoint_that_is_not_there_goes_with_the_next_run(tmp_path: Path, hint: str) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    for number in range(4):
        add_rows(table, number, [(0, 0, number, f"{number}")])
    (log_of(table) / "_last_checkpoint").write_text(hint)

    add_rows(cleaned(tmp_path, EVENTS), 4, [(0, 0, 4, "4")])

    assert values(lake_at(tmp_path).table(EVENTS)) == ["0", "1", "2", "3", "4"]
    assert not (log_of(table) / "_last_checkpoint").exists()


def test_a_checkpoint_of_another_program_stays_as_it_is(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_rows(table, 1, [(0, 0, 0, "a")])
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    there = log_of(table) / f"{1:020}.checkpoint.parquet"
    before = there.read_bytes()

    with private_log(table.store, 1) as private:
        write_checkpoint(table.store, private, 1, table.head.transactions, [])

    assert there.read_bytes() == before


def test_a_checkpoint_without_statistics_changes_nothing(tmp_path: Path) -> None:
    """`delta.checkpoint.writeStatsAsJson` of another engine."""
    table = lake_at(tmp_path).table(EVENTS)
    add_rows(table, 1, [(7, 0, 0, "a"), (9, 1, 5, "b")])
    add_rows(table, 2, [(DAY_MS, 0, 1, "c")])
    before = lake_at(tmp_path).table(EVENTS).files
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    there = log_of(table) / f"{2:020}.checkpoint.parquet"
    schema, rows = pq.read_schema(there), pq.read_table(there).to_pylist()
    for row in rows:
        row["add"] = row["add"] and row["add"] | {"stats": None}
    pq.write_table(pa.Table.from_pylist(rows, schema), there)

    assert lake_at(tmp_path).table(EVENTS).files == before
    assert lake_at(tmp_path).table(EVENTS)._log.files({"rowoffset": (7, 7)}) == before
    (folder_of(table) / before[0].path).unlink()
    assert sorted(file.row_count for file in lake_at(tmp_path).table(EVENTS).files)[0] == 0
    assert [finding.what for finding in check_files(lake_at(tmp_path).table(EVENTS)).findings] == ["file is missing"]


def test_a_log_that_does_not_say_what_the_table_is_calls_for_a_person(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_rows(table, 1, [(0, 0, 0, "a")])
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    there = log_of(table) / f"{1:020}.checkpoint.parquet"
    rows = pq.read_table(there)
    pq.write_table(rows.filter(rows["metaData"].is_null()), there)

    with pytest.raises(LogDamaged, match="_delta_log does not say what the table is"):
        lake_at(tmp_path).table(EVENTS)


def test_a_reader_sees_the_files_of_the_version_that_it_opened(tmp_path: Path) -> None:
    feed = table_feed(retention_versions=1)
    table = lake_at(tmp_path).table(feed)
    add_version(table, 1, ["a"])
    reader = lake_at(tmp_path).table(feed)
    add_version(table, 2, ["b"])
    assert expire(table, commit_id(3), NOW, max_share=1) == ["1"]

    assert (reader.current_version, list(reader.versions())) == (1, [1])


def test_a_damaged_entry_before_a_checkpoint_says_nothing_of_itself(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    for number in range(3):
        add_rows(table, number, [(0, 0, number, "a")])
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    (log_of(table) / f"{2:020}.json").write_bytes(b'{"add":{"path"')

    history = lake_at(tmp_path).table(EVENTS).history()

    assert [entry["version"] for entry in history] == [3, 2, 1, 0]
    assert ["pipeline" in entry for entry in history] == [True, False, True, True]


def test_what_an_older_log_left_stays_noted_until_it_is_deleted(tmp_path: Path) -> None:
    """The views still name the files of the commits that a restored log lacks."""
    lake_at(tmp_path).feeds.add(EVENTS)
    for number in range(4):
        with lake_at(tmp_path).writing(EVENTS, {}) as table:
            add_rows(table, number, [(number * DAY_MS, 0, number, f"{number}")])
    for version in (3, 4):
        (log_of(table) / f"{version:020}.json").unlink()

    table = cleaned(tmp_path, EVENTS)

    assert [path.relative_to(folder_of(table)) for path in glob(table)] == sorted(Path(f.path) for f in table.files)
    assert len(table.files) == 2


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_the_views_of_a_lake_that_was_moved_or_copied_name_its_own_files(tmp_path: Path, how: object) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for feed in (EVENTS, table_feed()):
        lake_at(old).feeds.add(feed)
    with lake_at(old).writing(EVENTS, {}) as events:
        add_rows(events, 1, [(0, 0, 0, "a")])
    with lake_at(old).writing(table_feed(), {}) as totals:
        add_version(totals, 1, ["k"])
    how(old, new)  # type: ignore[operator] # one of the two

    with lake_at(new).writing(EVENTS, {}):  # a run that finds nothing new, of one feed
        pass

    views = (new / "views.sql").read_text(encoding="utf-8")
    assert str(old) not in views
    with duckdb.connect() as connection:
        connection.execute(views)
        assert connection.sql("SELECT count(*) FROM events").fetchall() == [(1,)]
        assert connection.sql("SELECT count(*) FROM totals_current").fetchall() == [(1,)]


def test_rows_that_expired_twice_come_back_once(tmp_path: Path) -> None:
    short, long = stream_feed(retention_days=5), stream_feed(retention_days=365)
    now_ms = int(NOW.timestamp() * 1000)
    old, new = (now_ms - 9 * DAY_MS, 0, 0, "old"), (now_ms, 0, 1, "new")
    for number, rows in enumerate(([old, new], [old])):  # the second as of a `--full`, which reads expired rows again
        add_rows(lake_at(tmp_path).table(long), number, rows)
        expire(lake_at(tmp_path).table(short), commit_id(10 + number), NOW, max_share=1)

    found = find_expired(lake_at(tmp_path).table(long), NOW + dt.timedelta(hours=1), grace_hours=168)

    assert [file.path.rpartition("/")[2][:25] for file in found.files] == [commit_id(1)]
    assert found.lost == {"the lake has them again": 1}
