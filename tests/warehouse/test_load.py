"""Whole-star loads: exact rows, one transaction, rejects, and the ledger that says so."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from data_lake_config import DEFAULT_FEEDS, PROJECT_ROOT
from pipeline.feeds import Feed
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from tests.warehouse.samples import (
    METHODS,
    NOW,
    USERS,
    load,
    method,
    methods,
    rows_of,
    snapshot,
    user,
)

pytestmark = pytest.mark.mysql


def test_schema_files_can_be_run_twice_and_keep_the_data(warehouse: Server) -> None:
    load(warehouse, methods(method("card")))

    init_schema(warehouse, PROJECT_ROOT / "sql")

    assert rows_of(warehouse, "SELECT payment_method_id FROM current_payment_method_totals") == [("card",)]
    assert rows_of(warehouse, "SELECT count(*) FROM dim_payment_methods") == [(7,)]


def test_rows_arrive_value_by_value(warehouse: Server) -> None:
    rows = [
        user(
            "u1", user_email="a@example.com", user_country="FR", user_city="São Paulo",
            total_amount=Decimal("-1234567890123456.78"), transaction_count=2**63 - 1, avg_amount=Decimal("0.0001"),
            min_amount=Decimal("-0.01"), max_amount=None,
            last_transaction_date=dt.datetime(2026, 11, 20, 1, 2, 3, 456000, tzinfo=dt.UTC),
        ),
        user("山田 🚀", "refund", last_transaction_date=dt.datetime(1582, 10, 14, 23, 59, 59, 999000, tzinfo=dt.UTC)),
    ]  # fmt: skip

    load(warehouse, snapshot("user_transaction_summary", USERS, rows))

    columns = "user_id, transaction_type, total_amount, transaction_count, avg_amount, min_amount, max_amount, "
    found = rows_of(warehouse, f"SELECT {columns} last_transaction_date FROM current_user_transaction_summary")
    names = ["user_id", "transaction_type", "total_amount", "transaction_count", "avg_amount", "min_amount",
             "max_amount", "last_transaction_date"]  # fmt: skip
    wanted = [tuple(_naive(row.get(name)) for name in names) for row in rows]
    assert Counter(found) == Counter(wanted)


def _naive(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value


def test_same_lake_version_again_changes_nothing(warehouse: Server) -> None:
    first = load(warehouse, methods(method("card"), version=3), source="lake")
    second = load(warehouse, methods(method("card"), version=3), source="lake")

    assert (first.version, first.unchanged) == (1, False)
    assert (second.version, second.unchanged) == (1, True)
    assert rows_of(warehouse, "SELECT count(*) FROM fact_payment_method_totals") == [(1,)]


def test_same_rows_from_ksqldb_on_the_same_day_change_nothing(warehouse: Server) -> None:
    load(warehouse, methods(method("card"), method("cash")))

    same = load(warehouse, methods(method("cash"), method("card")))
    next_day = load(warehouse, methods(method("cash"), method("card"), days=1))

    assert same.unchanged
    assert next_day.version == 2


def test_current_views_follow_the_newest_snapshot(warehouse: Server) -> None:
    load(warehouse, methods(method("card", 1), method("cash", 1), version=1), source="lake")
    load(warehouse, methods(method("card", 5), version=2), source="lake")

    current = "SELECT payment_method_id, transaction_count, snapshot_version FROM current_payment_method_totals"
    assert rows_of(warehouse, current) == [("card", 5, 2)]
    assert rows_of(warehouse, "SELECT count(*) FROM fact_payment_method_totals") == [(3,)]


def test_ledger_tells_each_snapshot(warehouse: Server) -> None:
    load(warehouse, methods(method("card"), method(None), version=4), source="lake")

    facts = "SELECT fact_table, feed, lake_version, row_count, rejected_count FROM etl_snapshot_facts"
    assert rows_of(warehouse, facts) == [("fact_payment_method_totals", "payment_method_totals", 4, 1, 1)]
    found = rows_of(warehouse, "SELECT source, status, snapshot_date, taken_at FROM etl_snapshots")
    assert found == [("lake", "complete", NOW.date(), NOW.replace(tzinfo=None))]


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (method(None), "payment_method_id", "is NULL"),
        (method("x" * 101), "payment_method_id", "has 101 characters"),
        (method("card "), "payment_method_id", "ends with a space"),
    ],
)
def test_a_row_that_does_not_fit_is_kept_with_the_reason(
    warehouse: Server, row: dict[str, Any], column: str, reason: str
) -> None:
    loaded = load(warehouse, methods(row, method("card")))

    assert loaded.facts[0].rows == 1
    ((where, why, text),) = rows_of(warehouse, "SELECT column_name, reason, row_json FROM etl_rejects")
    assert where == column
    assert reason in why
    assert '"total_amount": 1.00' in text


def test_values_out_of_range_are_rejected_and_never_cut(warehouse: Server) -> None:
    wide = pa.schema([*METHODS.remove(1), ("total_amount", pa.decimal128(38, 10))])
    rows = [
        method("too wide") | {"total_amount": Decimal("12345678901234567.00")},
        method("too fine") | {"total_amount": Decimal("0.001")},
        method("fits") | {"total_amount": Decimal("9999999999999999.99")},
    ]

    loaded = load(warehouse, snapshot("payment_method_totals", wide, rows))

    assert [reject.reason.split(" ")[1:4] for reject in loaded.facts[0].first_rejects] == [
        ["is", "out", "of"],
        ["would", "be", "rounded"],
    ]
    assert rows_of(warehouse, "SELECT total_amount FROM fact_payment_method_totals") == [
        (Decimal("9999999999999999.99"),)
    ]


def test_dates_before_the_year_1000_are_rejected(warehouse: Server) -> None:
    early = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    loaded = load(warehouse, snapshot("user_transaction_summary", USERS, [user("u", last_transaction_date=early)]))

    assert "outside of the years 1000 to 9999" in loaded.facts[0].first_rejects[0].reason


def test_keys_are_compared_byte_by_byte(warehouse: Server) -> None:
    load(warehouse, methods(method("Card"), method("card"), method("cárd"), method("CARD")))

    assert rows_of(warehouse, "SELECT count(*) FROM current_payment_method_totals") == [(4,)]


def test_unknown_payment_methods_are_added_and_reported(warehouse: Server) -> None:
    loaded = load(warehouse, methods(method("z"), method("card"), method("crypto"), method("a")))

    assert (loaded.facts[0].new_members, loaded.facts[0].first_new_members) == (3, ["a", "crypto", "z"])
    known = "SELECT payment_method_id, is_known FROM dim_payment_methods WHERE payment_method_id IN ('card', 'crypto')"
    assert rows_of(warehouse, known) == [("card", 1), ("crypto", 0)]


def test_a_payment_method_has_the_name_that_somebody_gave_it_or_its_id(warehouse: Server) -> None:
    load(warehouse, methods(method("google_pay"), method("crypto")))

    names = "SELECT payment_method_name FROM dim_payment_methods WHERE payment_method_id IN ('google_pay', 'crypto')"
    assert sorted(rows_of(warehouse, names)) == [("Google Pay",), ("crypto",)]
    run = "UPDATE dim_payment_methods SET display_name = 'Crypto' WHERE payment_method_id = 'crypto'"
    with Connection(warehouse) as connection, connection.transaction():
        connection.run(run)
    assert sorted(rows_of(warehouse, names)) == [("Crypto",), ("Google Pay",)]


def test_attributes_that_a_snapshot_lacks_stay_as_they_were(warehouse: Server) -> None:
    early, late = (dt.datetime(2026, 11, day, tzinfo=dt.UTC) for day in (1, 2))
    both = [
        user("u", "refund", user_name="New", user_city=None, last_transaction_date=late),
        user("u", "purchase", user_name="Old", user_city="Lyon", last_transaction_date=early),
    ]
    load(warehouse, snapshot("user_transaction_summary", USERS, both[1:]))

    load(warehouse, snapshot("user_transaction_summary", USERS, both, days=1))

    assert rows_of(warehouse, "SELECT user_name, user_city FROM dim_users") == [("New", "Lyon")]


def test_a_user_that_only_the_eur_table_knows_is_added(warehouse: Server) -> None:
    schema = pa.schema(
        [*list(USERS)[:6], ("total_amount_eur", pa.decimal128(18, 2)), ("transaction_count", pa.int64()),
         ("avg_amount_eur", pa.decimal128(18, 4)), ("exchange_rate", pa.decimal128(18, 8))]
    )  # fmt: skip
    eur = snapshot("user_transaction_summary_eur", schema, [user("only eur", exchange_rate=Decimal("0.91234567"))])

    load(warehouse, snapshot("user_transaction_summary", USERS, [user("both")]), eur)

    assert rows_of(warehouse, "SELECT user_id FROM dim_users ORDER BY 1") == [("both",), ("only eur",)]
    assert rows_of(warehouse, "SELECT exchange_rate FROM current_user_transaction_summary_eur") == [
        (Decimal("0.91234567"),)
    ]


def test_deleting_a_user_or_a_snapshot_takes_its_facts_along(warehouse: Server) -> None:
    load(warehouse, snapshot("user_transaction_summary", USERS, [user("a"), user("b")], 1), source="lake")
    load(warehouse, snapshot("user_transaction_summary", USERS, [user("a"), user("b")], 2), source="lake")
    with Connection(warehouse) as connection, connection.transaction():
        connection.run("DELETE FROM dim_users WHERE user_id = 'a'")
        connection.run("DELETE FROM etl_snapshots WHERE snapshot_version = 1")

    assert rows_of(warehouse, "SELECT user_id, snapshot_version FROM fact_user_transaction_summary") == [("b", 2)]


def test_a_dry_run_changes_nothing(warehouse: Server) -> None:
    loaded = load(warehouse, methods(method("crypto"), method(None)), dry_run=True)

    assert (loaded.facts[0].rows, loaded.facts[0].rejected, loaded.version) == (1, 1, None)
    assert rows_of(warehouse, "SELECT count(*) FROM etl_snapshots") == [(0,)]


def test_the_same_rows_under_another_mapping_are_loaded(warehouse: Server) -> None:
    first = methods(method("card", 3))
    columns = {**first.mapping.columns, "total_amount": "avg_amount", "avg_amount": "total_amount"}
    load(warehouse, first)

    swapped = dataclasses.replace(first, mapping=first.mapping.model_copy(update={"columns": columns}))
    loaded = load(warehouse, swapped)

    assert (loaded.unchanged, loaded.version) == (False, 2)
    listed = "SELECT total_amount, avg_amount FROM current_payment_method_totals"
    assert rows_of(warehouse, listed) == [(None, Decimal("1.00"))]


def test_feeds_without_a_mapping_are_none_of_the_default_tables() -> None:
    assert {feed.name for feed in DEFAULT_FEEDS if feed.warehouse} == {f.name for f in DEFAULT_FEEDS if _is_table(f)}


def _is_table(feed: Feed) -> bool:
    return feed.type == "table"
