"""Feeds and tables of a few rows, and short ways to fill them and to look at them."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.feeds import Feed, parse_feed
from pipeline.lake.change import Change
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter
from pipeline.source import Bookmark
from tests.support import folder_of, lake_at

NOW = dt.datetime(2026, 11, 20, 6, 0, tzinfo=dt.UTC)
DAY_MS = 86_400_000
SCHEMA = pa.schema(
    [("rowtime", pa.int64()), ("rowpartition", pa.int32()), ("rowoffset", pa.int64()), ("v", pa.string())]
)
TABLE = pa.schema([("k", pa.string()), ("amount", pa.decimal128(38, 10))])


def stream_feed(**fields: Any) -> Feed:
    return parse_feed({"name": "events", "type": "stream", "source": "EVENTS"} | fields, "events")


def table_feed(**fields: Any) -> Feed:
    return parse_feed({"name": "totals", "type": "table", "source": "TOTALS"} | fields, "totals")


def commit_id(number: int) -> str:
    return f"20261120T060000Z-{number:08x}"


def add_rows(table: LakeTable, number: int, rows: list[tuple[int, int, int, str]], now: dt.datetime = NOW) -> None:
    """Commits (rowtime, partition, offset, v) rows with their bookmarks."""
    if not table.exists:
        table.create(SCHEMA, "topic")
    writer = StagedWriter(table.staging_folder(commit_id(number)), SCHEMA, date_column="rowtime")
    names = SCHEMA.names
    writer.add(pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=SCHEMA))
    marks = {partition: Bookmark(offset + 1, rowtime) for rowtime, partition, offset, _ in rows}
    first = {str(partition): table.bookmarks().get(partition, Bookmark(0)).next_offset for partition in marks}
    note = {"kind": "stream", "from": first}
    change = Change(adds=writer.finish(), bookmarks=marks, partitions=3, note=note)
    table.commit(commit_id(number), change, now)


def add_version(
    table: LakeTable,
    version: int,
    keys: list[str],
    days: int = 0,
    schema: pa.Schema = TABLE,
    now: dt.datetime = NOW,
    **note: Any,
) -> None:
    if not table.exists:
        table.create(schema, "")
    writer = StagedWriter(table.staging_folder(commit_id(version)), schema, partition=str(version))
    if keys:
        rows = [{"k": key, "amount": Decimal("1.0000000001")} for key in keys]
        writer.add(pa.RecordBatch.from_pylist(rows, schema=schema))
    note = {"kind": "snapshot", "version": version} | note
    change = Change(adds=writer.finish(), current_version=version, note=note)
    table.commit(commit_id(version), change, now + dt.timedelta(days=days))


def values(table: LakeTable) -> list[str]:
    return sorted(row["v"] for batch in table.read_batches(table.files) for row in batch.to_pylist())


def glob(table: LakeTable) -> list[Path]:
    return sorted(folder_of(table).glob("*/*.parquet"))


@contextlib.contextmanager
def dying_before_the_entry_has_its_name(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A commit in the block ends after its files were moved, and before its log entry is there."""
    real = os.link

    def link_in_staging_only(source: Path, target: Path) -> None:
        if "_staging" not in target.parts:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "link", link_in_staging_only)
        yield


def days_of_which_one_can_be_read(root: Path, days: int, readable: int) -> None:
    """A lake whose stream has a file for each of so many days; whoever opens one of another day than that fails."""
    lake_at(root).feeds.add(stream_feed())
    with lake_at(root).writing(stream_feed(), {}) as table:
        for day in range(days):
            add_rows(table, day, [(day * DAY_MS, 0, day, f"v{day}")])
    for file in glob(table):
        if f"date={dt.date(1970, 1, 1) + dt.timedelta(days=readable)}" not in str(file):
            file.write_bytes(b"whoever opens it fails")
