"""The files in `sql/`: applied once, in order, refused when changed, taken over from warehouses without a ledger."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

import sync_to_mysql
from data_lake_config import PROJECT_ROOT, Settings
from demo.private_mysql import PrivateServer
from pipeline.errors import MigrationChanged, WarehouseBusy, WarehouseRefused
from pipeline.readiness import check_mysql
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import init_schema, list_migrations, planned_migrations, statements
from pipeline.warehouse.server import Server
from tests.support import add_default_feeds, lake_at
from tests.warehouse.accounts import as_maker
from tests.warehouse.samples import load, method, methods, rows_of

SQL = PROJECT_ROOT / "sql"
OWN_FILE = """
use data_warehouse;  -- the name in lower case, and a comment; with a semicolon
CREATE TABLE IF NOT EXISTS fact_orders (
  order_id INT PRIMARY KEY, note VARCHAR(50) NOT NULL DEFAULT 'a;b -- c' COMMENT "it's # no comment; \\" either"
);
"""
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project's files, to be changed."""
    return Path(shutil.copytree(SQL, tmp_path / "sql"))


def recorded(server: Server) -> list[str]:
    return [row[0] for row in rows_of(server, "SELECT file_name FROM etl_schema_files ORDER BY file_name")]


def state(server: Server, folder: Path) -> dict[str, str]:
    with Connection(server) as connection:
        return {file.name: file.state for file in list_migrations(connection, folder)}


@pytest.mark.mysql
def test_files_are_applied_once_in_order_and_recorded_but_sample_queries_are_not(
    empty_server: Server, folder: Path
) -> None:
    (folder / "10_fact_orders.sql").write_text(OWN_FILE)
    names = sorted(path.name for path in folder.glob("*.sql") if "sample_queries" not in path.name)

    first = init_schema(empty_server, folder)
    second = init_schema(empty_server, folder)

    assert first == [(name, True) for name in names]
    assert second == [(name, False) for name in names]
    assert recorded(empty_server) == names
    query = "SELECT column_default, column_comment FROM information_schema.columns WHERE table_schema = '{}' AND {}"
    ((default, comment),) = rows_of(empty_server, query.format(empty_server.database, "column_name = 'note'"))
    assert (str(default).strip("'"), comment) == ("a;b -- c", "it's # no comment; \" either")


@pytest.mark.mysql
def test_a_file_of_ones_own_is_applied_by_the_next_run_of_the_account_that_may(warehouse: Server, folder: Path) -> None:
    (folder / "10_fact_orders.sql").write_text("CREATE TABLE IF NOT EXISTS fact_orders (order_id INT PRIMARY KEY);\n")

    with pytest.raises(WarehouseRefused, match=r"10_fact_orders\.sql cannot be applied: the MySQL user 'lake' lacks"):
        init_schema(warehouse, folder)
    applied = [name for name, is_new in init_schema(as_maker(warehouse), folder) if is_new]

    assert applied == ["10_fact_orders.sql"]
    assert rows_of(warehouse, "SELECT count(*) FROM fact_orders") == [(0,)]


@pytest.mark.mysql
def test_a_changed_file_is_refused_by_name_and_nothing_is_applied(warehouse: Server, folder: Path) -> None:
    changed = folder / "02_create_dimension_tables.sql"
    changed.write_text(changed.read_text() + "ALTER TABLE dim_users ADD COLUMN age INT;\n")
    (folder / "10_fact_orders.sql").write_text(OWN_FILE)

    with pytest.raises(MigrationChanged, match=r"02_create_dimension_tables\.sql changed") as raised:
        init_schema(warehouse, folder)

    assert "new file" in raised.value.hint
    assert raised.value.exit_code == 1
    assert state(warehouse, folder)["10_fact_orders.sql"] == "missing"
    assert rows_of(warehouse, "SHOW TABLES LIKE 'fact_orders'") == []


@pytest.mark.mysql
def test_line_ends_do_not_make_a_change(warehouse: Server, folder: Path) -> None:
    for path in folder.glob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert not any(is_new for _, is_new in init_schema(warehouse, folder))


