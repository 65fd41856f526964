"""Keys of MAPs that are no texts: DESCRIBE leaves their type out, so nothing may go by it alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import Type, parse_type
from ksqldb_emulator.testing import running
from tests.integration.test_changed_sources import START_MS, export
from tests.integration.test_verdicts import verify
from tests.support import feed_for, lake_at

pytestmark = pytest.mark.server

COLUMNS = (
    Column("ID", Type("BIGINT"), "KEY"),
    Column("COUNTS", parse_type("MAP<INTEGER, STRING>")),
    Column("DEEP", parse_type("ARRAY<MAP<DOUBLE, BIGINT>>")),
)


def sources() -> tuple[Source, Source]:
    """A stream whose ends are known, and the table that a query makes of it."""
    rows = [{"ID": n, "COUNTS": {n: "a", -1: None}, "DEEP": [{n + 0.5: n}, None]} for n in range(4)]
    records = [Record(0, n, START_MS + n, row) for n, row in enumerate(rows)]
    query = Query("CTAS_T", "CREATE TABLE T ...", ("T",), ("t",), ("s",))
    stream = Source("S", "STREAM", COLUMNS, "s", 1, records, read_queries=(query,), value_format="AVRO")
    table = Source("T", "TABLE", COLUMNS, "t", 1, list(records), write_query=query, value_format="AVRO")
    return stream, table


def test_a_stream_with_nothing_new_still_fits_its_table(lake_root: Path) -> None:
    stream, table = sources()
    with running(Dataset([stream, table])) as server:
        first = export(lake_root, server, feed_for(stream))
        again = export(lake_root, server, feed_for(stream))

    assert first.returncode == 0, first.stderr
    assert again.returncode == 0, again.stderr
    assert "s: 0 rows" in again.stdout + again.stderr
    assert sum(file.row_count for file in lake_at(lake_root).table(feed_for(stream)).files) == 4


def test_verify_compares_rows_whose_maps_have_numbers_as_keys(lake_root: Path) -> None:
    stream, table = sources()
    with running(Dataset([stream, table])) as server:
        for source in (stream, table):
            assert export(lake_root, server, feed_for(source)).returncode == 0
        done = verify(lake_root, "--source", url=server.url)

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("4 rows as on the server") == 2  # the stream and the table
