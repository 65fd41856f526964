"""Records of a topic that are no rows: counted in the commit they belong to, and kept once, whatever is killed."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.columns import arrow_schema
from pipeline.export.run import ExportRequest
from pipeline.feeds import Feed
from pipeline.lake.table import LakeTable
from pipeline.limits import Limits
from pipeline.report.export import export_json
from pipeline.source import StreamRead, Task
from pipeline.unreadable import SCHEMA
from tests.examples import some
from tests.export.toy_run import DAY_MS, START_MS, STREAM, export, rows
from tests.export.toy_source import STREAM_COLUMNS, ToySource, ToyStream
from tests.support import lake_at

KEEPS = STREAM.model_copy(update={"keep_unreadable": True})
REASONS = ("no value", "no JSON")
BEHIND = 3


class Killed(BaseException):
    """In the place of a SIGKILL: nothing of the program's own catches it."""


class Holey(ToyStream):
    """At each odd offset is a record that is no row; those behind the last row come by themselves."""

    def read(self, task: Task, limits: Limits) -> StreamRead:
        read = super().read(task, limits)
        inner = read.batches
        due = {p: [n for n in range(task.first(p, at), at.end) if n % 2] for p, at in (task.ends or {}).items()}

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in inner:
                partition, last = batch.column("rowpartition")[0].as_py(), max(batch.column("rowoffset").to_pylist())
                came = [offset for offset in due[partition] if offset < last]
                due[partition] = due[partition][len(came) :]
                read.unreadable += [records(partition, came)] if came else []
                yield batch
            read.unreadable += [records(partition, left) for partition, left in due.items() if left]
            yield pa.RecordBatch.from_pylist([], schema=arrow_schema(STREAM_COLUMNS))
            read.outcome = "exact"

        read.batches = batches()
        return read


def records(partition: int, offsets: list[int]) -> pa.RecordBatch:
    found = [
        (START_MS + offset % 3 * DAY_MS, partition, offset, REASONS[offset % 4 // 2], None, b"%d" % offset)
        for offset in offsets
    ]
    return pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, each, strict=True)) for each in found], schema=SCHEMA)


def a_source(count: int = 14, seeks: bool = False) -> ToySource:
    return ToySource(Holey(rows(count), seeks, without_row=BEHIND))


def expected(source: ToySource) -> Counter[Any]:
    every = (records(p, [n for n in range(at.end) if n % 2]) for p, at in source.stream.ends().items())
    return Counter(tuple(each.values()) for batch in every for each in batch.to_pylist())


def kept(root: Path, feed: Feed = KEEPS) -> Counter[Any]:
    table = lake_at(root).table(feed.of_unreadable())
    return Counter(tuple(each.values()) for batch in table.read_batches(table.files) for each in batch.to_pylist())


def counts(root: Path) -> Counter[str]:
    """By the commits of rows."""
    notes = [entry["pipeline"] for entry in lake_at(root).table(KEEPS).history() if "pipeline" in entry]
    return sum((Counter(note.get("unreadable", {})) for note in notes), Counter[str]())


@pytest.mark.parametrize(("seeks", "when"), some(list(itertools.product([False, True], ["before", "after"]))))
def test_each_record_is_kept_and_counted_once_whichever_commit_a_run_dies_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeks: bool, when: str
) -> None:
    source, died, tried = a_source(6 - 2 * seeks, seeks), True, itertools.count()
    there = expected(source)

    while died:
        root = tmp_path / str(number := next(tried))
        with monkeypatch.context() as patched:
            patched.setattr(LakeTable, "commit", dying_at(number, when))
            with contextlib.suppress(Killed):
                died = export(root, source, KEEPS).error is not None
        assert export(root, source, KEEPS, number=1).error is None

        assert kept(root) == there, number
        assert counts(root) == Counter(row[3] for row in there.elements()), number
    assert number >= 3


def dying_at(number: int, when: str) -> Callable[..., int]:
    calls, commit = itertools.count(), LakeTable.commit

    def and_die(*arguments: Any) -> int:
        dies = next(calls) == number
        if dies and when == "before":
            raise Killed
        version = commit(*arguments)
        if dies:
            raise Killed
        return version

    return and_die


def test_what_was_counted_is_in_the_result_and_nothing_is_kept_unasked(tmp_path: Path) -> None:
    source = a_source()

    result, again = export(tmp_path, source), export(tmp_path, source, number=1)

    by_reason = Counter(row[3] for row in expected(source).elements())
    (first,), (second,) = (export_json([each], ExportRequest())["feeds"] for each in (result, again))
    assert first["unreadable"] == by_reason == counts(tmp_path)
    assert second["unreadable"] == {}
    assert f"{by_reason['no value']} records left out: no value" in first["notes"]
    assert not (tmp_path / "unreadable").exists()


def test_all_of_a_stream_read_again_is_counted_in_its_commit_and_kept_no_second_time(tmp_path: Path) -> None:
    source = a_source()
    export(tmp_path, source, KEEPS)

    full = export(tmp_path, source, KEEPS, number=1, full=True)
    day = export(tmp_path, source, KEEPS, number=2, day=dt.date(2025, 11, 20))

    assert (full.error, day.error) == (None, None)
    assert full.exported.unreadable == Counter(row[3] for row in expected(source).elements())
    assert kept(tmp_path) == expected(source)


@pytest.mark.parametrize("seeks", [False, True])
def test_what_came_since_is_kept_by_a_run_that_reads_all_again_and_by_none_a_second_time(
    tmp_path: Path, seeks: bool
) -> None:
    export(tmp_path, a_source(8, seeks), KEEPS)
    source = a_source(20, seeks)

    full = export(tmp_path, source, KEEPS, number=1, full=True)
    after = export(tmp_path, source, KEEPS, number=2)

    assert (full.error, after.error) == (None, None)
    assert kept(tmp_path) == expected(source)
    assert not list((tmp_path / "unreadable" / "toy" / "_staging").rglob("*.staged"))


def test_what_was_passed_before_anybody_kept_it_is_not_kept_later(tmp_path: Path) -> None:
    """From then on, as by an export of new rows: the lake may have a row of an earlier declaration there."""
    before, source = a_source(8), a_source(20)
    export(tmp_path, before)

    assert export(tmp_path, source, KEEPS, number=1, full=True).error is None

    assert kept(tmp_path) == expected(source) - expected(before)


@pytest.mark.parametrize("when", ["before", "after"])
def test_each_record_is_kept_once_whichever_commit_dies_of_a_run_that_reads_all_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    source, there = a_source(20), expected(a_source(20))
    for number in range(2):
        root = tmp_path / str(number)
        export(root, a_source(8), KEEPS)
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(LakeTable, "commit", dying_at(number, when))
            export(root, source, KEEPS, number=1, full=True)

        assert kept(root) <= there
        assert export(root, source, KEEPS, number=2).error is None
        assert kept(root) == there


def test_what_is_kept_goes_with_the_rows_it_lies_beside(tmp_path: Path) -> None:
    source = a_source()
    export(tmp_path, source, KEEPS)
    lake = lake_at(tmp_path, 0)

    short = KEEPS.model_copy(update={"retention_days": 1})
    export(tmp_path, source, short, number=1)
    expired = kept(tmp_path)
    lake.delete_data(KEEPS, {"command": "test"})

    assert not expired
    assert not (tmp_path / "unreadable" / "toy").exists()
