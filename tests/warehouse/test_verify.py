"""`verify --warehouse` says that the warehouse is what the lake has, and finds a single changed value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.feeds import Feed, parse_feed
from pipeline.lake.table import Change, LakeTable
from pipeline.lake.writer import StagedWriter
from pipeline.verify.verdict import Verdict
from pipeline.verify.warehouse import check_warehouse
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.rollback import roll_back
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_history
from tests.support import lake_at, run_script
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import NOW, load

pytestmark = pytest.mark.mysql

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("amount", pa.decimal128(20, 3)),
        ("number", pa.float64()),
        ("truth", pa.bool_()),
        ("bytes", pa.binary()),
        ("day", pa.date32()),
        ("moment", pa.timestamp("us", tz="UTC")),
        ("time", pa.string()),
        ("nested", pa.struct([("b", pa.list_(pa.float64())), ("a", pa.decimal128(9, 2))])),
    ]
)
TABLE = """
CREATE TABLE fact_kinds (
  kinds_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, snapshot_version INT NOT NULL, snapshot_date DATE NOT NULL,
  id BIGINT NOT NULL, text VARCHAR(50), amount DECIMAL(30, 5), number DOUBLE, truth BOOLEAN, bytes VARBINARY(20),
  day DATE, moment DATETIME(3), time TIME(6), nested JSON, CONSTRAINT no_sevens CHECK (id <> 7),
  UNIQUE (snapshot_version, id)
) DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"""


def row(n: int) -> dict[str, Any]:
    return {
        "id": n, "text": f"é\t{n}\\", "amount": Decimal(n) / 8, "number": 10.0**n / 3, "truth": n % 2 == 0,
        "bytes": b"\xff\x00" + bytes([n]), "day": dt.date(1582, 10, 1) + dt.timedelta(n),
        "moment": dt.datetime(2026, 3, 29, 1, 30, 0, 1000 * n, dt.UTC), "time": f"23:59:59.{n:03}",
        "nested": {"b": [n / 7, None], "a": Decimal(f"{n}.10")},
    }  # fmt: skip


@pytest.fixture
def feed() -> Feed:
    names = {name: name for name in SCHEMA.names}
    mapping = {"fact": "fact_kinds", "keys": ["id"], "columns": names}
    return parse_feed({"name": "kinds", "type": "table", "source": "KINDS", "warehouse": mapping}, "kinds")


@pytest.fixture
def both(warehouse: Server, lake_root: Path, feed: Feed) -> Callable[..., LakeTable]:
    """Makes a lake of these versions and loads each into the warehouse."""

    def make(*versions: list[dict[str, Any]]) -> LakeTable:
        table = lake_at(lake_root).table(feed)
        table.create(SCHEMA, "")
        for number, rows in enumerate(versions, start=1):
            commit = f"20261120T0000{number:02}Z-{number:08x}"
            writer = StagedWriter(table.staging_folder(commit), SCHEMA, partition=str(number))
            writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
            change = Change(adds=writer.finish(), current_version=number, note={"kind": "snapshot", "version": number})
            table.commit(commit, change, NOW + dt.timedelta(days=number - 10))
        with Connection(as_root(warehouse)) as connection:
            connection.run(TABLE)
        for _, snapshots in lake_history(lake_at(lake_root), [feed]):
            load(warehouse, *snapshots, source="lake")
        return lake_at(lake_root).table(feed)

    return make


def check(server: Server, table: LakeTable) -> Verdict:
    with Connection(server) as connection:
        return check_warehouse(connection, table)


def test_every_snapshot_is_as_in_the_lake(warehouse: Server, both: Callable[..., LakeTable]) -> None:
    nothing = dict.fromkeys(SCHEMA.names) | {"id": 50}
    zero = row(51) | {"number": -0.0}
    table = both([row(n) for n in range(6)], [row(n) for n in range(2)] + [nothing, zero])

    result = check(warehouse, table)

    assert (result.compared, result.findings) == (("in the warehouse 2 snapshots as in the lake",), ())


def test_rejects_are_not_missed(warehouse: Server, both: Callable[..., LakeTable]) -> None:
    too_long = row(3) | {"text": "x" * 51}
    table = both([row(1), row(7), row(2) | {"number": float("inf")}, too_long, row(4), row(4) | {"text": None}])

    with Connection(warehouse) as connection:
        result = check_warehouse(connection, table)
        loaded = connection.rows("SELECT COUNT(*) FROM fact_kinds")

    assert (loaded, result.findings) == ([(2,)], ())


@pytest.mark.long
def test_each_single_changed_cell_is_found(warehouse: Server, both: Callable[..., LakeTable], is_mariadb: bool) -> None:
    table = both([row(n) for n in range(7)])
    changes = [
        (column, place, change)
        for column in SCHEMA.names
        for place in (range(7) if is_mariadb else (3, 4))
        for change in changed(column)
    ]
    with Connection(warehouse) as connection:
        for column, place, change in changes:
            connection.run(f"UPDATE fact_kinds SET {quote(column)} = {change} WHERE id = {place}")
            found = [finding.what for finding in check_warehouse(connection, table).findings]
            assert found == ["values differ from the lake's"], (column, place, change)
            connection.run("ROLLBACK")
        assert check_warehouse(connection, table).findings == ()

    assert len(changes) == (133 if is_mariadb else 38)


def changed(column: str) -> tuple[str, ...]:
    """SQL for other values than any of the rows has: NULL where it may be, and one as near as the type allows."""
    name = quote(column)
    if column == "id":
        return (f"{name} + 1000",)
    near = {
        "text": f"CONCAT({name}, ' ')", "amount": f"{name} + 0.00001", "number": f"{name} * (1 + 1e-15)",
        "truth": f"NOT {name}", "bytes": f"CONCAT({name}, CHAR(0))", "day": f"{name} + INTERVAL 1 DAY",
        "moment": f"{name} + INTERVAL 1000 MICROSECOND", "time": f"{name} + INTERVAL 1 MICROSECOND",
        "nested": f"JSON_SET({name}, '$.a', 0.11)",
    }  # fmt: skip
    return (near[column], "NULL")


def test_lost_and_added_rows_are_found(warehouse: Server, both: Callable[..., LakeTable]) -> None:
    table = both([row(1), row(2)], [row(1)])
    with Connection(warehouse) as connection, connection.transaction():
        connection.run("DELETE FROM fact_kinds WHERE id = 2")

    (first, second) = check(warehouse, table).findings

    assert (first.what, first.detail) == (
        "rows differ from the ledger's",
        "snapshot 1 of fact_kinds: 1 rows, 2 in the ledger",
    )
    assert (second.what, second.detail) == (
        "values differ from the lake's",
        "snapshot 1 of fact_kinds, lake version 1",
    )


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ("UPDATE fact_kinds SET snapshot_date = '2026-01-01' WHERE id = 2",
         "rows have another date than their snapshot"),
        ("UPDATE etl_snapshots SET snapshot_date = '2026-01-01' WHERE snapshot_version = 2",
         "a snapshot's date is not that of its time"),
        ("UPDATE etl_snapshots SET taken_at = taken_at - INTERVAL 9 DAY WHERE snapshot_version = 2",
         "a snapshot's date is not that of its time"),
        ("UPDATE etl_snapshot_facts SET lake_version = NULL WHERE snapshot_version = 2",
         "the ledger has no lake version for rows of the lake"),
        ("UPDATE etl_snapshots SET source = 'ksqldb' WHERE snapshot_version = 2",
         "the ledger has a lake version for rows of ksqlDB"),
        ("DELETE FROM etl_snapshot_facts WHERE snapshot_version = 1", "rows that the ledger does not have"),
        ("UPDATE etl_current SET snapshot_version = 1",
         "the view shows another snapshot than the last load or rollback left"),
        ("DELETE FROM etl_current", "the view shows no snapshot"),
    ],
)  # fmt: skip
def test_a_ledger_that_was_edited_is_found(
    warehouse: Server, both: Callable[..., LakeTable], edit: str, what: str
) -> None:
    table = both([row(1), row(2)], [row(1), row(2)])
    with Connection(warehouse) as connection, connection.transaction():
        connection.run(edit)

    assert what in [finding.what for finding in check(warehouse, table).findings]


def test_a_rollback_and_what_follows_it_are_no_findings(warehouse: Server, both: Callable[..., LakeTable]) -> None:
    table = both([row(1)], [row(2)])
    with Connection(warehouse) as connection:
        roll_back(connection, 1, NOW)
        rolled_back = check_warehouse(connection, table).findings
        with connection.transaction():
            connection.run("UPDATE etl_current SET snapshot_version = 2")
        (moved,) = check_warehouse(connection, table).findings
        roll_back(connection, 1, NOW)
        roll_back(connection, 2, NOW)

        assert (rolled_back, check_warehouse(connection, table).findings) == ((), ())
    assert moved.detail == "snapshot 2 of fact_kinds, not 1"


def test_a_ledger_from_before_the_order_was_recorded_is_no_finding(
    warehouse: Server, both: Callable[..., LakeTable]
) -> None:
    table = both([row(1)], [row(2)])
    with Connection(warehouse) as connection:
        roll_back(connection, 1, NOW)
        with connection.transaction():
            connection.run("UPDATE etl_snapshot_facts SET lake_id = NULL, lake_files = NULL, moved_view = NULL")
            connection.run("UPDATE etl_rollbacks SET after_version = NULL")

        result = check_warehouse(connection, table)

    assert (result.compared, result.findings) == (("in the warehouse 2 snapshots as in the lake",), ())


def test_versions_of_another_lake_are_counted_only(warehouse: Server, both: Callable[..., LakeTable]) -> None:
    table = both([row(1)])
    with Connection(warehouse) as connection, connection.transaction():
        connection.run("UPDATE etl_snapshot_facts SET lake_id = 'another'")

    result = check(warehouse, table)

    said = "in the warehouse 0 snapshots as in the lake, 1 only counted"
    assert (result.compared, result.findings) == ((said,), ())


def test_the_command_says_it_and_exits_1(warehouse: Server, both: Callable[..., LakeTable], lake_root: Path) -> None:
    table = both([row(1), row(2)])
    env = {
        "LAKE_ROOT": str(lake_root), "MYSQL_HOST": warehouse.host, "MYSQL_PORT": str(warehouse.port),
        "MYSQL_USER": warehouse.user, "MYSQL_PASSWORD": warehouse.password, "MYSQL_DATABASE": warehouse.database,
    }  # fmt: skip
    lake_at(lake_root).feeds.add(table.feed)

    same = run_script("metadata_utils.py", "verify", "--deep", "--warehouse", env=env)
    with Connection(warehouse) as connection, connection.transaction():
        connection.run("UPDATE fact_kinds SET amount = 0 WHERE id = 2")
    differs = run_script("metadata_utils.py", "verify", "--deep", "--warehouse", env=env)

    assert (same.returncode, same.stdout[:11]) == (0, "kinds: ok; ")
    assert same.stdout.endswith("\n  in the warehouse 1 snapshot as in the lake\n")
    assert differs.returncode == 1
    assert differs.stdout == (
        "kinds: 1 problem\n  values differ from the lake's: snapshot 1 of fact_kinds, lake version 1\n"
    )
