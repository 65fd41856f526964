"""A load that fails or is refused leaves the old star, and names what is in its way."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pipeline.errors import (
    MappingDoesNotFit,
    MembersMerged,
    PipelineError,
    RowsLost,
    WarehouseBusy,
    WarehouseRefused,
    WarehouseUnreachable,
)
from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.server import Server
from pipeline.warehouse.sorted_rows import SortedRows
from pipeline.warehouse.target import server_facts
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import (
    NOW,
    USERS,
    load,
    method,
    methods,
    rows_of,
    snapshot,
    user,
)


def test_a_member_that_a_dimension_takes_for_another_is_refused(warehouse: Server) -> None:
    with Connection(as_root(warehouse)) as connection:
        connection.run("ALTER TABLE dim_users ADD UNIQUE (user_email)")
    ada = user("a", user_email="x", user_name="Ada")
    load(warehouse, snapshot("user_transaction_summary", USERS, [ada]))

    with pytest.raises(MembersMerged, match="dim_users takes b for another member; nothing was loaded"):
        load(warehouse, snapshot("user_transaction_summary", USERS, [ada, user("b", user_email="x", user_name="Bob")]))

    assert rows_of(warehouse, "SELECT user_id, user_name FROM dim_users") == [("a", "Ada")]


def test_a_failing_load_leaves_the_old_star(warehouse: Server) -> None:
    load(warehouse, methods(method("card"), version=1), source="lake")
    with Connection(as_root(warehouse)) as connection:
        connection.run("ALTER TABLE etl_rejects RENAME TO etl_rejects_away")

    with pytest.raises(WarehouseRefused, match="schema is not as expected"):
        load(warehouse, methods(method("cash"), method(None), version=2), source="lake")

    assert rows_of(warehouse, "SELECT payment_method_id FROM current_payment_method_totals") == [("card",)]
    assert rows_of(warehouse, "SELECT count(*) FROM fact_payment_method_totals") == [(1,)]
    assert rows_of(warehouse, "SELECT count(*) FROM etl_snapshots") == [(1,)]


def test_a_mapping_that_does_not_fit_is_refused_before_anything_is_written(warehouse: Server) -> None:
    wrong = WarehouseMapping(
        fact="fact_payment_method_totals", keys=("payment_method_id",),
        columns={"payment_method_id": "payment_method", "nope": "total_amount", "avg_amount": "missing"},
    )  # fmt: skip
    base = methods(method("card"))
    snap = TableSnapshot(base.feed, wrong, base.schema, base.batches, 1, None, NOW)

    with pytest.raises(MappingDoesNotFit, match=r"no column nope.*no column missing"):
        load(warehouse, snap)


def test_a_second_sync_says_who_holds_the_warehouse(warehouse: Server) -> None:
    with (
        Connection(warehouse) as first,
        first.hold_warehouse(),
        pytest.raises(WarehouseBusy, match="another sync holds the warehouse"),
    ):
        load(warehouse, methods(method("card")))


@pytest.mark.parametrize(
    ("change", "kind", "message", "code"),
    [
        ({"port": 1}, WarehouseUnreachable, "cannot be reached", 75),
        ({"password": "wrong"}, WarehouseRefused, "refuses the user", 1),
        ({"database": "nowhere", "user": "root", "password": ""}, WarehouseRefused, "has no database 'nowhere'", 1),
        ({"database": "nowhere"}, WarehouseRefused, "may not use the database 'nowhere', if it is there", 1),
    ],
)
def test_a_server_that_cannot_be_used_is_named_with_a_hint(
    warehouse: Server, change: dict[str, Any], kind: type[PipelineError], message: str, code: int
) -> None:
    server = Server(**(vars(warehouse) | change))

    with pytest.raises(kind, match=message) as raised:
        load(server, methods(method("card")))

    assert raised.value.exit_code == code
    assert raised.value.hint
    assert "wrong" not in str(raised.value)


def test_a_row_that_is_sent_twice_is_noticed_whatever_the_keys_make_of_it(
    warehouse: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sorted rows give each row twice, by a fault of ours: the key takes the second one for a reject."""
    once = SortedRows.row_lines
    monkeypatch.setattr(SortedRows, "row_lines", lambda rows: itertools.chain(once(rows), once(rows)))

    with pytest.raises(RowsLost, match="nothing was loaded"):
        load(warehouse, methods(method("card"), method("cash")))

    assert rows_of(warehouse, "SELECT COUNT(*) FROM etl_snapshots") == [(0,)]
    assert rows_of(warehouse, "SELECT COUNT(*) FROM fact_payment_method_totals") == [(0,)]


def test_rights_and_version_are_reported(warehouse: Server, is_mariadb: bool) -> None:
    with Connection(as_root(warehouse)) as connection:
        connection.run("CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'r3ader'")
        connection.run(f"GRANT SELECT ON `{warehouse.database}`.* TO reader")
        assert server_facts(connection).missing_rights == ()
    with Connection(warehouse) as connection:
        assert server_facts(connection).missing_rights == ()
    reader = Server(**(vars(warehouse) | {"user": "reader", "password": "r3ader"}))

    with Connection(reader) as connection:
        facts = server_facts(connection)

    assert facts.missing_rights == ("INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLES")
    assert (facts.product, facts.is_old) == ("MariaDB" if is_mariadb else "MySQL", False)
