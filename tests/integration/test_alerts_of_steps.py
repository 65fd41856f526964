"""Alerts of a sync and a verification that are lines of their own, and what one step knows of the others."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.lake.lake import Lake
from tests.integration.commands import command, ran
from tests.integration.one_stream import lake, server
from tests.integration.test_alerts import AWAY, NOW, Inbox, due_problems, inbox, night, quiet_lake
from tests.lake.small_tables import add_version, table_feed
from tests.support import PATIENCE_S, ROOT, folder_of, lake_at

__all__ = ["inbox", "lake", "quiet_lake", "server"]


def sync(root: Path, code: int, *words: str, **env: str) -> None:
    """From a lake whose tables are loaded nowhere else: without MySQL."""
    away = {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "9", "MYSQL_PASSWORD": "x"}
    ran(root, "sync_to_mysql", "--source", "lake", *words, code=code, env=away | env)


@pytest.fixture
def mapped(lake: Path, server: str) -> Path:
    """A lake with an export of today and a table that is loaded into the warehouse."""
    feed = table_feed(warehouse={"fact": "fact_totals", "keys": ["k"], "columns": {"k": "k"}}, enabled=True)
    lake_at(lake).feeds.add(feed)
    ran(lake, "manage_feeds", "disable", "totals")
    add_version(lake_at(lake).table(feed), 1, ["a"], now=NOW)
    night(lake, server, 0)
    ran(lake, "manage_feeds", "enable", "totals")
    return lake


def test_a_line_that_only_syncs_is_told_of_and_an_export_that_is_well_does_not_call_it_well(
    mapped: Path, server: str, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERT_COMMAND", inbox.command)
    sync(mapped, 75)
    waits = inbox.taken()
    sync(mapped, 75, ALERT_AFTER_HOURS="0")
    (wrong,) = inbox.taken()
    ran(mapped, "manage_feeds", "disable", "totals")
    night(mapped, server, 0, ALERT_AFTER_HOURS="0")
    of_export = inbox.taken()
    recorded_run(lake_at(mapped), "sync_to_mysql.py --source lake", 0)
    night(mapped, server, 0)
    (well,) = inbox.taken()

    assert (waits, of_export) == ([], [])
    assert [one["what"] for one in wrong["problems"]] == ["the last sync did not end well"]
    assert (wrong["command"], well["alert"]) == ("sync_to_mysql.py --source lake", "well again")
    assert "127.0.0.1:9" in wrong["problems"][0]["detail"]


def test_an_alert_command_may_have_a_secret_and_is_recorded_nowhere(mapped: Path, inbox: Inbox) -> None:
    ran(mapped, "metadata_utils", "verify", "--alert-command", f"{inbox.command} token")
    ran(mapped, "sync_to_mysql", "--alert-command", f"{inbox.command} token", code=75, env={"KSQLDB_URL": AWAY})
    kept = [path.read_text() for folder in ("runs", "logs") for path in (mapped / folder).iterdir()]

    assert lake_at(mapped).runs.newest(1)[0].command == "sync_to_mysql.py"
    assert not any("token" in text for text in kept)


def test_a_package_that_an_upgrade_has_not_installed_is_told_of(mapped: Path, inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "obstore.py").write_text("raise ModuleNotFoundError('no', name='obstore')")
    (tmp_path / "deltalake.py").write_text("raise ModuleNotFoundError('no', name='deltalake')")
    env = os.environ | {"PYTHONPATH": str(tmp_path), "LAKE_ROOT": str(mapped), "ALERT_COMMAND": inbox.command}
    done = subprocess.run(
        [sys.executable, "export_to_data_lake.py", "--all"],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    (alert,) = inbox.taken()

    assert done.returncode == 1
    assert re.match("error: the package (?:deltalake|obstore) is missing", done.stderr)
    assert re.search("the package (?:deltalake|obstore) is missing", alert["text"])


def test_a_line_that_only_verifies_is_told_of(mapped: Path, inbox: Inbox) -> None:
    table = lake_at(mapped).table(table_feed())
    file = folder_of(table) / table.files[0].path
    whole = file.read_bytes()
    told = []
    for there in (b"", b"", whole, whole):
        file.write_bytes(there)
        ran(mapped, "metadata_utils", "verify", "--alert-command", inbox.command, code=0 if there else 1)
        told.append([(one["alert"], [it["what"] for it in one["problems"]]) for one in inbox.taken()])

    assert told == [[("wrong", ["the last verification found problems"])], [], [("well again", [])], []]


@pytest.mark.parametrize(
    ("script", "words"),
    [("sync_to_mysql", ("--table", "totals")), ("sync_to_mysql", ("--dry-run",)), ("sync_to_mysql", ("history",)),
     ("metadata_utils", ("verify", "totals")), ("metadata_utils", ("verify", "--since", "20261128T000000Z-00000000"))],
)  # fmt: skip
def test_who_looks_at_a_part_gets_no_mail(mapped: Path, inbox: Inbox, script: str, words: tuple[str, ...]) -> None:
    for feed in lake_at(mapped).feeds.list().feeds:
        table = lake_at(mapped).table(feed)
        (folder_of(table) / table.files[0].path).write_bytes(b"")
    env = {"ALERT_COMMAND": inbox.command, "ALERT_AFTER_HOURS": "0", "MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "9"}
    assert command(mapped, script, *words, env=env).exit_code

    assert inbox.taken() == []


def recorded_run(lake: Lake, command_line: str, code: int, result: Any = None) -> None:
    at = dt.datetime.now(dt.UTC)
    run_id = f"{at:%Y%m%dT%H%M%SZ}-{at.microsecond:08}"
    lake.runs.begin(run_id, command_line, at)
    lake.runs.end(run_id, at, {"exit_code": code, "result": result, "errors": []})


SYNCED = {"sync": {"facts": [], "errors": []}}


@pytest.mark.parametrize(
    ("command_line", "result", "is_well"),
    [("sync_to_mysql.py", None, True), ("export_to_data_lake.py --all --then-sync", SYNCED, True),
     ("export_to_data_lake.py --all", {"feeds": []}, False), ("sync_to_mysql.py --table totals", None, False),
     ("sync_to_mysql.py history", None, False)],
)  # fmt: skip
def test_only_a_sync_of_all_tables_makes_up_for_one_that_failed(
    quiet_lake: Lake, command_line: str, result: Any, is_well: bool
) -> None:
    rejected = {"facts": [{"feed": "totals", "fact": "fact_totals", "rejected": 2}]}
    recorded_run(quiet_lake, "sync_to_mysql.py --source lake", 1, rejected)
    recorded_run(quiet_lake, command_line, 0, result)
    found = [(one.what, one.detail) for one in due_problems(quiet_lake)]

    assert found == ([] if is_well else [("the last sync did not end well", "2 rows rejected")])


def test_a_sync_in_the_night_that_failed_is_remembered_after_an_export_that_only_exports(quiet_lake: Lake) -> None:
    error = {"message": "no MySQL", "hint": ""}
    at = NOW - dt.timedelta(hours=5)
    run_id = f"{at:%Y%m%dT%H%M%SZ}-00000000"
    quiet_lake.runs.begin(run_id, "export_to_data_lake.py --all --then-sync", at)
    failed = {"feeds": [], "sync": {"facts": [], "errors": [error]}}
    quiet_lake.runs.end(run_id, at, {"exit_code": 75, "result": failed, "errors": [error]})
    one = due_problems(quiet_lake)
    recorded_run(quiet_lake, "export_to_data_lake.py --all", 0, {"feeds": []})

    assert [(it.what, it.detail) for it in one] == [("the last sync did not end well", "again later: no MySQL")]
    assert due_problems(quiet_lake) == one


def test_a_run_without_an_end_may_have_ended_on_a_full_disk(quiet_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.lake.runs.Holder.is_alive", False)
    quiet_lake.runs.begin(f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-0", "export_to_data_lake.py --all", NOW)
    (problem,) = due_problems(quiet_lake)

    assert problem.detail == "killed, or the disk was full at its end: export_to_data_lake.py --all"


def test_the_subject_counts_what_is_wrong_and_what_went_wrong(mapped: Path, inbox: Inbox) -> None:
    words = {"HEALTH_MIN_FREE_MB": str(10**9), "MYSQL_PASSWORD": "a", "MYSQL_PASSWORD_COMMAND": "b"}
    ran(mapped, "sync_to_mysql", code=1, env=words | {"ALERT_COMMAND": inbox.command})
    (alert,) = inbox.taken()

    assert alert["subject"].endswith(": 1 problem")
    assert alert["problems"][0]["what"] == "little room is left"
    assert len(alert["errors"]) == 1
