"""A server whose own settings are odd stores the same values: every session sets what it depends on."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

import mysql.connector
import pyarrow as pa
import pytest

from data_lake_config import PROJECT_ROOT
from pipeline.errors import WarehouseRefused
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from tests.support import wait_until
from tests.warehouse.samples import NOW, USERS, load, method, methods, rows_of, snapshot, user
from tests.warehouse.test_hard_rows import own_fact
from tests.warehouse.test_send import COLUMNS, load_by, rich

pytestmark = pytest.mark.mysql

ODD = {
    "time_zone": "'+05:30'",
    "sql_mode": "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    "character_set_server": "latin1",
    "collation_server": "latin1_swedish_ci",
    "explicit_defaults_for_timestamp": "OFF",
    "max_allowed_packet": "1048576",
    "autocommit": "OFF",
    "completion_type": "'RELEASE'",
    "foreign_key_checks": "OFF",
    "unique_checks": "OFF",
    "sql_safe_updates": "ON",
    "sql_select_limit": "1",
    "max_join_size": "1",
    "wait_timeout": "2",
}


@pytest.fixture
def odd_server(empty_server: Server, is_mariadb: bool) -> Iterator[Server]:
    odd = ODD | {"tx_isolation" if is_mariadb else "transaction_isolation": "'READ-UNCOMMITTED'"}
    odd |= {"check_constraint_checks": "OFF"} if is_mariadb else {}
    with Connection(empty_server, with_database=False) as connection:
        before = {name: connection.rows(f"SELECT @@GLOBAL.{name}")[0][0] for name in odd}
        for name, value in odd.items():
            connection.run(f"SET GLOBAL {name} = {value}")
    yield empty_server
    with Connection(empty_server, with_database=False) as connection:
        for name, value in before.items():
            connection.run(f"SET GLOBAL {name} = %s", (value,))


@pytest.mark.parametrize("in_bulk", [True, False])
def test_values_of_every_type_arrive_as_they_were(odd_server: Server, in_bulk: bool) -> None:
    init_schema(odd_server, PROJECT_ROOT / "sql")

    loaded = load_by(odd_server, rich(odd_server, 42), in_bulk)

    assert (loaded.facts[0].rows, loaded.in_bulk) == (42, in_bulk)
    for name, (_, kind, values) in list(COLUMNS.items())[:8]:
        found = [value for (value,) in rows_of(odd_server, f"SELECT `{name}` FROM fact_rich ORDER BY id")]
        wanted = [values[n % len(values)] for n in range(42)]
        if pa.types.is_timestamp(kind):
            wanted = [value.replace(tzinfo=None) for value in wanted]
        assert found == wanted


def test_times_of_the_ledger_and_keys_are_exact(odd_server: Server) -> None:
    init_schema(odd_server, PROJECT_ROOT / "sql")
    moment = dt.datetime(2026, 3, 29, 1, 30, tzinfo=dt.UTC)

    load(odd_server, snapshot("user_transaction_summary", USERS, [
        user("é", last_transaction_date=moment), user("e"), user("É"), user("山" * 255),
    ]))  # fmt: skip

    assert rows_of(odd_server, "SELECT taken_at FROM etl_snapshots") == [(NOW.replace(tzinfo=None),)]
    query = "SELECT last_transaction_date FROM fact_user_transaction_summary WHERE user_id = 'é'"
    assert rows_of(odd_server, query) == [(moment.replace(tzinfo=None),)]
    assert rows_of(odd_server, "SELECT COUNT(*), MAX(CHAR_LENGTH(user_id)) FROM dim_users") == [(4, 255)]


def test_keys_and_checks_hold_and_a_history_is_kept(odd_server: Server) -> None:
    init_schema(odd_server, PROJECT_ROOT / "sql")
    with Connection(odd_server) as connection:
        connection.run("CREATE TABLE parent (value INT PRIMARY KEY)")
        connection.run("INSERT INTO parent VALUES (1), (2), (3)")
        connection.run("COMMIT")
    column = "value INT CHECK (value <> 2), FOREIGN KEY (value) REFERENCES parent (value)"

    loaded = load(odd_server, own_fact(odd_server, column, pa.int32(), [1, 2, 3, 4]))
    for days, city in enumerate(["Lyon", "Rome"]):
        users = snapshot("user_transaction_summary", USERS, [user("a", user_city=city), user("b")], days=days)
        load(odd_server, users, scd2={"dim_users"})

    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (2, 2)
    cities = "SELECT user_id, user_city FROM dim_users_history ORDER BY user_id, valid_from"
    assert rows_of(odd_server, cities) == [("a", "Lyon"), ("a", "Rome"), ("b", None)]


def idle_session(server: Server) -> Any:
    """One that sets nothing."""
    return mysql.connector.connect(host=server.host, port=server.port, user=server.user, password=server.password)


def test_a_snapshot_may_take_longer_to_sort_than_the_server_waits_for_a_session(odd_server: Server) -> None:
    init_schema(odd_server, PROJECT_ROOT / "sql")
    card = methods(method("card"))

    def slow_batches() -> Iterator[pa.RecordBatch]:
        """They come when the server has ended a session that has been idle for less long than that of the load."""
        with Connection(odd_server) as watching, contextlib.closing(idle_session(odd_server)) as idle:
            listed = "SELECT 1 FROM information_schema.processlist WHERE id = %s"
            number = idle.connection_id
            wait_until(lambda: not watching.rows(listed, (number,)), "a server that ends an idle session")
        yield from card.batches()

    loaded = load(odd_server, dataclasses.replace(card, batches=slow_batches))

    assert loaded.facts[0].rows == 1


def test_a_server_that_takes_no_changes_is_reported_with_a_way_out(warehouse: Server) -> None:
    with Connection(warehouse) as connection, pytest.raises(WarehouseRefused, match="takes no changes") as raised:
        connection.run("START TRANSACTION READ ONLY")
        connection.run("DELETE FROM etl_rejects")
    assert "primary" in raised.value.hint
