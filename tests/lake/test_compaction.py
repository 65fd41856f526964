"""Many small files become few: the same rows for every reader, the same bookmark and times."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DiskFull, LakeDamaged
from pipeline.feeds import Feed
from pipeline.lake import disk, local_store, lock, open_file, sorting
from pipeline.lake import writer as lake_writer
from pipeline.lake.change import Change
from pipeline.lake.compaction import Compacted, Goal, compact_feed, compact_part, small_files
from pipeline.lake.lake import Lake, Upkeep
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import find_expired, returning, unexpire_feed
from pipeline.lake.writer import StagedWriter
from pipeline.report.text import compacted_text
from pipeline.verify.files import check_files
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    SCHEMA,
    TABLE,
    add_rows,
    add_version,
    commit_id,
    stream_feed,
    table_feed,
    values,
)
from tests.support import cleaned, folder_of, lake_at

TODAY = int(NOW.timestamp() * 1000)
GOAL = Goal(10**6)
EVENTS = stream_feed()


def day(ago: int) -> str:
    return f"date={NOW.date() - dt.timedelta(days=ago)}"


def add_days(table: LakeTable, days_ago: Sequence[int], commits: int = 3, first: int = 0) -> None:
    """In each commit two rows a day, of partitions 1 and 0, whose offsets follow those of the commit before."""
    for number in range(first, first + commits):
        rows = []
        for index, ago in enumerate(days_ago):
            offset = number * len(days_ago) + index
            rows += [(TODAY - ago * DAY_MS, partition, offset, f"{partition}-{offset}") for partition in (1, 0)]
        add_rows(table, number, rows)


def compact(root: Path, feed: Feed = EVENTS, goal: Goal = GOAL, number: int = 900, grace_hours: int = 168) -> Compacted:
    done = Compacted(feed.name)
    upkeep = Upkeep(lake_at(root, grace_hours), {"since": NOW.isoformat()}, commit_id(number), NOW, 1)
    compact_feed(upkeep, feed, goal, done)
    return done


def folders(table: LakeTable) -> list[str]:
    return sorted(file.path.partition("/")[0] for file in table.files)


def seen_by(reader: str, root: Path) -> str:
    """A hash of all rows, whatever their order, as one kind of reader sees them."""
    folder = root / "streams" / "events"
    names = ["rowpartition", "rowoffset", "rowtime", "v"]
    if reader == "views":
        with duckdb.connect() as connection:
            connection.execute((root / "views.sql").read_text(encoding="utf-8"))
            rows = connection.sql(f"SELECT {', '.join(names)} FROM events").fetchall()
    elif reader == "deltalake":
        found = deltalake.DeltaTable(folder).to_pyarrow_table(columns=names).to_pylist()
        rows = [tuple(row[name] for name in names) for row in found]
    elif reader == "pandas":
        frames = [pandas.read_parquet(path, columns=names) for path in deltalake.DeltaTable(folder).file_uris()]
        rows = list(pandas.concat(frames).itertuples(index=False, name=None))
    else:
        rows = list(polars.scan_delta(str(folder)).select(names).collect().iter_rows())
    return hashlib.sha256(repr(sorted(tuple(map(str, row)) for row in rows)).encode()).hexdigest()


def test_days_that_are_over_have_one_file_and_nothing_else_has_changed(tmp_path: Path) -> None:
    lake_at(tmp_path).feeds.add(EVENTS)
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [2, 1, 0], commits=4)
    before = {file.partition: file.added_at for file in table.files}

    done = compact(tmp_path)

    again = lake_at(tmp_path).table(EVENTS)
    assert folders(again) == [day(2), day(1), *[day(0)] * 4]
    assert values(again) == values(table)
    assert again.bookmarks() == table.bookmarks()
    assert {file.partition: file.added_at for file in again.files} == before
    assert check_files(again).findings == ()
    assert again.delta_version == table.delta_version + 1
    note = again.history()[0]["pipeline"]
    days = [name.removeprefix("date=") for name in (day(2), day(1))]
    assert note == {"kind": "compact", "partitions": days, "files": 8, "files_after": 2, "rows": 16}
    assert compacted_text(done).startswith("events: 8 files (")
    entry = folder_of(again) / "_delta_log" / f"{again.delta_version:020}.json"
    actions = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
    changes = [action[kind]["dataChange"] for action in actions for kind in ("add", "remove") if kind in action]
    assert changes == [False] * 10
    assert compact(tmp_path).commits == 0
    assert compacted_text(compact(tmp_path)) == "events: nothing to compact"


def test_each_new_file_is_in_the_order_of_partition_and_offset(tmp_path: Path) -> None:
    add_days(lake_at(tmp_path).table(EVENTS), [1])

    compact(tmp_path)

    table = lake_at(tmp_path).table(EVENTS)
    rows = [row for batch in table.read_batches(table.files) for row in batch.to_pylist()]
    assert [(row["rowpartition"], row["rowoffset"]) for row in rows] == [(p, n) for p in (0, 1) for n in range(3)]


def test_pieces_that_waited_on_disk_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "PIECE_BYTES", 200)
    monkeypatch.setattr(sorting, "_BATCH_BYTES", 60)
    table = lake_at(tmp_path).table(EVENTS)
    places = [(partition, offset) for offset in range(40) for partition in (2, 0, 1)]
    for number, start in enumerate(range(0, len(places), 15)):
        late = places[start : start + 15]
        add_rows(table, number, [(TODAY - DAY_MS, p, n, f"{p}-{n}" * 3) for p, n in late])
    waited = list[int]()
    put_away = sorting._put_away

    def count(piece: pa.RecordBatch, path: Path) -> None:
        waited.append(piece.num_rows)
        put_away(piece, path)

    monkeypatch.setattr(sorting, "_put_away", count)

    compact(tmp_path)

    again = lake_at(tmp_path).table(EVENTS)
    rows = [row for batch in again.read_batches(again.files) for row in batch.to_pylist()]
    assert len(waited) > 5
    assert sum(waited) == len(places)
    assert [(row["rowpartition"], row["rowoffset"]) for row in rows] == sorted(places)
    assert values(again) == values(table)
    assert list(folder_of(again).rglob("*.arrow")) == []


@pytest.mark.parametrize("reader", ["views", "deltalake", "pandas", "polars"])
def test_readers_see_the_same_rows_before_and_after(tmp_path: Path, reader: str) -> None:
    lake_at(tmp_path).feeds.add(EVENTS)
    with lake_at(tmp_path).writing(EVENTS, {}) as table:
        add_days(table, [3, 2, 1], commits=5)
    before = seen_by(reader, tmp_path)

    compact(tmp_path)

    assert len(lake_at(tmp_path).table(EVENTS).files) == 3
    assert seen_by(reader, tmp_path) == before


def test_a_reader_of_the_version_before_keeps_its_files_for_the_grace_period(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [2, 1], commits=4)
    version, old = table.delta_version, values(table)
    compact(tmp_path)

    cleaned(tmp_path, EVENTS)
    then = lake_at(tmp_path).table(EVENTS)
    assert sorted(row["v"] for b in then.read_batches(then.files_at(version)) for row in b.to_pylist()) == old
    assert len(deltalake.DeltaTable(folder_of(table), version=version).to_pyarrow_table()) == 16

    cleaned(tmp_path, EVENTS, grace_hours=0)
    assert len(list(folder_of(table).glob("*/*.parquet"))) == 2
    assert values(lake_at(tmp_path).table(EVENTS)) == old


def test_only_what_is_worth_it_is_written_again(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [5, 1], commits=4)
    size = max(file.size_bytes for file in table.files)

    assert [len(group) for group in small_files(table, Goal(2 * size), NOW)] == []  # none below half of it
    assert [len(group) for group in small_files(table, Goal(2 * size + 2), NOW)] == [2, 2, 2, 2]
    assert [len(group) for group in small_files(table, GOAL, NOW)] == [4, 4]
    assert [len(group) for group in small_files(table, Goal(10**6, NOW.date() - dt.timedelta(days=1)), NOW)] == [4]
    assert [len(group) for group in small_files(table, GOAL, NOW - dt.timedelta(hours=20))] == [4, 4]  # guarded

    compact(tmp_path)
    late = lake_at(tmp_path).table(EVENTS)
    add_days(late, [5], commits=1, first=100)  # a row that came late waits for no second one
    assert [len(group) for group in small_files(late, GOAL, NOW)] == [2]


def test_rows_of_today_and_of_days_to_come_are_left_alone(tmp_path: Path) -> None:
    add_days(lake_at(tmp_path).table(EVENTS), [0, -3])

    assert compact(tmp_path).commits == 0
    assert compact(tmp_path, goal=Goal(10**6, NOW.date() + dt.timedelta(days=9))).partitions == [
        str(NOW.date()), str(NOW.date() + dt.timedelta(days=3)),
    ]  # fmt: skip


def test_rows_without_a_date_are_compacted_by_the_day_that_they_came(tmp_path: Path) -> None:
    feed, schema = stream_feed(partitioning="date:d"), SCHEMA.append(pa.field("d", pa.date32()))
    table = lake_at(tmp_path).table(feed)
    table.create(schema, "topic")
    for number, when in enumerate((NOW - dt.timedelta(days=1), NOW - dt.timedelta(days=1), NOW)):
        writer = StagedWriter(table.staging_folder(commit_id(number)), schema, date_column="d")
        row = {"rowtime": TODAY, "rowpartition": 0, "rowoffset": number, "v": "x", "d": None}
        writer.add(pa.RecordBatch.from_pylist([row], schema=schema))
        table.commit(commit_id(number), Change(adds=writer.finish(), bookmarks={0: (number + 1, TODAY)}), when)

    done = compact(tmp_path, feed)

    assert (len(done.taken), len(done.made)) == (2, 1)
    assert {file.partition for file in lake_at(tmp_path).table(feed).files} == {None}
    assert len(values(lake_at(tmp_path).table(feed))) == 3


def test_files_from_before_a_column_was_there_go_with_the_others(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [1], commits=2)
    wide = table.schema.append(pa.field("w", pa.int64()))
    table.match_schema(wide)
    writer = StagedWriter(table.staging_folder("x"), table.schema.remove_metadata(), date_column="rowtime")
    row = {"rowtime": TODAY - DAY_MS, "rowpartition": 0, "rowoffset": 9, "v": "new", "w": 7}
    writer.add(pa.RecordBatch.from_pylist([row], schema=table.schema))
    table.commit(commit_id(5), Change(adds=writer.finish(), bookmarks={0: (10, TODAY)}), NOW)

    compact(tmp_path)

    again = lake_at(tmp_path).table(EVENTS)
    rows = [row for batch in again.read_batches(again.files) for row in batch.to_pylist()]
    assert len(again.files) == 1
    assert [row["w"] for row in rows] == [None, None, 7, None, None]
    assert pq.read_schema(folder_of(again) / again.files[0].path).names == again.schema.names


def test_a_version_that_has_several_files_gets_one_and_keeps_its_time(tmp_path: Path) -> None:
    feed = table_feed()
    table = lake_at(tmp_path).table(feed)
    add_version(table, 1, ["a"], days=-9)
    writers = [StagedWriter(table.staging_folder(f"v{n}"), TABLE, partition="2") for n in range(3)]
    for number, one in enumerate(writers):
        one.add(pa.RecordBatch.from_pylist([{"k": f"k{number}", "amount": None}], schema=TABLE))
    adds = [file for one in writers for file in one.finish()]
    table.commit(commit_id(2), Change(adds=adds, current_version=2), NOW - dt.timedelta(days=8))

    compact(tmp_path, feed)

    again = lake_at(tmp_path).table(feed)
    assert {version: len(files) for version, files in again.versions().items()} == {1: 1, 2: 1}
    assert again.versions()[2][0].added_at == NOW - dt.timedelta(days=8)
    assert again.current_version == 2
    assert check_files(again).findings == ()


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_day_with_a_damaged_file_is_left_as_it_is_and_the_others_go_on(tmp_path: Path, how: str) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [3, 2, 1])
    harmed = folder_of(table) / next(file.path for file in table.files if file.path.startswith(day(2)))
    if how == "missing":
        harmed.unlink()
    else:
        data = bytearray(harmed.read_bytes())
        data[len(data) // 3] ^= 1
        harmed.write_bytes(data)

    done = compact(tmp_path)

    assert folders(lake_at(tmp_path).table(EVENTS)) == [day(3), *[day(2)] * 3, day(1)]
    (refused,) = done.refused.values()
    assert refused.message.startswith(f"{day(2)} of events is not compacted: {harmed}: ")
    assert refused.hint == "see what can be done: python metadata_utils.py repair events"


def test_a_run_that_dies_keeps_the_commits_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [4, 3, 2, 1])
    old = values(table)
    monkeypatch.setattr("pipeline.lake.compaction._MOST_FILES", 3)
    parts = itertools.count()

    def die_at_the_third(*args: object) -> bool:
        if next(parts) == 2:
            raise KeyboardInterrupt
        return compact_part(*args)  # type: ignore[arg-type] # as it is called

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.compaction.compact_part", die_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            compact(tmp_path)
    assert folders(lake_at(tmp_path).table(EVENTS)) == [day(4), day(3), *[day(2)] * 3, *[day(1)] * 3]

    assert compact(tmp_path, number=901).commits == 2
    assert folders(lake_at(tmp_path).table(EVENTS)) == [day(4), day(3), day(2), day(1)]
    assert values(lake_at(tmp_path).table(EVENTS)) == old


def test_an_export_gets_in_between_two_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_days(lake_at(tmp_path).table(EVENTS), [2, 1])
    monkeypatch.setattr("pipeline.lake.compaction._MOST_FILES", 1)
    holds, hold = itertools.count(), Lake.writing

    def export_first(lake: Lake, *arguments: Any) -> AbstractContextManager[LakeTable]:
        if next(holds) == 1:
            with hold(lake, *arguments) as table:
                add_rows(table, 77, [(TODAY, 0, 77, "of an export")])
        return hold(lake, *arguments)

    monkeypatch.setattr(Lake, "writing", export_first)

    assert compact(tmp_path).commits == 2
    table = lake_at(tmp_path).table(EVENTS)
    assert [entry["pipeline"]["kind"] for entry in table.history()[:3]] == ["compact", "stream", "compact"]
    assert len(values(table)) == 13
    assert table.bookmarks()[0].next_offset == 78


def test_a_full_disk_in_the_middle_leaves_the_lake_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [3, 2, 1])
    calls = itertools.count()

    def full_at_the_second(path: Path) -> None:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.lake.open_file.sync_file", full_at_the_second)
        with pytest.raises(DiskFull):
            compact(tmp_path)

    assert list(folder_of(table).rglob("*.staged")) == []
    assert lake_at(tmp_path).table(EVENTS).files == table.files
    assert compact(tmp_path, number=901).commits == 1


class _Killed(BaseException):
    """What no code catches; after it this process changes no file any more."""


def test_killed_at_each_step_it_leaves_the_old_files_or_the_new_ones_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake_at(tmp_path).feeds.add(EVENTS)
    with lake_at(tmp_path).writing(EVENTS, {"since": NOW.isoformat()}) as table:
        add_days(table, [2, 1], commits=2)
    before, old, marks = tmp_path / "before", values(table), table.bookmarks()
    shutil.copytree(tmp_path, before, ignore=lambda *_: ["before"])
    outcomes = list[int]()
    for number in itertools.count(2, 3):
        root = tmp_path / f"killed-{number}"
        shutil.copytree(before, root)
        with monkeypatch.context() as patched, contextlib.suppress(_Killed):
            _kill_at(patched, number)
            compact(root, grace_hours=0)
            break
        after = lake_at(root).table(EVENTS)
        assert (values(after), after.bookmarks()) == (old, marks), number
        outcomes.append(len(after.files))
        for _ in range(2):  # the first finds that the views name the old files still, and writes the views
            cleaned(root, EVENTS, 0)
        named = {folder_of(after) / file.path for file in lake_at(root).table(EVENTS).files}
        assert set(folder_of(after).glob("*/*.parquet")) == named, number
        assert list((folder_of(after) / "_staging").rglob("*")) == [], number
        shutil.rmtree(root)

    assert len(outcomes) > 8
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {2, 4}


def _kill_at(patched: pytest.MonkeyPatch, number: int) -> None:
    """Has this process die at that step by which it changes files."""
    steps = itertools.count(1)

    def stepping(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any) -> Any:
            if next(steps) >= number:
                raise _Killed
            return act(*given)

        return step

    names = ("sync_file", "sync_folder", "link_file", "move_file", "write_file", "delete_file", "delete_folder")
    acts = {name: stepping(getattr(disk, name)) for name in names}
    for module, name in itertools.product((disk, local_store, lock, open_file, lake_writer), names):
        if hasattr(module, name):
            patched.setattr(module, name, acts[name])


def test_rows_that_would_be_lost_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [1])
    monkeypatch.setattr("pipeline.lake.compaction.in_order", lambda rows, _: [batch.slice(1) for batch in rows])

    with pytest.raises(LakeDamaged, match="and files beside it have 3 rows, 6 were written"):
        compact(tmp_path)

    assert lake_at(tmp_path).table(EVENTS).files == table.files


def test_what_expired_before_a_compaction_comes_back_after_it(tmp_path: Path) -> None:
    short, long = stream_feed(retention_days=5), stream_feed(retention_days=365)
    table = lake_at(tmp_path).table(long)
    add_days(table, [9, 1])
    old = values(table)
    expire(lake_at(tmp_path).table(short), commit_id(50), NOW, max_share=1)

    compact(tmp_path, long)
    upkeep = Upkeep(lake_at(tmp_path), {}, commit_id(60), NOW, 1)
    assert unexpire_feed(upkeep, long).row_count == 6
    assert values(lake_at(tmp_path).table(long)) == old

    compact(tmp_path, long, number=902)
    assert folders(lake_at(tmp_path).table(long)) == [day(9), day(1)]
    found = returning(lake_at(tmp_path).table(long), upkeep)  # the files that came back are gone again, not their rows
    assert (found.files, found.lost) == ([], {})


def test_what_expired_after_a_compaction_comes_back(tmp_path: Path) -> None:
    short, long = stream_feed(retention_days=5), stream_feed(retention_days=365)
    add_days(lake_at(tmp_path).table(long), [9, 1])
    old = values(lake_at(tmp_path).table(long))
    compact(tmp_path, long)
    expire(lake_at(tmp_path).table(short), commit_id(950), NOW, max_share=1)

    assert find_expired(lake_at(tmp_path).table(long), NOW, 168).row_count == 6
    unexpire_feed(Upkeep(lake_at(tmp_path), {}, commit_id(951), NOW, 1), long)

    assert values(lake_at(tmp_path).table(long)) == old
    assert check_files(lake_at(tmp_path).table(long)).findings == ()


def test_a_row_is_found_in_one_row_group_of_a_compacted_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run compares the last row before a bookmark: no more is read than that row group."""
    monkeypatch.setattr("pipeline.lake.open_file.ROW_GROUP_ROWS", 10)
    table = lake_at(tmp_path).table(EVENTS)
    for number in range(10):
        places = [(partition, number * 5 + n) for n in range(5) for partition in (0, 1)]
        add_rows(table, number, [(TODAY - DAY_MS, p, n, "x") for p, n in places])
    compact(tmp_path)

    (file,) = lake_at(tmp_path).table(EVENTS).files
    metadata = pq.read_metadata(folder_of(table) / file.path)
    bounds = []
    for group in (metadata.row_group(n) for n in range(metadata.num_row_groups)):
        by_name = {group.column(n).path_in_schema: group.column(n).statistics for n in range(group.num_columns)}
        bounds.append([(by_name[name].min, by_name[name].max) for name in ("rowpartition", "rowoffset")])
    with_the_last = [group for group in bounds if group[0][0] <= 0 <= group[0][1] and group[1][0] <= 49 <= group[1][1]]

    assert len(bounds) == 10
    assert len(with_the_last) == 1
