"""Files of the lake that are not what was written are found and named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import LakeDamaged
from pipeline.lake.change import Change
from pipeline.lake.rewrite import rows_not_in
from pipeline.lake.writer import StagedWriter
from pipeline.verify.files import check_files
from tests.lake.small_tables import (
    NOW,
    SCHEMA,
    add_rows,
    commit_id,
    glob,
    stream_feed,
    values,
)
from tests.support import lake_at


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped"])
def test_verify_finds_a_file_that_is_not_what_was_written(tmp_path: Path, harm: str) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 0, 1, "b")])
    (path,) = glob(table)
    data = bytearray(path.read_bytes())
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[:-1])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    (finding,) = check_files(lake_at(tmp_path).table(stream_feed())).findings

    assert {"missing": "missing", "cut": "size is", "flipped": "checksum differs"}[harm] in finding.what


def test_verify_finds_rows_that_are_there_twice_or_ahead_of_the_bookmark(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 0, 1, "b")])
    writer = StagedWriter(table.staging_folder("x"), SCHEMA, date_column="rowtime")
    rows = [{"rowtime": 0, "rowpartition": 0, "rowoffset": offset, "v": "again"} for offset in (1, 7)]
    writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
    table.commit(commit_id(2), Change(adds=writer.finish()), NOW)

    found = {finding.what: finding.detail for finding in check_files(table).findings}

    assert found == {
        "row is there more than once": "partition 0 offset 1: 2",
        "offset is not before the bookmark": "partition 0: 7, bookmark 2",
    }


def test_rows_not_in_tells_rows_by_their_place(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 1, 0, "b"), (0, 1, 1, "c")])
    writer = StagedWriter(tmp_path / "new", SCHEMA, date_column="rowtime")
    rows = [{"rowtime": 5, "rowpartition": 1, "rowoffset": offset, "v": "new"} for offset in (0, 8)]
    writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))

    rest = [row["v"] for batch in rows_not_in(table, table.files, writer.finish()) for row in batch.to_pylist()]

    assert rest == ["a", "c"]


def test_a_damaged_log_or_file_is_named(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    for path in glob(table):
        path.write_bytes(b"no parquet")

    with pytest.raises(LakeDamaged, match="cannot be read"):
        values(table)


def test_what_a_run_wrote_is_verified_by_itself(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 0, 1, "b")])
    add_rows(table, 2, [(0, 0, 2, "c")])
    glob(table)[0].unlink()

    old, new = (check_files(lake_at(tmp_path).table(stream_feed()), commit_id(number)) for number in (1, 2))

    assert [finding.what for finding in old.findings] == ["file is missing"]
    assert (new.findings, new.compared) == ((), ("1 new file read, 1 row",))


def test_a_row_of_a_run_that_an_older_file_has_is_found(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 1, 0, "b"), (0, 1, 1, "c")])
    add_rows(table, 2, [(0, 0, 9, "d"), (0, 1, 1, "again")])

    found = check_files(table, commit_id(2)).findings

    assert [(finding.what, finding.detail) for finding in found] == [
        ("row is there more than once", "partition 1 offset 1: 2")
    ]


def test_an_older_file_that_cannot_be_read_is_said_where_new_rows_are_compared_with_it(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 1, "a")])
    (old,) = glob(table)
    old.write_bytes(b"x" * old.stat().st_size)
    add_rows(table, 2, [(0, 0, 1, "b")])

    found = check_files(table, commit_id(2)).findings

    assert {finding.what for finding in found} == {"an older file cannot be read", "row is there more than once"}
