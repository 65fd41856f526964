"""A month of snapshots: backfill from a lake, rollback, and retention with all that hangs on a snapshot."""

from __future__ import annotations

import dataclasses
import datetime as dt
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.private_mysql import PrivateServer
from ksqldb_emulator.testing import PATIENCE_S
from pipeline.warehouse import retention
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.load import Loaded
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.retention import expire
from pipeline.warehouse.rollback import roll_back
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_history, lake_snapshots, mapping_of
from pipeline.warehouse.sync import SyncRequest, load_one
from tests.support import ROOT, lake_at, wait_until
from tests.warehouse.history import SCHEMAS, State, fact_of, load_history, make_history
from tests.warehouse.lakes import facts_in, write_lake
from tests.warehouse.samples import FEEDS, NOW, rows_of

pytestmark = pytest.mark.mysql

FEEDS_OF_FACTS = [FEEDS[name] for name in SCHEMAS]
FACTS = {feed: fact_of(feed) for feed in SCHEMAS}
OF_A_SNAPSHOT = (*FACTS.values(), "etl_snapshots", "etl_snapshot_facts", "etl_rejects")
CHUNK, NEVER = 10, 10**9

# An expiry that is killed by the power, as it were, when it is about to send its DELETE number N.
KILLED = """
import os, signal, sys
import sync_to_mysql
from pipeline.warehouse import retention
from pipeline.warehouse.connection import Connection

retention.DELETE_ROWS, left, run = int(sys.argv.pop(1)), int(sys.argv.pop(1)), Connection.run

def run_or_die(self, sql, values=()):
    global left
    left -= sql.startswith("DELETE")
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return run(self, sql, values)

Connection.run = run_or_die
sync_to_mysql.main()
"""


@pytest.fixture(scope="module")
def month() -> list[State]:
    """The first 29 states of the history and the last one, numbered by their time."""
    days = sorted(make_history(users=25), key=lambda state: state.taken_at)
    chosen = enumerate([*days[:29], days[-1]], 1)
    return [dataclasses.replace(state, version=place, lake_version=place) for place, state in chosen]


