"""What is staged is bounded in memory by bytes as well as by rows, and each date's rows stay in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.lake import open_file
from pipeline.lake import writer as writers
from pipeline.lake.writer import StagedFile, StagedWriter
from tests.examples import examples
from tests.lake.small_tables import SCHEMA

DAY_MS = 86_400_000


def batch_of(days: Sequence[int | None], first: int = 0, text: str = "v") -> pa.RecordBatch:
    """A row for each day."""
    rows = [
        {"rowtime": None if day is None else day * DAY_MS, "rowpartition": 0, "rowoffset": first + n, "v": text}
        for n, day in enumerate(days)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def written(folder: Path, batches: Sequence[pa.RecordBatch]) -> list[StagedFile]:
    writer = StagedWriter(folder, SCHEMA, date_column="rowtime")
    for batch in batches:
        writer.add(batch)
    return writer.finish()


def row_groups(file: StagedFile) -> list[int]:
    metadata = pq.read_metadata(file.path)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


@examples(40)
@given(st.lists(st.lists(st.none() | st.integers(0, 5), max_size=20), max_size=6))
def test_each_date_has_its_rows_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[int | None]]
) -> None:
    batches = [batch_of(each, 100 * n) for n, each in enumerate(days)]

    files = written(tmp_path_factory.mktemp("staged"), batches)

    offsets: dict[int | None, list[int]] = {}
    for number, each in enumerate(days):
        for place, day in enumerate(each):
            offsets.setdefault(day, []).append(100 * number + place)
    found = [pq.read_table(file.path)["rowoffset"].to_pylist() for file in files]
    assert sorted(found) == sorted(offsets.values())
    assert sorted(file.partition or "" for file in files) == sorted(
        "" if day is None else f"1970-01-{day + 1:02}" for day in offsets
    )


def test_long_rows_are_written_in_small_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_file, "ROW_GROUP_BYTES", 10_000)

    (file,) = written(tmp_path, [batch_of([0], n, "x" * 4000) for n in range(9)])

    assert row_groups(file) == [3, 3, 3]


def test_what_waits_of_many_dates_is_bounded_together_and_row_groups_stay_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_WAITING_BYTES", 100_000)
    writer, before, most = StagedWriter(tmp_path, SCHEMA, date_column="rowtime"), pa.total_allocated_bytes(), 0

    for n in range(40):
        writer.add(batch_of(range(20), 20 * n, "x" * 1000))
        most = max(most, pa.total_allocated_bytes() - before)
    files = writer.finish()

    assert most < 300_000  # of 800,000 in all
    assert len(files) == 20
    assert all(row_groups(file) == [40] for file in files)
    assert [pq.read_table(file.path)["rowoffset"].to_pylist() for file in files] == [
        list(range(day, 800, 20)) for day in range(20)
    ]
    assert sorted(path for path in tmp_path.iterdir()) == sorted(file.path for file in files)


def test_a_file_is_closed_once_its_date_has_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_WAITING_BYTES", 40_000)
    writer, suffixes = StagedWriter(tmp_path, SCHEMA, date_column="rowtime"), set[str]()

    for n in range(100):
        writer.add(batch_of([n // 10], n, "x" * 1000))
        suffixes |= {path.suffix for path in tmp_path.iterdir()}
        waiting = sum(file.waiting_bytes for file in writer._open.values())
        assert waiting <= 40_000
    files = writer.finish()

    assert suffixes == {".staged"}  # nothing was moved to the disk to wait there
    assert [file.partition for file in files] == [f"1970-01-{day + 1:02}" for day in range(10)]
    assert [row_groups(file) for file in files] == [[10]] * 10


def test_a_discarded_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_WAITING_BYTES", 8_000)
    monkeypatch.setattr(open_file, "ROW_GROUP_BYTES", 5_000)
    writer = StagedWriter(tmp_path, SCHEMA, date_column="rowtime")
    for n in range(8):
        writer.add(batch_of(range(3), n, "x" * 1000))
    assert {path.suffix for path in tmp_path.iterdir()} == {".staged", ".spill"}

    writer.discard()

    assert list(tmp_path.iterdir()) == []


def test_many_small_batches_become_one(tmp_path: Path) -> None:
    writer = StagedWriter(tmp_path, SCHEMA, date_column="rowtime")
    rows = batch_of([0] * 1000)
    before = pa.total_allocated_bytes()

    for n in range(1000):
        writer.add(rows.take(pa.array([n])))

    assert pa.total_allocated_bytes() - before < 200_000  # of 380,000 that they take by themselves
    (file,) = writer.finish()
    assert row_groups(file) == [1000]
