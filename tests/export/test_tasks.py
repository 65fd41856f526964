"""A stream whose source seeks: its tasks are cut, staged by several processes, and committed without a hole."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pickle
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.testing import PATIENCE_S, comes_true
from pipeline.errors import PipelineError, ReadStalled, TopicChanged, WorkerLost
from pipeline.export.order import InOrder
from pipeline.export.plan import cut
from pipeline.export.stage import Staged
from pipeline.once import OnceOnly
from pipeline.process import signals_raise
from pipeline.source import ALL_ROWS, NEW_ROWS, Bookmark, Offsets, Plan, Task, Wanted
from tests.export.odd_toys import How, OddToy
from tests.export.test_toy_source import TOY_RUN, rows_there, what_is_wrong
from tests.export.toy_run import KILLED, NOW, START_MS, STREAM, export, rows
from tests.export.toy_source import ToySource, ToyStream
from tests.forked import run_forked
from tests.support import ROOT, lake_at
from tests.test_once import batch_of, rows_of

WORKERS = 2


def seeking(count: int) -> ToySource:
    return ToySource(ToyStream(rows(count), seeks=True))


def odd(folder: Path, count: int, how: How, place: tuple[int, int] = (0, 0)) -> ToySource:
    return ToySource(OddToy(rows(count), True, folder=folder, place=place, how=how))


# --- how a task is cut

marks = st.dictionaries(st.integers(0, 3), st.builds(Bookmark, st.integers(0, 30), st.just(0)))
ends = st.dictionaries(
    st.integers(0, 3),
    st.builds(lambda start, rest: Offsets(start, start + rest, 0), st.integers(0, 9), st.integers(0, 50)),
    min_size=1,
)


def whole_task(marks: dict[int, Bookmark], ends: dict[int, Offsets], wanted: Wanted) -> Task:
    """Without bookmarks that the topic does not reach."""
    known = {p: mark for p, mark in marks.items() if p in ends and mark.next_offset <= ends[p].end}
    return Task("toy", "toy", known, ends, wanted, accept_gap=True)


@given(marks, ends, st.integers(1, 20), st.integers(1, 4), st.sampled_from([NEW_ROWS, ALL_ROWS]))
def test_parts_have_each_due_offset_once_in_order_and_are_small(
    marks: dict[int, Bookmark], ends: dict[int, Offsets], most: int, workers: int, wanted: Wanted
) -> None:
    whole = whole_task(marks, ends, wanted)

    parts = cut(Plan((), (whole,), seeks=True), most, workers)

    found = [(p, offset) for part in parts for p, at in (part.ends or {}).items() for offset in range(at.start, at.end)]
    due = [(p, offset) for p, at in ends.items() for offset in range(whole.first(p, at), at.end)]
    if due:
        assert sorted(found) == sorted(due)
        assert max(sum(at.end - at.start for at in (part.ends or {}).values()) for part in parts) <= most
    assert all(part.is_part for part in parts)
    for partition in range(4):
        offsets = [offset for p, offset in found if p == partition]
        assert not due or offsets == sorted(offsets)


@given(marks, ends, st.integers(1, 20), st.sampled_from([NEW_ROWS, ALL_ROWS]), st.data())
def test_parts_have_each_row_once_whatever_comes_with_it(
    marks: dict[int, Bookmark], ends: dict[int, Offsets], most: int, wanted: Wanted, data: Any
) -> None:
    whole = whole_task(marks, ends, wanted)
    there = [(0, p, offset) for p, at in ends.items() for offset in range(at.start, at.end + 3)]
    holes = data.draw(st.sets(st.sampled_from(there))) if there else set()
    topic = [row for row in there if row not in holes]
    parts = cut(Plan((), (whole,), seeks=True), most, 1)

    kept = [row for part in parts for row in rows_of(OnceOnly(part).keep(batch_of(topic)))]

    due = [(0, p, offset) for _, p, offset in topic if whole.first(p, ends[p]) <= offset < ends[p].end]
    assert sorted(kept) == sorted(due)


def test_a_task_that_cannot_be_cut_stays_whole() -> None:
    whole = Task("toy", "toy", {}, {0: Offsets(0, 100, 0)})

    assert cut(Plan((), (whole,)), 10, 2) == (whole,)


def test_a_little_is_one_task() -> None:
    """It takes a process longer to start than this one to read them."""
    whole = Task("toy", "toy", {0: Bookmark(900, 1)}, {0: Offsets(0, 1000, 0), 1: Offsets(0, 100, 0)})

    (part,) = cut(Plan((), (whole,), seeks=True), 500_000, 8)

    assert part.ends == {0: Offsets(900, 1000, 0), 1: Offsets(0, 100, 0)}
    assert part.start == {0: Bookmark(900, 1)}


# --- in which order parts are committed


def staged(outcome: Any, row_count: int = 0) -> Staged:
    return Staged((), {}, row_count, outcome is None, outcome, 0, {}, (), {})


@given(ends, st.integers(1, 20), st.randoms(), st.sets(st.integers(0, 30)))
def test_parts_are_given_back_without_a_hole_whatever_order_they_come_in(
    ends: dict[int, Offsets], most: int, random: Any, cut_short: set[int]
) -> None:
    tasks = cut(Plan((), (whole_task({}, ends, NEW_ROWS),), seeks=True), most, 1)
    order, numbers, taken = InOrder(tasks), list(range(len(tasks))), list[int]()
    random.shuffle(numbers)

    for number in numbers:
        order.put(number, staged("time limit" if number in cut_short else "exact"))
        taken += [which for which, _ in order.take()]

    reached, broken = dict[int, int](), set[int]()
    for number in taken:
        for partition, at in (tasks[number].ends or {}).items():
            assert partition not in broken
            assert reached.get(partition, at.start) == at.start
            reached[partition] = at.end
        broken |= set(tasks[number].ends or ()) if number in cut_short else set()
    assert len(taken) + order.waiting_parts == len(tasks)
    assert all(order.is_lost(number) for number in set(numbers) - set(taken))


# --- a whole run


def test_each_row_is_there_once_whichever_commits_the_run_of_many_processes_is_killed_at(lake_root: Path) -> None:
    killed = 0
    for when in ["after", "after", "before"] * 3:
        arguments = [str(lake_root), "9", when, str(WORKERS)]
        code = run_forked(TOY_RUN, arguments, os.environ, ROOT, PATIENCE_S).returncode
        assert code in (0, KILLED)
        killed += code == KILLED
        if code == 0:
            break
    else:
        pytest.fail("the runs never came to an end")

    assert killed >= 5
    assert rows_there(lake_root) == Counter(rows(9))
    assert what_is_wrong(lake_root, seeking(9)) == []


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
    assert export(lake_root, source, number=1, workers=WORKERS).error is None
    assert rows_there(lake_root) == Counter(rows(24))


def test_what_comes_behind_a_task_that_stalled_waits_for_the_next_run(lake_root: Path, tmp_path: Path) -> None:
    source = odd(tmp_path, 24, "stalls", place=(0, 8))

    error = export(lake_root, source, workers=WORKERS).error

    assert isinstance(error, ReadStalled)
    assert error.hint == "look at the brokers"
    assert not [row for row in rows_there(lake_root) if row[1] == 0 and row[2] >= 12]
    assert export(lake_root, source, number=1).error is None
    assert rows_there(lake_root) == Counter(rows(24))


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


def test_another_topic_is_recognised_in_another_process(lake_root: Path) -> None:
    export(lake_root, seeking(9))
    other = tuple((time + 1, p, offset, text) for time, p, offset, text in rows(24))

    error = export(lake_root, ToySource(ToyStream(other, seeks=True)), number=1, workers=WORKERS).error

    assert isinstance(error, TopicChanged)
    assert "has ROWTIME" in error.message
    assert "manage_feeds.py archive" in error.hint
    assert rows_there(lake_root) == Counter(rows(9))


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


def export_until_told(root: Path, source: ToySource) -> None:
    with signals_raise():
        export(root, source, workers=WORKERS)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_processes_end_with_the_one_that_commits(lake_root: Path, tmp_path: Path, number: signal.Signals) -> None:
    source = odd(tmp_path, 24, "hangs", place=(0, 8))
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload([__name__])
    driver = apart.Process(target=export_until_told, args=(lake_root, source))
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


def leaves(kind: type[PipelineError]) -> list[type[PipelineError]]:
    return [kind, *(leaf for below in kind.__subclasses__() for leaf in leaves(below))]


@pytest.mark.parametrize("kind", leaves(PipelineError))
def test_an_error_comes_from_another_process_as_it_was(kind: type[PipelineError]) -> None:
    error = kind.__new__(kind)
    PipelineError.__init__(error, "what happened", "what to do")
    error.__dict__ |= {"reason": "why"}

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is kind
    assert (str(again), again.__dict__) == (str(error), error.__dict__)
