"""Many small files become few: the same rows for every reader, the same bookmark and times."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.lake import sorting
from pipeline.lake.change import Change
from pipeline.lake.compaction import Goal, small_files
from pipeline.lake.writer import StagedWriter
from pipeline.report.text import compacted_text
from pipeline.verify.files import check_files
from tests.lake.compactions import EVENTS, GOAL, TODAY, add_days, compact, day, folders, seen_by
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
    same = table.head.fingerprint
    assert note == {
        "kind": "compact", "partitions": days, "files": 8, "files_after": 2, "rows": 16, "fingerprint": same,
    }  # fmt: skip
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
