"""`sync_to_mysql.py --source ksqldb` while a node of ksqlDB dies: a whole star, or none and exit code 75."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import sync_to_mysql
from ksqldb_emulator.cluster import BadMinute, Phase
from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline.warehouse.server import Server
from tests.support import lake_at
from tests.warehouse.samples import FEEDS, rows_of

pytestmark = pytest.mark.mysql

NEVER = 1e9
ROWS = 40


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    columns = tuple(
        Column(name, parse_type(type_), "KEY" if name == "PAYMENT_METHOD" else "VALUE")
        for name, type_ in (
            ("PAYMENT_METHOD", "STRING"),
            ("TOTAL_AMOUNT", "DECIMAL(18, 2)"),
            ("TRANSACTION_COUNT", "BIGINT"),
            ("AVG_AMOUNT", "DECIMAL(18, 4)"),
        )
    )
    records = [
        Record(n % 3, n // 3, n, {"PAYMENT_METHOD": f"method {n}", "TOTAL_AMOUNT": Decimal("1.00"),
                                  "TRANSACTION_COUNT": 1, "AVG_AMOUNT": Decimal("1.0000")})
        for n in range(ROWS)
    ]  # fmt: skip
    query = Query("CTAS_P_1", "CREATE ...", ("PAYMENT_METHOD_TOTALS",), ("p",), ("t",), "Aggregate-GroupBy-repartition")
    source = Source("T", "STREAM", columns, "t", 3, records, read_queries=(query,))
    table = Source("PAYMENT_METHOD_TOTALS", "TABLE", columns, "p", 3, list(records), write_query=query)
    with running(Dataset([source, table])) as server:
        server.cluster.start_nodes(2)
        yield server


def sync(emulator: Emulator, server: Server, lake_root: Path, wait_s: float) -> Result:
    if not lake_root.exists():
        lake_at(lake_root).feeds.add(FEEDS["payment_method_totals"])
    env = {
        "LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url, "SNAPSHOT_RECHECK_S": "0.2", "MYSQL_HOST": server.host,
        "SNAPSHOT_WAIT_S": str(wait_s), "MYSQL_PORT": str(server.port), "MYSQL_USER": server.user,
        "MYSQL_PASSWORD": server.password, "MYSQL_DATABASE": server.database,
    }  # fmt: skip
    return CliRunner().invoke(sync_to_mysql.main, [], env=env, catch_exceptions=False)


def loaded(server: Server) -> list[tuple[int, ...]]:
    sql = "SELECT snapshot_version, COUNT(*) FROM fact_payment_method_totals GROUP BY 1 ORDER BY 1"
    return [(int(version), int(count)) for version, count in rows_of(server, sql)]


def test_nothing_is_loaded_from_a_cluster_that_stays_in_part(
    emulator: Emulator, warehouse: Server, lake_root: Path
) -> None:
    dead = BadMinute(seen_s=0, returning_s=NEVER, moved_s=NEVER, restored_s=NEVER, slow_look_s=0)
    emulator.cluster.kill_node(dead)

    first = sync(emulator, warehouse, lake_root, wait_s=0.5)
    assert (first.exit_code, loaded(warehouse)) == (75, [])
    assert "PAYMENT_METHOD_TOTALS could not be read whole within 0.5 s" in first.stderr
    assert "shrink" not in first.stderr.lower()

    emulator.cluster.start_nodes(2)
    assert sync(emulator, warehouse, lake_root, wait_s=60).exit_code == 0
    emulator.cluster.kill_node(dead)
    later = sync(emulator, warehouse, lake_root, wait_s=0.5)
    assert (later.exit_code, loaded(warehouse)) == (75, [(1, ROWS)])


def test_a_star_is_whole_once_the_dead_nodes_tasks_have_moved(
    emulator: Emulator, warehouse: Server, lake_root: Path
) -> None:
    emulator.cluster.kill_node(BadMinute(seen_s=0, scale=0.05), at_look=True)

    assert sync(emulator, warehouse, lake_root, wait_s=120).exit_code == 0
    assert loaded(warehouse) == [(1, ROWS)]
    assert emulator.cluster.looks[Phase.DEAD] > 0


def test_a_table_that_is_smaller_twice_is_for_a_person_who_is_told_of_a_setting(
    emulator: Emulator, warehouse: Server, lake_root: Path
) -> None:
    assert sync(emulator, warehouse, lake_root, wait_s=60).exit_code == 0
    del emulator.source("PAYMENT_METHOD_TOTALS").records[ROWS // 2 :]

    smaller = sync(emulator, warehouse, lake_root, wait_s=60)

    assert (smaller.exit_code, loaded(warehouse)) == (1, [(1, ROWS)])
    assert "really deleted; only if they were" in smaller.stderr
    assert "SNAPSHOT_MAX_SHRINK=1 in the environment" in smaller.stderr
