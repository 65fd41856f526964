"""Times and long decimals inside STRUCTs, ARRAYs and MAPs are the same after every way to read them again."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator.dataset import Dataset, Record
from ksqldb_emulator.testing import running
from tests.expected import expected_rows, lake_rows
from tests.integration.small_sources import DAY_MS, START_MS, a_stream, export, reader_of
from tests.support import feed_for, run_script

pytestmark = pytest.mark.server

_INNER = "STRUCT<`AT` TIMESTAMP, `DAY` DATE, `TIME` TIME, `LONG` DECIMAL(30, 10), `IN` STRUCT<`AT` TIMESTAMP>>"
NESTED = {
    "ONE": _INNER,
    "MANY": f"ARRAY<{_INNER}>",
    "NAMED": f"MAP<STRING, {_INNER}>",
    "DEEP": f"STRUCT<`A` ARRAY<MAP<STRING, {_INNER}>>>",
    "TIMES": "ARRAY<TIMESTAMP>",
}


def inner(n: int) -> dict[str, Any]:
    return {
        "AT": START_MS + n,
        "DAY": 20_000 + n,
        "TIME": 36_930_123 + n,
        "LONG": Decimal(f"12345678901234567890.{n:010}"),
        "IN": {"AT": -START_MS - n} if n % 2 else None,
    }


def nested(first: int, count: int) -> list[Record]:
    """Rows over two partitions and two days; some with NULL everywhere."""
    records = []
    for n in range(first, first + count):
        value: dict[str, Any] = {"ID": n, "TEXT": f"v{n}"} | dict.fromkeys(NESTED)
        if n % 5 != 4:
            value |= {"ONE": inner(n), "MANY": [inner(n), None, inner(n + 1)], "NAMED": {"x": inner(n), "y": None}}
            value |= {"DEEP": {"A": [{"y": inner(n), "z": inner(n + 1)}, None]}, "TIMES": [START_MS, None]}
        records.append(Record(n % 2, n // 2, START_MS + n % 3 * DAY_MS // 2, value))
    return records


@pytest.mark.parametrize(("way", "ends_known"), [("--full", True), ("--date", False)])
def test_rows_read_again_are_as_they_were_and_the_next_export_goes_on(
    lake_root: Path, way: str, ends_known: bool
) -> None:
    source = a_stream(nested(0, 13), partitions=2, **NESTED)
    sources = [source, reader_of(source)] if ends_known else [source]
    feed = feed_for(source)
    days = {dt.datetime.fromtimestamp(record.rowtime / 1000, dt.UTC).date().isoformat() for record in source.records}
    runs = [(way,)] if way == "--full" else [(way, day) for day in sorted(days)]
    with running(Dataset(sources)) as server:
        assert export(lake_root, server, feed).returncode == 0
        for arguments in runs:
            done = export(lake_root, server, feed, *arguments)
            assert done.returncode == 0, done.stderr
            assert lake_rows(lake_root, feed) == expected_rows(source)
        server.append("S", nested(13, 6))
        done = export(lake_root, server, feed)
        env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": server.url}
        verified = run_script("metadata_utils.py", "verify", "--deep", "--source", "s", env=env)

    assert done.returncode == 0, done.stderr
    assert lake_rows(lake_root, feed) == expected_rows(source)
    assert verified.returncode == 0, verified.stdout + verified.stderr
