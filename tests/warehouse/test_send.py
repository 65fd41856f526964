"""Rows sent by LOAD DATA LOCAL and by INSERT are the same rows; the way is chosen by what the server takes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import ScratchUnusable, VersionUnknown, WarehouseRefused, WrongUsage
from pipeline.feeds import WarehouseMapping, parse_feed
from pipeline.report.warehouse import loaded_lines
from pipeline.warehouse import sorted_rows as spool_module
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.load import Loaded, load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_history, lake_snapshots
from tests.lake.small_tables import add_version
from tests.support import cleaned, lake_at
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import FEEDS, NOW, load, method, methods, rows_of
from tests.warehouse.test_hard_rows import own_fact

pytestmark = pytest.mark.mysql

COLUMNS: dict[str, tuple[str, pa.DataType, list[Any]]] = {
    "text": ("LONGTEXT", pa.string(), ["", "\\N", "NULL", "a\tb\nc\r\nd\\e\0f'\"", "é山🚀\u2028", "%s ; -- x", None]),
    "bytes": ("BLOB", pa.binary(), [b"", b"\x00\xff\n\t\\N", b"'", None]),
    "number": ("DECIMAL(38, 10)", pa.decimal128(38, 10), [Decimal("-1234567890123456789012345678.0123456789"), None]),
    "double": ("DOUBLE", pa.float64(), [5e-324, 1.7976931348623157e308, -0.1, None]),
    "whole": ("BIGINT", pa.int64(), [-(2**63), 2**63 - 1, 0]),
    "truth": ("BOOLEAN", pa.bool_(), [True, False, None]),
    "day": ("DATE", pa.date32(), [dt.date(1000, 1, 1), dt.date(9999, 12, 31), None]),
    "moment": ("DATETIME(3)", pa.timestamp("us", tz="UTC"), [dt.datetime(1582, 10, 14, 23, 59, 59, 999000, dt.UTC)]),
    "time": ("TIME(3)", pa.string(), ["00:00:00.001", "23:59:59.999", None]),
    "nested": ("JSON", pa.list_(pa.string()), [["a\\\t\n\"b", None], [], None]),
}  # fmt: skip


def rich(server: Server, rows: int) -> TableSnapshot:
    declared = ", ".join(f"`{name}` {kind} NULL" for name, (kind, _, _) in COLUMNS.items())
    with Connection(as_root(server)) as connection:
        connection.run(
            "CREATE TABLE fact_rich (rich_id BIGINT AUTO_INCREMENT PRIMARY KEY, snapshot_version INT NOT NULL,"
            f" snapshot_date DATE NOT NULL, id INT NOT NULL, {declared}, UNIQUE (snapshot_version, id))"
            " DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
        )
    data = {"id": pa.array(range(rows), pa.int32())} | {
        name: pa.array([values[n % len(values)] for n in range(rows)], kind)
        for name, (_, kind, values) in COLUMNS.items()
    }
    table = pa.table(data)
    mapping = WarehouseMapping(fact="fact_rich", keys=("id",), columns={name: name for name in data})

    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.to_batches(max_chunksize=7)

    return TableSnapshot("rich", mapping, table.schema, batches, rows, None, NOW)


def load_by(server: Server, snapshot: TableSnapshot, in_bulk: bool) -> Loaded:
    with Connection(server) as connection:
        connection.takes_local_files = in_bulk
        return load_star(connection, [snapshot], "ksqldb", NOW)


def test_both_ways_store_the_same_values(warehouse: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "PIECE_BYTES", 5000)
    snapshot = rich(warehouse, 420)

    first = load_by(warehouse, snapshot, in_bulk=True)
    with Connection(warehouse) as connection, connection.transaction():
        connection.run("UPDATE etl_snapshots SET snapshot_date = '2000-01-01'")
    second = load_by(warehouse, snapshot, in_bulk=False)

    assert (first.in_bulk, first.version, second.in_bulk, second.version) == (True, 1, False, 2)
    listed = ", ".join(f"`{name}`" for name in COLUMNS)
    bulk, inserted = (
        rows_of(warehouse, f"SELECT id, {listed} FROM fact_rich WHERE snapshot_version = {version} ORDER BY id")
        for version in (1, 2)
    )
    assert bulk == inserted
    for place, (_, _, values) in enumerate(list(COLUMNS.values())[:7], start=1):
        assert [row[place] for row in bulk] == [values[n % len(values)] for n in range(420)]


@pytest.fixture
def without_local_infile(warehouse: Server) -> Iterator[Server]:
    with Connection(as_root(warehouse)) as connection:
        connection.run("SET GLOBAL local_infile = 0")
    yield warehouse
    with Connection(as_root(warehouse)) as connection:
        connection.run("SET GLOBAL local_infile = 1")


def test_a_server_with_local_infile_off_gets_inserts_and_it_is_said(without_local_infile: Server) -> None:
    loaded = load(without_local_infile, methods(method("card")))

    assert rows_of(without_local_infile, "SELECT COUNT(*) FROM current_payment_method_totals") == [(1,)]
    assert "Rows were sent by INSERT: the server has local_infile off, which is slower." in loaded_lines(loaded, False)


def test_a_refused_file_is_sent_by_insert_instead(without_local_infile: Server) -> None:
    loaded = load_by(without_local_infile, methods(method("card")), in_bulk=True)

    assert (loaded.in_bulk, loaded.facts[0].rows) == (False, 1)
    assert rows_of(without_local_infile, "SELECT COUNT(*) FROM current_payment_method_totals") == [(1,)]


def test_a_server_of_small_packets_gets_small_inserts_and_a_row_larger_than_one_is_told(
    without_local_infile: Server,
) -> None:
    server, rows = without_local_infile, [str(n) + "é🚀'" * 500 for n in range(1000)]
    with Connection(as_root(server)) as connection:
        ((before,),) = connection.rows("SELECT @@GLOBAL.max_allowed_packet")
        connection.run("SET GLOBAL max_allowed_packet = 1048576")
        try:
            snapshot = own_fact(server, "value LONGTEXT", pa.string(), rows)
            loaded = load(server, snapshot)
            huge = pa.record_batch([[1], ["x" * 2_000_000]], schema=snapshot.schema)
            with pytest.raises(WarehouseRefused, match=r"larger than MySQL at .* takes: 2,0") as raised:
                load(server, dataclasses.replace(snapshot, batches=lambda: iter([huge])))
        finally:
            connection.run("SET GLOBAL max_allowed_packet = %s", (before,))

    assert raised.value.hint == "raise max_allowed_packet on the server"
    assert loaded.facts[0].rows == 1000
    assert [value for (value,) in rows_of(server, "SELECT value FROM fact_own ORDER BY id")] == rows


def test_a_value_that_the_server_would_change_stops_the_load(warehouse: Server) -> None:
    with Connection(warehouse) as connection:
        connection.run("CREATE TEMPORARY TABLE narrow (v VARCHAR(3))")
        with pytest.raises(WarehouseRefused, match="would leave out or change a row"):
            connection.load_file("narrow", "(v)", b"too long\n")


def test_a_temporary_folder_without_space_is_named(warehouse: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path, __: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with (
        Connection(warehouse) as connection,
        pytest.raises(ScratchUnusable, match=r"temporary folder .* No space left on device; nothing was changed"),
    ):
        connection.load_file("dim_users", "(user_id)", b"ada\n")


def test_no_file_is_left_behind(warehouse: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    load(warehouse, methods(method("card")))

    assert list(tmp_path.iterdir()) == []


def test_versions_of_one_number_but_other_days_are_no_snapshot(lake_root: Path) -> None:
    """A table that joined the lake later has its version 1 then: history is ordered by time, not by number."""
    old, late = FEEDS["payment_method_totals"], FEEDS["product_purchase_counts"]
    for feed, first_day in ((old, 0), (late, 2)):
        for version in range(1, 5 - first_day):
            add_version(cleaned(lake_root, feed, 168), version, ["x"], first_day + version - 5)

    loaded = [
        (taken_at.day, [(snapshot.feed, snapshot.lake_version) for snapshot in snapshots])
        for taken_at, snapshots in lake_history(lake_at(lake_root), [old, late])
    ]

    day = (NOW - dt.timedelta(days=4)).day
    assert loaded == [
        (day, [(old.name, 1)]),
        (day + 1, [(old.name, 2)]),
        (day + 2, [(old.name, 3), (late.name, 1)]),
        (day + 3, [(old.name, 4), (late.name, 2)]),
    ]
    with pytest.raises(WrongUsage, match=r"version 1 is not of one day in all tables \(payment_method_totals: 2026-"):
        lake_snapshots(lake_at(lake_root), [old, late], 1)
    with pytest.raises(VersionUnknown, match="no version of user_transaction_summary"):
        list(lake_history(lake_at(lake_root), [old, FEEDS["user_transaction_summary"]]))


def test_every_version_that_the_lake_retains_is_loaded_with_its_own_date(warehouse: Server, lake_root: Path) -> None:
    mapping = FEEDS["payment_method_totals"].warehouse
    assert mapping is not None
    smaller = mapping.model_copy(update={"columns": {"payment_method_id": "k"}, "dimension": None})
    feed = parse_feed(
        {"name": "totals", "type": "table", "source": "TOTALS", "warehouse": smaller.model_dump()}, "totals"
    )
    table = cleaned(lake_root, feed, grace_hours=168)
    for version in (1, 2, 3):
        add_version(table, version, ["card", "cash", "paypal"][:version], days=version - 4)

    def load_all() -> list[bool]:
        history = lake_history(lake_at(lake_root), [feed])
        return [load(warehouse, *snapshots, source="lake").unchanged for _, snapshots in history]

    load(warehouse, *lake_snapshots(lake_at(lake_root), [feed], 2), source="lake")
    assert load_all() == [False, True, False]
    found = rows_of(
        warehouse,
        "SELECT l.lake_version, COUNT(*), MIN(f.snapshot_date) FROM fact_payment_method_totals AS f"
        " JOIN etl_snapshot_facts AS l ON l.snapshot_version = f.snapshot_version GROUP BY l.lake_version ORDER BY 1",
    )
    assert found == [(version, version, (NOW + dt.timedelta(days=version - 4)).date()) for version in (1, 2, 3)]
