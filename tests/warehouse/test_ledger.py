"""Snapshots over time: backfill, rollback, retention, and lake versions that were written again."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import sync_to_mysql
from pipeline.errors import LakeWentBack, RetentionNotGiven, SnapshotUnknown
from pipeline.warehouse import retention
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import list_snapshots
from pipeline.warehouse.load import Loaded, load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.retention import expire
from pipeline.warehouse.rollback import roll_back
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import NOW, USERS, load, method, methods, rows_of, snapshot, user

pytestmark = pytest.mark.mysql

CURRENT = "SELECT transaction_count, snapshot_version FROM current_payment_method_totals"


def lake_version(version: int, written_day: int, loaded_day: int | None = None) -> tuple[TableSnapshot, dt.datetime]:
    """Version `version` of payment methods with that count, and the time of its load."""
    taken = methods(method("card", version), version=version, days=written_day)
    return taken, NOW + dt.timedelta(days=written_day if loaded_day is None else loaded_day)


def load_at(server: Server, taken: TableSnapshot, now: dt.datetime, source: str = "lake") -> Any:
    with Connection(server) as connection:
        return load_star(connection, [taken], source, now)


def test_older_lake_versions_are_added_without_moving_the_views(warehouse: Server) -> None:
    load_at(warehouse, *lake_version(5, 5))

    older = load_at(warehouse, *lake_version(2, 2, loaded_day=6))

    assert (older.version, older.facts[0].is_newest) == (2, False)
    assert rows_of(warehouse, CURRENT) == [(5, 1)]
    dates = "SELECT snapshot_version, snapshot_date FROM fact_payment_method_totals ORDER BY 1"
    assert rows_of(warehouse, dates) == [(1, dt.date(2026, 11, 25)), (2, dt.date(2026, 11, 22))]


def test_each_fact_goes_by_the_time_of_its_own_rows(warehouse: Server) -> None:
    """A star may join rows of several days: an old lake version beside a young one moves no view back."""
    young = snapshot("user_transaction_summary", USERS, [user("a")], 9, days=9)
    load_at(warehouse, *lake_version(8, 8))

    with Connection(warehouse) as connection:
        loaded = load_star(connection, [lake_version(3, 3)[0], young], "lake", NOW + dt.timedelta(days=9))
        again = load_star(connection, [lake_version(8, 8)[0], young], "lake", NOW + dt.timedelta(days=9))

    assert [fact.is_newest for fact in (*loaded.facts, *again.facts)] == [False, True, True, True]
    assert rows_of(warehouse, CURRENT) == [(8, 3)]


def test_older_rows_fill_gaps_of_a_dimension_and_overwrite_nothing(warehouse: Server) -> None:
    def users(version: int, *rows: dict[str, Any]) -> TableSnapshot:
        return snapshot("user_transaction_summary", USERS, list(rows), version, days=version)

    load_at(warehouse, users(5, user("a", user_name="New")), NOW + dt.timedelta(days=9))
    load_at(warehouse, users(2, user("a", user_name="Old", user_city="Rome"), user("b")), NOW + dt.timedelta(days=9))

    listed = "SELECT user_id, user_name, user_city FROM dim_users ORDER BY 1"
    assert rows_of(warehouse, listed) == [("a", "New", "Rome"), ("b", "Ada", None)]


def test_a_lake_version_that_was_written_again_is_loaded_again(warehouse: Server) -> None:
    load_at(warehouse, *lake_version(3, 1))
    again = methods(method("card", 30), version=3, days=2)

    loaded = load_at(warehouse, again, NOW + dt.timedelta(days=2))

    assert (loaded.version, loaded.unchanged) == (2, False)
    assert rows_of(warehouse, CURRENT) == [(30, 2)]


def test_the_same_rows_of_ksqldb_are_loaded_again_on_another_day(warehouse: Server) -> None:
    days = [methods(method("card", 1), days=days) for days in (0, 0, 1)]

    loads = [load_at(warehouse, taken, taken.taken_at, "ksqldb") for taken in days]

    assert [(loaded.version, loaded.unchanged) for loaded in loads] == [(1, False), (1, True), (2, False)]


def test_the_same_rows_of_ksqldb_count_as_loaded_only_where_one_snapshot_holds_them_all(warehouse: Server) -> None:
    some, others = methods(method("card")), snapshot("user_transaction_summary", USERS, [user("a")])
    load(warehouse, some)
    load(warehouse, others)

    together = load(warehouse, some, others)

    assert (together.version, together.unchanged) == (3, False)
    assert load(warehouse, some, others).unchanged


def test_the_same_lake_versions_count_as_loaded_only_where_one_snapshot_holds_them_all(warehouse: Server) -> None:
    some, others = methods(method("card"), version=1), snapshot("user_transaction_summary", USERS, [user("a")], 1)
    for each in (some, others):
        load(warehouse, each, source="lake")

    together = load(warehouse, some, others, source="lake")
    alone = load(warehouse, some, source="lake")

    assert (together.version, together.unchanged) == (3, False)
    assert (alone.version, alone.unchanged) == (3, True)


@pytest.mark.parametrize("count", [4, 40])
def test_a_version_number_that_a_restored_lake_uses_again_is_refused(warehouse: Server, count: int) -> None:
    """Versions 1 to 5 are loaded, then the lake is restored from a backup of version 3 and exports its next one.

    The views would go on showing version 5, which the lake no longer has, also where the new version 4 holds the rows
    that the lost one held.
    """
    for version in (4, 5):
        load_at(warehouse, *lake_version(version, version))
    restored = dataclasses.replace(methods(method("card", count), version=4, days=6), lake_newest=4)

    with pytest.raises(LakeWentBack, match="payment_method_totals is at version 4, and version 5 of it") as raised:
        load_at(warehouse, restored, NOW + dt.timedelta(days=6))

    assert raised.value.exit_code == 1
    assert raised.value.hint == "python export_to_data_lake.py --table payment_method_totals --version 6"
    assert rows_of(warehouse, CURRENT) == [(5, 2)]
    above = dataclasses.replace(methods(method("card", count), version=6, days=7), lake_newest=6)
    load_at(warehouse, above, NOW + dt.timedelta(days=7))
    assert rows_of(warehouse, CURRENT) == [(count, 3)]


def test_an_old_version_of_a_lake_that_has_newer_ones_is_no_restored_lake(warehouse: Server) -> None:
    load_at(warehouse, *lake_version(5, 5))
    old = dataclasses.replace(lake_version(2, 2)[0], lake_newest=5)
    another = dataclasses.replace(methods(method("card", 7), version=3, days=6, lake="another lake"), lake_newest=3)

    assert load_at(warehouse, old, NOW).version == 2
    assert load_at(warehouse, another, NOW).version == 3


def test_versions_are_loaded_in_order_and_once(warehouse: Server) -> None:
    for _ in range(2):
        for version in range(1, 9):
            load_at(warehouse, *lake_version(version, version, loaded_day=40))

    assert rows_of(warehouse, "SELECT COUNT(*), MAX(snapshot_version) FROM etl_snapshots") == [(8, 8)]
    assert rows_of(warehouse, CURRENT) == [(8, 8)]


def test_rollback_moves_the_views_is_recorded_and_ends_with_newer_data(warehouse: Server) -> None:
    for version in (1, 2, 3):
        load_at(warehouse, *lake_version(version, version))

    with Connection(warehouse) as connection:
        assert roll_back(connection, 1, NOW, dry_run=True)
        assert rows_of(warehouse, CURRENT) == [(3, 3)]
        moves = roll_back(connection, 1, NOW)
        assert roll_back(connection, 1, NOW) == []

    assert [(move.before, move.after) for move in moves] == [(3, 1)]
    assert rows_of(warehouse, CURRENT) == [(1, 1)]
    recorded = "SELECT done_at, fact_table, from_version, to_version FROM etl_rollbacks"
    assert rows_of(warehouse, recorded) == [(NOW.replace(tzinfo=None), "fact_payment_method_totals", 3, 1)]
    assert load_at(warehouse, *lake_version(3, 3)).unchanged
    assert rows_of(warehouse, CURRENT) == [(1, 1)]
    load_at(warehouse, *lake_version(4, 4))
    assert rows_of(warehouse, CURRENT) == [(4, 4)]


def test_the_same_rows_after_a_rollback_are_loaded_for_their_dimensions(warehouse: Server) -> None:
    def load_city(city: str) -> Loaded:
        return load(warehouse, snapshot("user_transaction_summary", USERS, [user("a", user_city=city)]))

    assert [load_city(city).version for city in ("Paris", "Lyon")] == [1, 2]
    with Connection(warehouse) as connection:
        roll_back(connection, 1, NOW)

    assert (load_city("Paris").version, load_city("Paris").unchanged) == (3, True)
    assert rows_of(warehouse, "SELECT user_city FROM dim_users") == [("Paris",)]


def test_rollback_leaves_the_views_of_facts_that_the_snapshot_does_not_hold(warehouse: Server) -> None:
    load(warehouse, methods(method("card", 1)))
    load(warehouse, methods(method("card", 2)), snapshot("user_transaction_summary", USERS, [user("a")]))

    with Connection(warehouse) as connection:
        roll_back(connection, 1, NOW)

    assert rows_of(warehouse, CURRENT) == [(1, 1)]
    assert rows_of(warehouse, "SELECT snapshot_version FROM current_user_transaction_summary") == [(2,)]


def test_rollback_to_a_snapshot_that_is_not_there_names_those_that_are(warehouse: Server) -> None:
    load(warehouse, methods(method("card")))

    with Connection(warehouse) as connection, pytest.raises(SnapshotUnknown, match="no complete snapshot 7") as raised:
        roll_back(connection, 7, NOW)

    assert raised.value.hint == "it has: 1"


@pytest.mark.parametrize(
    ("keep", "days", "left"), [(2, None, [4, 5]), (None, 3, [3, 4, 5]), (4, 3, [2, 3, 4, 5]), (1, 1, [5])]
)
def test_expiry_deletes_what_no_rule_keeps(
    warehouse: Server, keep: int | None, days: int | None, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DELETE_ROWS", 2)
    for version in range(1, 6):
        rows = [method(name, version) for name in ("card", "cash", "paypal", "a", "b")]
        load_at(warehouse, methods(*rows, method(None), version=version, days=version), NOW + dt.timedelta(days=9))

    with Connection(warehouse) as connection:
        gone = expire(connection, keep, days, NOW + dt.timedelta(days=6, hours=-1))

    assert gone == [version for version in range(1, 6) if version not in left]
    for table in ("fact_payment_method_totals", "etl_snapshots", "etl_snapshot_facts", "etl_rejects"):
        found = rows_of(warehouse, f"SELECT DISTINCT snapshot_version FROM {table} ORDER BY 1")
        assert [version for (version,) in found] == left


def test_expiry_keeps_what_a_view_shows_and_finishes_what_was_cut_short(warehouse: Server) -> None:
    for version in range(1, 5):
        load_at(warehouse, *lake_version(version, version))
    with Connection(warehouse) as connection:
        roll_back(connection, 1, NOW)
        with connection.transaction():
            connection.run("UPDATE etl_snapshots SET status = 'expiring' WHERE snapshot_version = 3")
            connection.run("DELETE FROM fact_payment_method_totals WHERE snapshot_version = 3")
        with pytest.raises(SnapshotUnknown):
            roll_back(connection, 3, NOW)

        assert expire(connection, 1, None, NOW) == [2, 3]
        assert [entry.version for entry in list_snapshots(connection)] == [4, 1]
        with pytest.raises(RetentionNotGiven):
            expire(connection, None, None, NOW)


def command(server: Server, lake_root: Path, *words: str) -> Result:
    where = ["--mysql-host", server.host, "--mysql-port", str(server.port), "--database", server.database]
    result = CliRunner().invoke(sync_to_mysql.main, [*where, *words], env={"LAKE_ROOT": str(lake_root)})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_a_fact_that_was_dropped_does_not_keep_its_snapshots_from_expiring(warehouse: Server) -> None:
    load_at(warehouse, *lake_version(1, 1))
    load_at(warehouse, *lake_version(2, 2))
    with Connection(as_root(warehouse)) as connection:
        connection.run("DROP TABLE fact_payment_method_totals")

    with Connection(warehouse) as connection:
        assert expire(connection, 1, None, NOW) == [1]
        assert [entry.version for entry in list_snapshots(connection)] == [2]


def test_commands_show_history_roll_back_and_expire(warehouse: Server, lake_root: Path) -> None:
    for version in (1, 2, 3):
        load_at(warehouse, *lake_version(version, version))

    back = command(warehouse, lake_root, "rollback", "--to-snapshot", "2")
    refused = command(warehouse, lake_root, "expire", "--keep-snapshots", "1")
    dry = command(warehouse, lake_root, "expire", "--keep-snapshots", "1", "--dry-run")
    done = command(warehouse, lake_root, "expire", "--keep-snapshots", "1", "--yes")
    shown = command(warehouse, lake_root, "history")

    assert back.stdout == "fact_payment_method_totals: snapshot 3 -> 2\n"
    assert (refused.exit_code, "add --yes" in refused.stderr) == (2, True)
    assert dry.stdout == "snapshots to delete: 1\nNothing was changed.\n"
    assert done.stdout == "snapshots to delete: 1\n1 snapshot deleted\n"
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["3", "2"]
    assert lines[5:] == ["The views of these facts show snapshot 2:", "  fact_payment_method_totals"]
