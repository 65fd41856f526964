"""Foreign keys that are certain are not looked up row by row, and no fact row is ever without its member."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from demo.private_mysql import PrivateServer, running_mariadb
from demo.unpacked_mysql import running_mysql
from pipeline.errors import PipelineError, RowsLost, WarehouseBusy, WarehouseUnreachable
from pipeline.warehouse.connection import Connection, quote
from pipeline.warehouse.dimension import add_members
from pipeline.warehouse.foreign_keys import are_certain, not_looked_up
from pipeline.warehouse.load import load_star
from pipeline.warehouse.mapping import TableSnapshot, resolve_mapping
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from pipeline.warehouse.session_tables import send_members
from pipeline.warehouse.sorted_rows import SortedRows
from tests.support import ROOT, wait_until
from tests.warehouse.accounts import SYNC, as_root
from tests.warehouse.samples import NOW, PRODUCTS, USERS, load, method, methods, rows_of, snapshot, user

pytestmark = pytest.mark.mysql

FACT = "fact_user_transaction_summary"
ORPHANS = (
    f"SELECT COUNT(*) FROM {FACT} AS f LEFT JOIN dim_users AS d ON d.user_id = f.user_id"
    " LEFT JOIN etl_snapshots AS s ON s.snapshot_version = f.snapshot_version"
    " WHERE d.user_id IS NULL OR s.snapshot_version IS NULL"
)
FILLING = f"LOAD DATA % INTO TABLE `{FACT}`%"  # the members of its dimensions are sent before, by LOAD DATA as well


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is said to the server, statement by statement."""
    caplog.set_level(logging.DEBUG, "pipeline")
    return caplog


def users(*names: str, version: int = 1, days: int = 0) -> TableSnapshot:
    return snapshot("user_transaction_summary", USERS, [user(name) for name in names], version, days)


def steps(said: pytest.LogCaptureFixture) -> list[str]:
    """The statements that turn checks off or on, and those that fill the fact, in their order; not those of a start."""
    text = [record.getMessage().removeprefix("MySQL: ") for record in said.records]
    known = {"SET SESSION foreign_key_checks = 0": "off", "SET SESSION foreign_key_checks = 1": "on"}
    fills = (f"LOAD DATA LOCAL INFILE %s INTO TABLE `{FACT}`", f"INSERT INTO `{FACT}`")
    return [known.get(sql, "rows") for sql in text if sql in known or sql.startswith(fills)]


def run_as_root(server: Server, *statements: str) -> None:
    with Connection(as_root(server)) as connection:
        for sql in statements:
            connection.run(sql)
        connection.run("COMMIT")


@contextlib.contextmanager
def loading(server: Server, *snapshots: TableSnapshot) -> Iterator[list[PipelineError]]:
    """Loads in a thread; its error, if it has one, is in the list once the block has ended."""
    errors: list[PipelineError] = []

    def work() -> None:
        try:
            load(server, *snapshots, source="lake")
        except PipelineError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield errors
    finally:
        thread.join()


@contextlib.contextmanager
def stuck_in_the_fact(server: Server, version: int) -> Iterator[None]:
    """Keeps a load of user `a` waiting in the fact itself, by a row with its key that is not committed."""
    with Connection(as_root(server)) as other, other.transaction(commit=False):
        other.run("SET SESSION foreign_key_checks = 0")
        other.run(
            f"INSERT INTO {FACT} (snapshot_version, snapshot_date, user_id, transaction_type) VALUES (%s, %s, %s, %s)",
            (version, NOW.date(), "a", "purchase"),
        )
        yield


def sessions(server: Server, statement: str) -> list[int]:
    """The sessions of the test's database that are at a statement, a pattern of SQL's LIKE."""
    of = f"FROM information_schema.processlist WHERE db = '{server.database}' AND info LIKE '{statement}'"
    return [number for (number,) in rows_of(as_root(server), f"SELECT id {of}")]


def in_the_fact(server: Server) -> bool:
    return bool(sessions(server, FILLING))


def test_certain_keys_are_looked_up_once_and_hold(warehouse: Server, said: pytest.LogCaptureFixture) -> None:
    load(warehouse, users("a", "b"), source="lake")

    assert steps(said) == ["off", "rows", "on"]
    assert rows_of(warehouse, ORPHANS) == [(0,)]
    run_as_root(warehouse, "DELETE FROM dim_users WHERE user_id = 'a'")
    assert rows_of(warehouse, f"SELECT user_id FROM {FACT}") == [("b",)]


