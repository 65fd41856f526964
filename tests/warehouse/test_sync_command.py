"""`sync_to_mysql.py` and its commands as a person meets them: what they change, say, log, and how they end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import sync_to_mysql
from pipeline.warehouse.server import Server
from tests.support import add_default_feeds, lake_at, log_of
from tests.warehouse.accounts import as_maker
from tests.warehouse.history import State, make_history
from tests.warehouse.lakes import write_lake
from tests.warehouse.samples import FEEDS, load, method, methods, rows_of

pytestmark = pytest.mark.mysql

SHOWN = "SELECT snapshot_version FROM etl_current"
SNAPSHOTS = "SELECT snapshot_version FROM etl_snapshots ORDER BY 1"


def command(server: Server, lake_root: Path, *words: str, **env: str) -> Result:
    """A run in this process; what it raises besides exits is raised here too."""
    settings = {
        "LAKE_ROOT": str(lake_root), "MYSQL_HOST": server.host, "MYSQL_PORT": str(server.port),
        "MYSQL_USER": server.user, "MYSQL_PASSWORD": server.password, "MYSQL_DATABASE": server.database,
    }  # fmt: skip
    result = CliRunner().invoke(sync_to_mysql.main, list(words), env=settings | env)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def one_json(result: Result) -> dict[str, Any]:
    shown = json.loads(result.stdout)
    assert isinstance(shown, dict) and shown["schema_version"] == 1
    return shown


@pytest.fixture
def three_snapshots(warehouse: Server) -> Server:
    for count in (1, 2, 3):
        load(warehouse, methods(method("card", count), days=count))
    return warehouse


@pytest.fixture(scope="module")
def states() -> list[State]:
    return make_history(users=5)[:2]


@pytest.fixture
def small_lake(lake_root: Path, states: list[State]) -> Path:
    for feed in FEEDS.values():
        lake_at(lake_root).feeds.add(feed)
    write_lake(lake_root, states)
    return lake_root


@pytest.mark.parametrize("words", [("--dry-run", "expire", "--yes"), ("expire", "--yes", "--dry-run")])
def test_a_dry_run_deletes_nothing_wherever_it_is_asked_for(
    three_snapshots: Server, lake_root: Path, words: tuple[str, ...]
) -> None:
    done = command(three_snapshots, lake_root, *words, "--keep-snapshots", "1")

    assert (done.exit_code, done.stdout) == (0, "snapshots to delete: 1, 2\nNothing was changed.\n")
    assert rows_of(three_snapshots, SNAPSHOTS) == [(1,), (2,), (3,)]
    assert not lake_root.exists()


@pytest.mark.parametrize("words", [("--dry-run", "rollback"), ("rollback", "--dry-run")])
def test_a_dry_run_moves_no_view_wherever_it_is_asked_for(
    three_snapshots: Server, lake_root: Path, words: tuple[str, ...]
) -> None:
    done = command(three_snapshots, lake_root, *words, "--to-snapshot", "1")

    assert done.stdout == "fact_payment_method_totals: snapshot 3 -> 1\nNothing was changed.\n"
    assert rows_of(three_snapshots, SHOWN) == [(3,)]
    assert rows_of(three_snapshots, "SELECT * FROM etl_rollbacks") == []


def test_each_command_prints_one_json_object_wherever_it_is_asked_for(three_snapshots: Server, lake_root: Path) -> None:
    history = one_json(command(three_snapshots, lake_root, "--json", "history"))
    moved = one_json(command(three_snapshots, lake_root, "--json", "rollback", "--to-snapshot", "2"))
    gone = one_json(command(three_snapshots, lake_root, "expire", "--keep-snapshots", "1", "--yes", "--json"))

    assert [entry["version"] for entry in history["snapshots"]] == [3, 2, 1]
    assert moved["moves"] == [{"fact": "fact_payment_method_totals", "before": 3, "after": 2}]
    assert (gone["snapshots"], gone["dry_run"]) == ([1], False)


def test_an_option_of_loads_is_refused_before_a_command(three_snapshots: Server, lake_root: Path) -> None:
    done = command(three_snapshots, lake_root, "--table", "payment_method_totals", "history")

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: --table does not go with the command history\nhint: leave it out\n"


@pytest.mark.parametrize("number", ["36501", "99999999999", "9" * 25])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("expire", "--yes", "--keep-days"), 2),
        (("expire", "--yes", "--keep-snapshots"), 0),
        (("rollback", "--to-snapshot"), 2),
        (("redate", "--yes", "--snapshot"), 2),
        (("--source", "lake", "--lake-version"), 2),
    ],
)
def test_a_number_that_nobody_can_mean_changes_nothing(
    three_snapshots: Server, small_lake: Path, words: tuple[str, ...], code: int, number: str
) -> None:
    done = command(three_snapshots, small_lake, *words, number)

    assert done.exit_code == code, done.output
    assert rows_of(three_snapshots, SNAPSHOTS) == [(1,), (2,), (3,)]
    assert rows_of(three_snapshots, SHOWN) == [(3,)]


def test_what_was_done_is_in_the_log(warehouse: Server, small_lake: Path) -> None:
    command(warehouse, small_lake, "--source", "lake", "--all-versions")
    command(warehouse, small_lake, "rollback", "--to-snapshot", "1")
    command(warehouse, small_lake, "rollback", "--to-snapshot", "2")
    command(warehouse, small_lake, "expire", "--keep-snapshots", "1", "--yes")

    logged = log_of(Path(os.environ["MYSQL_SYNC_LOG_DIR"]).parent, "mysql_sync")
    for said in ("Loaded as snapshot 2.", "snapshot 2 -> 1", "1 snapshot deleted"):
        assert said in logged


def test_a_sync_that_can_keep_neither_log_nor_record_goes_on(
    warehouse: Server, small_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_lake / "runs").write_text("in the way")  # a folder of mode 0555 does not stop root
    monkeypatch.setenv("MYSQL_SYNC_LOG_DIR", str(small_lake / "runs"))

    done = command(warehouse, small_lake, "--source", "lake")

    assert done.exit_code == 0
    assert "warning: this run keeps no log" in done.stderr
    assert "warning: this run is not recorded" in done.stderr
    assert "Loaded as snapshot 1." in done.stdout


def test_a_feed_file_with_a_typo_keeps_no_other_table_from_being_loaded(warehouse: Server, small_lake: Path) -> None:
    (small_lake / "feeds" / "active" / "payment_method_totals.json").write_text("{")

    every = command(warehouse, small_lake, "--source", "lake")
    named = command(warehouse, small_lake, "--source", "lake", "--table", "product_purchase_counts")

    assert (every.exit_code, named.exit_code) == (1, 0)
    assert "payment_method_totals" in every.stderr
    assert every.stdout.endswith("Loaded as snapshot 1.\n")
    assert rows_of(warehouse, "SELECT COUNT(*) FROM etl_snapshot_facts WHERE snapshot_version = 1") == [(3,)]


@pytest.mark.parametrize("words", [("--lake-version", "99"), ("--table", "nope"), ("--table", "transaction_stream")])
def test_wrong_usage_is_found_before_the_schema_is_touched(
    empty_server: Server, small_lake: Path, words: tuple[str, ...]
) -> None:
    done = command(empty_server, small_lake, "--init-schema", "--source", "lake", *words)

    assert done.exit_code == 2
    there = f"SELECT 1 FROM information_schema.schemata WHERE schema_name = '{empty_server.database}'"
    assert rows_of(Server(**vars(empty_server) | {"database": "mysql"}), there) == []


def test_a_stream_is_refused_with_a_hint_that_names_tables(warehouse: Server, lake_root: Path) -> None:
    add_default_feeds(lake_root)

    done = command(warehouse, lake_root, "--table", "transaction_stream")

    assert "only tables go into the warehouse" in done.stderr
    assert "name table feeds: payment_method_totals," in done.stderr


def test_a_dry_run_says_which_schema_files_it_would_apply(warehouse: Server, small_lake: Path) -> None:
    fresh = as_maker(Server(**vars(warehouse) | {"database": "warehouse_not_there"}))

    lacking = command(fresh, small_lake, "--source", "lake", "--init-schema", "--dry-run")
    there = command(warehouse, small_lake, "--source", "lake", "--init-schema", "--dry-run", "--json")

    assert "01_create_database.sql would be applied" in lacking.stderr
    assert (lacking.exit_code, lacking.stdout) == (0, "Nothing was changed.\n")
    assert len(one_json(there)["facts"]) == 4
    assert rows_of(warehouse, SNAPSHOTS) == []
