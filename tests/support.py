"""What tests use again and again: running a script as a person does, and rows that can be compared."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from data_lake_config import DEFAULT_FEEDS
from ksqldb_emulator.dataset import Record, Source
from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.testing import PATIENCE_S, comes_true
from pipeline.columns import lake_name
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.feed_store import FeedStore
from pipeline.lake.files import DataFile
from pipeline.lake.table import LakeTable
from tests.forked import run_forked

ROOT = Path(__file__).resolve().parent.parent
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FAST = {
    "QUIET_S": "0.6",
    "STALL_S": "20",
    "SNAPSHOT_RECHECK_S": "0.05",
    "KSQLDB_RETRY_S": "3",
    "KSQLDB_TIMEOUT_S": "10",
}


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Returns as soon as `happened` says so."""
    assert comes_true(happened), f"this never came: {what}"


def run_script(
    script: str, *arguments: str, env: Mapping[str, str], cwd: Path = ROOT, timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Runs a script of the project in a process of its own, with short waits."""
    return run_forked(ROOT / script, arguments, os.environ | _FAST | dict(env), cwd, timeout_s)


def add_default_feeds(root: Path) -> None:
    store = FeedStore(root)
    for feed in DEFAULT_FEEDS:
        store.add(feed)


def feed_for(source: Source, **fields: Any) -> Feed:
    """A feed for a source, named like it in lower case."""
    name = source.name.lower()
    return parse_feed({"name": name, "type": source.kind.lower(), "source": source.name} | fields, name)


def lake_rows(root: Path, feed: Feed, files: Iterable[DataFile] | None = None) -> Counter[str]:
    """The multiset of committed rows of a feed (of a table: of its current version)."""
    table = LakeTable(root, feed)
    if files is None:
        files = table.files if feed.type == "stream" else table.versions().get(table.current_version or 0, [])
    return Counter(canonical(row) for batch in table.read_batches(list(files)) for row in batch.to_pylist())


def expected_rows(source: Source, records: Iterable[Record] | None = None) -> Counter[str]:
    """The multiset of rows that the lake should hold of an emulated source."""
    rows: Counter[str] = Counter()
    if source.kind == "STREAM":
        for record in source.records if records is None else records:
            if record.values is not None:
                place = {"rowtime": record.rowtime, "rowpartition": record.partition, "rowoffset": record.offset}
                rows[canonical(place | lake_row(source, record))] += 1
        return rows
    newest: dict[str, Record] = {}
    for record in source.records if records is None else records:
        key = repr([(record.values or record.key or {})[name] for name in source.keys] + [record.window])
        newest.pop(key, None)
        if record.values is not None:
            newest[key] = record
    return Counter(canonical(lake_row(source, record)) for record in newest.values())


def lake_row(source: Source, record: Record) -> dict[str, Any]:
    assert record.values is not None
    row: dict[str, Any] = {}
    for column in source.columns:
        row[lake_name(column.name)] = lake_value(record.values[column.name], column.type)
    if record.window is not None:
        row |= {"windowstart": record.window[0], "windowend": record.window[1]}
    return row


def lake_value(value: Any, type_: Type) -> Any:
    """An exact emulator value as Arrow gives it back from the lake."""
    if value is None:
        return None
    if type_.base == "TIMESTAMP":
        return _EPOCH + dt.timedelta(milliseconds=value)
    if type_.base == "DATE":
        return _EPOCH.date() + dt.timedelta(days=value)
    if type_.base == "TIME":
        seconds, ms = divmod(value, 1000)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"
    if type_.base == "ARRAY":
        return [lake_value(item, type_.element) for item in value]
    if type_.base == "MAP":
        return [(key, lake_value(item, type_.element)) for key, item in value.items()]
    if type_.base == "STRUCT":
        return {lake_name(name): lake_value(value[name], field) for name, field in type_.fields}
    return value


def canonical(row: Mapping[str, Any]) -> str:
    """A row as text in which equal rows, and only they, are equal: column order aside, types and NaN included."""
    return repr(sorted((name, _plain(value)) for name, value in row.items()))


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, dict):
        return [(name, _plain(item)) for name, item in value.items()]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return f"{value:f}" if type(value).__name__ == "Decimal" else value
