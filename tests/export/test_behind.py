"""Rows are written behind those that are read: in their order, few at a time, and not at all after a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ksqldb_emulator.testing import PATIENCE_S
from pipeline.errors import DiskFull
from pipeline.export import behind, stage
from pipeline.export.behind import WriterBehind
from pipeline.lake import open_file
from pipeline.lake import writer as writers
from pipeline.lake.access import StoreAccess
from pipeline.lake.staging import Place, Staging
from pipeline.lake.writer import StagedWriter
from pipeline.limits import Limits
from pipeline.source import Offsets, StreamRead, Task
from tests.lake.small_tables import SCHEMA

ROWS = 100


def batch_of(number: int, text: str = "") -> pa.RecordBatch:
    """Rows of one day, with the offsets that follow those of the batch before."""
    offsets = range(number * ROWS, (number + 1) * ROWS)
    columns = [[0] * ROWS, [0] * ROWS, list(offsets), [text] * ROWS]
    return pa.RecordBatch.from_pydict(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA)


class _Writer:
    """Calls `on_add` for each batch, with its number."""

    def __init__(self, on_add: Callable[[int], object]) -> None:
        self.added = 0
        self.discarded = False
        self._on_add = on_add

    def add(self, _: pa.RecordBatch) -> None:
        self._on_add(self.added)
        self.added += 1

    def finish(self) -> list[Any]:
        return []

    def discard(self) -> None:
        self.discarded = True


def behind_of(on_add: Callable[[int], object]) -> tuple[_Writer, WriterBehind]:
    writer = _Writer(on_add)
    return writer, WriterBehind(writer)  # type: ignore[arg-type] # all that is asked of it


def test_all_rows_are_written_in_their_order(tmp_path: Path) -> None:
    writer = WriterBehind(StagedWriter(tmp_path, SCHEMA, date_column="rowtime"))
    for number in range(300):
        writer.add(batch_of(number))

    (file,) = writer.finish()

    assert writer.row_count == file.row_count == 300 * ROWS
    assert pq.read_table(file.path)["rowoffset"].to_pylist() == list(range(300 * ROWS))


def test_who_reads_faster_than_the_disk_takes_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    size = batch_of(0).nbytes
    monkeypatch.setattr(behind, "MOST_WAITING_BYTES", 5 * size)
    taken, ahead, changed = 0, list[int](), threading.Condition()

    def on_add(number: int) -> None:
        """Waits until as many are there as may be, and then a moment whether there will be more."""
        with changed:
            due = min(20, number + 6)  # five that wait, with the one that is being written, and one that is held
            assert changed.wait_for(lambda: taken >= due, timeout=PATIENCE_S)
            changed.wait_for(lambda: taken > due, timeout=0.02)
            ahead.append(taken - number)

    writer, rows = behind_of(on_add)
    for number in range(20):
        with changed:
            taken += 1
            changed.notify()
        rows.add(batch_of(number))
        assert rows.waiting_bytes <= 5 * size
    rows.finish()

    assert writer.added == 20
    assert max(ahead) == 6


def test_a_batch_that_is_larger_than_what_may_wait_goes_through_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "MOST_WAITING_BYTES", 10)
    writer, rows = behind_of(lambda _: None)
    for number in range(5):
        rows.add(batch_of(number))
        assert rows.waiting_bytes <= batch_of(0).nbytes
    rows.finish()

    assert writer.added == 5


def test_nothing_is_written_after_a_failure_which_comes_with_the_next_call() -> None:
    begun = threading.Event()

    def fail(number: int) -> None:
        if number == 1:
            begun.wait(60)
            raise DiskFull("full", "make room")

    writer, rows = behind_of(fail)
    for number in range(10):
        rows.add(batch_of(number))
    begun.set()
    with pytest.raises(DiskFull):
        rows.finish()

    assert writer.added == 1
    assert writer.discarded


def test_who_leaves_waits_for_no_more_than_the_batch_at_hand() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        begun.set()
        go_on.wait(60)

    writer, rows = behind_of(wait)
    for number in range(10):
        rows.add(batch_of(number))
    begun.wait(60)
    threading.Timer(0.05, go_on.set).start()
    rows.discard()

    assert writer.added == 1
    assert writer.discarded


class _Endless:
    """A stream of so many batches, which looks at Arrow's memory before each."""

    def __init__(self, batches: int, text: str) -> None:
        self.most_bytes = 0
        self._batches, self._text = batches, text

    def ends(self) -> dict[int, Offsets]:
        return {}

    def read(self, _: Task, __: Limits) -> StreamRead:
        def batches() -> Iterator[pa.RecordBatch]:
            before = pa.total_allocated_bytes()
            for number in range(self._batches):
                yield batch_of(number, self._text)
                self.most_bytes = max(self.most_bytes, pa.total_allocated_bytes() - before)
            read.outcome = "exact"

        read = StreamRead(batches())
        return read


@pytest.mark.parametrize("text", ["x" * 1000, "x" * 10_000])
def test_what_is_held_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    size = batch_of(0, text).nbytes
    for room, name in ((behind, "MOST_WAITING_BYTES"), (open_file, "ROW_GROUP_BYTES"), (writers, "_WAITING_BYTES")):
        monkeypatch.setattr(room, name, 10 * size)

    def most_bytes(batches: int) -> int:
        stream = _Endless(batches, text)
        task = Task("toy", "toy", {}, {0: Offsets(0, batches * ROWS, 0)})
        staging = Staging(Place(tmp_path / str(batches), str(tmp_path), StoreAccess()), SCHEMA, "rowtime")
        for part in stage.stage(task, stream, Limits(), staging, "part"):  # type: ignore[arg-type] # it is only read
            assert part.row_count == batches * ROWS
        return stream.most_bytes

    few, many = most_bytes(30), most_bytes(120)

    assert few > size
    # Ten batches that wait, ten of a row group, and what the group is written from, whichever of them meet.
    assert many < 60 * size
