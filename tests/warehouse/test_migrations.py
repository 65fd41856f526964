"""The files in `sql/`: applied once, in order, refused when changed, taken over from warehouses without a ledger."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

import sync_to_mysql
from data_lake_config import PROJECT_ROOT, Settings
from pipeline.errors import MigrationChanged, WarehouseBusy, WarehouseRefused
from pipeline.readiness import check_mysql
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import init_schema, list_migrations, statements
from pipeline.warehouse.server import Server
from tests.support import add_default_feeds, lake_at
from tests.warehouse.accounts import as_maker
from tests.warehouse.samples import rows_of

SQL = PROJECT_ROOT / "sql"
OWN_FILE = """
use data_warehouse;  -- the name in lower case, and a comment; with a semicolon
CREATE TABLE IF NOT EXISTS fact_orders (
  order_id INT PRIMARY KEY, note VARCHAR(50) NOT NULL DEFAULT 'a;b -- c' COMMENT "it's # no comment; \\" either"
);
"""


def recorded(server: Server) -> list[str]:
    return [row[0] for row in rows_of(server, "SELECT file_name FROM etl_schema_files ORDER BY file_name")]


def state(server: Server, sql_folder: Path) -> dict[str, str]:
    with Connection(server) as connection:
        return {file.name: file.state for file in list_migrations(connection, sql_folder)}


@pytest.mark.mysql
def test_files_are_applied_once_in_order_and_recorded_but_sample_queries_are_not(
    empty_server: Server, sql_folder: Path
) -> None:
    (sql_folder / "10_fact_orders.sql").write_text(OWN_FILE)
    names = sorted(path.name for path in sql_folder.glob("*.sql") if "sample_queries" not in path.name)

    first = init_schema(empty_server, sql_folder)
    second = init_schema(empty_server, sql_folder)

    assert first == [(name, True) for name in names]
    assert second == [(name, False) for name in names]
    assert recorded(empty_server) == names
    query = "SELECT column_default, column_comment FROM information_schema.columns WHERE table_schema = '{}' AND {}"
    ((default, comment),) = rows_of(empty_server, query.format(empty_server.database, "column_name = 'note'"))
    assert (str(default).strip("'"), comment) == ("a;b -- c", "it's # no comment; \" either")


@pytest.mark.mysql
def test_a_file_of_ones_own_is_applied_by_the_next_run_of_the_account_that_may(
    warehouse: Server, sql_folder: Path
) -> None:
    (sql_folder / "10_fact_orders.sql").write_text(
        "CREATE TABLE IF NOT EXISTS fact_orders (order_id INT PRIMARY KEY);\n"
    )

    with pytest.raises(WarehouseRefused, match=r"10_fact_orders\.sql cannot be applied: the MySQL user 'lake' lacks"):
        init_schema(warehouse, sql_folder)
    applied = [name for name, is_new in init_schema(as_maker(warehouse), sql_folder) if is_new]

    assert applied == ["10_fact_orders.sql"]
    assert rows_of(warehouse, "SELECT count(*) FROM fact_orders") == [(0,)]


@pytest.mark.mysql
def test_a_changed_file_is_refused_by_name_and_nothing_is_applied(warehouse: Server, sql_folder: Path) -> None:
    changed = sql_folder / "02_create_dimension_tables.sql"
    changed.write_text(changed.read_text() + "ALTER TABLE dim_users ADD COLUMN age INT;\n")
    (sql_folder / "10_fact_orders.sql").write_text(OWN_FILE)

    with pytest.raises(MigrationChanged, match=r"02_create_dimension_tables\.sql changed") as raised:
        init_schema(warehouse, sql_folder)

    assert "new file" in raised.value.hint
    assert raised.value.exit_code == 1
    assert state(warehouse, sql_folder)["10_fact_orders.sql"] == "missing"
    assert rows_of(warehouse, "SHOW TABLES LIKE 'fact_orders'") == []


@pytest.mark.mysql
def test_line_ends_do_not_make_a_change(warehouse: Server, sql_folder: Path) -> None:
    for path in sql_folder.glob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert not any(is_new for _, is_new in init_schema(warehouse, sql_folder))


@pytest.mark.mysql
def test_a_run_that_was_cut_short_is_finished_by_the_next_one(empty_server: Server, sql_folder: Path) -> None:
    own = sql_folder / "10_fact_orders.sql"
    own.write_text(OWN_FILE + "CREATE TABLE IF NOT EXISTS fact_more (more_id INT PRIMARY KEYS);\n")
    with pytest.raises(WarehouseRefused, match=r"10_fact_orders\.sql cannot be applied"):
        init_schema(empty_server, sql_folder)
    assert state(empty_server, sql_folder)["10_fact_orders.sql"] == "missing"
    assert rows_of(empty_server, "SHOW TABLES LIKE 'fact_orders'") == [("fact_orders",)]

    own.write_text(own.read_text().replace("KEYS", "KEY"))
    applied = [name for name, is_new in init_schema(empty_server, sql_folder) if is_new]

    assert applied == ["10_fact_orders.sql"]
    assert set(state(empty_server, sql_folder).values()) == {"applied"}


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
def test_a_file_that_is_not_utf_8_is_refused_by_name(empty_server: Server, sql_folder: Path) -> None:
    (sql_folder / "10_fact_own.sql").write_bytes("-- café\nSELECT 1;\n".encode("latin-1"))

    with pytest.raises(
        WarehouseRefused, match=r"10_fact_own\.sql cannot be read: it is not UTF-8; no file was applied"
    ):
        init_schema(empty_server, sql_folder)


def test_an_empty_file_is_refused_before_any_other_is_applied(empty_server: Server, sql_folder: Path) -> None:
    (sql_folder / "10_fact_orders.sql").write_text("-- nothing but a comment\n", encoding="utf-8")

    with pytest.raises(WarehouseRefused, match=r"10_fact_orders\.sql holds no statement; no file was applied"):
        init_schema(empty_server, sql_folder)

    (sql_folder / "10_fact_orders.sql").write_text(OWN_FILE, encoding="utf-8")
    assert ("10_fact_orders.sql", True) in init_schema(empty_server, sql_folder)
