"""A lake that holds states of the history as versions of its four tables, written as an export writes them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.lake.table import Change
from pipeline.lake.writer import StagedWriter
from pipeline.warehouse.sources import mapping_of
from tests.support import lake_at
from tests.warehouse.history import SCHEMAS, State
from tests.warehouse.samples import FEEDS


def write_lake(root: Path, states: list[State]) -> None:
    """One version a state, each committed at the time at which it was taken."""
    for feed, schema in SCHEMAS.items():
        table = lake_at(root).table(FEEDS[feed])
        table.create(schema, "")
        for state in states:
            commit = f"{state.taken_at:%Y%m%dT%H%M%SZ}-{state.version:08x}"
            writer = StagedWriter(table.staging_folder(commit), schema, partition=str(state.version))
            writer.add(pa.RecordBatch.from_pylist(state.rows[feed], schema=schema))
            note = {"kind": "snapshot", "version": state.version}
            change = Change(adds=writer.finish(), current_version=state.version, note=note)
            table.commit(commit, change, state.taken_at)


def facts_in(root: Path, feed: str) -> dict[int, list[tuple[Any, ...]]]:
    """By version the rows as the fact should hold them, sorted; without those whose key is NULL."""
    mapping, table = mapping_of(FEEDS[feed]), lake_at(root).table(FEEDS[feed])
    places = [list(mapping.columns).index(key) for key in mapping.keys]
    found = {}
    for version, files in table.versions().items():
        rows = [row for batch in table.read_batches(files) for row in batch.to_pylist()]
        mapped = [tuple(_in_mysql(row[source]) for source in mapping.columns.values()) for row in rows]
        found[version] = sorted((row for row in mapped if all(row[place] is not None for place in places)), key=repr)
    return found


def _in_mysql(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value
