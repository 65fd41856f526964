"""What `make bench-kafka` measures and how it says it; the command itself is not run here."""

from __future__ import annotations

import json

from benchmarks import tables
from benchmarks.kafka import GOALS, LOOP, NATIVE, NEW, REFERENCE, figures
from benchmarks.kafka_rows import PARTITIONS, described, payload
from benchmarks.process import Run


def test_a_record_has_a_field_for_each_column_in_about_320_bytes() -> None:
    (source,) = described().sources
    payloads = [payload(number) for number in range(1000)]

    assert all(
        [name.upper() for name in json.loads(one)] == [column.name for column in source.columns] for one in payloads
    )
    assert len(source.columns) == 16
    assert 300 < sum(map(len, payloads)) / len(payloads) < 340
    assert source.partitions == PARTITIONS


def test_the_page_shows_medians_as_a_share_of_the_loop() -> None:
    runs = [
        Run(LOOP, 1000, 1.0, 1),
        Run(LOOP, 1000, 2.0, 1),
        Run(LOOP, 1000, 1.5, 1),
        Run(NATIVE, 1000, 3.0, 5_000_000, 0.004),
    ]

    text = figures([*runs, Run(REFERENCE, 1000, 15.0, 1), Run(NEW, 1000, 1.25, 1)])

    assert "| consume loop | 1,000 | 3 | 1.50 |" in text
    assert f"| export | 1,000 | 1 | 3.00 | 333 | 4.00 | 0.50 | {GOALS[NATIVE]} | 5 |" in text
    assert f"| 0.10 | {GOALS[REFERENCE]} |" in text
    assert "| export of 1,000 new rows | 1,000 | 1 | 1.25 |" in text


def test_the_page_judges_a_tables_snapshot_by_its_cpu() -> None:
    runs = [Run(tables.NATIVE, 1000, 2.0, 5_000_000, 0.0041), Run(tables.REFERENCE, 1000, 8.0, 6_000_000, 0.012)]

    text = tables.figures(runs)

    assert "| snapshot | 1,000 | 2.0 | 4.10 | 4 | **above the goal** | 5 |" in text
    assert "| snapshot, decoded in Python | 1,000 | 8.0 | 12.00 | 12 | met | 6 |" in text
