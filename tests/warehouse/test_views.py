"""The views of `sql/05_views.sql`: every row by value, rollback, empty warehouses, and readers with little right."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

from data_lake_config import PROJECT_ROOT
from pipeline.errors import WarehouseRefused
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import statements
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import as_root
from tests.warehouse.answers import Answers
from tests.warehouse.history import CUT_DAY, LATE_DAY, MISSING_DAY, TWICE_DAY, State, load_history, make_history
from tests.warehouse.test_sample_queries import STRICT, ask, questions, rows_read

pytestmark = pytest.mark.mysql

VIEWS = ["snapshot_days", "user_activity_by_snapshot", "payment_method_growth", "product_ranking", "user_segments"]
DAYS = (
    "SELECT snapshot_date, snapshot_version, previous_version, days_back FROM snapshot_days"
    " WHERE fact_table = 'fact_user_transaction_summary' ORDER BY snapshot_date"
)
WHOLE = {
    "user_activity": "SELECT user_id, snapshot_date, transactions, new_transactions, new_amount"
    " FROM user_activity_by_snapshot ORDER BY user_id, snapshot_date",
    "payment_method_growth": "SELECT snapshot_date, payment_method_id, transaction_count, total_amount,"
    " new_transactions, new_amount FROM payment_method_growth ORDER BY snapshot_date, payment_method_id",
    "product_ranking": "SELECT * FROM product_ranking ORDER BY revenue_rank, product_id",
    "user_segments": "SELECT * FROM user_segments ORDER BY user_id",
}


@pytest.fixture
def session(history_server: Server) -> Iterator[Connection]:
    with Connection(history_server) as connection:
        connection.run(STRICT)
        yield connection


@pytest.fixture(scope="module")
def small_history() -> list[State]:
    return make_history(users=30)


def apply_views(server: Server) -> None:
    with Connection(server) as connection:
        for statement in statements((PROJECT_ROOT / "sql" / "05_views.sql").read_text("utf-8"), server.database):
            connection.run(statement)


@pytest.mark.parametrize("name", WHOLE)
def test_a_view_tells_every_row_as_computed_apart(name: str, session: Connection, history: list[State]) -> None:
    assert session.rows(WHOLE[name]) == getattr(Answers(history), name)()


def test_a_day_is_shown_by_its_last_complete_snapshot_whatever_the_order_of_loading(
    session: Connection, history: list[State]
) -> None:
    days = Answers(history).days

    found = session.rows(DAYS)

    previous = [None, *(state.version for state in days[:-1])]
    assert found == [
        (state.day, state.version, before, len(days) - 1 - place)
        for place, (state, before) in enumerate(zip(days, previous, strict=True))
    ]
    by_day = {day: version for day, version, *_ in found}
    assert MISSING_DAY not in by_day
    assert by_day[LATE_DAY] == len(history) - 1
    assert by_day[CUT_DAY] < len(history) < max(session.rows("SELECT snapshot_version FROM etl_snapshots"))[0]
    assert [state.version for state in history if state.day == TWICE_DAY][-1] == by_day[TWICE_DAY]


def test_a_rollback_takes_later_days_out_of_the_history(session: Connection, history: list[State]) -> None:
    morning, evening = (state.version for state in history if state.day == TWICE_DAY)
    assert evening > morning
    fact = "fact_user_transaction_summary"
    session.run("UPDATE etl_current SET snapshot_version = %s WHERE fact_table = %s", (morning, fact))

    found = session.rows(DAYS)

    assert (found[-1][0], found[-1][1], found[-1][3]) == (TWICE_DAY, morning, 0)
    ((newest,),) = session.rows("SELECT MAX(snapshot_date) FROM user_activity_by_snapshot")
    assert newest == TWICE_DAY
    ((others,),) = session.rows("SELECT MAX(snapshot_date) FROM payment_method_growth")
    assert others == history[-1].day


@pytest.mark.parametrize(
    "condition", ["user_id = 'u042'", "days_back = 3", "snapshot_date = '2026-11-17'", "snapshot_version = 40"]
)
def test_a_condition_on_user_or_day_reaches_the_facts_index(condition: str, session: Connection) -> None:
    ((all_rows,),) = session.rows("SELECT COUNT(*) FROM fact_user_transaction_summary")
    before = rows_read(session)

    assert session.rows(f"SELECT * FROM user_activity_by_snapshot WHERE {condition}")

    assert rows_read(session) - before < all_rows / 3


def test_a_reader_needs_no_right_but_select_on_the_view(history_server: Server) -> None:
    with Connection(as_root(history_server)) as owner:
        owner.run("CREATE USER IF NOT EXISTS view_reader IDENTIFIED BY 'r3ader'")
        for view in VIEWS:
            owner.run(f"GRANT SELECT ON `{history_server.database}`.{view} TO view_reader")

    reader = dataclasses.replace(history_server, user="view_reader", password="r3ader")
    with Connection(reader) as connection:
        for view in VIEWS:
            assert connection.rows(f"SELECT * FROM {view} LIMIT 1")
        for hidden in ("dim_users", "fact_user_transaction_summary", "etl_snapshots"):
            with pytest.raises(WarehouseRefused, match="lacks a right"):
                connection.rows(f"SELECT * FROM {hidden} LIMIT 1")


def test_the_file_can_be_applied_again_and_keeps_what_is_there(warehouse: Server, small_history: list[State]) -> None:
    load_history(warehouse, small_history[:3])
    for _ in range(2):
        apply_views(as_root(warehouse))

    with Connection(warehouse) as connection:
        assert len(connection.rows(DAYS)) == 3


def test_questions_and_views_on_an_empty_warehouse_answer_nothing(warehouse: Server) -> None:
    with Connection(warehouse) as connection:
        connection.run(STRICT)
        found = {name: connection.rows(ask(connection, name)) for name in questions()}
        assert all(not connection.rows(f"SELECT * FROM {view}") for view in VIEWS)

    assert found.pop("facts_agree") == [(None, None, None)]
    assert not any(found.values())


def test_one_snapshot_is_no_growth_no_churn_and_no_change(warehouse: Server, small_history: list[State]) -> None:
    load_history(warehouse, small_history[:3])
    only: dict[str, list[tuple[Any, ...]]] = {}
    with Connection(warehouse) as connection:
        connection.run(STRICT)
        connection.run("DELETE FROM etl_snapshots WHERE snapshot_version < 3")
        for name in questions():
            only[name] = connection.rows(ask(connection, name))

    assert [row[2] for row in only["growth"]] == [None]
    assert only["month_over_month"] == [("2026-09", None, None, None)]
    assert {row[3] for row in only["one_user"]} == {None}
    assert {row[0]: row[3] for row in only["cohorts"]} == {"2026-09": 0}
    assert only["top_users"] and only["rfm_segments"]
    nothing = ("fastest_growing", "churn", "product_changes", "missing_days", "went_down")
    assert [name for name in nothing if only[name]] == []


def test_a_gap_at_the_turn_of_a_month_is_one_gap(warehouse: Server, small_history: list[State]) -> None:
    september, october = dt.date(2026, 9, 22), dt.date(2026, 10, 3)
    states = [state for state in small_history if state.day in (september, october)]
    numbered = [
        dataclasses.replace(state, version=place) for place, state in enumerate([*states, small_history[-1]], 1)
    ]
    load_history(warehouse, numbered)

    with Connection(warehouse) as connection:
        found = connection.rows(ask(connection, "missing_days"))

    assert [row[1:] for row in found[:2]] == [(dt.date(2026, 9, 23), 10), (dt.date(2026, 10, 4), 47)]