@pytest.mark.mysql
def test_a_warehouse_from_before_the_ledger_keeps_its_rows_and_takes_new_ones(empty_server: Server) -> None:
    with Connection(empty_server, with_database=False) as connection:
        for statement in statements(BEFORE_THE_LEDGER, empty_server.database):
            connection.run(statement)

    applied = init_schema(empty_server, SQL)
    load(empty_server, methods(method("voucher", 4), method("card", 5)))

    assert all(is_new for _, is_new in applied)
    facts = "SELECT snapshot_version, payment_method_id, transaction_count FROM fact_payment_method_totals"
    assert sorted(rows_of(empty_server, facts)) == [(1, "voucher", 3), (2, "card", 5), (2, "voucher", 4)]
    described = "SELECT display_name FROM dim_payment_methods WHERE payment_method_id = 'voucher'"
    assert rows_of(empty_server, described) == [("Voucher",)]


def old_warehouse(server: Server, folder: Path) -> None:
    """As the files made it that were released first, with a snapshot of the lake, one of ksqlDB and a rollback."""
    for path in folder.glob("06_*.sql"):
        path.unlink()
    init_schema(server, folder)
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
def test_a_warehouse_of_the_first_release_is_taken_over_with_its_rows(empty_server: Server, folder: Path) -> None:
    old_warehouse(empty_server, folder)
    facts = "SELECT snapshot_version, transaction_count, total_amount FROM fact_payment_method_totals ORDER BY 1"
    before = rows_of(empty_server, facts)

    applied = [name for name, is_new in init_schema(empty_server, SQL) if is_new]
    again = [name for name, is_new in init_schema(empty_server, SQL) if is_new]
    loaded = load(empty_server, methods(method("card", 9), version=7, days=3), source="lake")

    assert (applied, again) == (["06_lake_identity.sql"], [])
    assert rows_of(empty_server, facts)[:2] == before
    assert (loaded.version, loaded.facts[0].is_newest) == (3, True)
    lines = "SELECT lake_version, lake_id, lake_files IS NULL, moved_view FROM etl_snapshot_facts"
    old, new = [(7, None, 1, None), (None, None, 1, None)], (7, "a lake", 0, 1)
    assert rows_of(empty_server, f"{lines} ORDER BY snapshot_version") == [*old, new]
    assert rows_of(empty_server, "SELECT from_version, to_version, after_version FROM etl_rollbacks") == [(2, 1, None)]


@pytest.mark.mysql
def test_a_warehouse_that_lacks_the_last_file_is_named_with_the_command_that_adds_it(
    empty_server: Server, folder: Path
) -> None:
    old_warehouse(empty_server, folder)

    with pytest.raises(WarehouseRefused, match="schema is not as expected") as raised:
        load(empty_server, methods(method("card")))

    assert raised.value.hint == f"python sync_to_mysql.py --init-schema --database {empty_server.database}"


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

    assert all(is_new for _, is_new in init_schema(empty_server, SQL))


@pytest.mark.mysql
def test_a_run_that_was_cut_short_is_finished_by_the_next_one(empty_server: Server, folder: Path) -> None:
    own = folder / "10_fact_orders.sql"
    own.write_text(OWN_FILE + "CREATE TABLE IF NOT EXISTS fact_more (more_id INT PRIMARY KEYS);\n")
    with pytest.raises(WarehouseRefused, match=r"10_fact_orders\.sql cannot be applied"):
        init_schema(empty_server, folder)
    assert state(empty_server, folder)["10_fact_orders.sql"] == "missing"
    assert rows_of(empty_server, "SHOW TABLES LIKE 'fact_orders'") == [("fact_orders",)]

    own.write_text(own.read_text().replace("KEYS", "KEY"))
    applied = [name for name, is_new in init_schema(empty_server, folder) if is_new]

    assert applied == ["10_fact_orders.sql"]
    assert set(state(empty_server, folder).values()) == {"applied"}


@pytest.mark.mysql
def test_two_at_once_do_not_collide(empty_server: Server) -> None:
    outcomes: list[str] = []

    def run() -> None:
        try:
            applied = init_schema(empty_server, SQL)
            outcomes.append("applied" if applied[0][1] else "already there")
        except WarehouseBusy:
            outcomes.append("busy")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes.count("applied") == 1
    assert set(state(empty_server, SQL).values()) == {"applied"}


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
    assert recorded(server) == []
    applied = init_schema(server, SQL)

    assert all(is_new for _, is_new in applied)
    assert rows_of(server, "SELECT transaction_count FROM current_payment_method_totals") == [(5,)]
    assert not any(is_new for _, is_new in init_schema(server, SQL))


