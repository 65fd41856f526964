"""The main job on the demo's and the recorded objects: the lake holds exactly the server's rows, with their types."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import threading
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from data_lake_config import DEFAULT_FEEDS
from demo.definitions import Pipeline
from demo.events import generate
from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from tests.expected import expected_rows, lake_rows
from tests.own_recording import PULLED, STREAMS, own_dataset
from tests.recorded_dataset import recorded_dataset
from tests.support import add_default_feeds, feed_for, lake_at, run_script
from tests.vectors import needs_vectors

DAY = dt.date(2026, 11, 20)


def export(emulator: Emulator, root: Path, *arguments: str, code: int = 0, **env: str) -> list[dict[str, object]]:
    """Runs an export and returns what it says of each feed."""
    done = run_script(
        "export_to_data_lake.py", *arguments, "--json", env={"KSQLDB_URL": emulator.url, "LAKE_ROOT": str(root)} | env
    )
    assert done.returncode == code, done.stderr
    feeds: list[dict[str, object]] = json.loads(done.stdout)["feeds"]
    return feeds


def pipeline_after(count: int) -> Pipeline:
    pipeline = Pipeline()
    for event in generate(count, DAY, seed=5):
        pipeline.add(event)
    return pipeline


def test_each_default_feed_holds_exactly_the_rows_of_the_server(lake_root: Path) -> None:
    dataset = pipeline_after(800).dataset()
    add_default_feeds(lake_root)

    with running(dataset) as emulator:
        export(emulator, lake_root, "--all")
        again = export(emulator, lake_root, "--all")

    for feed in DEFAULT_FEEDS:
        assert lake_rows(lake_root, feed) == expected_rows(dataset.source(feed.source.upper())), feed.name
    assert [result["rows"] for result in again if result["type"] == "stream"] == [0] * 4
    assert [result["version"] for result in again if result["type"] == "table"] == [2] * 4


@needs_vectors
@pytest.mark.parametrize("name", ["ALL_TYPES", "DEEP", "TT", "mixed-Case", "EMPTY_STREAM", "TRANSACTION_STREAM"])
def test_recorded_stream_goes_through_with_exact_types(lake_root: Path, name: str) -> None:
    _check_one_feed(lake_root, recorded_dataset(), name)


@needs_vectors
@pytest.mark.parametrize("name", ["ALL_TYPES_TABLE", "SOURCE_TABLE", "FILTERED_TABLE", "TUMBLING_TABLE"])
def test_recorded_table_goes_through_with_exact_types(lake_root: Path, name: str) -> None:
    _check_one_feed(lake_root, recorded_dataset(), name)


def test_own_objects_of_every_type_go_through_with_exact_types(lake_root: Path) -> None:
    dataset = own_dataset()
    feeds = [feed_for(dataset.source(name)) for name in (*STREAMS, *PULLED, "PRICES") if name != "Mixed-Name"]
    feeds.append(feed_for(dataset.source("Mixed-Name"), name="mixed_name"))
    for feed in feeds:
        lake_at(lake_root).feeds.add(feed)

    with running(dataset) as emulator:
        export(emulator, lake_root, "--all")

    for feed in feeds:
        assert lake_rows(lake_root, feed) == expected_rows(dataset.source(feed.source)), feed.name
    schema = lake_at(lake_root).table(feed_for(dataset.source("EVERY_TYPE"))).schema
    types = {name: schema.field(name).type for name in ("long", "tm", "at", "on_day", "y", "list", "places")}
    assert types == {
        "long": pa.decimal128(38, 10), "tm": pa.string(), "at": pa.timestamp("us", tz="UTC"), "on_day": pa.date32(),
        "y": pa.binary(), "list": pa.list_(pa.string()), "places": pa.map_(pa.string(), pa.float64()),
    }  # fmt: skip
    assert schema.field("nest").type.field("inner").type.field("words").type.value_type == pa.string()
    assert schema.field("long").metadata[b"ksqldb.type"] == b"DECIMAL(38, 10)"


def test_not_a_number_and_infinities_go_through(lake_root: Path) -> None:
    values = (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308)
    column = (Column("K", parse_type("STRING"), "KEY"), Column("D", parse_type("DOUBLE")))
    records = [Record(0, offset, 0, {"K": "k", "D": value}) for offset, value in enumerate(values)]
    _check_one_feed(lake_root, Dataset([Source("DOUBLES", "STREAM", column, "doubles", 1, records)]), "DOUBLES")


def _check_one_feed(root: Path, dataset: Dataset, name: str) -> None:
    source = dataset.source(name)
    feed = feed_for(source)
    lake_at(root).feeds.add(feed)

    with running(dataset) as emulator:
        export(emulator, root, f"--{feed.type}", feed.name)

    assert lake_rows(root, feed) == expected_rows(source)


@needs_vectors
def test_lake_has_the_arrow_types_of_the_design(lake_root: Path) -> None:
    dataset = recorded_dataset()
    _check_one_feed(lake_root, dataset, "ALL_TYPES")

    schema = lake_at(lake_root).table(feed_for(dataset.source("ALL_TYPES"))).schema

    assert schema.field("dec_38_10").type == pa.decimal128(38, 10)
    assert schema.field("tm").type == pa.string()
    assert schema.field("ts").type == pa.timestamp("us", tz="UTC")
    assert schema.field("dt").type == pa.date32()
    assert schema.field("a_dec").type.value_type == pa.decimal128(10, 2)
    assert schema.field("m").type == pa.map_(pa.string(), pa.float64())
    assert schema.field("st").type.field("n").type.field("y").type.value_type == pa.string()
    assert schema.field("dec_38_10").metadata[b"ksqldb.type"] == b"DECIMAL(38, 10)"


@pytest.mark.long
def test_events_that_arrive_between_and_during_exports_are_there_once_and_on_their_date(lake_root: Path) -> None:
    events = list(generate(900, DAY, seed=11))
    pipeline = Pipeline()
    for event in events[:400]:
        pipeline.add(event)
    dataset = Dataset([dataclasses.replace(s, records=list(s.records)) for s in pipeline.dataset().sources])
    add_default_feeds(lake_root)
    names = [feed.name for feed in DEFAULT_FEEDS if feed.type == "stream"]
    streams = [argument for name in names for argument in ("--stream", name)]

    with running(dataset) as emulator:
        for start, end in ((400, 560), (560, 720), (720, 900)):
            arriving = threading.Thread(target=_arrive, args=(emulator, pipeline, events[start:end]))
            arriving.start()
            export(emulator, lake_root, *streams, QUIET_S="0.3")
            arriving.join()
        export(emulator, lake_root, *streams)

    for feed in DEFAULT_FEEDS:
        if feed.type == "stream":
            assert lake_rows(lake_root, feed) == expected_rows(pipeline.dataset().source(feed.source.upper()))
            for file in lake_at(lake_root).table(feed).files:
                low, high = file.bounds["rowtime"]
                dates = {dt.datetime.fromtimestamp(ms / 1000, dt.UTC).date().isoformat() for ms in (low, high)}
                assert dates == {file.partition}


def _arrive(emulator: Emulator, pipeline: Pipeline, events: list[object]) -> None:
    for event in events:
        for name, records in pipeline.add(event).items():  # type: ignore[arg-type] # events of the generator
            emulator.append(name, records)
        time.sleep(0.005)


def test_a_first_load_commits_on_the_way(lake_root: Path) -> None:
    dataset = pipeline_after(8000).dataset()
    feed = feed_for(dataset.source("TRANSACTION_STREAM"))
    lake_at(lake_root).feeds.add(feed)

    with running(dataset, rows_per_s=20_000) as emulator:
        (result,) = export(emulator, lake_root, "--stream", feed.name, COMMIT_ROWS="300")

    assert result["commits"] == 2
    assert lake_rows(lake_root, feed) == expected_rows(dataset.source("TRANSACTION_STREAM"))


def test_one_day_is_replaced_without_moving_the_bookmark(lake_root: Path) -> None:
    dataset = pipeline_after(600).dataset()
    source = dataset.source("TRANSACTION_FLATTENED")
    feed = feed_for(source)
    lake_at(lake_root).feeds.add(feed)
    with running(dataset) as emulator:
        export(emulator, lake_root, "--stream", feed.name)
        before = lake_at(lake_root).table(feed)
        day = sorted(file.partition or "" for file in before.files)[3]

        export(emulator, lake_root, "--stream", feed.name, "--date", day)

    after = lake_at(lake_root).table(feed)
    assert after.bookmarks() == before.bookmarks()
    assert {f.path for f in before.files} - {f.path for f in after.files} == {
        f.path for f in before.files if f.partition == day
    }
    assert lake_rows(lake_root, feed) == expected_rows(source)


def test_a_day_that_the_source_has_lost_is_left_as_it_was(lake_root: Path) -> None:
    dataset = pipeline_after(300).dataset()
    source = dataset.source("TRANSACTION_FLATTENED")
    feed = feed_for(source)
    lake_at(lake_root).feeds.add(feed)
    with running(dataset) as emulator:
        export(emulator, lake_root, "--stream", feed.name)
        everything = lake_rows(lake_root, feed)
        day = sorted(file.partition or "" for file in lake_at(lake_root).table(feed).files)[0]
        source.log_start = dict.fromkeys(range(3), 90)

        (result,) = export(emulator, lake_root, "--stream", feed.name, "--date", day, code=1)

    assert "no longer in" in str(result["error"])
    assert lake_rows(lake_root, feed) == everything


def test_full_replaces_what_the_source_has_and_keeps_the_rest(lake_root: Path) -> None:
    dataset = pipeline_after(300).dataset()
    source = dataset.source("TRANSACTION_FLATTENED")
    feed = feed_for(source)
    lake_at(lake_root).feeds.add(feed)
    with running(dataset) as emulator:
        export(emulator, lake_root, "--stream", feed.name)
        source.log_start = dict.fromkeys(range(3), 50)

        (result,) = export(emulator, lake_root, "--stream", feed.name, "--full")

    assert "150 rows that the source no longer has were kept" in str(result["notes"])
    assert lake_rows(lake_root, feed) == expected_rows(source)
    assert len(lake_at(lake_root).table(feed).bookmarks()) == 3


def test_a_table_snapshot_can_be_given_its_version(lake_root: Path) -> None:
    dataset = pipeline_after(100).dataset()
    feed = feed_for(dataset.source("PAYMENT_METHOD_TOTALS"))
    lake_at(lake_root).feeds.add(feed)
    with running(dataset) as emulator:
        for version in ("5", "5", "6"):
            export(emulator, lake_root, "--table", feed.name, "--version", version)
        (result,) = export(emulator, lake_root, "--table", feed.name, "--version", "4", code=2)

    table = lake_at(lake_root).table(feed)
    assert "is history" in str(result["error"])
    assert list(table.versions()) == [5, 6]
    assert table.current_version == 6
    assert lake_rows(lake_root, feed, table.versions()[5]) == expected_rows(dataset.source("PAYMENT_METHOD_TOTALS"))


def test_views_show_the_committed_rows_to_duckdb(lake_root: Path) -> None:
    dataset = pipeline_after(200).dataset()
    add_default_feeds(lake_root)
    with running(dataset) as emulator:
        export(emulator, lake_root, "--all")
        export(emulator, lake_root, "--table", "payment_method_totals")

    with duckdb.connect() as connection:
        connection.execute((lake_root / "views.sql").read_text(encoding="utf-8"))
        for feed in DEFAULT_FEEDS:
            view = feed.name if feed.type == "stream" else f"{feed.name}_current"
            rows = connection.sql(f'SELECT count(*) FROM "{view}"').fetchall()[0][0]
            assert rows == sum(lake_rows(lake_root, feed).values()), feed.name
        versions = connection.sql("SELECT DISTINCT version FROM payment_method_totals_history ORDER BY 1").fetchall()
    assert versions == [(1,), (2,)]


def test_a_stream_is_partitioned_by_the_column_of_its_feed(lake_root: Path) -> None:
    column = (Column("K", parse_type("STRING"), "KEY"), Column("DUE", parse_type("DATE")))
    records = [Record(0, offset, 0, {"K": "k", "DUE": due}) for offset, due in enumerate((0, 1, None, -1, 0))]
    dataset = Dataset([Source("BILLS", "STREAM", column, "bills", 1, records)])
    feed = feed_for(dataset.source("BILLS"), partitioning="date:due")
    lake_at(lake_root).feeds.add(feed)

    with running(dataset) as emulator:
        export(emulator, lake_root, "--stream", "bills")

    counts = {file.partition: file.row_count for file in lake_at(lake_root).table(feed).files}
    assert counts == {"1969-12-31": 1, "1970-01-01": 2, "1970-01-02": 1, None: 1}
    assert lake_rows(lake_root, feed) == expected_rows(dataset.source("BILLS"))
