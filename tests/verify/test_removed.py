"""Rows that the lake removed on purpose are not reported missing, and no other rows are excused with them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.lake.change import Change
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import find_expired, unexpire
from pipeline.verify.removed import Removed, bounds_of
from tests.lake.expiries import LONG, SHORT, TODAY, a_day_of_which_rows_are_there_again, bring_back, let_expire
from tests.lake.small_tables import DAY_MS, NOW, SCHEMA, add_rows, commit_id, stream_feed, values
from tests.support import folder_of, lake_at

FIRST_MS = int(NOW.timestamp() * 1000) - 10 * DAY_MS


def source_rows(*places: tuple[int, int]) -> pa.RecordBatch:
    """Rows at (day, offset) of partition 0."""
    rows = [{"rowtime": FIRST_MS + day * DAY_MS, "rowpartition": 0, "rowoffset": n, "v": "v"} for day, n in places]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def removed(root: Path, note: dict[str, Any], gone: int) -> Removed:
    """After one file for each of three days, with one row each, and a commit that takes the files of `gone` days."""
    table = lake_at(root).table(stream_feed())
    for day in range(3):
        add_rows(table, day, [(FIRST_MS + day * DAY_MS, 0, day, "v")])
    files = sorted(table.files, key=bounds_of)[:gone]
    note |= {"bounds": [bounds_of(file) for file in files]} if note["kind"] == "repair" else {}
    note |= {"partitions": [file.partition for file in files]} if note["kind"] == "expire" else {}
    table.commit(commit_id(9), Change(removes=files, note=note), NOW)
    return Removed.by(table)


def test_rows_that_were_given_up_are_counted_and_no_others(tmp_path: Path) -> None:
    found = removed(tmp_path, {"kind": "repair", "lost_rows": 1}, gone=1)

    rest, expired, given_up = found.split(source_rows((0, 0), (1, 1), (2, 2), (0, 7)))

    assert rest.column("rowoffset").to_pylist() == [1, 2, 7]
    assert (expired, given_up, found.given_up_rows) == (0, 1, 1)


def test_rows_that_expired_are_counted_late_ones_too_and_what_the_lake_has_is_compared(tmp_path: Path) -> None:
    found = removed(tmp_path, {"kind": "expire"}, gone=2)

    rest, expired, given_up = found.split(source_rows((0, 0), (1, 1), (2, 2), (0, 7), (2, 8)))

    assert rest.column("rowoffset").to_pylist() == [2, 8]
    assert (expired, given_up) == (3, 0)


@pytest.mark.parametrize("note", [{"kind": "repair", "lost_rows": 0}, {"kind": "stream"}])
def test_without_such_a_commit_nothing_was_removed(tmp_path: Path, note: dict[str, Any]) -> None:
    rest, expired, given_up = removed(tmp_path, note, gone=1).split(source_rows((0, 0), (2, 2)))

    assert (rest.num_rows, expired, given_up) == (2, 0, 0)


@pytest.mark.parametrize(
    ("unexpired", "excused"),
    [
        ({"partitions": ["2026-11-10", "2026-11-11"], "whole": ["2026-11-10", "2026-11-11"]}, []),
        ({"partitions": ["2026-11-10", "2026-11-11"], "whole": ["2026-11-10"]}, [7, 8]),
        ({"partitions": ["2026-11-11"], "whole": ["2026-11-11"]}, [7]),
        ({"partitions": ["2026-11-10", "2026-11-11"]}, [7, 8]),  # a note that does not say which came back whole
    ],
)
def test_a_day_that_came_back_whole_is_compared_again(
    tmp_path: Path, unexpired: dict[str, Any], excused: list[int]
) -> None:
    removed(tmp_path, {"kind": "expire"}, gone=2)
    table = lake_at(tmp_path).table(stream_feed())
    table.commit(commit_id(10), Change(note={"kind": "unexpire"} | unexpired), NOW)

    rest, expired, _ = Removed.by(table).split(source_rows((0, 7), (1, 8), (2, 9)))

    assert rest.column("rowoffset").to_pylist() == sorted({7, 8, 9} - {*excused})
    assert expired == len(excused)


def test_a_day_that_expired_again_after_it_came_back_is_not_compared(tmp_path: Path) -> None:
    removed(tmp_path, {"kind": "expire"}, gone=1)
    table = lake_at(tmp_path).table(stream_feed())
    day = ["2026-11-10"]
    table.commit(commit_id(10), Change(note={"kind": "unexpire", "partitions": day, "whole": day}), NOW)
    table.commit(commit_id(11), Change(note={"kind": "expire", "partitions": day}), NOW)

    assert Removed.by(table).split(source_rows((0, 7)))[1] == 1


def days_in_two_files(root: Path) -> LakeTable:
    """Two old days, of each a file of one commit and late rows in one of another; and today."""
    table = lake_at(root).table(LONG)
    for number in (1, 2):
        old = [(TODAY - ago * DAY_MS, 0, 10 * number + ago, f"{ago}-{number}") for ago in (9, 8)]
        add_rows(table, number, [*old, (TODAY, 0, 10 * number, "now")])
    return table


def noted_whole(root: Path) -> list[str]:
    (newest, *_) = lake_at(root).table(LONG).history()
    assert newest["pipeline"]["kind"] == "unexpire"
    whole: list[str] = newest["pipeline"]["whole"]
    return whole


def test_the_commit_says_which_days_came_back_whole(tmp_path: Path) -> None:
    table = days_in_two_files(tmp_path)
    let_expire(tmp_path, SHORT)

    bring_back(tmp_path, LONG)

    assert noted_whole(tmp_path) == ["2026-11-11", "2026-11-12"]
    assert Removed.by(lake_at(tmp_path).table(LONG)).last_day is None
    assert len(values(table)) == 6


def test_a_day_of_which_a_file_is_lost_does_not_come_back_whole(tmp_path: Path) -> None:
    table = days_in_two_files(tmp_path)
    lost = next(file for file in table.files if file.partition == "2026-11-11")
    let_expire(tmp_path, SHORT)
    (folder_of(table) / lost.path).unlink()

    bring_back(tmp_path, LONG)

    assert noted_whole(tmp_path) == ["2026-11-12"]
    assert Removed.by(lake_at(tmp_path).table(LONG)).last_day == dt.date(2026, 11, 11)


def test_a_day_that_the_rule_takes_again_in_part_does_not_come_back_whole(tmp_path: Path) -> None:
    days_in_two_files(tmp_path)
    let_expire(tmp_path, SHORT)

    bring_back(tmp_path, stream_feed(retention_days=8))

    assert noted_whole(tmp_path) == ["2026-11-12"]
    assert Removed.by(lake_at(tmp_path).table(LONG)).last_day == dt.date(2026, 11, 11)


def test_a_day_of_which_an_older_expiry_took_rows_does_not_come_back_whole(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(LONG)
    day = TODAY - 9 * DAY_MS
    add_rows(table, 1, [(day, 0, 0, "old"), (TODAY, 0, 1, "now")])
    let_expire(tmp_path, SHORT)
    later = NOW + dt.timedelta(days=30)
    add_rows(lake_at(tmp_path).table(LONG), 2, [(day, 0, 2, "late"), (TODAY + 30 * DAY_MS, 0, 3, "now")], now=later)
    expire(lake_at(tmp_path).table(stream_feed(retention_days=35)), commit_id(80), later, max_share=1)

    table = lake_at(tmp_path).table(LONG)
    unexpire(table, find_expired(table, later, grace_hours=168), commit_id(81), later)

    assert values(table) == ["late", "now", "now"]
    assert noted_whole(tmp_path) == []
    assert Removed.by(table).last_day == dt.date(2026, 11, 11)


def test_rows_that_were_read_again_are_part_of_a_whole_day(tmp_path: Path) -> None:
    a_day_of_which_rows_are_there_again(tmp_path)

    bring_back(tmp_path, LONG)

    assert noted_whole(tmp_path) == ["2026-11-11"]
