"""What a process has read of a log in a bucket is not taken for what another process has put in its place."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from pipeline.lake.lake import Lake
from pipeline.lake.log import entry_name
from pipeline.lake.table import LakeTable
from tests.lake.bucket_lakes import STREAM, store_of
from tests.lake.memory_bucket import MemoryBucket, lake_in, store_in
from tests.lake.small_tables import add_rows, values


def next_offset(table: LakeTable) -> int:
    return table.bookmarks()[0].next_offset


def fill(lake: Lake, *names: str, first: int = 0) -> None:
    """Commits a row for each name, in a run of its own."""
    for offset, name in enumerate(names, first):
        with lake.writing(STREAM, {}) as table:
            add_rows(table, zlib.crc32(name.encode()), [(0, 0, offset, name)])


@pytest.fixture(params=["with tags", "without"])
def bucket(request: pytest.FixtureRequest) -> MemoryBucket:
    return MemoryBucket(has_tags=request.param == "with tags")


def test_a_feed_that_another_process_deleted_and_filled_again_is_read_as_it_is(
    bucket: MemoryBucket, tmp_path: Path
) -> None:
    ours, other = lake_in(bucket, tmp_path), lake_in(bucket, tmp_path)
    fill(ours, "old a", "old b")
    assert values(ours.table(STREAM)) == ["old a", "old b"]

    other.delete_data(STREAM, {})
    fill(other, "new a", "new b")

    assert values(ours.table(STREAM)) == ["new a", "new b"]
    with ours.writing(STREAM, {}) as table:
        assert next_offset(table) == 2
        add_rows(table, 7, [(0, 0, 2, "new c")])
    assert values(lake_in(bucket, tmp_path).table(STREAM)) == ["new a", "new b", "new c"]


def test_a_log_that_was_restored_and_has_gone_on_is_read_as_it_is(bucket: MemoryBucket, tmp_path: Path) -> None:
    ours, other = lake_in(bucket, tmp_path), lake_in(bucket, tmp_path)
    fill(ours, "a", "lost b", "lost c")
    assert values(ours.table(STREAM)) == ["a", "lost b", "lost c"]

    store_of(other).delete(entry_name(2), entry_name(3))  # the log is as in a backup
    assert next_offset(ours.table(STREAM)) == 1
    fill(other, "b", "c", first=1)

    with ours.writing(STREAM, {}) as table:
        assert next_offset(table) == 3
    assert values(lake_in(bucket, tmp_path).table(STREAM)) == ["a", "b", "c"]


def test_an_entry_is_read_as_it_was_written_although_one_of_its_name_was_read_before(
    bucket: MemoryBucket, tmp_path: Path
) -> None:
    ours, other, source = store_in(bucket, tmp_path), store_in(bucket, tmp_path), tmp_path / "entry"
    other.replace(entry_name(0), b"before")
    assert ours.read(entry_name(0)) == b"before"
    other.delete(entry_name(0))

    source.write_bytes(b"now")
    ours.put_new(entry_name(0), source, lambda: None)

    assert ours.read(entry_name(0)) == b"now"


def test_an_entry_is_read_once_however_often_the_log_is_listed(tmp_path: Path) -> None:
    bucket = MemoryBucket()
    fill(lake_in(bucket, tmp_path), "a", "b")
    ours = lake_in(bucket, tmp_path)
    bucket.gets.clear()

    for _ in range(3):
        assert values(ours.table(STREAM)) == ["a", "b"]

    assert [key.rpartition("/")[2] for key in bucket.gets if key.endswith(".json")] == [
        entry_name(number).rpartition("/")[2] for number in range(3)
    ]
