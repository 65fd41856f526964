"""A source that nothing in the package knows goes through the whole house, is killed at each commit, and verified."""

from __future__ import annotations

import datetime as dt
import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ReadStalled, TopicChanged, WrongUsage
from pipeline.export.commit import ExportResult, prepare_table
from pipeline.export.plan import plan_read, stream_of
from pipeline.export.stage import Staged, stage
from pipeline.export.stream import StreamCommits
from pipeline.lake.staging import Staging
from pipeline.limits import Limits
from pipeline.source import StreamSource, Task
from tests.export.toy_lake import rows_there, runs_killed_at_commits, what_is_wrong
from tests.export.toy_run import NOW, START_MS, STREAM, TABLE, a_run, export, rows, toy
from tests.export.toy_source import ToySource, ToyStream, ToyTable
from tests.support import cleaned


@pytest.mark.long
def test_each_row_is_there_once_whichever_commits_the_runs_are_killed_at(lake_root: Path) -> None:
    killed = sum(runs_killed_at_commits(lake_root, count, ["before", "after"] * 4) for count in (9, 13))

    assert killed >= 6
    assert rows_there(lake_root) == Counter(rows(13))
    assert what_is_wrong(lake_root, toy(13)) == []


def test_new_rows_are_appended_replays_dropped_and_a_second_run_adds_nothing(lake_root: Path) -> None:
    said = list[str]()

    results = [export(lake_root, toy(count), STREAM, n, said.append) for n, count in enumerate((9, 13, 13))]

    assert [result.error for result in results] == [None] * 3
    assert [result.exported.rows for result in results] == [9, 4, 0]
    assert results[0].exported.outcome == "exact"
    assert said[0] == "toy: 5 rows committed, going on"
    assert any("came again and were dropped" in note for note in results[0].exported.notes)
    assert rows_there(lake_root) == Counter(rows(13))


class Unproved(ToyStream):
    """Leaves the connection before the rows of the second partition have come."""

    def read(self, task: Task, limits: Limits) -> Any:
        read = super().read(task, limits)
        if 1 in (task.ends or {}):
            read.batches, read.outcome, read.proved = iter(()), "exact", False
        return read


def test_a_partition_whose_rows_may_not_have_come_is_not_taken_for_empty(lake_root: Path) -> None:
    export(lake_root, ToySource(Unproved(rows(9))))

    assert rows_there(lake_root) == Counter(row for row in rows(9) if row[1] == 0)
    assert export(lake_root, toy(9), number=1).error is None
    assert rows_there(lake_root) == Counter(rows(9))


def test_a_recreated_stream_is_refused_and_nothing_of_it_is_kept(lake_root: Path) -> None:
    export(lake_root, toy(9))
    other = ToySource(ToyStream(tuple((time, p, offset, f"other {text}") for time, p, offset, text in rows(13))))

    error = export(lake_root, other, number=1).error

    assert isinstance(error, TopicChanged)
    assert "has other values than in the lake (text)" in error.message
    assert rows_there(lake_root) == Counter(rows(9))
    assert not list((lake_root / "streams" / "toy" / "_staging").rglob("*.staged"))


def test_a_day_and_a_whole_stream_are_read_again(lake_root: Path) -> None:
    export(lake_root, toy(13))
    day = NOW.fromtimestamp(START_MS / 1000, NOW.tzinfo).date()

    results = [export(lake_root, toy(13), number=1, day=day), export(lake_root, toy(13), number=2, full=True)]

    assert [result.error for result in results] == [None, None]
    assert [result.exported.rows for result in results] == [5, 13]
    assert what_is_wrong(lake_root, toy(13)) == []


def test_a_table_is_read_until_it_is_believed_and_verified(lake_root: Path) -> None:
    table = ToyTable(tuple({"id": n, "text": f"v{n}"} for n in range(3)))
    source = ToySource(ToyStream(rows(1)), table)

    result = export(lake_root, source, TABLE)

    assert (result.error, result.exported.rows, result.exported.version) == (None, 3, 1)
    assert result.exported.notes == ["read 2 times before it was believed"]
    assert what_is_wrong(lake_root, source, TABLE) == []


