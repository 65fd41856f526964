"""Rows that the lake removed on purpose are not reported missing, and no other rows are excused with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.lake.change import Change
from pipeline.verify.removed import Removed, bounds_of
from tests.lake.small_tables import DAY_MS, NOW, SCHEMA, add_rows, commit_id, stream_feed
from tests.support import lake_at

FIRST_MS = int(NOW.timestamp() * 1000) - 10 * DAY_MS


def source_rows(*places: tuple[int, int]) -> pa.RecordBatch:
    """Rows at (day, offset) of partition 0."""
    rows = [{"rowtime": FIRST_MS + day * DAY_MS, "rowpartition": 0, "rowoffset": n, "v": "v"} for day, n in places]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def removed(root: Path, note: dict[str, Any], gone: int) -> Removed:
    """After one file for each of three days, with one row each, and a commit that takes the files of `gone` days."""
    table = lake_at(root).table(stream_feed())
    for day in range(3):
        add_rows(table, day, [(FIRST_MS + day * DAY_MS, 0, day, "v")])
    files = sorted(table.files, key=bounds_of)[:gone]
    note |= {"bounds": [bounds_of(file) for file in files]} if note["kind"] == "repair" else {}
    note |= {"partitions": [file.partition for file in files]} if note["kind"] == "expire" else {}
    table.commit(commit_id(9), Change(removes=files, note=note), NOW)
    return Removed.by(table)


def test_rows_that_were_given_up_are_counted_and_no_others(tmp_path: Path) -> None:
    found = removed(tmp_path, {"kind": "repair", "lost_rows": 1}, gone=1)

    rest, expired, given_up = found.split(source_rows((0, 0), (1, 1), (2, 2), (0, 7)))

    assert rest.column("rowoffset").to_pylist() == [1, 2, 7]
    assert (expired, given_up, found.given_up_rows) == (0, 1, 1)


def test_rows_that_expired_are_counted_late_ones_too_and_what_the_lake_has_is_compared(tmp_path: Path) -> None:
    found = removed(tmp_path, {"kind": "expire"}, gone=2)

    rest, expired, given_up = found.split(source_rows((0, 0), (1, 1), (2, 2), (0, 7), (2, 8)))

    assert rest.column("rowoffset").to_pylist() == [2, 8]
    assert (expired, given_up) == (3, 0)


@pytest.mark.parametrize("note", [{"kind": "repair", "lost_rows": 0}, {"kind": "stream"}])
def test_without_such_a_commit_nothing_was_removed(tmp_path: Path, note: dict[str, Any]) -> None:
    rest, expired, given_up = removed(tmp_path, note, gone=1).split(source_rows((0, 0), (2, 2)))

    assert (rest.num_rows, expired, given_up) == (2, 0, 0)