@pytest.fixture(scope="module")
def lake(month: list[State], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lake")
    write_lake(root, month)
    return root


@pytest.fixture(scope="module")
def lake_facts(lake: Path) -> dict[str, dict[int, list[tuple[Any, ...]]]]:
    """The lake's rows by feed and version."""
    return {feed: facts_in(lake, feed) for feed in FACTS}


@pytest.fixture
def full(warehouse: Server, month: list[State]) -> Server:
    """A warehouse with the whole month, and a reject in each snapshot."""
    load_history(warehouse, month)
    with Connection(warehouse) as connection, connection.transaction():
        connection.run(
            "INSERT INTO etl_rejects (snapshot_version, fact_table, row_key, column_name, reason, row_json)"
            " SELECT snapshot_version, 'fact_product_purchase_counts', '{}', 'product_id', 'is NULL', '{}'"
            " FROM etl_snapshots"
        )
    return warehouse


def backfill(server: Server, root: Path) -> list[Loaded]:
    return [
        load_one(server, snapshots, SyncRequest("lake"), NOW)
        for _, snapshots in lake_history(lake_at(root), FEEDS_OF_FACTS)
    ]


def fact_rows(server: Server, feed: str, table: str | None = None) -> dict[int, list[tuple[Any, ...]]]:
    """By snapshot the mapped columns of a fact, or of the view that is named, sorted."""
    columns = ", ".join(mapping_of(FEEDS[feed]).columns)
    found: dict[int, list[tuple[Any, ...]]] = {}
    for version, *row in rows_of(server, f"SELECT snapshot_version, {columns} FROM {table or FACTS[feed]}"):
        found.setdefault(int(version), []).append(tuple(row))
    return {version: sorted(rows, key=repr) for version, rows in found.items()}


def snapshots_left(server: Server) -> dict[str, list[int]]:
    """The snapshots of which each table still has rows."""
    return {
        table: [v for (v,) in rows_of(server, f"SELECT DISTINCT snapshot_version FROM {table} ORDER BY 1")]
        for table in OF_A_SNAPSHOT
    }


def everything_but(server: Server, gone: set[int]) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, without those of these snapshots."""
    kept = ", ".join(["0", *(str(version) for version in range(1, 31) if version not in gone)])
    there = {
        table: rows_of(server, f"SELECT * FROM {table} WHERE snapshot_version IN ({kept}) ORDER BY 1, 2")
        for table in OF_A_SNAPSHOT
    }
    others = ("dim_users", "dim_payment_methods", "etl_current", "etl_rollbacks")
    return there | {table: rows_of(server, f"SELECT * FROM {table} ORDER BY 1") for table in others}


@pytest.mark.long
def test_a_backfill_of_thirty_versions_equals_the_lake_value_by_value(
    warehouse: Server,
    private_server: PrivateServer,
    lake: Path,
    lake_facts: dict[str, dict[int, list[tuple[Any, ...]]]],
    month: list[State],
) -> None:
    server = dataclasses.replace(warehouse, socket=private_server.socket)

    loads, again = backfill(server, lake), backfill(server, lake)

    assert [loaded.version for loaded in loads] == list(range(1, 31))
    assert all(loaded.unchanged for loaded in again)
    query = "SELECT snapshot_version, snapshot_date, taken_at, source, status FROM etl_snapshots ORDER BY 1"
    assert rows_of(server, query) == [
        (state.version, state.day, state.taken_at.replace(tzinfo=None), "lake", "complete") for state in month
    ]
    for feed, fact in FACTS.items():
        assert len(lake_facts[feed]) == 30
        assert fact_rows(server, feed) == lake_facts[feed], fact
        dates = f"SELECT DISTINCT snapshot_version, snapshot_date FROM {fact} ORDER BY 1"
        assert rows_of(server, dates) == [(state.version, state.day) for state in month]
    assert rows_of(server, "SELECT DISTINCT snapshot_version FROM etl_current") == [(30,)]
    rejects = "SELECT snapshot_version, fact_table FROM etl_rejects"
    assert rows_of(server, rejects) == [(30, "fact_product_purchase_counts")]


def test_rollback_shows_the_whole_old_star_until_newer_rows_are_loaded(
    warehouse: Server, lake: Path, lake_facts: dict[str, dict[int, list[tuple[Any, ...]]]], month: list[State]
) -> None:
    load_history(warehouse, [*month[:19], *month[20:29]])  # the lake's version 20 was never loaded
    with Connection(warehouse) as connection:
        for snapshot in lake_snapshots(lake_at(lake), FEEDS_OF_FACTS, 29):
            _are_of(connection, snapshot)
        roll_back(connection, 10, NOW)

    def shown() -> dict[str, dict[int, list[tuple[Any, ...]]]]:
        views = {feed: fact.replace("fact_", "current_", 1) for feed, fact in FACTS.items()}
        return {feed: fact_rows(warehouse, feed, view) for feed, view in views.items()}

    def star(snapshot: int, lake_version: int) -> dict[str, dict[int, list[tuple[Any, ...]]]]:
        return {feed: {snapshot: lake_facts[feed][lake_version]} for feed in FACTS}

    assert shown() == star(10, 10)
    known = load_one(warehouse, lake_snapshots(lake_at(lake), FEEDS_OF_FACTS, 29), SyncRequest("lake"), NOW)
    assert (known.unchanged, shown() == star(10, 10)) == (True, True)
    older = load_one(warehouse, lake_snapshots(lake_at(lake), FEEDS_OF_FACTS, 20), SyncRequest("lake"), NOW)
    assert (older.unchanged, shown() == star(10, 10)) == (False, True)
    newer = load_one(warehouse, lake_snapshots(lake_at(lake), FEEDS_OF_FACTS, 30), SyncRequest("lake"), NOW)
    assert newer.version is not None
    assert shown() == star(newer.version, 30)
    moves = rows_of(warehouse, "SELECT fact_table, from_version, to_version FROM etl_rollbacks ORDER BY 1")
    assert moves == [(fact, 29, 10) for fact in sorted(FACTS.values())]


def _are_of(connection: Connection, snapshot: TableSnapshot) -> None:
    """Has the ledger know a feed's snapshots as versions of this lake, and the one of that version by its files."""
    connection.run("UPDATE etl_snapshot_facts SET lake_id = %s WHERE feed = %s", (snapshot.lake_id, snapshot.feed))
    connection.run(
        "UPDATE etl_snapshot_facts SET lake_files = %s WHERE feed = %s AND lake_version = %s",
        (snapshot.lake_files, snapshot.feed, snapshot.lake_version),
    )


@pytest.mark.parametrize(("keep", "days"), [(10, None), (3, 40)])
def test_expiry_takes_all_of_a_snapshot_and_nothing_else(
    full: Server, month: list[State], keep: int | None, days: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "DELETE_ROWS", CHUNK)
    newest = {state.version for state in month[-(keep or 0) :]} if keep else set()
    young = {state.version for state in month if days and NOW - state.taken_at < dt.timedelta(days=days)}
    gone = {state.version for state in month} - newest - young - {5}
    assert 5 < len(gone) < 28
    with Connection(full) as connection:
        roll_back(connection, 5, NOW)
        before = everything_but(full, gone)

        expired = expire(connection, keep, days, NOW)

    assert expired == sorted(gone)
    left = [state.version for state in month if state.version not in gone]
    assert snapshots_left(full) == dict.fromkeys(OF_A_SNAPSHOT, left)
    assert everything_but(full, gone) == before
    assert rows_of(full, "SELECT DISTINCT snapshot_version FROM current_payment_method_totals") == [(5,)]


@pytest.mark.long
def test_an_expiry_that_is_killed_between_its_chunks_is_finished_by_the_next(
    full: Server, month: list[State], lake_root: Path
) -> None:
    gone = set(range(1, 26))
    before = everything_but(full, gone)
    chunks = sum(len(month[0].rows[feed]) // CHUNK + 1 for feed in FACTS) + 2

    # In the first fact of the first snapshot, before its ledger row goes, and two snapshots further on.
    for number in (2, chunks - 2, 3 * chunks):
        assert run_killed(full, lake_root, number).returncode == -signal.SIGKILL
        wait_for_the_lock(full)
        marked = rows_of(full, "SELECT snapshot_version FROM etl_snapshots WHERE status = 'expiring'")
        first = rows_of(full, "SELECT MIN(snapshot_version) FROM etl_snapshots")
        assert marked == first
        assert everything_but(full, gone) == before
        days = "SELECT COUNT(DISTINCT snapshot_version), MIN(snapshot_version) FROM snapshot_days"
        ((count, oldest),) = rows_of(full, days)
        assert (oldest, oldest + count) == (first[0][0] + 1, 31)

    assert run_killed(full, lake_root, NEVER).returncode == 0
    left = [26, 27, 28, 29, 30]
    assert snapshots_left(full) == dict.fromkeys(OF_A_SNAPSHOT, left)
    assert everything_but(full, gone) == before


def run_killed(server: Server, lake_root: Path, number: int) -> subprocess.CompletedProcess[str]:
    """`expire --keep-snapshots 5`, killed at its DELETE of that number."""
    where = ["--mysql-host", server.host, "--mysql-port", str(server.port), "--database", server.database]
    command = [sys.executable, "-c", KILLED, str(CHUNK), str(number), *where, "expire", "--keep-snapshots", "5"]
    env = {"LAKE_ROOT": str(lake_root), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [*command, "--yes"], cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def wait_for_the_lock(server: Server) -> None:
    """Until the server has noticed that the killed client is gone, as a person waits before the next try."""
    held = f"SELECT IS_USED_LOCK('ksqldb-lake warehouse sync {server.database}')"
    wait_until(lambda: rows_of(server, held)[0][0] is None, "the freed lock of the killed client")
