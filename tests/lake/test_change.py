"""What a commit writes of progress: every identifier, those that stay as they were too, and none that is not meant."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from pipeline.fingerprint import NOTHING
from pipeline.lake.change import Change, number_of, transactions
from pipeline.lake.head import entry_time
from pipeline.lake.rule import Rule
from pipeline.source import Bookmark
from tests.lake import small_tables
from tests.lake.small_tables import SCHEMA, add_rows, commit_id, stream_feed
from tests.support import folder_of, lake_at

NOW = dt.datetime(2026, 11, 20, 6, 0, 0, 123_000, tzinfo=dt.UTC)


def written(change: Change, marks: dict[int, Bookmark] | None = None, current: int | None = None) -> Any:
    """The identifiers after a change of a table of `topic`, without those of its rule."""
    rule = Rule(days=30, versions=7)
    before = transactions(Change(bookmarks=marks or {}, current_version=current), "topic", {}, rule, NOW)
    made = transactions(change, "topic", {each.app_id: each.version for each in before}, rule, NOW)
    assert {each.last_updated for each in made} == {int(NOW.timestamp() * 1000)}
    found = {each.app_id: each.version for each in made}
    assert found.items() >= rule.transactions().items()
    return {name: version for name, version in found.items() if name not in rule.transactions()}


def test_a_topic_keeps_its_number_until_it_is_told_again() -> None:
    told = written(Change(bookmarks={0: (1, 5)}, topic_id="EQN9ZOj2T3-lHPdWjN4ZPg"))
    kept = transactions(Change(), "topic", told, Rule(days=30, versions=7), NOW)

    assert told["topic/id"] == number_of("EQN9ZOj2T3-lHPdWjN4ZPg") != number_of("6Pt06ZtLRMCB9E1E87RYkA")
    assert {each.app_id: each.version for each in kept}["topic/id"] == told["topic/id"]


def test_bookmarks_that_stay_are_written_with_those_that_move() -> None:
    found = written(Change(bookmarks={1: (8, 500)}), {0: (5, 100), 1: (7, 400), 2: (0, None)})

    assert found == {
        "topic-partitions": 3, "topic/0": 5, "topic/0/rowtime": 100, "topic/1": 8, "topic/1/rowtime": 500, "topic/2": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("known", "partitions", "moved", "count"),
    [
        ([0, 2], None, [], 3),
        ([2], 2, [], 3),
        ([1], 5, [], 5),
        ([], None, [4], 5),
        ([3], 2, [1], 4),
        ([], None, [], None),
    ],
)
def test_every_partition_with_a_bookmark_is_counted(
    known: list[int], partitions: int | None, moved: list[int], count: int | None
) -> None:
    found = written(Change(bookmarks=dict.fromkeys(moved, (1, 1)), partitions=partitions), dict.fromkeys(known, (1, 1)))

    assert found.get("topic-partitions") == count


def test_a_partition_that_was_added_is_due_from_its_first_offset_and_no_count_goes_back() -> None:
    first = written(Change(bookmarks={0: (5, 100)}, partitions=2))
    then = {each.app_id: each.version for change in (Change(), Change(bookmarks={0: (6, 200)}, partitions=4))
            for each in transactions(change, "topic", first, Rule(days=30, versions=7), NOW)}  # fmt: skip

    assert first["topic-partitions"] == 2
    assert "topic/1" not in then
    assert (then["topic-partitions"], then["topic/0"], then["topic/2"], then["topic/3"]) == (4, 6, 0, 0)


def test_a_bookmark_behind_offsets_without_a_row_has_no_rowtime_any_more(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(100, 0, 4, "a")])
    assert table.bookmarks() == {0: (5, 100)}

    for number, mark in enumerate([Bookmark(9), Bookmark(12), Bookmark(13, 700)], 2):
        table.commit(commit_id(number), Change(bookmarks={0: mark}), small_tables.NOW)

        assert lake_at(tmp_path).table(stream_feed()).bookmarks() == {0: mark}


def test_a_version_stays_the_current_one_until_another_is_named() -> None:
    assert written(Change(), current=4) == {"current-version": 4}
    assert written(Change(current_version=5), current=4) == {"current-version": 5}
    assert written(Change()) == {}


def test_the_log_says_what_each_entry_is_for(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    assert table.history() == []
    assert table.remove_orphans(grace_hours=0) == 0
    add_rows(table, 1, [(0, 0, 0, "a")])
    table.match_schema(SCHEMA.append(pa.field("w", pa.string())))
    early = small_tables.NOW - dt.timedelta(days=400)
    table.accept_clock(commit_id(2), early)

    accepted, added, rows, made = table.history()
    prints = {"fingerprint": table.files[0].fingerprint}
    assert accepted["pipeline"] == {"kind": "clock accepted", "instead_of": "2026-11-20 06:00:00 UTC"} | prints
    assert entry_time(accepted) == early
    assert added["pipeline"] == {"added_columns": ["w"]} | prints
    assert entry_time(added) == entry_time(rows) == small_tables.NOW
    assert made["pipeline"] == {"kind": "create table", "fingerprint": NOTHING}
    found = deltalake.DeltaTable(folder_of(table)).metadata()
    assert (found.name, found.description) == ("events", "ksqlDB stream EVENTS")
