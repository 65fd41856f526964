"""The benchmark's harness on a few rows: every way loads what it was given, and wrong rows are seen."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks import waits
from benchmarks.bucket import measure as costs_in_a_bucket
from benchmarks.growth import Figure
from benchmarks.growth import as_table as as_growth_table
from benchmarks.old_lake import ROWS, feeds, make_lake
from benchmarks.page import head
from benchmarks.process import Run
from benchmarks.report import GOALS, LABELS, Measured, as_tables
from benchmarks.rows import make_data_set, totals_of
from benchmarks.runs import GROUPS, Bench, new_warehouse
from benchmarks.warehouse import measure
from benchmarks.ways import WrongRows, bare_load, check_rows, check_snapshots, sync
from demo.private_mysql import PrivateServer
from pipeline.lake.head import entry_time
from pipeline.verify.files import check_files
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.server import Server


@pytest.fixture
def server(mariadb: PrivateServer) -> Server:
    return Server(mariadb.host, mariadb.port, user=mariadb.user, database="bench")


@pytest.mark.long
@pytest.mark.mysql
def test_every_way_leaves_the_rows_that_it_was_given(mariadb: PrivateServer, server: Server, tmp_path: Path) -> None:
    big, small = (make_data_set(tmp_path / str(users), users, seed=1) for users in (40, 3))

    measured = measure("MariaDB", mariadb, Bench(server, big, big, small), list(GROUPS), rounds=1)

    assert [run.way for run in measured.runs] == list(LABELS)
    assert all(run.seconds > 0 and run.peak_bytes > 10_000_000 for run in measured.runs)
    assert measured.server_peak_bytes > 50_000_000
    assert as_tables([measured]).count("| MariaDB |") == len(LABELS) + len(GOALS)


@pytest.mark.mysql
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE bare_fact_user_transaction_summary SET user_id = CONCAT(user_id, 'x') LIMIT 1",
        "DELETE FROM bare_fact_user_transaction_summary LIMIT 1",
        "UPDATE bare_fact_user_transaction_summary SET total_amount = total_amount + 0.01 LIMIT 1",
        "UPDATE bare_dim_users SET user_city = NULL LIMIT 1",
    ],
)
def test_rows_that_differ_are_seen(server: Server, tmp_path: Path, damage: str) -> None:
    data = make_data_set(tmp_path / "rows", users=5, seed=1)
    new_warehouse(server)
    bare_load(server, data, checks=True)
    check_rows(server, totals_of(data.lake), prefix="bare_")
    with Connection(server) as connection:
        connection.run(damage)
        connection.run("COMMIT")

    with pytest.raises(WrongRows):
        check_rows(server, totals_of(data.lake), prefix="bare_")


@pytest.mark.mysql
def test_a_rerun_that_loads_is_seen(server: Server, tmp_path: Path) -> None:
    data = make_data_set(tmp_path / "rows", users=5, seed=1)
    new_warehouse(server)
    for path, snapshots in ((data.lake, 1), (data.lake, 1), (data.changed, 2)):
        sync(server, data, path, "ksqldb", None, days=0)

        check_snapshots(server, snapshots)
    with pytest.raises(WrongRows):
        check_snapshots(server, 1)


def test_one_row_in_twenty_is_another_in_the_next_snapshot(tmp_path: Path) -> None:
    data = make_data_set(tmp_path / "rows", users=20, seed=7)

    before, after = totals_of(data.lake), totals_of(data.changed)

    assert (before.rows, before.users) == (after.rows, after.users) == (200, 20)
    assert after.amount - before.amount == Decimal("0.10")


def test_a_goal_that_is_missed_is_said_in_words() -> None:
    bare = [Run("load, no checks", 100, 1.0, 1), Run("load", 100, 1.5, 1)]
    runs = [Run("sync", 100, 2.0, 1), *bare, Run("row and commit", 10, 10.0, 1)]

    text = as_tables([Measured("MySQL", "9.7", "", 1, runs)])

    assert "| LOAD DATA, no checks | 0.7 | 0.50 | **below the goal** |" in text
    assert "| 30 | 50.00 | met |" in text


def test_a_run_says_how_to_repeat_it() -> None:
    text = head("make bench-warehouse", "5 users", 2, 9, ("pyarrow",), day=dt.date(2026, 11, 20), load=0.25)

    assert "`make bench-warehouse`, 5 users, seed 9, rounds: 2" in text
    assert text.startswith("2026-11-20")
    assert "a load of 0.2 before" in text


def test_both_compressions_are_measured_on_the_same_rows(tmp_path: Path) -> None:
    files = waits.write_files(tmp_path, 2000)
    runs = {"export": [Run("export", 1, 7.25, 90_000_000, 1.5), Run("export", 1, 6.0, 80_000_000, 1.0)]}

    lines = waits.as_tables(runs, files, 2000)

    assert lines[2] == "| `export` | 2 | 6.6 | 6.0 .. 7.2 | 1.2 | 90 |"
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| snappy", "| zstd"]
    assert 0 < files["zstd"][1] < files["snappy"][1]


@pytest.mark.long
def test_an_old_lake_has_a_commit_for_each_hour_in_each_feed(tmp_path: Path) -> None:
    newest = dt.datetime(2026, 11, 20, 6, tzinfo=dt.UTC)

    lake = make_lake(tmp_path, 3, newest, seed=1)

    for feed in feeds():
        table = lake.table(feed)
        times = [entry_time(entry) for entry in table.history()]
        assert times == [newest - dt.timedelta(hours=hours) for hours in range(3)] + [None]
        assert sum(file.row_count for file in table.files) == 3 * ROWS
        assert check_files(table).findings == ()
    assert (tmp_path / "views.sql").read_text(encoding="utf-8").count("CREATE OR REPLACE VIEW") == 12


@pytest.mark.long
@pytest.mark.server
def test_a_lake_in_a_bucket_costs_requests_and_fewer_of_them_when_it_is_compacted(tmp_path: Path) -> None:
    costs = list(costs_in_a_bucket(tmp_path, commits=72, rounds=1, seed=1))

    asked = [sum(cost.requests.values()) for cost in costs if "one day" in cost.what]
    assert [cost.what.rpartition(", ")[2] for cost in costs] == [
        *["as they are"] * 2,
        "by the proxy",
        *["compacted"] * 2,
    ]
    assert asked[0] > asked[1] > 0
    assert all(cost.seconds > 0 and cost.requests["read"] for cost in costs)


def test_a_figure_above_its_goal_is_said_in_words() -> None:
    table = as_growth_table([Figure("this", 1.234, "s", 1), Figure("that", 0.5, "x", 1.2)])

    assert "| this | 1.23 s | 1 | **above the goal** |\n| that | 0.5 x | 1.2 | met |" in table
