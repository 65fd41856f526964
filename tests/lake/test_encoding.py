"""How values are written in data files, and that every engine we name reads them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.lake.change import Change
from pipeline.lake.encoding import Compression
from pipeline.lake.writer import StagedWriter
from tests.lake.small_tables import NOW, commit_id, stream_feed
from tests.support import folder_of, lake_at

ROWS = 3000
SCHEMA = pa.schema(
    [
        ("rowtime", pa.int64()),
        ("rowpartition", pa.int32()),
        ("rowoffset", pa.int64()),
        ("city", pa.string()),
        ("id", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("amount", pa.decimal128(12, 2)),
        ("share", pa.float64()),
        ("user", pa.struct([("name", pa.string()), ("visits", pa.list_(pa.int64()))])),
        ("tags", pa.map_(pa.string(), pa.int32())),
        ("never", pa.int64()),
    ]
)


def row(n: int) -> dict[str, Any]:
    return {
        "rowtime": 1_700_000_000_000 + n,
        "rowpartition": n % 3,
        "rowoffset": n // 3,
        "city": f"city {n % 7}",
        "id": f"id {n}",
        "at": dt.datetime(2023, 11, 14, tzinfo=dt.UTC) + dt.timedelta(seconds=n),
        "amount": Decimal(n).scaleb(-2),
        "share": n / 7 if n % 5 else None,
        "user": {"name": f"user {n % 10}", "visits": [n, n * 2]} if n % 4 else None,
        "tags": [("a", n), ("b", 1)] if n % 2 else [],
        "never": None,
    }


def encodings(path: Path) -> dict[str, set[str]]:
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return {column.path_in_schema: set(column.encodings) for column in columns}


def test_dictionaries_are_where_values_repeat_and_differences_where_numbers_do_not(tmp_path: Path) -> None:
    writer = StagedWriter(tmp_path, SCHEMA, partition="1")
    writer.add(pa.RecordBatch.from_pylist([row(n) for n in range(ROWS)], schema=SCHEMA))

    (file,) = writer.finish()

    found = encodings(file.path)
    with_dictionary = {path for path, used in found.items() if "RLE_DICTIONARY" in used}
    assert with_dictionary == {"rowpartition", "city", "user.name", "tags.key_value.key", "never"}
    by_difference = {path for path, used in found.items() if "DELTA_BINARY_PACKED" in used}
    assert by_difference == {"rowtime", "rowoffset", "at", "user.visits.list.element", "tags.key_value.value"}
    assert pq.read_metadata(file.path).row_group(0).column(0).statistics.max == 1_700_000_000_000 + ROWS - 1


def test_long_texts_have_no_bounds(tmp_path: Path) -> None:
    schema = pa.schema([("short", pa.string()), ("long", pa.string()), ("none", pa.string())])
    writer = StagedWriter(tmp_path, schema, partition="1")
    writer.add(pa.RecordBatch.from_pylist([{"short": "a", "long": "a" * 100_000}] * 3, schema=schema))

    (file,) = writer.finish()

    group = pq.read_metadata(file.path).row_group(0)
    assert [group.column(place).is_stats_set for place in range(3)] == [True, False, True]


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_every_engine_that_we_name_reads_what_is_written(tmp_path: Path, compression: Compression) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    table.create(SCHEMA, "topic")
    writer = StagedWriter(table.staging_folder("x"), SCHEMA, date_column="rowtime", compression=compression)
    rows = pa.RecordBatch.from_pylist([row(n) for n in range(ROWS)], schema=SCHEMA)
    for start in range(0, ROWS, 100):
        writer.add(rows.slice(start, 100))
    table.commit(commit_id(1), Change(adds=writer.finish()), NOW)

    path = str(folder_of(table) / table.files[0].path)
    group = pq.read_metadata(path).row_group(0)
    assert {group.column(n).compression for n in range(group.num_columns)} == {compression.upper()}
    expected = pa.Table.from_batches([rows]).to_pylist()
    assert pa.concat_tables(map(pa.Table.from_batches, [[b] for b in table.read_batches(table.files)])).to_pylist() == (
        expected
    )
    by_duckdb = duckdb.connect().sql(
        f"SELECT sum(rowoffset), sum(rowtime), count(DISTINCT id), sum(amount) FROM '{path}'"
    )
    by_polars = pl.read_parquet(path)
    by_pandas = pd.read_parquet(path)
    numbers = range(ROWS)
    offsets, times = sum(n // 3 for n in numbers), sum(1_700_000_000_000 + n for n in numbers)
    assert by_duckdb.fetchall() == [(offsets, times, ROWS, Decimal(sum(numbers)).scaleb(-2))]
    assert (by_polars["rowoffset"].sum(), by_polars["rowtime"].sum(), by_polars["id"].n_unique()) == (
        offsets, times, ROWS
    )  # fmt: skip
    assert (by_pandas["rowoffset"].sum(), by_pandas["at"].iloc[-1]) == (offsets, pd.Timestamp(row(ROWS - 1)["at"]))


def test_a_long_file_has_an_index_of_its_pages_and_a_short_one_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.lake.open_file.ROW_GROUP_ROWS", 5000)
    writer = StagedWriter(tmp_path, SCHEMA, date_column="rowtime")
    day = {"rowtime": 86_400_000}
    writer.add(pa.RecordBatch.from_pylist([row(n) for n in range(5000)] + [row(1) | day], schema=SCHEMA))

    indexed = {
        file.row_count: pq.read_metadata(file.path).row_group(0).column(0).has_column_index for file in writer.finish()
    }

    assert indexed == {5000: True, 1: False}
