"""SCD2: every version of a member with its time, the foreign keys of the facts as they were."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from data_lake_config import Settings
from pipeline.errors import MappingDoesNotFit, WrongUsage
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.selection import refuse_unknown_dimensions
from pipeline.warehouse.server import Server
from tests.support import add_default_feeds, lake_at
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import EUR, NOW, USERS, eur, load, methods, rows_of, snapshot, user

pytestmark = pytest.mark.mysql

FOR_EVER = dt.datetime(9999, 12, 31)
HISTORY = "SELECT user_id, user_city, valid_from, valid_to, is_current FROM dim_users_history ORDER BY 1, 3"


def load_users(server: Server, days: int, *users: dict[str, Any]) -> None:
    load(server, snapshot("user_transaction_summary", USERS, list(users), days=days), scd2={"dim_users"})


def day(number: int) -> dt.datetime:
    return (NOW + dt.timedelta(days=number)).replace(tzinfo=None)


def test_a_changed_attribute_closes_a_version_and_opens_another(warehouse: Server) -> None:
    load_users(warehouse, 0, user("a", user_city="Lyon"), user("b", user_city="Rome"))
    load_users(warehouse, 1, user("a", user_city="Lyon"), user("b", user_city="Rome"))
    load_users(warehouse, 2, user("a", user_city="Paris"), user("b", user_city=None))
    load_users(warehouse, 3, user("a", user_city="Lyon"), user("c", user_city="Oslo"))

    assert rows_of(warehouse, HISTORY) == [
        ("a", "Lyon", day(0), day(2), 0),
        ("a", "Paris", day(2), day(3), 0),
        ("a", "Lyon", day(3), FOR_EVER, 1),
        ("b", "Rome", day(0), FOR_EVER, 1),
        ("c", "Oslo", day(3), FOR_EVER, 1),
    ]
    assert rows_of(warehouse, "SELECT user_id, user_city FROM dim_users ORDER BY 1") == [
        ("a", "Lyon"), ("b", "Rome"), ("c", "Oslo"),
    ]  # fmt: skip


def test_a_space_at_the_end_is_a_change(warehouse: Server) -> None:
    load_users(warehouse, 0, user("a", user_city="Lyon"))
    load_users(warehouse, 1, user("a", user_city="Lyon "))

    assert rows_of(warehouse, "SELECT user_city FROM dim_users") == [("Lyon ",)]
    assert rows_of(warehouse, HISTORY) == [("a", "Lyon", day(0), day(1), 0), ("a", "Lyon ", day(1), FOR_EVER, 1)]


def test_each_fact_joins_the_one_version_of_its_time(warehouse: Server) -> None:
    for number, city in enumerate(["Lyon", "Paris", "Paris", "Rome"]):
        load_users(warehouse, number, user("a", user_city=city))

    joined = (
        "SELECT f.snapshot_version, h.user_city FROM fact_user_transaction_summary AS f"
        " JOIN etl_snapshots AS s ON s.snapshot_version = f.snapshot_version JOIN dim_users_history AS h"
        " ON h.user_id = f.user_id AND h.valid_from <= s.taken_at AND s.taken_at < h.valid_to ORDER BY 1"
    )
    assert rows_of(warehouse, joined) == [(1, "Lyon"), (2, "Paris"), (3, "Paris"), (4, "Rome")]


def test_two_loads_of_one_moment_leave_one_version(warehouse: Server) -> None:
    load_users(warehouse, 0, user("a", user_city="Lyon"))
    load_users(warehouse, 0, user("a", user_city="Paris"))

    assert rows_of(warehouse, HISTORY) == [("a", "Paris", day(0), FOR_EVER, 1)]


def test_both_user_tables_of_a_sync_make_one_version(warehouse: Server) -> None:
    main = snapshot("user_transaction_summary", USERS, [user("a", user_country="IT")])

    load(warehouse, main, eur(1), scd2={"dim_users"})

    assert rows_of(warehouse, "SELECT user_id, user_country FROM dim_users_history") == [("a", "IT")]


def test_an_older_snapshot_changes_no_version(warehouse: Server) -> None:
    load_users(warehouse, 5, user("a", user_city="Lyon"))
    load_users(warehouse, 1, user("a", user_city="Paris"))

    assert rows_of(warehouse, HISTORY) == [("a", "Lyon", day(5), FOR_EVER, 1)]


def test_a_table_that_comes_late_with_older_rows_changes_no_version(warehouse: Server) -> None:
    """Its sibling has a later day."""
    later = snapshot("user_transaction_summary_eur", EUR, [user("a", user_city="Lyon")], 5, days=5)
    load(warehouse, later, source="lake", scd2={"dim_users"})
    load_users(warehouse, 3, user("a", user_city="Paris"), user("b", user_city="Rome"))

    assert rows_of(warehouse, HISTORY)[0] == ("a", "Lyon", day(5), FOR_EVER, 1)
    users = [("a", "Lyon", "Ada"), ("b", "Rome", "Ada")]
    assert rows_of(warehouse, "SELECT user_id, user_city, user_name FROM dim_users ORDER BY 1") == users
    load_users(warehouse, 5, user("a", user_city="Oslo"))
    assert rows_of(warehouse, "SELECT user_city FROM dim_users ORDER BY user_id") == [("Oslo",), ("Rome",)]


def test_without_the_setting_there_is_no_history(warehouse: Server) -> None:
    load(warehouse, snapshot("user_transaction_summary", USERS, [user("a")]))

    assert rows_of(warehouse, HISTORY) == []


def test_deleting_a_user_takes_the_versions_along(warehouse: Server) -> None:
    load_users(warehouse, 0, user("a"))
    with Connection(warehouse) as connection, connection.transaction():
        connection.run("DELETE FROM dim_users")

    assert rows_of(warehouse, HISTORY) == []


def test_a_history_table_without_the_times_is_refused_before_anything_is_written(warehouse: Server) -> None:
    with Connection(as_root(warehouse)) as connection:
        connection.run(
            "CREATE TABLE dim_payment_methods_history (payment_method_id VARCHAR(100) PRIMARY KEY, display_name TEXT)"
        )

    with pytest.raises(MappingDoesNotFit, match="lacks valid_from, valid_to, is_current"):
        load(warehouse, methods(), scd2={"dim_payment_methods"})


def test_the_setting_is_a_list_with_commas() -> None:
    assert Settings(scd2_dimensions=" dim_users, dim_x ").scd2_tables() == {"dim_users", "dim_x"}


def test_a_dimension_that_no_feed_fills_is_refused_by_name(tmp_path: Path) -> None:
    add_default_feeds(tmp_path)

    refuse_unknown_dimensions(lake_at(tmp_path).feeds, {"dim_users"})
    with pytest.raises(WrongUsage, match="SCD2_DIMENSIONS names dim_userz") as refused:
        refuse_unknown_dimensions(lake_at(tmp_path).feeds, {"dim_users", "dim_userz"})
    assert refused.value.hint == "the feeds fill dim_payment_methods, dim_users"
