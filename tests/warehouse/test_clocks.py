"""Clocks that are wrong, and lakes that look alike: the warehouse goes by versions, identity and one clock."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ClockWrong, LakeWentBack, NoTimeForSnapshot
from pipeline.warehouse.clock import agreed_now, not_after
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.ledger import in_mysql
from pipeline.warehouse.load import Loaded, load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.redate import redate
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_snapshots
from tests.support import lake_at
from tests.warehouse.history import State, make_history
from tests.warehouse.lakes import write_lake
from tests.warehouse.samples import FEEDS, NOW, USERS, method, methods, rows_of, snapshot, user
from tests.warehouse.test_sync_command import command

pytestmark = pytest.mark.mysql

COUNT = "SELECT transaction_count, snapshot_version FROM current_payment_method_totals"
DAY, MINUTE = dt.timedelta(days=1), dt.timedelta(minutes=1)


def server_now(server: Server) -> dt.datetime:
    moment = rows_of(server, "SELECT UTC_TIMESTAMP(3)")[0][0]
    assert isinstance(moment, dt.datetime)
    return moment.replace(tzinfo=dt.UTC)


def load_now(server: Server, taken: TableSnapshot, now: dt.datetime, source: str = "ksqldb", **options: Any) -> Loaded:
    """As `sync_to_mysql.py` does it, on a machine whose clock says `now`."""
    with Connection(server) as connection:
        agreed = agreed_now(connection, now)
        at = agreed if source == "ksqldb" else taken.taken_at
        (star,) = not_after([TableSnapshot(**vars(taken) | {"taken_at": at})], agreed)
        return load_star(connection, [star], source, agreed, **options)


def test_an_export_host_with_a_clock_ahead_has_its_version_loaded_once(warehouse: Server) -> None:
    now = server_now(warehouse)
    ahead = TableSnapshot(**vars(methods(method("card"), version=3)) | {"taken_at": now + 5 * MINUTE})

    first = load_now(warehouse, ahead, now, "lake")
    again = load_now(warehouse, ahead, now + MINUTE, "lake")

    assert (first.unchanged, again.unchanged) == (False, True)
    assert rows_of(warehouse, "SELECT taken_at <= UTC_TIMESTAMP(3) + INTERVAL 1 MINUTE FROM etl_snapshots") == [(1,)]


def test_a_later_version_is_newer_whatever_the_lakes_clock_said(warehouse: Server) -> None:
    with Connection(warehouse) as connection:
        load_star(connection, [methods(method("card", 7), version=7, days=2)], "lake", NOW)
        loaded = load_star(connection, [methods(method("card", 8), version=8, days=1)], "lake", NOW)

    assert loaded.facts[0].is_newest
    assert rows_of(warehouse, COUNT) == [(8, 2)]
    times = rows_of(warehouse, "SELECT taken_at FROM etl_snapshots ORDER BY snapshot_version")
    assert times[0] <= times[1]
    days = "SELECT snapshot_version FROM snapshot_days WHERE days_back = 0"
    assert rows_of(warehouse, days) == [(2,)]


def test_another_lake_with_the_same_versions_is_loaded(warehouse: Server, lake_root: Path, tmp_path: Path) -> None:
    states: list[State] = make_history(users=3)[:2]
    write_lake(lake_root, states[:1])
    write_lake(tmp_path / "other", [State(**vars(states[1]) | {"version": states[0].version})])
    feeds = [FEEDS["payment_method_totals"]]

    with Connection(warehouse) as connection:
        one = load_star(connection, lake_snapshots(lake_at(lake_root), feeds, None), "lake", NOW)
        other = load_star(connection, lake_snapshots(lake_at(tmp_path / "other"), feeds, None), "lake", NOW)
        again = load_star(connection, lake_snapshots(lake_at(tmp_path / "other"), feeds, None), "lake", NOW)

    assert (one.version, other.version, other.unchanged) == (1, 2, False)
    assert (again.version, again.unchanged) == (2, True)
    kept = rows_of(warehouse, "SELECT lake_id FROM etl_snapshot_facts ORDER BY snapshot_version")
    assert kept == [(lake_at(root).table(feeds[0]).id,) for root in (lake_root, tmp_path / "other")]


def test_a_lake_that_is_restored_from_an_older_backup_is_refused_until_its_numbers_are_free_again(
    warehouse: Server, lake_root: Path, tmp_path: Path
) -> None:
    feeds, states = [FEEDS["payment_method_totals"]], make_history(users=3)
    first, second = (State(**vars(state) | {"version": number}) for number, state in enumerate(states[:2], 1))
    write_lake(lake_root, [first, second])
    backup = tmp_path / "backup"
    write_lake(backup, [first])
    (lake,) = lake_snapshots(lake_at(lake_root), feeds, None)
    (restored,) = lake_snapshots(lake_at(backup), feeds, None)
    restored = dataclasses.replace(restored, lake_id=lake.lake_id)  # as a copy of the folder has it

    with Connection(warehouse) as connection:
        load_star(connection, [lake], "lake", NOW)
        with pytest.raises(LakeWentBack, match="is at version 1, and version 2 of it is in the warehouse"):
            load_star(connection, [restored], "lake", NOW)
        (older,) = lake_snapshots(lake_at(lake_root), feeds, 1)
        assert load_star(connection, [older], "lake", NOW).version == 2


def test_a_version_that_the_lake_took_back_is_loaded_again(warehouse: Server) -> None:
    """Written, written again, then restored from a backup: the views show what the lake has now."""
    first, second = (methods(method("card", count), version=3, days=count) for count in (1, 2))

    with Connection(warehouse) as connection:
        loads = [load_star(connection, [taken], "lake", NOW) for taken in (first, second, first, first)]

    assert [loaded.unchanged for loaded in loads] == [False, False, False, True]
    assert rows_of(warehouse, COUNT) == [(1, 3)]


def test_a_line_without_identity_is_known_by_its_rows_and_from_then_on_by_its_files(warehouse: Server) -> None:
    rows, other = methods(method("card", 1), version=3), methods(method("card", 2), version=3)
    with Connection(warehouse) as connection:
        load_star(connection, [rows], "lake", NOW)
        with connection.transaction():
            connection.run("UPDATE etl_snapshot_facts SET lake_id = NULL, lake_files = NULL, moved_view = NULL")

        assert load_star(connection, [rows], "lake", NOW, dry_run=True).unchanged
        assert rows_of(warehouse, "SELECT lake_id FROM etl_snapshot_facts") == [(None,)]
        assert load_star(connection, [rows], "lake", NOW).unchanged
        assert rows_of(warehouse, "SELECT lake_id, lake_files FROM etl_snapshot_facts") == [("a lake", rows.lake_files)]
        assert load_star(connection, [other], "lake", NOW).version == 2


@pytest.mark.parametrize("is_known", [True, False])
def test_a_version_that_was_written_again_is_shown_and_keeps_its_own_time(warehouse: Server, is_known: bool) -> None:
    first, second = (methods(method("card", count), version=3, days=days) for count, days in ((1, 2), (2, 1)))
    with Connection(warehouse) as connection:
        load_star(connection, [first], "lake", NOW)
        if not is_known:  # as in a ledger from before lakes had an identity
            with connection.transaction():
                connection.run("UPDATE etl_snapshot_facts SET lake_id = NULL, lake_files = NULL, moved_view = NULL")
        load_star(connection, [second], "lake", NOW)

    assert rows_of(warehouse, COUNT) == [(2, 2)]
    days = rows_of(warehouse, "SELECT snapshot_date FROM etl_snapshots ORDER BY snapshot_version")
    assert days == [((NOW + 2 * DAY).date(),), ((NOW + DAY).date(),)]


def test_a_read_from_ksqldb_is_never_older_than_the_ledger(warehouse: Server) -> None:
    now = server_now(warehouse)
    load_now(warehouse, methods(method("card", 1)), now + 10 * MINUTE)

    loaded = load_now(warehouse, methods(method("card", 2)), now)

    assert loaded.facts[0].is_newest
    assert rows_of(warehouse, COUNT) == [(2, 2)]
    assert rows_of(warehouse, "SELECT MAX(taken_at) FROM etl_snapshots")[0][0] == in_mysql(
        now + 10 * MINUTE + dt.timedelta(milliseconds=1)
    )


@pytest.mark.parametrize("days", [-2, 2, 1500])
def test_a_clock_that_is_a_day_away_from_the_servers_is_refused(warehouse: Server, days: int) -> None:
    with pytest.raises(ClockWrong, match="this machine's clock says") as raised:
        load_now(warehouse, methods(method("card")), server_now(warehouse) + days * DAY)

    assert raised.value.exit_code == 1
    assert rows_of(warehouse, "SELECT * FROM etl_snapshots") == []


def loaded_in_the_future(server: Server) -> None:
    """A good snapshot, then two with a clock years ahead, as versions without a guard have left them."""
    now = server_now(server)
    times = [now - DAY, now + 1500 * DAY, now + 1501 * DAY]
    with Connection(server) as connection:
        for at, city in zip(times, ["Lyon", "Rome", "Bern"], strict=True):
            rows = snapshot("user_transaction_summary", USERS, [user("a", user_city=city)])
            load_star(connection, [TableSnapshot(**vars(rows) | {"taken_at": at})], "ksqldb", at, scd2={"dim_users"})


def test_a_ledger_with_snapshots_from_the_future_gets_well_by_the_commands_that_the_hints_name(
    warehouse: Server, lake_root: Path
) -> None:
    loaded_in_the_future(warehouse)

    for version in (2, 3):
        with pytest.raises(ClockWrong, match=f"snapshot {version} of the warehouse is from the future") as raised:
            load_now(warehouse, methods(method("card")), server_now(warehouse))
        words = raised.value.hint.split()
        assert words[:2] == ["python", "sync_to_mysql.py"]
        assert command(warehouse, lake_root, *words[2:]).exit_code == 0
    rome = snapshot("user_transaction_summary", USERS, [user("a", user_city="Oslo")])
    loaded = load_now(warehouse, rome, server_now(warehouse), scd2={"dim_users"})

    assert loaded.facts[0].is_newest
    assert rows_of(warehouse, "SELECT user_city FROM dim_users") == [("Oslo",)]
    told_cities = "SELECT user_city, is_current FROM dim_users_history ORDER BY valid_from"
    assert rows_of(warehouse, told_cities) == [("Lyon", 0), ("Rome", 0), ("Bern", 0), ("Oslo", 1)]
    broken = "SELECT COUNT(*) FROM dim_users_history WHERE valid_to <= valid_from"
    gaps = "SELECT COUNT(*) FROM dim_users_history AS h WHERE NOT is_current AND NOT EXISTS (SELECT 1 FROM"
    assert rows_of(warehouse, broken) == [(0,)]
    assert rows_of(warehouse, f"{gaps} dim_users_history AS n WHERE n.valid_from = h.valid_to)") == [(0,)]
    wrong = "SELECT COUNT(*) FROM fact_user_transaction_summary AS f JOIN etl_snapshots AS s USING (snapshot_version)"
    assert rows_of(warehouse, f"{wrong} WHERE f.snapshot_date <> DATE(s.taken_at)") == [(0,)]


def test_a_snapshot_gets_no_time_that_changes_the_order(warehouse: Server) -> None:
    loaded_in_the_future(warehouse)
    now = server_now(warehouse)

    with Connection(warehouse) as connection:
        for version, at in [(2, now + MINUTE), (2, now - 2 * DAY), (3, now), (1, now + DAY)]:
            with pytest.raises(NoTimeForSnapshot, match=f"snapshot {version} cannot be of"):
                redate(connection, version, at)
        redate(connection, 2, now - MINUTE, dry_run=True)

    assert rows_of(warehouse, "SELECT COUNT(*) FROM etl_snapshots WHERE taken_at > UTC_TIMESTAMP()") == [(2,)]


def test_redating_asks_for_yes(warehouse: Server, lake_root: Path) -> None:
    done = command(warehouse, lake_root, "redate", "--snapshot", "1", "--taken-at", "2026-11-20")

    assert (done.exit_code, "add --yes" in done.stderr) == (2, True)
