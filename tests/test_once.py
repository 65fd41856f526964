"""Each row of a stream once: what is kept of batches that hold replays, witnesses and gaps, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import unreadable
from pipeline.errors import TopicChanged
from pipeline.limits import Limits
from pipeline.once import WITNESSES, OnceOnly, gaps_before, read_once
from pipeline.source import ALL_ROWS, NEW_ROWS, OLD_ROWS, UNKNOWN, Bookmark, Offsets, StreamRead, Task, Wanted

Row = tuple[int, int, int]  # ROWTIME, ROWPARTITION, ROWOFFSET
SCHEMA = pa.schema([("rowtime", pa.int64()), ("rowpartition", pa.int32()), ("rowoffset", pa.int64())])


def task(
    start: Mapping[int, Bookmark],
    accept_gap: bool = False,
    wanted: Wanted = NEW_ROWS,
    ends: Mapping[int, Offsets] | None = None,
) -> Task:
    return Task("feed", "s", start, ends, wanted, accept_gap)


def batch_of(rows: Sequence[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)


def rows_of(batch: pa.RecordBatch) -> list[Row]:
    return [(row["rowtime"], row["rowpartition"], row["rowoffset"]) for row in batch.to_pylist()]


def kept(once: OnceOnly, *rows: Row) -> list[Row]:
    return rows_of(once.keep(batch_of(rows)))


@dataclass
class RowByRow:
    """The rule, one row after the other: what `OnceOnly` has to do by columns."""

    task: Task
    highest: dict[int, int] = field(default_factory=dict)
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)
    witnesses: list[Row] = field(default_factory=list)
    replayed_rows: int = 0

    def keep(self, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if self._is_kept(*row)]

    def _is_kept(self, rowtime: int, partition: int, offset: int) -> bool:
        if offset <= self.highest.get(partition, -1):
            self.replayed_rows += 1
            return False
        mark = self.task.start.get(partition)
        due = 0 if mark is None else mark.next_offset
        if mark is not None and partition not in self.highest and offset > due and self.task.wanted.new:
            by_itself = mark == Bookmark(0) if self.task.ends is None else mark.last_rowtime_ms is None
            if partition not in self.gaps and not by_itself:
                if not self.task.accept_gap:
                    raise TopicChanged("gap")
                self.gaps[partition] = (due, offset)
        self.highest[partition] = offset
        if mark is not None and offset == due - 1 and mark.last_rowtime_ms not in (None, rowtime):
            raise TopicChanged("recreated")
        if due - WITNESSES <= offset < due:
            self.witnesses.append((rowtime, partition, offset))
        return self.task.wanted.new if offset >= due else self.task.wanted.old


offsets = st.integers(0, WITNESSES + 15)
bookmarks = st.builds(Bookmark, offsets, st.none() | st.integers(0, 2))
batches = st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), offsets), max_size=40), max_size=5)


@given(
    st.dictionaries(st.integers(0, 3), bookmarks, max_size=4),
    st.sampled_from([NEW_ROWS, OLD_ROWS, ALL_ROWS]),
    st.booleans(),
    st.booleans(),
    batches,
)
def test_batches_are_judged_by_column_as_rows_are_one_by_one(
    start: dict[int, Bookmark], wanted: Wanted, accept_gap: bool, ends_known: bool, answers: list[list[Row]]
) -> None:
    ends = {p: Offsets(0, 100, 0) for p in range(4)} if ends_known else None
    asked = task(start, accept_gap, wanted, ends)
    by_row, by_column = RowByRow(asked), OnceOnly(asked)

    for rows in answers:
        try:
            expected = by_row.keep(rows)
        except TopicChanged:
            with pytest.raises(TopicChanged):
                by_column.keep(batch_of(rows))
            return
        assert kept(by_column, *rows) == expected

    assert [row for batch in by_column.witnesses for row in rows_of(batch)] == by_row.witnesses
    assert (by_column.gaps, by_column.replayed_rows) == (by_row.gaps, by_row.replayed_rows)


@st.composite
def topics_read_before(draw: st.DrawFn) -> tuple[dict[int, list[int]], dict[int, Bookmark], list[Row]]:
    """Offsets that exist a partition (with gaps), bookmarks behind some of them, and an answer with replays."""
    topic = draw(st.dictionaries(st.integers(0, 3), st.sets(st.integers(0, 30), min_size=1).map(sorted), max_size=4))
    marks, sent = {}, []
    for partition, there in topic.items():
        read = draw(st.integers(0, len(there)))
        if read:
            last = there[read - 1]
            marks[partition] = Bookmark(last + 1, 1000 + last)
            there = there[read - 1 :]  # what is asked for, were there one witness
        places = list(range(len(there)))
        if draw(st.booleans()):  # a reader that starts over sends the rows since its last commit again
            again_at = draw(st.integers(0, len(there)))
            places = places[:again_at] + places[draw(st.integers(0, again_at)) :]
        sent.append([(1000 + there[place], partition, there[place]) for place in places])
    rows: list[Row] = []
    while any(sent):  # partitions interleave, each in its order
        rows.append(draw(st.sampled_from([queue for queue in sent if queue])).pop(0))
    return topic, marks, rows


@given(topics_read_before(), st.integers(1, 7))
def test_every_new_row_is_kept_once_and_in_order_whatever_comes_again(
    read_before: tuple[dict[int, list[int]], dict[int, Bookmark], list[Row]], batch_rows: int
) -> None:
    topic, marks, rows = read_before
    once, found = OnceOnly(task(marks)), list[Row]()

    for first, end in pairwise([*range(0, len(rows), batch_rows), len(rows)]):
        found += kept(once, *rows[first:end])

    for partition, there in topic.items():
        due = marks[partition].next_offset if partition in marks else 0
        assert [row[2] for row in found if row[1] == partition] == [offset for offset in there if offset >= due]
    assert once.replayed_rows == len(rows) - len(found) - len(marks)
    assert once.gaps == {}


@pytest.mark.parametrize(("wanted", "new"), [(OLD_ROWS, []), (ALL_ROWS, [(3, 0, 3), (9, 1, 1), (5, 2, 0)])])
def test_old_rows_are_kept_once_and_new_ones_when_all_are_wanted(wanted: Wanted, new: list[Row]) -> None:
    once = OnceOnly(task({0: Bookmark(3, 2), 1: Bookmark(1, 9)}, wanted=wanted))
    rows: Sequence[Row] = [(0, 0, 0), (1, 0, 1), (0, 0, 0), (2, 0, 2), (3, 0, 3), (9, 1, 0), (9, 1, 1), (5, 2, 0)]

    assert sorted(kept(once, *rows)) == sorted([(0, 0, 0), (1, 0, 1), (2, 0, 2), (9, 1, 0), *new])
    assert once.replayed_rows == 1


def test_a_witness_with_another_time_means_another_topic() -> None:
    with pytest.raises(TopicChanged) as raised:
        kept(OnceOnly(task({1: Bookmark(10, 5)})), (7, 1, 9), (8, 1, 10))
    assert raised.value.message.startswith("the topic s was recreated: offset 9 of partition 1 has ROWTIME 7 now, and")
    assert raised.value.hint.startswith("keep the old history under its feed (manage_feeds.py archive) and add")
    assert kept(OnceOnly(task({1: Bookmark(10)})), (7, 1, 9), (8, 1, 10)) == [(8, 1, 10)]
    assert kept(OnceOnly(task({1: Bookmark(10, 5)})), (5, 1, 9), (8, 1, 10)) == [(8, 1, 10)]


@pytest.mark.parametrize("wanted", [NEW_ROWS, ALL_ROWS])
def test_rows_lost_to_retention_are_an_error_unless_accepted(wanted: Wanted) -> None:
    rows = [(8, 0, 15), (9, 0, 16)]

    with pytest.raises(
        TopicChanged, match=r"now begins at offset 15, but the next row due for the lake is 10"
    ) as raised:
        kept(OnceOnly(task({0: Bookmark(10, 5)}, wanted=wanted)), *rows)
    assert raised.value.hint.startswith("if that loss is known, run once with --accept-gap")
    accepting = OnceOnly(task({0: Bookmark(10, 5)}, accept_gap=True, wanted=wanted))
    assert kept(accepting, *rows) == rows
    assert accepting.gaps == {0: (10, 15)}
    with pytest.raises(TopicChanged, match="now begins at offset 12"):
        gaps_before(task({0: Bookmark(10, 5)}, wanted=wanted, ends={0: Offsets(12, 12, 0)}))


def test_a_partition_that_brought_no_row_yet_has_no_witness_and_is_judged_by_where_its_topic_starts() -> None:
    """Offsets have gaps (records that cannot be read, marks of transactions): a first row further on proves nothing."""
    row = (8, 0, 15)
    assert kept(OnceOnly(task({0: Bookmark(10)}, ends={0: Offsets(10, 16, 0)})), row) == [row]
    with pytest.raises(TopicChanged, match="may have lost rows"):
        OnceOnly(task({0: Bookmark(10)}, ends={0: Offsets(11, 16, 0)}))
    with pytest.raises(TopicChanged, match="may have lost rows"):
        kept(OnceOnly(task({0: Bookmark(10)})), row)
    assert kept(OnceOnly(task({0: Bookmark(0)})), row) == [row]


@pytest.mark.parametrize(
    ("now", "is_lost"),
    [({0: Offsets(10, 16, 0)}, False), ({0: Offsets(11, 16, 0)}, True), ({0: Offsets(UNKNOWN, 16, 0)}, True),
     ({}, True), (None, True)],
)  # fmt: skip
def test_without_witness_a_topic_has_lost_rows_unless_it_still_reaches_back_to_the_bookmark(
    now: Mapping[int, Offsets] | None, is_lost: bool
) -> None:
    """Compaction takes witnesses too; retention may have passed the bookmark since the read began."""
    row, asked = (8, 0, 15), task({0: Bookmark(10, 5)}, ends={0: Offsets(3, 16, 0)})

    if is_lost:
        with pytest.raises(TopicChanged, match="may have lost rows"):
            kept(OnceOnly(asked, lambda: now), row)
    else:
        assert kept(OnceOnly(asked, lambda: now), row) == [row]
    with pytest.raises(TopicChanged, match="may have lost rows"):
        kept(OnceOnly(task({0: Bookmark(10, 5)}), lambda: now), row)


def test_a_partition_that_is_new_has_no_gap() -> None:
    once = OnceOnly(task({0: Bookmark(10, 5)}))

    assert kept(once, (8, 3, 40)) == [(8, 3, 40)]
    assert once.gaps == {}


@pytest.mark.parametrize("ends", [{0: Offsets(0, 9, 0)}, {}])
def test_a_topic_that_ends_before_a_bookmark_was_recreated(ends: dict[int, Offsets]) -> None:
    with pytest.raises(TopicChanged, match="was recreated or cut: partition 0 ends at offset") as raised:
        gaps_before(task({0: Bookmark(10, 5)}, ends=ends))
    assert raised.value.hint.startswith("keep the old history under its feed (manage_feeds.py archive) and add")


def test_the_first_row_of_a_topic_is_a_witness_too() -> None:
    once = OnceOnly(task({0: Bookmark(2)}))

    assert kept(once, (8, 0, 0), (9, 0, 1), (9, 0, 2)) == [(9, 0, 2)]
    assert [row for batch in once.witnesses for row in rows_of(batch)] == [(8, 0, 0), (9, 0, 1)]


def test_partitions_that_come_by_turns_in_a_long_batch_lose_nothing() -> None:
    rows = [(0, n % 3, n // 3) for n in range(9_000)]

    assert len(kept(OnceOnly(task({})), *rows)) == len(rows)


def test_a_part_of_a_task_keeps_its_own_offsets_of_its_own_partitions_only() -> None:
    """Its start need not be a row, and no witness is asked for there: another part has the rows before it."""
    ends = {0: Offsets(3, 6, 0), 1: Offsets(0, 2, 0)}
    rows = [(0, partition, offset) for partition in range(3) for offset in range(9)]
    own = [(0, 0, 3), (0, 0, 4), (0, 0, 5), (0, 1, 0), (0, 1, 1)]

    assert kept(OnceOnly(Task("feed", "s", {}, ends, is_part=True)), *rows) == own
    bookmarked = Task("feed", "s", {0: Bookmark(4, 0)}, ends, is_part=True)
    assert kept(OnceOnly(bookmarked), *rows) == own[1:]
    assert kept(OnceOnly(bookmarked), (9, 0, 5)) == [(9, 0, 5)]


def test_gaps_and_records_that_cannot_be_read_are_those_of_all_tasks() -> None:
    limits = Limits(quiet_s=7)

    class Stream:
        def ends(self) -> None:
            return None

        def read(self, task: Task, under: Limits) -> StreamRead:
            assert under is limits
            (partition,) = task.start
            reasons = ["no JSON", f"of {partition}", f"of {partition}"]
            records = pa.RecordBatch.from_pylist([{"reason": reason} for reason in reasons], schema=unreadable.SCHEMA)
            return StreamRead(iter([batch_of([(0, partition, 9)])]), unreadable=[records])

    tasks = [task({partition: Bookmark(5)}, accept_gap=True) for partition in range(2)]
    read = read_once(Stream(), tasks, limits)  # type: ignore[arg-type] # reads is all it is asked

    assert sum(batch.num_rows for batch in read.batches) == 2
    assert read.gaps == {0: (5, 9), 1: (5, 9)}
    assert read.unreadable == {"no JSON": 2, "of 0": 2, "of 1": 2}


def test_a_batch_of_new_rows_is_passed_on_as_it_is() -> None:
    batch = batch_of([(1, 0, 0), (2, 0, 1)])

    assert OnceOnly(task({})).keep(batch) is batch


@pytest.mark.parametrize(
    ("outcomes", "together"),
    [(["exact", "exact"], "exact"), (["quiet", "exact"], "quiet"), (["exact", "time limit", "quiet"], "time limit")],
)
def test_several_tasks_end_as_the_weakest_of_them(outcomes: list[Any], together: str) -> None:
    class Stream:
        def ends(self) -> None:
            return None

        def read(self, task: Task, _: Limits) -> StreamRead:
            partition = next(iter(task.ends or {}))
            rows = batch_of([(0, partition, 0), (0, partition, 0)])
            return StreamRead(iter([rows]), outcomes[partition], proved=partition != 1)

    tasks = [task({}, ends={partition: Offsets(0, 1, 0)}) for partition in range(len(outcomes))]
    read = read_once(Stream(), tasks, Limits())  # type: ignore[arg-type] # reads is all it is asked

    assert sum(batch.num_rows for batch in read.batches) == len(tasks)
    assert (read.outcome, read.replayed_rows, read.proved) == (together, len(tasks), False)
