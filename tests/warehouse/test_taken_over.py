"""Which databases become the warehouse: those of older releases keep their rows, those of others are left alone."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from data_lake_config import PROJECT_ROOT
from demo.private_mysql import PrivateServer
from pipeline.errors import WarehouseRefused
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import init_schema, planned_migrations, statements
from pipeline.warehouse.server import Server
from tests.warehouse.samples import load, method, methods, rows_of

SQL = PROJECT_ROOT / "sql"
BEFORE_THE_LEDGER = """
CREATE DATABASE IF NOT EXISTS data_warehouse CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
USE data_warehouse;
CREATE TABLE dim_payment_methods (
  payment_method_id VARCHAR(100) NOT NULL,
  display_name VARCHAR(255) NULL,
  is_known BOOLEAN NOT NULL DEFAULT FALSE,
  first_seen_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  PRIMARY KEY (payment_method_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE TABLE etl_snapshots (
  snapshot_version INT NOT NULL,
  snapshot_date DATE NOT NULL,
  taken_at DATETIME(3) NOT NULL,
  loaded_at DATETIME(3) NOT NULL,
  source VARCHAR(16) NOT NULL,
  status VARCHAR(16) NOT NULL,
  PRIMARY KEY (snapshot_version)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE TABLE fact_payment_method_totals (
  payment_total_id BIGINT NOT NULL AUTO_INCREMENT,
  snapshot_version INT NOT NULL,
  snapshot_date DATE NOT NULL,
  payment_method_id VARCHAR(100) NOT NULL,
  total_amount DECIMAL(18, 2) NULL,
  transaction_count BIGINT NULL,
  avg_amount DECIMAL(18, 4) NULL,
  PRIMARY KEY (payment_total_id),
  UNIQUE KEY uq_fact_payment_method_totals (snapshot_version, payment_method_id),
  CONSTRAINT fk_fact_payment_method_totals_snapshot FOREIGN KEY (snapshot_version)
    REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO dim_payment_methods (payment_method_id, display_name, is_known) VALUES ('voucher', 'Voucher', TRUE);
INSERT INTO etl_snapshots VALUES (1, '2026-10-01', '2026-10-01', '2026-10-01', 'ksqldb', 'complete');
INSERT INTO fact_payment_method_totals VALUES (1, 1, '2026-10-01', 'voucher', 12.50, 3, NULL);
COMMIT;
"""


@pytest.mark.mysql
def test_a_warehouse_from_before_the_ledger_keeps_its_rows_and_takes_new_ones(empty_server: Server) -> None:
    with Connection(empty_server, with_database=False) as connection:
        for statement in statements(BEFORE_THE_LEDGER, empty_server.database):
            connection.run(statement)

    applied = init_schema(empty_server, SQL)
    load(empty_server, methods(method("voucher", 4), method("card", 5)))

    assert applied
    assert all(is_new for _, is_new in applied)
    facts = "SELECT snapshot_version, payment_method_id, transaction_count FROM fact_payment_method_totals"
    assert sorted(rows_of(empty_server, facts)) == [(1, "voucher", 3), (2, "card", 5), (2, "voucher", 4)]
    described = "SELECT display_name FROM dim_payment_methods WHERE payment_method_id = 'voucher'"
    assert rows_of(empty_server, described) == [("Voucher",)]


def old_warehouse(server: Server, sql_folder: Path) -> None:
    """As the files made it that were released first, with a snapshot of the lake, one of ksqlDB and a rollback."""
    for path in sql_folder.glob("0[67]_*.sql"):
        path.unlink()
    init_schema(server, sql_folder)
    with Connection(server) as connection, connection.transaction():
        for number, source, version in [(1, "lake", 7), (2, "ksqldb", None)]:
            moment = f"2026-11-1{number} 06:00:00"
            connection.run(
                "INSERT INTO etl_snapshots VALUES (%s, DATE(%s), %s, %s, %s, 'complete')",
                (number, moment, moment, moment, source),
            )
            connection.run(
                "INSERT INTO etl_snapshot_facts VALUES (%s, 'fact_payment_method_totals', 'payment_method_totals',"
                " %s, 1, 0, 'a hash')",
                (number, version),
            )
            connection.run(
                "INSERT INTO fact_payment_method_totals VALUES (NULL, %s, DATE(%s), 'card', 1.50, %s, NULL)",
                (number, moment, number),
            )
        connection.run("INSERT INTO etl_current VALUES ('fact_payment_method_totals', 1)")
        connection.run("INSERT INTO etl_rollbacks VALUES (NULL, '2026-11-13', 'fact_payment_method_totals', 2, 1)")


@pytest.mark.mysql
def test_a_warehouse_of_the_first_release_is_taken_over_with_its_rows(empty_server: Server, sql_folder: Path) -> None:
    old_warehouse(empty_server, sql_folder)
    facts = "SELECT snapshot_version, transaction_count, total_amount FROM fact_payment_method_totals ORDER BY 1"
    before = rows_of(empty_server, facts)

    applied = [name for name, is_new in init_schema(empty_server, SQL) if is_new]
    again = [name for name, is_new in init_schema(empty_server, SQL) if is_new]
    loaded = load(empty_server, methods(method("card", 9), version=7, days=3), source="lake")

    assert (applied, again) == (["06_lake_identity.sql", "07_payment_method_name.sql"], [])
    assert rows_of(empty_server, facts)[:2] == before
    assert (loaded.version, loaded.facts[0].is_newest) == (3, True)
    lines = "SELECT lake_version, lake_id, lake_files IS NULL, moved_view FROM etl_snapshot_facts"
    old, new = [(7, None, 1, None), (None, None, 1, None)], (7, "a lake", 0, 1)
    assert rows_of(empty_server, f"{lines} ORDER BY snapshot_version") == [*old, new]
    assert rows_of(empty_server, "SELECT from_version, to_version, after_version FROM etl_rollbacks") == [(2, 1, None)]


@pytest.mark.parametrize("name", ["mysql", "MySQL", "sys", "performance_schema", "information_schema"])
@pytest.mark.mysql
def test_a_database_of_the_server_is_never_a_warehouse(empty_server: Server, name: str) -> None:
    with pytest.raises(WarehouseRefused, match="is the server's own database; no file was applied") as raised:
        init_schema(dataclasses.replace(empty_server, database=name), SQL)

    assert "--database data_warehouse" in raised.value.hint
    there = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'etl_snapshots' AND table_schema = '{}'"
    assert rows_of(dataclasses.replace(empty_server, database="mysql"), there.format(name)) == [(0,)]


@pytest.mark.mysql
def test_a_database_with_tables_of_others_is_left_as_it_is(empty_server: Server) -> None:
    with Connection(empty_server, with_database=False) as connection:
        connection.run(f"CREATE DATABASE {empty_server.database}")
        connection.run(f"CREATE TABLE {empty_server.database}.orders (id INT PRIMARY KEY)")

    for apply in (init_schema, planned_migrations):
        with pytest.raises(WarehouseRefused, match="holds other tables than the warehouse's, such as orders"):
            apply(empty_server, SQL)

    assert rows_of(empty_server, "SHOW TABLES") == [("orders",)]


@pytest.mark.mysql
def test_an_empty_database_that_somebody_has_made_is_taken(empty_server: Server) -> None:
    with Connection(empty_server, with_database=False) as connection:
        connection.run(f"CREATE DATABASE {empty_server.database}")

    applied = init_schema(empty_server, SQL)
    assert applied
    assert all(is_new for _, is_new in applied)


@pytest.mark.mysql
@pytest.mark.usefixtures("mariadb")
def test_files_run_by_hand_are_run_again_and_recorded(private_server: PrivateServer) -> None:
    """By MariaDB's client, which both servers take; the files name the default database."""
    server = Server(private_server.host, private_server.port, user="root", password="")
    by_hand = ["mariadb", "--no-defaults", f"--socket={private_server.socket}", "-uroot", "--skip-ssl"]
    with Connection(server, with_database=False) as connection:
        connection.run("DROP DATABASE IF EXISTS data_warehouse")

    for path in sorted(SQL.glob("0*.sql")):
        if "sample_queries" not in path.name:
            subprocess.run(by_hand, input=path.read_bytes(), check=True)
    load(server, methods(method("card", 5)))
    assert rows_of(server, "SELECT file_name FROM etl_schema_files") == []
    applied = init_schema(server, SQL)

    assert applied
    assert all(is_new for _, is_new in applied)
    assert rows_of(server, "SELECT transaction_count FROM current_payment_method_totals") == [(5,)]
    assert not any(is_new for _, is_new in init_schema(server, SQL))


@pytest.mark.mysql
def test_a_warehouse_that_lacks_the_last_file_is_named_with_the_command_that_adds_it(
    empty_server: Server, sql_folder: Path
) -> None:
    old_warehouse(empty_server, sql_folder)

    with pytest.raises(WarehouseRefused, match="schema is not as expected") as raised:
        load(empty_server, methods(method("card")))

    assert raised.value.hint == f"python sync_to_mysql.py --init-schema --database {empty_server.database}"