def test_a_load_without_local_files_does_the_same(warehouse: Server, said: pytest.LogCaptureFixture) -> None:
    with Connection(warehouse) as connection:
        connection.takes_local_files = False
        load_star(connection, [users("a", "b")], "lake", NOW)
        assert connection.rows("SELECT @@foreign_key_checks") == [(1,)]

    assert steps(said) == ["off", "on"]
    assert rows_of(warehouse, f"SELECT user_id FROM {FACT} ORDER BY user_id") == [("a",), ("b",)]


UNCERTAIN = {
    "a trigger": f"CREATE TRIGGER t BEFORE INSERT ON {FACT} FOR EACH ROW SET NEW.max_amount = 1",
    "a key to a table of somebody": f"ALTER TABLE {FACT} ADD FOREIGN KEY (transaction_type) REFERENCES kinds (kind)",
    "a key of two columns": f"ALTER TABLE {FACT} ADD FOREIGN KEY (user_id, transaction_type) REFERENCES pairs (a, b)",
    "a key of another column": f"ALTER TABLE {FACT} ADD FOREIGN KEY (transaction_type) REFERENCES dim_users (user_id)",
}


@pytest.mark.parametrize("change", UNCERTAIN.values(), ids=UNCERTAIN.keys())
def test_what_is_not_certain_is_looked_up_for_each_row(
    warehouse: Server, said: pytest.LogCaptureFixture, change: str
) -> None:
    text = "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
    run_as_root(
        warehouse,
        f"CREATE TABLE kinds (kind {text.replace('255', '100')} PRIMARY KEY) ENGINE = InnoDB",
        f"CREATE TABLE pairs (a {text}, b {text.replace('255', '100')}, PRIMARY KEY (a, b)) ENGINE = InnoDB",
        change,
    )
    said.clear()

    loaded = load(warehouse, users("a"), source="lake")

    assert set(steps(said)) == {"rows"}
    is_refused = "TRIGGER" not in change
    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == ((0, 1) if is_refused else (1, 0))


def test_an_account_that_cannot_see_triggers_has_each_row_looked_up(
    warehouse: Server, said: pytest.LogCaptureFixture
) -> None:
    run_as_root(warehouse, f"REVOKE TRIGGER ON {quote(warehouse.database)}.* FROM '{SYNC}'@'%'")
    run_as_root(warehouse, f"GRANT TRIGGER ON {quote(warehouse.database)}.dim_users TO '{SYNC}'@'%'")
    said.clear()

    load(warehouse, users("a"), source="lake")

    assert steps(said) == ["rows"]


