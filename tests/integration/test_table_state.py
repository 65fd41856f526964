"""A snapshot's commit says at which state of the table it was read, so that a later comparison knows what moved on."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.export.commit import ExportResult, Run
from pipeline.export.snapshot import export_table
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.source import connected
from pipeline.limits import Limits, ReadPolicy
from tests.support import cleaned, feed_for, lake_at


def dataset() -> Dataset:
    columns = (Column("K", parse_type("STRING"), "KEY"), Column("N", parse_type("BIGINT")))
    records = [Record(n % 2, n // 2, n, {"K": f"k{n}", "N": n}) for n in range(6)]
    query = Query("CTAS_TOTALS_1", "CREATE TABLE TOTALS AS ...", ("TOTALS",), ("totals",), ("events",))
    stream = Source("EVENTS", "STREAM", columns, "events", 2, records, read_queries=(query,))
    written = Source("TOTALS", "TABLE", columns, "totals", 2, list(records), write_query=query)
    read = Source("FACTS", "TABLE", columns, "facts", 2, list(records), read_queries=())
    reader = Query("CTAS_COPY_2", "CREATE TABLE COPY AS ...", ("COPY",), ("copy",), ("facts",))
    copy = Source("COPY", "TABLE", columns, "copy", 2, [], write_query=reader)
    read.read_queries = (reader,)
    return Dataset([stream, written, read, copy])


def export(server: Emulator, root: Path, name: str, moves: bool = False) -> dict[str, object]:
    """Exports the table; returns the note of its commit. With `moves` a record arrives while it is read."""
    now = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    limits = Limits(quiet_s=0.5, stall_s=10)

    def sleep(_: float) -> None:
        if moves:
            last = server.source("EVENTS").records[-1]
            server.append("EVENTS", [dataclasses.replace(last, offset=last.offset + 1)])

    run = Run("a" * 26, now, limits, 1000, ReadPolicy(0, 5, max_shrink=0.2, sleep=sleep), max_expire=1)
    feed = feed_for(server.source(name))
    table = cleaned(root, feed, 0)
    with connected(Connection(server.url)) as sources:
        export_table(sources, table, run, ExportResult())
    note = lake_at(root).table(feed).history()[0]["pipeline"]
    assert isinstance(note, dict)
    return note


def state_now(server: Emulator, name: str) -> object:
    with connected(Connection(server.url)) as sources:
        table = sources.find(name)
        assert table.kind == "table"
        return table.state().note


@pytest.mark.parametrize(("name", "topic"), [("TOTALS", "events"), ("FACTS", "facts")], ids=["pulled", "folded by key"])
def test_a_commit_names_the_state_that_the_snapshot_was_read_at(name: str, topic: str, lake_root: Path) -> None:
    with running(dataset()) as server:
        note = export(server, lake_root, name)

        assert note["state"] == {topic: {"0": [3, 3], "1": [3, 3]}} == state_now(server, name)
        source = server.source("EVENTS" if name == "TOTALS" else name)
        server.append(source.name, [dataclasses.replace(source.records[-1], offset=3)])
        assert note["state"] != state_now(server, name)


def test_a_commit_names_no_state_of_a_table_that_moved_while_it_was_read(lake_root: Path) -> None:
    with running(dataset()) as server:
        assert export(server, lake_root, "TOTALS", moves=True)["state"] is None
