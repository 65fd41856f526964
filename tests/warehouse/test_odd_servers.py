"""A server whose own settings are odd stores the same values: every session sets what it depends on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pyarrow as pa
import pytest

from data_lake_config import PROJECT_ROOT
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.schema_files import init_schema
from pipeline.warehouse.server import Server
from tests.warehouse.samples import NOW, USERS, load, rows_of, snapshot, user
from tests.warehouse.test_bulk import COLUMNS, load_by, rich

pytestmark = pytest.mark.mysql

ODD = {
    "time_zone": "'+05:30'",
    "sql_mode": "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
    "character_set_server": "latin1",
    "collation_server": "latin1_swedish_ci",
    "explicit_defaults_for_timestamp": "OFF",
    "max_allowed_packet": "1048576",
    "autocommit": "OFF",
}


@pytest.fixture
def odd_server(empty_server: Server, is_mariadb: bool) -> Iterator[Server]:
    odd = ODD | {"tx_isolation" if is_mariadb else "transaction_isolation": "'READ-UNCOMMITTED'"}
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
    told = "SELECT last_transaction_date FROM fact_user_transaction_summary WHERE user_id = 'é'"
    assert rows_of(odd_server, told) == [(moment.replace(tzinfo=None),)]
    assert rows_of(odd_server, "SELECT COUNT(*), MAX(CHAR_LENGTH(user_id)) FROM dim_users") == [(4, 255)]
