"""Streams of a few rows, and the export script run on them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ksqldb_emulator.dataset import Column, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator
from pipeline.feeds import Feed
from tests.support import lake_at, run_script

START_MS = 1_763_600_000_000
DAY_MS = 86_400_000


def columns(**types: str) -> tuple[Column, ...]:
    return tuple(
        Column(name, parse_type(text.removesuffix(" KEY")), "KEY" if text.endswith(" KEY") else "VALUE")
        for name, text in types.items()
    )


def events(count: int, first: int = 0, partition: int = 0, **values: Any) -> list[Record]:
    return [
        Record(partition, n, START_MS + n, {"ID": n, "TEXT": f"v{n}"} | values) for n in range(first, first + count)
    ]


def a_stream(records: list[Record], partitions: int = 1, **more: str) -> Source:
    return Source("S", "STREAM", columns(ID="BIGINT", TEXT="STRING", **more), "s_topic", partitions, records)


def reader_of(stream: Source) -> Source:
    """A table that a query makes of the stream: with it the server says where the stream's topic starts and ends."""
    query = Query("CTAS_SINK", "CREATE ...", ("SINK",), ("sink",), (stream.topic,))
    stream.read_queries = (query,)
    return Source("SINK", "TABLE", columns(ID="BIGINT KEY"), "sink", 1, write_query=query)


def export(root: Path, server: Emulator, feed: Feed, *arguments: str) -> Any:
    lake_at(root).feeds.save(feed)
    env = {"LAKE_ROOT": str(root), "KSQLDB_URL": server.url, "QUIET_S": "0.5", "SNAPSHOT_RECHECK_S": "0"}
    return run_script("export_to_data_lake.py", f"--{feed.type}", feed.name, *arguments, env=env)


def rows(root: Path, feed: Feed) -> list[dict[str, Any]]:
    table = lake_at(root).table(feed)
    return [row for batch in table.read_batches(table.files) for row in batch.to_pylist()]


def places(root: Path, feed: Feed) -> Counter[int]:
    return Counter(row["rowoffset"] for row in rows(root, feed))
