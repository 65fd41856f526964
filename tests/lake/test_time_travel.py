"""What the views showed at an earlier time, also after a clock that was wrong; what is not known is refused."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.errors import VersionUnknown
from pipeline.lake.change import Change
from pipeline.lake.retention import expire
from pipeline.lake.rewrite import rewrite
from pipeline.lake.time_travel import shown_as_of
from pipeline.query import When, answering
from tests.lake.small_tables import NOW, add_rows, add_version, commit_id, stream_feed, table_feed, values
from tests.support import cleaned, folder_of, lake_at

HOUR, YEAR = dt.timedelta(hours=1), dt.timedelta(days=365)
MANY = table_feed(retention_versions=9)


def made_at(folder: Path, times: Mapping[int, dt.datetime]) -> None:
    """Gives entries of the log the times that the Delta library would have written by such a clock."""
    for version, moment in times.items():
        path = folder / "_delta_log" / f"{version:020}.json"
        actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for action in actions:
            if "commitInfo" in action:
                action["commitInfo"]["timestamp"] = int(moment.timestamp() * 1000)
        path.write_text("".join(json.dumps(action) + "\n" for action in actions), encoding="utf-8")


def test_a_table_after_a_clock_that_was_ahead_is_shown_as_its_newest_commit_left_it(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(MANY)
    add_version(table, 1, ["a"])
    add_version(table, 2, ["a", "b"], now=NOW + YEAR)
    table.accept_clock(commit_id(9), NOW + HOUR)
    made_at(folder_of(table), {0: NOW, 1: NOW, 2: NOW + YEAR, 3: NOW + HOUR})

    def shown(moment: dt.datetime) -> list[list[str | None]]:
        table = lake_at(tmp_path).table(MANY)
        return [sorted(file.partition or "" for file in files) for files in shown_as_of(table, moment, MANY.view_names)]

    assert shown(NOW + 2 * HOUR) == [["2"], ["1", "2"]]
    assert shown(NOW + 2 * YEAR) == [["2"], ["1", "2"]]
    assert shown(NOW) == [["1"], ["1"]]


def test_a_stream_after_a_clock_that_was_ahead_has_all_rows_that_its_newest_commit_left(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    add_rows(table, 2, [(0, 0, 1, "b")], now=NOW + YEAR)
    table.accept_clock(commit_id(9), NOW + HOUR)
    made_at(folder_of(table), {0: NOW, 1: NOW, 2: NOW + YEAR, 3: NOW + HOUR})

    table = lake_at(tmp_path).table(stream_feed())
    (files,) = shown_as_of(table, NOW + 2 * HOUR, table.feed.view_names)

    assert sorted(row["v"] for batch in table.read_batches(files) for row in batch.to_pylist()) == values(table)


def asked(root: Path, query: str, moment: dt.datetime) -> list[tuple[object, ...]]:
    with answering(lake_at(root), query, When(moment=moment)) as answer:
        return [tuple(row.values()) for batch in answer.batches() for row in batch.to_pylist()]


CURRENT, HISTORY = "SELECT k FROM totals_current ORDER BY k", "SELECT DISTINCT version FROM Totals_History ORDER BY 1"


def test_versions_that_expired_since_are_not_left_out_of_the_history_in_silence(tmp_path: Path) -> None:
    lake_at(tmp_path).feeds.add(MANY)
    table = lake_at(tmp_path).table(MANY)
    for version, keys in ((1, ["a"]), (2, ["a", "b"]), (3, ["c"])):
        add_version(table, version, keys)
    made_at(folder_of(table), dict.fromkeys(range(4), NOW))
    expire(lake_at(tmp_path).table(table_feed(retention_versions=2)), commit_id(9), NOW, max_share=1)
    assert asked(tmp_path, HISTORY, NOW) == [(1,), (2,), (3,)]

    cleaned(tmp_path, table_feed(retention_versions=2), grace_hours=0)

    assert asked(tmp_path, CURRENT, NOW) == [("c",)]
    with pytest.raises(VersionUnknown, match="does not have all versions of totals as of 2026-11-20T06:00:00") as gone:
        asked(tmp_path, HISTORY, NOW)
    assert gone.value.hint.startswith("ask totals_current, or give a later --as-of")


def test_the_history_is_shown_whole_where_its_files_were_only_written_again(tmp_path: Path) -> None:
    lake_at(tmp_path).feeds.add(MANY)
    table = lake_at(tmp_path).table(MANY)
    for version in (1, 2):
        add_version(table, version, ["a"])
    made_at(folder_of(table), dict.fromkeys(range(3), NOW))
    note = {"kind": "compact"}
    rewrite(table, [[file] for file in table.files], table.read_batches, Change(note=note), commit_id(9), NOW)
    cleaned(tmp_path, MANY, grace_hours=0)

    assert asked(tmp_path, HISTORY, NOW) == [(1,), (2,)]
    assert asked(tmp_path, CURRENT, NOW) == [("a",)]
