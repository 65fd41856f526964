"""What people and engines read beside the data: `views.sql` and `_metadata.json`."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.lake.metadata import describe_feed, metadata_json, write_metadata
from pipeline.lake.table import Change
from pipeline.lake.writer import StagedWriter
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    SCHEMA,
    TABLE,
    add_rows,
    add_version,
    commit_id,
    stream_feed,
    table_feed,
)
from tests.support import folder_of, lake_at


def test_views_and_metadata_are_made_from_the_log(tmp_path: Path) -> None:
    root = tmp_path / "it's a lake"
    store = lake_at(root).feeds
    store.add(stream_feed())
    store.add(table_feed())
    events, totals = lake_at(root).table(stream_feed()), lake_at(root).table(table_feed())
    events.create(SCHEMA, "topic")
    add_version(totals, 1, ["a"])
    add_version(totals, 2, ["a", "b"])

    views = lake_at(root).write_views()
    write_metadata(totals)

    with duckdb.connect() as connection:
        connection.execute(views)
        assert connection.sql("SELECT count(*) FROM events").fetchall() == [(0,)]
        assert connection.sql("SELECT k, version FROM totals_current ORDER BY k").fetchall() == [("a", 2), ("b", 2)]
        assert connection.sql("SELECT count(*) FROM totals_history").fetchall() == [(3,)]
    metadata = json.loads((folder_of(totals) / "_metadata.json").read_text(encoding="utf-8"))
    assert metadata == metadata_json(describe_feed(totals)) | {"location": str(folder_of(totals))}
    assert (metadata["current_version"], metadata["totals"]["rows"], len(metadata["partitions"])) == (2, 3, 2)


def test_views_have_the_columns_of_the_schema_also_over_older_files(tmp_path: Path) -> None:
    lake_at(tmp_path).feeds.add(table_feed())
    lake_at(tmp_path).feeds.add(stream_feed())
    totals, events = lake_at(tmp_path).table(table_feed()), lake_at(tmp_path).table(stream_feed())
    add_version(totals, 1, ["a"])
    add_rows(events, 1, [(0, 0, 0, "a")])
    new = [("x", pa.decimal128(9, 2)), ("y", pa.list_(pa.struct([("z", pa.timestamp("us", "UTC"))])))]
    totals.match_schema(pa.schema([*TABLE, *map(pa.field, *zip(*new, strict=True))]))
    events.match_schema(pa.schema([*SCHEMA, *map(pa.field, *zip(*new, strict=True))]))

    with duckdb.connect() as connection:
        connection.execute(lake_at(tmp_path).write_views())
        totals_view = connection.sql("SELECT * FROM totals_current")
        events_view = connection.sql("SELECT * FROM events")
        assert totals_view.fetchall() == [("a", Decimal("1.0000000001"), None, None, 1)]
        assert events_view.fetchall() == [(0, 0, 0, "a", None, None, dt.date(1970, 1, 1))]
        assert totals_view.columns == ["k", "amount", "x", "y", "version"]
        assert events_view.columns == [*SCHEMA.names, "x", "y", "date"]
        expected = ["DECIMAL(9,2)", "STRUCT(z TIMESTAMP WITH TIME ZONE)[]", "DATE"]
        assert [str(type_) for type_ in events_view.types[-3:]] == expected


@pytest.mark.parametrize("folder", ["env=prod", "v=5", "date=1999-01-01", "date=x", "version=9"])
def test_folders_above_the_lake_are_no_columns_of_its_views(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder / "lake"
    lake_at(root).feeds.add(stream_feed())
    lake_at(root).feeds.add(table_feed())
    add_rows(lake_at(root).table(stream_feed()), 1, [(0, 0, 0, "a"), (DAY_MS, 0, 1, "b")])
    for version in (1, 2):
        add_version(lake_at(root).table(table_feed()), version, ["a"])

    with duckdb.connect() as connection:
        connection.execute(lake_at(root).write_views())
        events = connection.sql("SELECT * FROM events ORDER BY date")
        assert events.columns == [*SCHEMA.names, "date"]
        assert events.fetchall() == [
            (0, 0, 0, "a", dt.date(1970, 1, 1)),
            (DAY_MS, 0, 1, "b", dt.date(1970, 1, 2)),
        ]
        assert connection.sql("SELECT k, version FROM totals_current").fetchall() == [("a", 2)]
        assert connection.sql("SELECT k, version FROM totals_history ORDER BY 2").fetchall() == [("a", 1), ("a", 2)]


def test_rows_without_a_date_are_in_the_views(tmp_path: Path) -> None:
    for root in (tmp_path / "plain", tmp_path / "env=prod"):
        lake_at(root).feeds.add(stream_feed(partitioning="date:d"))
        table = lake_at(root).table(stream_feed(partitioning="date:d"))
        schema = SCHEMA.append(pa.field("d", pa.date32()))
        table.create(schema, "topic")
        writer = StagedWriter(table.staging_folder("x"), schema, date_column="d")
        writer.add(pa.RecordBatch.from_pylist([{"rowtime": 0, "rowpartition": 0, "rowoffset": 0}], schema=schema))
        table.commit(commit_id(1), Change(adds=writer.finish()), NOW)

        with duckdb.connect() as connection:
            connection.execute(lake_at(root).write_views())
            assert connection.sql("SELECT rowoffset, date FROM events").fetchall() == [(0, None)]


def test_a_damaged_feed_keeps_its_old_views_while_others_get_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = lake_at(tmp_path).feeds
    store.add(stream_feed())
    store.add(table_feed())
    store.add(stream_feed(name="unseen"))
    events, totals = lake_at(tmp_path).table(stream_feed()), lake_at(tmp_path).table(table_feed())
    add_rows(events, 1, [(0, 0, 0, "a")])
    add_version(totals, 1, ["a"])
    before = lake_at(tmp_path).write_views()
    add_rows(lake_at(tmp_path).table(stream_feed(name="unseen")), 2, [(0, 0, 0, "a")])
    add_version(totals, 2, ["a", "b"])
    for name in ("events", "unseen"):
        (tmp_path / "streams" / name / "_delta_log" / f"{0:020}.json").write_bytes(b"{")

    for _ in range(2):
        after = lake_at(tmp_path).write_views()

    with duckdb.connect() as connection:
        connection.execute(after)
        assert connection.sql("SELECT v FROM events").fetchall() == [("a",)]
        assert connection.sql("SELECT count(*) FROM totals_history").fetchall() == [(3,)]
    start = before.index('CREATE OR REPLACE VIEW "events"')
    assert before[start : before.index(";", start)] in after
    assert "unseen" not in after
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "the feed events cannot be read" in lines[0]


def test_feeds_that_share_a_view_all_the_same_are_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = lake_at(tmp_path).feeds
    store.save(table_feed())
    store.save(stream_feed(name="totals_history"))

    lake_at(tmp_path).write_views()

    assert capsys.readouterr().err == (
        "views.sql shows only one of two feeds as totals_history: archive one, and add it under another name\n"
    )