def test_a_dry_run_says_what_is_due_and_how_a_table_would_be_read(lake_root: Path) -> None:
    export(lake_root, toy(9))

    stream = export(lake_root, toy(13), dry_run=True).exported
    table = export(lake_root, toy(13), TABLE, dry_run=True).exported

    assert stream.notes == ["at most 8 offsets are due", "bookmark 0: 9, 1: 7", "4 columns"]
    assert (table.notes, table.version) == (["read by a list", "2 columns"], 1)
    assert rows_there(lake_root) == Counter(rows(9))


def test_a_dry_run_says_what_would_be_read_again(lake_root: Path) -> None:
    day = dt.date(2026, 11, 20)
    nothing = export(lake_root, toy(9), dry_run=True, day=day).error
    first = export(lake_root, toy(9), dry_run=True, full=True).exported.notes[0]
    export(lake_root, toy(9))

    whole = export(lake_root, toy(13), dry_run=True, full=True).exported.notes[0]
    one_day = export(lake_root, toy(13), dry_run=True, day=day).exported.notes[0]

    assert isinstance(nothing, WrongUsage) and nothing.message == "toy has no rows to replace yet"
    assert first == "at most 16 offsets are due, 0 of them again"
    assert whole == "at most 24 offsets are due, 16 of them again"
    assert one_day == "at most 16 offsets are due again, for 2026-11-20"


def test_a_dry_run_says_what_would_be_read_again_where_the_end_is_not_known(
    lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(lake_root, toy(9))
    monkeypatch.setattr(ToyStream, "source", toy(9).stream.source)
    monkeypatch.setattr(ToyStream, "ends", lambda _: None)

    whole = export(lake_root, toy(9), dry_run=True, full=True).exported.notes[0]
    one_day = export(lake_root, toy(9), dry_run=True, day=dt.date(2026, 11, 20)).exported.notes[0]

    assert whole == "all that the source still has is due again"
    assert one_day == "what the source still has of 2026-11-20 is due again"


def stage_all(task: Task, stream: StreamSource, staging: Staging, name: str) -> list[Staged]:
    return list(stage(task, stream, Limits(), staging, name))


def test_tasks_are_staged_in_other_processes_and_committed_by_this_one(lake_root: Path) -> None:
    """A task that ran twice leaves orphans, never rows."""
    table, run, done = cleaned(lake_root, STREAM, 0), a_run(), ExportResult()
    stream = stream_of(toy(13), table)
    plan = plan_read(stream, table, Limits())
    prepare_table(run, table, plan.columns, "toy")
    names = [f"{run.id}{number:04x}" for number in range(4)]

    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(2, apart) as executors:
        twice = list(executors.map(stage_all, [*plan.tasks, *plan.tasks], [stream] * 4, [Staging.of(table)] * 4, names))
    commits = StreamCommits(table, stream.source, run, done, plan.tasks)
    for number, parts in enumerate(twice[:2]):
        for part in parts:
            commits.commit(number, part)

    assert (done.rows, done.commits) == (13, 2)
    assert rows_there(lake_root) == Counter(rows(13))
    assert cleaned(lake_root, STREAM, 0).bookmarks() == {
        0: (13, rows(13)[12][0]),
        1: (11, rows(13)[11][0]),
    }
    assert not list((lake_root / "streams" / "toy" / "_staging").rglob("*.staged"))


class Stalled(ToyStream):
    """Sends the first batch of each partition, and then nothing more."""

    def read(self, task: Task, limits: Limits) -> Any:
        read = super().read(task, limits)
        first = next(read.batches)

        def batches() -> Any:
            yield first
            raise ReadStalled("no more comes")

        read.batches = batches()
        return read


def test_what_came_before_a_stall_is_committed_and_the_next_run_goes_on(lake_root: Path) -> None:
    said = list[str]()

    error = export(lake_root, ToySource(Stalled(rows(9))), tell=said.append).error

    assert isinstance(error, ReadStalled)
    assert said == []
    assert rows_there(lake_root) == Counter(row for row in rows(9) if row[1] == 0 and row[2] < 6)
    assert export(lake_root, toy(9), number=1).error is None
    assert rows_there(lake_root) == Counter(rows(9))
