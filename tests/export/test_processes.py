"""A stream whose tasks several processes stage: committed without a hole, whatever becomes of the processes."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
from collections import Counter
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ksqldb_emulator.testing import PATIENCE_S, comes_true
from pipeline.errors import ReadStalled, TopicChanged, WorkerLost
from pipeline.export import processes
from pipeline.export.worker import serve
from pipeline.process import signals_raise
from tests.export.odd_toys import How, OddToy
from tests.export.toy_lake import rows_there, runs_killed_at_commits, what_is_wrong
from tests.export.toy_run import NOW, START_MS, STREAM, export, rows
from tests.export.toy_source import ToySource, ToyStream
from tests.support import lake_at

pytestmark = pytest.mark.long  # each starts processes that import everything
WORKERS = 2
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class Forked:
    """A process that stages, without the second that its imports take: forked from one that has them."""

    def __init__(self, _: list[str], pass_fds: list[int], **__: Any) -> None:
        self._process = _CONTEXT.Process(target=serve_copy, args=(DupFd(pass_fds[0]),), daemon=True)
        self._process.start()

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode


def serve_copy(of: Any) -> None:
    serve(of.detach())


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL))


def seeking(count: int) -> ToySource:
    return ToySource(ToyStream(rows(count), seeks=True))


def odd(folder: Path, count: int, how: How, place: tuple[int, int] = (0, 0)) -> ToySource:
    return ToySource(OddToy(rows(count), True, folder=folder, place=place, how=how))


def test_each_row_is_there_once_whichever_commits_the_run_of_many_processes_is_killed_at(lake_root: Path) -> None:
    killed = runs_killed_at_commits(lake_root, 7, ["after", "after", "before"] * 3, WORKERS)

    assert killed >= 4
    assert rows_there(lake_root) == Counter(rows(7))
    assert what_is_wrong(lake_root, seeking(7)) == []


@pytest.mark.usefixtures("_forked")
def test_a_slow_first_task_holds_up_its_own_partition_alone(lake_root: Path, tmp_path: Path) -> None:
    said = list[str]()

    result = export(lake_root, odd(tmp_path, 24, "waits for others"), tell=said.append, workers=WORKERS)

    assert (result.error, result.exported.rows, result.exported.outcome) == (None, 24, "exact")
    assert said[0] == "toy: 2 rows committed, going on"
    notes = [entry["pipeline"] for entry in reversed(lake_at(lake_root).table(STREAM).history())]
    assert notes[1]["to"].keys() == {"1"}
    assert rows_there(lake_root) == Counter(rows(24))
    assert what_is_wrong(lake_root, seeking(24)) == []


def test_a_process_that_is_killed_fails_the_feed_and_the_next_run_goes_on(lake_root: Path, tmp_path: Path) -> None:
    source = odd(tmp_path, 24, "dies", place=(0, 8))

    error = export(lake_root, source, workers=WORKERS).error
    there = rows_there(lake_root)

    assert isinstance(error, WorkerLost)
    assert error.message == "a process that staged rows was killed by signal 9; what was committed before stays"
    assert error.exit_code == 75
    assert not [row for row in there if row[1] == 0 and row[2] >= 8]
    assert export(lake_root, source, number=1).error is None
    assert rows_there(lake_root) == Counter(rows(24))


@pytest.mark.usefixtures("_forked")
def test_what_comes_behind_a_task_that_stalled_waits_for_the_next_run(lake_root: Path, tmp_path: Path) -> None:
    source = odd(tmp_path, 24, "stalls", place=(0, 8))

    error = export(lake_root, source, workers=WORKERS).error

    assert isinstance(error, ReadStalled)
    assert error.hint == "look at the brokers"
    assert not [row for row in rows_there(lake_root) if row[1] == 0 and row[2] >= 12]
    assert export(lake_root, source, number=1).error is None
    assert rows_there(lake_root) == Counter(rows(24))


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("workers", [1, WORKERS])
def test_what_comes_behind_a_task_whose_time_was_over_waits_for_the_next_run(
    lake_root: Path, tmp_path: Path, workers: int
) -> None:
    source = odd(tmp_path, 24, "time is over", place=(0, 8))

    result = export(lake_root, source, workers=workers)

    assert (result.error, result.exported.outcome) == (None, "time limit")
    kept = rows_there(lake_root)
    assert not [row for row in kept if row[1] == 0 and row[2] >= 12]
    assert {row for row in rows(24) if row[1] == 1} <= kept.keys()
    assert export(lake_root, source, number=1).exported.outcome == "exact"
    assert rows_there(lake_root) == Counter(rows(24))


@pytest.mark.usefixtures("_forked")
def test_what_cannot_be_read_is_counted_in_whichever_process_it_was(lake_root: Path, tmp_path: Path) -> None:
    exported = export(lake_root, odd(tmp_path, 24, "leaves out"), workers=WORKERS).exported

    assert "2 records left out: it is no JSON" in exported.notes


def test_offsets_that_never_had_a_row_are_no_gap_when_they_expire(lake_root: Path) -> None:
    results = [export(lake_root, ToySource(ToyStream(rows(9), True, without_row=5)))]
    assert lake_at(lake_root).table(STREAM).bookmarks() == {0: (14, None), 1: (12, None)}
    results += [export(lake_root, ToySource(ToyStream(rows(9), True, without_row=5)), number=1)]
    later = tuple(row for row in rows(24) if row[2] >= 14)

    results += [export(lake_root, ToySource(ToyStream(later, True, begins_at=12)), number=2)]
    results += [export(lake_root, ToySource(ToyStream(later, begins_at=14)), number=3)]

    assert [result.error for result in results[:3]] == [None] * 3
    assert [result.exported.commits > 0 for result in results] == [True, False, True, False]
    assert rows_there(lake_root) == Counter([*rows(9), *later])


@pytest.mark.usefixtures("_forked")
def test_another_topic_is_recognised_in_another_process(lake_root: Path) -> None:
    export(lake_root, seeking(9))
    other = tuple((time + 1, p, offset, text) for time, p, offset, text in rows(24))

    error = export(lake_root, ToySource(ToyStream(other, seeks=True)), number=1, workers=WORKERS).error

    assert isinstance(error, TopicChanged)
    assert "has ROWTIME" in error.message
    assert "manage_feeds.py archive" in error.hint
    assert rows_there(lake_root) == Counter(rows(9))


@pytest.mark.usefixtures("_forked")
def test_a_day_and_a_whole_stream_are_read_again_in_many_tasks(lake_root: Path) -> None:
    export(lake_root, seeking(13))
    day = NOW.fromtimestamp(START_MS / 1000, NOW.tzinfo).date()

    results = [
        export(lake_root, seeking(13), number=1, day=day),
        export(lake_root, seeking(24), number=2, workers=WORKERS, full=True),
    ]

    assert [result.error for result in results] == [None, None]
    assert [result.exported.rows for result in results] == [5, 24]
    assert rows_there(lake_root) == Counter(rows(24))
    assert what_is_wrong(lake_root, seeking(24)) == []


def export_until_a_signal(root: Path, source: ToySource) -> None:
    with signals_raise():
        export(root, source, workers=WORKERS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_processes_end_with_the_one_that_commits(lake_root: Path, tmp_path: Path, number: signal.Signals) -> None:
    source = odd(tmp_path, 24, "hangs", place=(0, 8))
    driver = _CONTEXT.Process(target=export_until_a_signal, args=(lake_root, source))
    driver.start()
    assert comes_true((tmp_path / "hangs").exists)
    assert driver.pid is not None

    os.kill(driver.pid, number)
    driver.join(PATIENCE_S)

    with (tmp_path / "alive").open() as held:
        assert comes_true(lambda: is_free(held))
    assert not [row for row in rows_there(lake_root) if row[1] == 0 and row[2] >= 8]
    assert export(lake_root, seeking(24), number=1).error is None
    assert rows_there(lake_root) == Counter(rows(24))


def is_free(held: Any) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
