"""The benchmark of exports on a few rows: what it serves is what ksqlDB would, and each way writes all of it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import export, stream_ways
from benchmarks.events import FIRST_MS, FIRST_OFFSET, SENT, Answer, Shape
from benchmarks.process import Failed, Run
from benchmarks.stream_report import as_tables

DAY_MS = 86_400_000
FEW = export.Sizes(300, 300, 300, 300)


def test_offsets_follow_each_other_over_the_ends_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.events.BLOCK_ROWS", 70)
    (tmp_path / "answer").write_bytes(b"".join(map(bytes, Answer(Shape(days=3), 1, chunked=False).blocks(300))))

    stream_ways.bare(tmp_path / "answer", tmp_path)

    days = [pq.read_table(path) for path in sorted(tmp_path.glob("*.parquet"))]
    assert [offset for day in days for offset in day["rowoffset"].to_pylist()] == [FIRST_OFFSET + n for n in range(300)]
    assert [{ms // DAY_MS for ms in day["rowtime"].to_pylist()} for day in days] == [
        {FIRST_MS // DAY_MS + n} for n in range(3)
    ]
    assert len(days[0].schema) == len(SENT)


@pytest.mark.server
def test_the_toolkit_and_a_plain_way_write_all_rows(tmp_path: Path) -> None:
    bench = export.Bench(tmp_path, FEW, seed=1)

    ours = export.export(bench, "reference", 300, native=False, shape=Shape(days=3, turns=True))
    (plain,) = export.naive(bench)

    for run in (ours, plain):
        assert run.rows == 300
        assert run.cpu_seconds > 0
        assert run.peak_bytes > 50_000_000
    (lake,) = tmp_path.glob("*/lake/streams/bench")
    assert len(list(lake.glob("date=*"))) == 3


def test_rows_that_are_missing_are_seen(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="wrote 0 rows of 5"):
        export._check("bare", tmp_path, 5)


def test_goals_are_told_by_cpu_and_a_missed_one_in_words() -> None:
    cpu = {"native": 2.0, "bare": 1.0, "naive": 30.0, "many rows": 2.0}
    text = as_tables([Run(way, 10**6, 9.0, 300_000_000, seconds) for way, seconds in cpu.items()])

    assert "| toolkit, native decoder | CPU us a row, at most | 4 | 2.00 | met |" in text
    assert "| toolkit, native decoder | bare calls (the floor), as a ratio | 0.8 | 0.50 | **below the goal** |" in text
    assert "| toolkit, native decoder | json and pandas, as a ratio | 10 | 15.00 | met |" in text
    assert "| peak memory | with many rows, against the first line | 1.1 | 1.00 | met |" in text
