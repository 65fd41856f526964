"""The tasks of a stream whose source seeks: how they are cut, and in which order their rows are committed."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import PipelineError
from pipeline.export.order import InOrder
from pipeline.export.plan import cut, due_rows
from pipeline.export.processes import Processes
from pipeline.export.stage import Staged
from pipeline.once import OnceOnly
from pipeline.source import ALL_ROWS, NEW_ROWS, Bookmark, Offsets, Plan, Task, Wanted
from tests.test_once import batch_of, rows_of

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

    parts = cut(Plan((), (whole,), seeks=True), most, Processes(workers))

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
    parts = cut(Plan((), (whole,), seeks=True), most, Processes())

    kept = [row for part in parts for row in rows_of(OnceOnly(part).keep(batch_of(topic)))]

    due = [(0, p, offset) for _, p, offset in topic if whole.first(p, ends[p]) <= offset < ends[p].end]
    assert sorted(kept) == sorted(due)


def test_a_task_that_cannot_be_cut_stays_whole() -> None:
    whole = Task("toy", "toy", {}, {0: Offsets(0, 100, 0)})

    assert cut(Plan((), (whole,)), 10, Processes(2)) == (whole,)


def test_a_little_is_one_task() -> None:
    """It takes a process longer to start than this one to read them."""
    whole = Task("toy", "toy", {0: Bookmark(900, 1)}, {0: Offsets(0, 1000, 0), 1: Offsets(0, 100, 0)})

    (part,) = cut(Plan((), (whole,), seeks=True), 500_000, Processes(8))

    assert part.ends == {0: Offsets(900, 1000, 0), 1: Offsets(0, 100, 0)}
    assert part.start == {0: Bookmark(900, 1)}


@pytest.mark.parametrize(("count", "sizes"), [(800_000, [200_000] * 4), (800_001, [200_001] * 3 + [199_998])])
def test_all_workers_have_something_to_do(count: int, sizes: list[int]) -> None:
    """What is read already, and a partition whose newest rows belong to an open transaction, is no work."""
    ends = {0: Offsets(0, 300_000 + count, 0), 1: Offsets(0, 900, 0, written=1000)}
    whole = Task("toy", "toy", {0: Bookmark(300_000, 1), 1: Bookmark(1000, 1)}, ends)

    parts = cut(Plan((), (whole,), seeks=True), 500_000, Processes(4))

    assert [at.end - at.start for part in parts for at in (part.ends or {}).values()] == sizes


def test_short_partitions_share_a_part_as_long_as_it_is_not_too_long() -> None:
    ends = {0: Offsets(1000, 1040, 0), 1: Offsets(2000, 2060, 0), 2: Offsets(5, 6, 0)}

    parts = cut(Plan((), (Task("toy", "toy", {}, ends),), seeks=True), 100, Processes())

    assert [part.ends for part in parts] == [{0: ends[0], 1: ends[1]}, {2: ends[2]}]


def test_partitions_take_turns() -> None:
    ends = {1: Offsets(0, 3, 0), 0: Offsets(0, 4, 0)}

    parts = cut(Plan((), (Task("toy", "toy", {}, ends),), seeks=True), 2, 1)

    found = [(p, at.start, at.end) for part in parts for p, at in (part.ends or {}).items()]
    assert found == [(0, 0, 2), (1, 0, 2), (0, 2, 4), (1, 2, 3)]


def test_a_partition_without_new_rows_is_read_only_if_its_bookmark_has_to_move() -> None:
    """It has none yet, or it lies before rows that the topic has lost."""
    ends = {p: Offsets(5, 5, 0) for p in range(3)} | {3: Offsets(0, 9, 0)}
    whole = Task("toy", "toy", {1: Bookmark(5, 1), 2: Bookmark(3, 1), 3: Bookmark(5, 1)}, ends, accept_gap=True)

    (part,) = cut(Plan((), (whole,), seeks=True), 100, Processes())

    assert part.ends == {0: Offsets(5, 5, 0), 2: Offsets(5, 5, 0), 3: Offsets(5, 9, 0)}
    assert part.start == {2: Bookmark(3, 1), 3: Bookmark(5, 1)}


@pytest.mark.parametrize(("wanted", "first", "with_bookmark"), [(NEW_ROWS, 3, 3), (ALL_ROWS, 0, 2)])
def test_the_part_that_begins_at_a_bookmark_or_has_the_witness_before_it_has_the_bookmark(
    wanted: Wanted, first: int, with_bookmark: int
) -> None:
    whole = Task("toy", "toy", {0: Bookmark(3, 1)}, {0: Offsets(0, 6, 0)}, wanted)

    parts = cut(Plan((), (whole,), seeks=True), 1, 1)

    assert [part.ends for part in parts] == [{0: Offsets(at, at + 1, 0)} for at in range(first, 6)]
    assert [part.start for part in parts] == [
        {0: Bookmark(3, 1)} if at == with_bookmark else {} for at in range(first, 6)
    ]


def test_as_many_rows_are_due_as_the_tasks_have_offsets_if_all_their_ends_are_known() -> None:
    tasks = [
        Task("toy", "toy", {0: Bookmark(7, 1)}, {0: Offsets(0, 10, 0)}),
        Task("toy", "toy", {}, {1: Offsets(2, 7, 0)}),
    ]

    assert due_rows(tasks) == 8
    assert due_rows([*tasks, Task("toy", "toy", {})]) is None


# --- in which order parts are committed


def staged(outcome: Any, row_count: int = 0) -> Staged:
    return Staged((), {}, row_count, outcome is None, outcome, 0, {}, (), {})


@given(ends, st.integers(1, 20), st.randoms(), st.sets(st.integers(0, 30)))
def test_all_parts_before_a_hole_are_given_back_in_order_whatever_order_they_come_in(
    ends: dict[int, Offsets], most: int, random: Any, cut_short: set[int]
) -> None:
    tasks = cut(Plan((), (whole_task({}, ends, NEW_ROWS),), seeks=True), most, Processes())
    order, numbers, taken = InOrder(tasks), list(range(len(tasks))), list[int]()
    random.shuffle(numbers)

    for number in numbers:
        order.put(number, staged("time limit" if number in cut_short else "exact"))
        taken += [which for which, _ in order.take()]

    reached = dict[int, int]()
    for number in taken:
        for partition, at in (tasks[number].ends or {}).items():
            assert reached.get(partition, at.start) == at.start
            reached[partition] = at.end
    behind_a_hole, holes = set[int](), set[int]()
    for number, task in enumerate(tasks):
        partitions = set(task.ends or ())
        behind_a_hole |= {number} if partitions & holes else set()
        holes |= partitions if number in behind_a_hole | cut_short else set()
    assert sorted(taken) == sorted(set(numbers) - behind_a_hole)
    assert {number for number in numbers if order.is_lost(number)} == behind_a_hole
    assert order.waiting_parts == len(behind_a_hole)


# --- what goes between processes


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