@pytest.mark.parametrize(
    ("start", "wanted"), [(running_mysql, ["off", "rows", "on"]), (running_mariadb, ["rows"])], ids=["mysql", "mariadb"]
)
def test_keys_are_looked_up_where_replicas_go_by_their_locks(
    start: Callable[..., AbstractContextManager[PrivateServer]],
    wanted: list[str],
    said: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    with start(tmp_path, ["--log-bin=bin", "--server-id=1"]) as private:
        server = Server(host=private.host, port=private.port, user=private.user, database="replicated")
        init_schema(server, ROOT / "sql")
        said.clear()

        load(server, users("a"), source="lake")

    assert steps(said) == wanted


def test_no_member_can_be_deleted_while_a_load_relies_on_it(warehouse: Server) -> None:
    load(warehouse, users("a", "b"), source="lake")
    hasty = dataclasses.replace(as_root(warehouse), lock_wait_s=1)

    with contextlib.ExitStack() as kept, stuck_in_the_fact(warehouse, 2):
        errors = kept.enter_context(loading(warehouse, users("a", "b", version=2)))
        wait_until(lambda: in_the_fact(warehouse), "the load in its fact")
        with Connection(hasty) as other, pytest.raises(WarehouseBusy):
            other.run("DELETE FROM dim_users WHERE user_id = 'b'")
        with Connection(hasty) as other, pytest.raises(WarehouseBusy):
            other.run(
                f"ALTER TABLE {FACT} ADD FOREIGN KEY (user_id) REFERENCES dim_payment_methods (payment_method_id)"
            )

    assert not errors
    assert rows_of(warehouse, ORPHANS) == [(0,)]
    assert rows_of(warehouse, "SELECT COUNT(*) FROM current_user_transaction_summary") == [(2,)]


def test_a_member_that_is_deleted_as_a_load_begins_is_added_again(warehouse: Server) -> None:
    load(warehouse, users("a", "b"), source="lake")

    with Connection(as_root(warehouse)) as other, contextlib.ExitStack() as kept, other.transaction():
        other.run("DELETE FROM dim_users WHERE user_id = 'a'")
        errors = kept.enter_context(loading(warehouse, users("a", "b", version=2)))
        wait_until(lambda: bool(sessions(warehouse, "INSERT INTO `dim_users`%")), "the load in the dimension")

    assert not errors
    assert rows_of(warehouse, ORPHANS) == [(0,)]
    found = f"SELECT user_id FROM {FACT} WHERE snapshot_version = 2 ORDER BY user_id"
    assert rows_of(warehouse, found) == [("a",), ("b",)]


def test_members_that_did_not_arrive_stop_the_load(warehouse: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SortedRows.member_lines
    monkeypatch.setattr(SortedRows, "member_lines", lambda rows: (lines[1:] for lines in whole(rows)))

    with pytest.raises(RowsLost, match="1 of 2 members reached dim_users; nothing was loaded"):
        load(warehouse, users("a", "b"), source="lake")

    assert rows_of(warehouse, f"SELECT COUNT(*) FROM {FACT}") == [(0,)]
    assert rows_of(warehouse, "SELECT COUNT(*) FROM etl_snapshots") == [(0,)]


def test_a_refused_row_is_found_with_the_checks_on(warehouse: Server, said: pytest.LogCaptureFixture) -> None:
    with Connection(warehouse) as connection:
        loaded = load_star(connection, [users("a", "a", "b")], "lake", NOW)
        assert connection.rows("SELECT @@foreign_key_checks") == [(1,)]
        load_star(connection, [methods(method("card"), version=1)], "lake", NOW)
        assert connection.rows("SELECT @@foreign_key_checks") == [(1,)]

    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (2, 1)
    assert steps(said)[:3] == ["off", "rows", "on"]


def test_checks_are_on_again_after_an_error_and_after_an_interrupt(warehouse: Server) -> None:
    with Connection(warehouse) as connection:
        for error in (RowsLost("", ""), KeyboardInterrupt()):
            with pytest.raises(type(error)), not_looked_up(connection):
                assert connection.rows("SELECT @@foreign_key_checks") == [(0,)]
                raise error
            assert connection.rows("SELECT @@foreign_key_checks") == [(1,)]


def test_a_session_that_ends_takes_its_switch_along(warehouse: Server) -> None:
    with Connection(warehouse) as connection:
        ((number,),) = connection.rows("SELECT CONNECTION_ID()")
        with pytest.raises(KeyboardInterrupt), not_looked_up(connection):
            run_as_root(warehouse, f"KILL {number}")
            raise KeyboardInterrupt
        with pytest.raises(WarehouseUnreachable):
            connection.rows("SELECT @@foreign_key_checks")

    assert rows_of(warehouse, "SELECT @@foreign_key_checks, @@GLOBAL.foreign_key_checks") == [(1, 1)]


def test_a_load_whose_session_is_killed_leaves_the_old_star(warehouse: Server) -> None:
    load(warehouse, users("a"), source="lake")

    with contextlib.ExitStack() as kept, stuck_in_the_fact(warehouse, 2):
        errors = kept.enter_context(loading(warehouse, users("a", "b", version=2)))
        wait_until(lambda: in_the_fact(warehouse), "the load in its fact")
        (number,) = sessions(warehouse, FILLING)
        run_as_root(warehouse, f"KILL {number}")
        wait_until(lambda: not in_the_fact(warehouse), "the end of the load")

    assert [type(error) for error in errors] == [WarehouseUnreachable]
    assert rows_of(warehouse, f"SELECT snapshot_version, user_id FROM {FACT}") == [(1, "a")]
    assert not load(warehouse, users("a", "b", version=2), source="lake").unchanged
    assert rows_of(warehouse, ORPHANS) == [(0,)]


def test_keys_are_certain_once_the_members_are_there(warehouse: Server) -> None:
    with Connection(warehouse) as connection, SortedRows(resolve_mapping(connection, users("a"))) as rows:
        send_members(connection, [rows])
        with connection.transaction(commit=False):
            assert add_members(connection, rows, True) == (1, ["a"])
            assert are_certain(connection, rows.mapping)


def test_nobody_adds_a_trigger_or_a_key_to_a_fact_that_was_found_certain(warehouse: Server) -> None:
    hasty = dataclasses.replace(as_root(warehouse), lock_wait_s=1)
    fact = "fact_product_purchase_counts"  # it has no dimension, whose merge would hold it as well
    with Connection(warehouse) as connection, connection.transaction(commit=False):
        assert are_certain(connection, resolve_mapping(connection, snapshot("product_purchase_counts", PRODUCTS, [])))
        for change in (
            f"CREATE TRIGGER t BEFORE INSERT ON {fact} FOR EACH ROW SET NEW.avg_price = 1",
            f"ALTER TABLE {fact} ADD FOREIGN KEY (product_id) REFERENCES dim_users (user_id)",
        ):
            with Connection(hasty) as other, pytest.raises(WarehouseBusy):
                other.run(change)
