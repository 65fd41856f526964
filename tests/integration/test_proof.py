"""`verify --source` finds a single changed value, wherever it is."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import running
from pipeline.fingerprint import ContentHash
from pipeline.lake.disk import checksum
from pipeline.lake.table import Change, LakeTable
from pipeline.lake.writer import StagedFile
from tests.support import add_default_feeds, feed_for, folder_of, lake_at, run_script


def change(batch: pa.RecordBatch, column: int, row: int, value: Any = None) -> pa.RecordBatch:
    """The batch with one cell set to NULL, or to that value."""
    values = batch.column(column).to_pylist()
    values[row] = value
    arrays = [*batch.columns[:column], pa.array(values, batch.schema.types[column]), *batch.columns[column + 1 :]]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)


def others(value: Any) -> list[Any]:
    """NULL, and values as near as the type allows; of a nested value one for each of its parts."""
    if isinstance(value, dict):
        return [None, *(value | {name: other} for name, part in value.items() for other in others(part))]
    if isinstance(value, list):
        changed = ([*value[:at], other, *value[at + 1 :]] for at, part in enumerate(value) for other in others(part))
        return [None, *([value[:-1]] if value else []), *changed]
    if isinstance(value, tuple):  # of a MAP: its key, and what is there
        return [(value[0], other) for other in others(value[1])]
    near: dict[type, Callable[[Any], Any]] = {
        bool: lambda value: not value,
        int: lambda value: value + 1,
        float: lambda value: math.nextafter(value, math.inf),
        str: lambda value: value + " ",
        Decimal: lambda value: value + Decimal(1).scaleb(value.as_tuple().exponent),
        dt.datetime: lambda value: value + dt.timedelta(microseconds=1),
    }
    return [] if value is None else [None, near[type(value)](value)]


def cells(batch: pa.RecordBatch) -> list[tuple[int, int]]:
    """The places whose values differ from NULL."""
    places = itertools.product(range(batch.num_columns), range(batch.num_rows))
    return [(column, row) for column, row in places if batch.column(column)[row].is_valid]


def test_the_hash_finds_each_single_changed_value(lake_root: Path) -> None:
    dataset = build(generate(60, dt.date(2026, 11, 20)))
    add_default_feeds(lake_root)
    with running(dataset) as emulator:
        env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}
        assert run_script("export_to_data_lake.py", "--stream", "transaction_stream", env=env).returncode == 0
    table = lake_at(lake_root).table(lake_at(lake_root).feeds.get("transaction_stream"))
    batch = pa.Table.from_batches(list(table.read_batches(table.files))).combine_chunks().to_batches()[0].slice(0, 8)
    right = digest(batch)
    changes = [(*place, other) for place in cells(batch) for other in others(batch.column(place[0])[place[1]].as_py())]

    missed = [each for each in changes if digest(change(batch, *each)) == right]

    assert len(changes) > 200
    assert missed == []
    assert digest(batch.take(pa.array(reversed(range(batch.num_rows))))) == right


def digest(batch: pa.RecordBatch) -> str:
    content = ContentHash()
    content.add_batch(batch)
    return content.hexdigest()


def test_verify_compares_every_feed_with_the_server(lake_root: Path) -> None:
    dataset = build(generate(200, dt.date(2026, 11, 20)))
    add_default_feeds(lake_root)
    with running(dataset) as emulator:
        env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}
        assert run_script("export_to_data_lake.py", "--all", env=env).returncode == 0
        same = run_script("metadata_utils.py", "verify", "--deep", "--source", env=env)
        stream, table = (
            feed_for(dataset.source("TRANSACTION_FLATTENED")),
            feed_for(dataset.source("PAYMENT_METHOD_TOTALS")),
        )
        for feed in (stream, table):
            _rewrite_one_value(lake_at(lake_root).table(feed))
        changed = run_script("metadata_utils.py", "verify", "--deep", "--source", env=env)

    assert same.returncode == 0, same.stdout + same.stderr
    assert same.stdout.count("as on the server") == 8
    assert changed.returncode == 1
    assert changed.stdout.count("values differ from the server's") == 2
    assert changed.stdout.count("as on the server") == 6


def _rewrite_one_value(table: LakeTable) -> None:
    """Replaces a file by one that differs in a single value, with a log entry that agrees with it."""
    file = table.files[0]
    (batch,) = pq.read_table(folder_of(table) / file.path, partitioning=None).combine_chunks().to_batches()
    changed = pa.Table.from_batches([change(batch, *random.Random(2).choice(cells(batch)))])
    staged = table.staging_folder("x") / "00000.staged"
    staged.parent.mkdir(parents=True)
    pq.write_table(changed, staged)
    stats = json.dumps({"numRecords": changed.num_rows, "minValues": {}, "maxValues": {}, "nullCount": {}})
    new = StagedFile(staged, file.partition, changed.num_rows, staged.stat().st_size, checksum(staged), stats)
    table.commit("20261120T000000Z-ffffffff", Change(adds=[new], removes=[file]), dt.datetime.now(dt.UTC))
