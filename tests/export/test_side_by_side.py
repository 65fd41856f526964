"""Feeds of one run are exported side by side: each under its own lock, and one that fails stops no other."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ksqldb_emulator.testing import PATIENCE_S
from pipeline.errors import ServerUnreachable
from pipeline.export.run import ExportRequest, FeedResult, export_feeds
from pipeline.limits import Limits
from pipeline.source import Look, StreamRead, TableRead, TableState, Task
from tests.export.toy_run import STREAM, TABLE, a_run, rows
from tests.export.toy_source import ToySource, ToyStream, ToyTable
from tests.support import lake_at

HOLDER = {"command": "test", "pid": str(os.getpid())}
TABLE_ROWS = ({"ID": 1, "TEXT": "a"},)


@dataclass(frozen=True)
class MeetingStream(ToyStream):
    """Its read begins when the table's does."""

    meeting: threading.Barrier = dataclasses.field(default_factory=lambda: threading.Barrier(2, timeout=PATIENCE_S))

    def read(self, task: Task, limits: Limits) -> StreamRead:
        if task.ends and 0 in task.ends:
            self.meeting.wait()
        return super().read(task, limits)


@dataclass(frozen=True)
class MeetingTable(ToyTable):
    """Its first read begins when the stream's does."""

    meeting: threading.Barrier = dataclasses.field(default_factory=lambda: threading.Barrier(2, timeout=PATIENCE_S))
    reads: list[int] = dataclasses.field(default_factory=list)

    def read(self, limits: Limits, watched: bool) -> TableRead:
        self.reads.append(1)
        if len(self.reads) == 1:
            self.meeting.wait()
        return super().read(limits, watched)


class FailingStream(ToyStream):
    def read(self, _: Task, __: Limits) -> StreamRead:
        raise ServerUnreachable("gone", "wait")


def test_feeds_are_read_at_the_same_time_and_told_in_their_order(tmp_path: Path) -> None:
    meeting, told = threading.Barrier(2, timeout=PATIENCE_S), list[FeedResult]()
    source = ToySource(MeetingStream(rows(6), meeting=meeting), MeetingTable(TABLE_ROWS, meeting=meeting))
    run = dataclasses.replace(a_run(), jobs=2)

    results = export_feeds(source, lake_at(tmp_path, 0), [STREAM, TABLE], run, ExportRequest(), HOLDER, told.append)

    assert [(result.name, result.status, result.exported.rows) for result in results] == [
        ("toy", "ok", 6), ("toys", "ok", 1),
    ]  # fmt: skip
    assert told == results


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_that_fails_stops_no_other(tmp_path: Path, jobs: int) -> None:
    source, run = ToySource(FailingStream(rows(6)), ToyTable(TABLE_ROWS)), dataclasses.replace(a_run(), jobs=jobs)

    results = export_feeds(source, lake_at(tmp_path, 0), [STREAM, TABLE], run, ExportRequest(), HOLDER, lambda _: None)

    assert [(result.name, result.status) for result in results] == [("toy", "failed"), ("toys", "ok")]
    assert isinstance(results[0].error, ServerUnreachable)


def test_no_feed_begins_when_the_time_is_over(tmp_path: Path) -> None:
    source, run = ToySource(ToyStream(rows(6)), ToyTable(TABLE_ROWS)), dataclasses.replace(a_run(), jobs=2)

    results = export_feeds(
        source, lake_at(tmp_path, 0), [STREAM, TABLE], run, ExportRequest(max_runtime_s=0), HOLDER, lambda _: None
    )

    assert [result.error.message if result.error else "" for result in results] == [
        "toy was not begun: --max-runtime is over", "toys was not begun: --max-runtime is over",
    ]  # fmt: skip


class Interrupted(BaseException):
    pass


def test_who_is_interrupted_leaves_no_thread_and_no_lock(tmp_path: Path) -> None:
    source, run = ToySource(ToyStream(rows(6)), ToyTable(TABLE_ROWS)), dataclasses.replace(a_run(), jobs=2)

    def interrupt(_: FeedResult) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        export_feeds(source, lake_at(tmp_path, 0), [STREAM, TABLE], run, ExportRequest(), HOLDER, interrupt)

    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feeds-")]
    with lake_at(tmp_path, 0).writing(STREAM, HOLDER), lake_at(tmp_path, 0).writing(TABLE, HOLDER):
        pass


class WatchedTable(ToyTable):
    """Each read is a scan of the server, between two looks."""

    is_watched = True

    def looks(self, _: TableState) -> Callable[[], Look]:
        return Look

    def read(self, limits: Limits, watched: bool) -> TableRead:
        assert watched
        limits.take_turn("scan", "TOYS").give_back()
        return super().read(limits, watched=False)


@pytest.mark.parametrize("jobs", [1, 2, 3, 8])
def test_tables_that_have_not_begun_hold_up_no_second_read(tmp_path: Path, jobs: int) -> None:
    source, run = ToySource(ToyStream(rows(6)), WatchedTable(TABLE_ROWS)), dataclasses.replace(a_run(), jobs=jobs)
    tables = [TABLE.model_copy(update={"name": f"toys_{number}"}) for number in range(3)]

    results = export_feeds(
        source, lake_at(tmp_path, 0), [STREAM, *tables], run, ExportRequest(max_runtime_s=300), HOLDER, lambda _: None
    )

    assert [result.status for result in results] == ["ok"] * 4