@pytest.mark.mysql
def test_the_command_tells_each_file_and_refuses_a_changed_one(empty_server: Server, tmp_path: Path) -> None:
    where = ["--mysql-host", empty_server.host, "--mysql-port", str(empty_server.port), "--mysql-user", "root",
             "--database", empty_server.database]  # fmt: skip

    add_default_feeds(tmp_path)

    def run() -> str:
        nowhere = {"LAKE_ROOT": str(tmp_path), "KSQLDB_URL": "http://127.0.0.1:1", "KSQLDB_RETRY_S": "0.01"}
        result = CliRunner().invoke(sync_to_mysql.main, [*where, "--init-schema"], env=nowhere)
        return result.stderr

    assert f"schema of {empty_server.database}: 01_create_database.sql applied" in run()
    assert f"schema of {empty_server.database}: 01_create_database.sql already there" in run()
    with Connection(empty_server) as connection:
        connection.run("UPDATE etl_schema_files SET sha256 = 'x' WHERE file_name = '01_create_database.sql'")
        connection.run("COMMIT")
    assert "error: 01_create_database.sql changed after being applied" in run()


@pytest.mark.mysql
def test_test_setup_tells_whether_the_schema_is_there_complete_and_unchanged(
    empty_server: Server, lake_root: Path
) -> None:
    def checked() -> tuple[str, str]:
        settings = Settings(
            mysql_host=empty_server.host, mysql_port=empty_server.port, mysql_database=empty_server.database
        )
        (check,) = (
            check
            for check in check_mysql(settings.mysql_server(), lake_at(lake_root), PROJECT_ROOT / "sql")
            if check.name == "mysql schema"
        )
        return check.state, f"{check.detail} / {check.hint}"

    def write(sql: str) -> None:
        with Connection(empty_server) as connection:
            connection.run(sql)
            connection.run("COMMIT")

    init = f"python sync_to_mysql.py --init-schema --database {empty_server.database}"
    assert checked() == ("warning", f"MySQL at {empty_server.place} has no database '{empty_server.database}' / {init}")
    init_schema(empty_server, SQL)
    assert checked()[0] == "ok"
    write("DELETE FROM etl_schema_files WHERE file_name = '03_create_fact_tables.sql'")
    assert checked()[0] == "warning"
    assert "lacks, or was made without a record of, 03_create_fact_tables.sql" in checked()[1]
    write("UPDATE etl_schema_files SET sha256 = 'x' WHERE file_name = '02_create_dimension_tables.sql'")
    assert "02_create_dimension_tables.sql changed" in checked()[1]


def test_comments_and_strings_do_not_split_statements() -> None:
    text = (
        "# first; comment\n/* second; */ SELECT 'it''s; \\'x', \"a;\" , `b;` -- third; 'one\n , 1-1; ;\n"
        "/*!80000 SET x = 1 */;\nSELECT 2 -- the end"
    )

    assert list(statements(text)) == [
        "SELECT 'it''s; \\'x', \"a;\" , `b;`  \n , 1-1",
        "/*!80000 SET x = 1 */",
        "SELECT 2",
    ]


@pytest.mark.parametrize("use", ["USE data_warehouse;", "use  `data_warehouse`;", "-- where\nUSE data_warehouse ;"])
def test_another_database_takes_the_place_of_the_default_one(use: str) -> None:
    (statement,) = statements(use, "other")

    assert statement.split()[-1] == "`other`"
    assert list(statements("USE data_warehouse_2;", "other")) == ["USE data_warehouse_2"]


@pytest.mark.mysql
def test_a_file_that_is_not_utf_8_is_refused_by_name(empty_server: Server, folder: Path) -> None:
    (folder / "10_fact_own.sql").write_bytes("-- café\nSELECT 1;\n".encode("latin-1"))

    with pytest.raises(
        WarehouseRefused, match=r"10_fact_own\.sql cannot be read: it is not UTF-8; no file was applied"
    ):
        init_schema(empty_server, folder)


def test_an_empty_file_is_refused_before_any_other_is_applied(empty_server: Server, folder: Path) -> None:
    (folder / "10_fact_orders.sql").write_text("-- nothing but a comment\n", encoding="utf-8")

    with pytest.raises(WarehouseRefused, match=r"10_fact_orders\.sql holds no statement; no file was applied"):
        init_schema(empty_server, folder)

    (folder / "10_fact_orders.sql").write_text(OWN_FILE, encoding="utf-8")
    assert ("10_fact_orders.sql", True) in init_schema(empty_server, folder)
