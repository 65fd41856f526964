"""A night in one command: export, sync, verification; what fails stops nothing that can be done without it."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_lake_config import DEFAULT_FEEDS
from demo.definitions import build
from demo.events import generate
from demo.private_mysql import PrivateServer
from ksqldb_emulator.testing import Emulator, running
from pipeline.export import run as runs
from pipeline.export.commit import ExportResult
from pipeline.lake.lock import hold_run
from pipeline.warehouse.server import Server
from tests.integration.commands import ran
from tests.support import add_default_feeds, lake_at
from tests.warehouse.accounts import made_warehouse
from tests.warehouse.samples import rows_of

NIGHT = ("--all", "--then-sync", "--then-verify")
AWAY = {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "9"}
STREAM, TABLE = "transaction_stream", "payment_method_totals"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(60, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Path:
    """A lake of a stream and a table, after one night without a warehouse."""
    root = tmp_path_factory.mktemp("night") / "lake"
    for feed in DEFAULT_FEEDS:
        if feed.name in (STREAM, TABLE):
            lake_at(root).feeds.add(feed)
    night(root, emulator, 75, **AWAY)
    return root


def night(root: Path, emulator: Emulator | None, code: int, *words: str, **env: str) -> dict[str, Any]:
    url = emulator.url if emulator else "http://127.0.0.1:9"
    done = ran(root, "export_to_data_lake", *NIGHT, "--json", *words, code=code, env={"KSQLDB_URL": url} | env)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def env_of(server: Server) -> dict[str, str]:
    names = {"host": "MYSQL_HOST", "port": "MYSQL_PORT", "user": "MYSQL_USER", "password": "MYSQL_PASSWORD"}
    return {name: str(getattr(server, field)) for field, name in names.items()} | {"MYSQL_DATABASE": server.database}


def test_without_mysql_the_lake_is_exported_and_verified_all_the_same(exported: Path) -> None:
    (run,) = lake_at(exported).runs.newest(5)

    assert (run.exit_code, run.state) == (75, "again later")
    assert run.command.startswith("export_to_data_lake.py --all --then-sync --then-verify")
    assert {feed["status"] for feed in run.result["feeds"]} == {"ok"}
    assert run.result["sync"]["snapshot_version"] is None
    assert "127.0.0.1" in run.result["sync"]["errors"][0]["message"]
    assert run.result["verify"]["findings"] == run.result["verify"]["errors"] == []
    assert run.result["error"] is None


def test_without_the_source_the_newest_versions_are_verified_and_the_run_says_why(exported: Path) -> None:
    found = night(exported, None, 75, **AWAY)

    assert found["feeds"] == []
    assert "127.0.0.1:9" in found["error"]["message"]
    assert found["verify"]["findings"] == []


def test_what_this_run_committed_is_verified_and_nothing_else(
    exported: Path, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, env = shutil.copytree(exported, tmp_path / "lake"), {"KSQLDB_URL": emulator.url}
    (old,) = root.glob(f"tables/{TABLE}/version=1/*.parquet")
    cut_short(old)
    good = ran(root, "export_to_data_lake", "--all", "--then-verify", env=env)
    before, real = set(root.glob(f"tables/{TABLE}/*/*.parquet")), ExportResult.commit

    def damaging(done: ExportResult, table: Any, *arguments: Any) -> None:
        real(done, table, *arguments)
        if table.feed.name == TABLE:
            (new,) = set(root.glob(f"tables/{TABLE}/*/*.parquet")) - before
            cut_short(new)

    monkeypatch.setattr(ExportResult, "commit", damaging)
    bad = ran(root, "export_to_data_lake", "--all", "--then-verify", code=1, env=env)

    assert "what is new is verified: 1 file, " in good.stdout
    assert f"{TABLE}: 1 problem" in bad.stdout
    assert f"metadata_utils.py repair {TABLE}" in bad.stdout


def test_files_since_a_run_are_verified(exported: Path, emulator: Emulator) -> None:
    ran(exported, "export_to_data_lake", "--table", TABLE, env={"KSQLDB_URL": emulator.url})
    newest = lake_at(exported).runs.newest(1)[0].id

    one = ran(exported, "metadata_utils", "verify", TABLE, "--since", newest).stdout
    none = ran(exported, "metadata_utils", "verify", TABLE, "--since", "2036-01-01").stdout

    assert one == f"{TABLE}: ok; 1 new file read, 7 rows\n"
    assert none == f"{TABLE}: ok; 0 new files read, 0 rows\n"
    ran(exported, "metadata_utils", "verify", "--since", "yesterday", code=2)


@pytest.mark.parametrize("words", [("--table", TABLE, "--then-sync"), ("--all", "--then-verify", "--dry-run")])
def test_steps_that_would_count_for_nothing_are_refused(exported: Path, words: tuple[str, ...]) -> None:
    assert "go with --all, and not with --dry-run" in ran(exported, "export_to_data_lake", *words, code=2).stderr


def test_a_second_night_at_once_does_nothing(exported: Path, emulator: Emulator) -> None:
    with hold_run(exported, {"command": "the first"}):
        done = ran(exported, "export_to_data_lake", *NIGHT, code=75, env=AWAY | {"KSQLDB_URL": emulator.url})

    assert "held by another run" in done.stderr
    assert done.stdout == ""


def test_a_night_loads_what_it_exported_and_a_failed_feed_keeps_its_last_version(
    lake_root: Path, emulator: Emulator, mariadb: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = made_warehouse(
        Server(host=mariadb.host, port=mariadb.port, user=mariadb.user, password=mariadb.password, database="one_night")
    )
    add_default_feeds(lake_root)
    first = night(lake_root, emulator, 0, **env_of(server))
    real = runs.export_table

    def failing(sources: Any, table: Any, *arguments: Any) -> None:
        if table.feed.name == TABLE:
            raise ZeroDivisionError
        real(sources, table, *arguments)

    monkeypatch.setattr(runs, "export_table", failing)
    second = night(lake_root, emulator, 1, **env_of(server))

    assert first["sync"]["snapshot_version"] == 1
    assert {fact["lake_version"] for fact in first["sync"]["facts"]} == {1}
    assert {fact["feed"]: fact["lake_version"] for fact in second["sync"]["facts"]}[TABLE] == 1
    assert sorted(fact["lake_version"] for fact in second["sync"]["facts"]) == [1, 2, 2, 2]
    assert rows_of(server, "SELECT COUNT(*) FROM etl_snapshots") == [(2,)]
    assert second["verify"]["findings"] == []
