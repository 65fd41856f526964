"""What a command keeps of itself: the log, the ledger of runs, and the options that all scripts have."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ksqldb_emulator.dataset import Dataset, Record
from ksqldb_emulator.testing import running
from pipeline import VERSION
from pipeline.cli import new_run_id
from tests.forked import run_forked
from tests.integration.commands import command, ran
from tests.integration.small_sources import START_MS, a_stream
from tests.integration.test_group_options import SCRIPTS, entry, groups
from tests.support import PATIENCE_S, ROOT, add_default_feeds, feed_for, lake_at, log_of

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING|ERROR) \d+ \d{8}T\d{6}Z-[0-9a-f]{8} ")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    stream = a_stream([Record(0, n, START_MS, {"ID": n, "TEXT": "x"}) for n in range(3)])
    with running(Dataset([stream])) as emulator:
        yield emulator.url


@pytest.fixture
def lake(lake_root: Path) -> Path:
    lake_at(lake_root).feeds.add(feed_for(a_stream([])))
    return lake_root


def runs(root: Path, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ran(root, "metadata_utils", "runs", "--json", *words).stdout)["runs"]
    return found


def test_a_run_is_recorded_with_its_result_its_command_and_its_end(lake: Path, server: str) -> None:
    done = ran(lake, "export_to_data_lake", "--stream", "s", "--json", env={"KSQLDB_URL": server})

    (run,) = runs(lake)
    assert run["command"] == "export_to_data_lake.py --stream s --json"
    assert (run["state"], run["exit_code"], run["rows"], run["errors"]) == ("ok", 0, 3, [])
    assert run["result"] == json.loads(done.stdout)


def test_runs_of_one_second_have_names_in_the_order_of_their_begin() -> None:
    begin = dt.datetime(2026, 11, 28, 1, tzinfo=dt.UTC)
    names = [new_run_id(begin + dt.timedelta(milliseconds=n)) for n in range(1000)]

    assert names == sorted(names)


def test_a_failed_run_is_recorded_with_its_errors(lake: Path) -> None:
    ran(lake, "export_to_data_lake", "--all", code=75, env={"KSQLDB_URL": "http://127.0.0.1:9"})

    (run,) = runs(lake, "--failed")
    assert (run["state"], run["exit_code"]) == ("again later", 75)
    assert "127.0.0.1:9" in run["errors"][0]["message"]
    shown = ran(lake, "metadata_utils", "runs").stdout
    assert run["errors"][0]["message"][:30] in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_killed_run_is_shown_as_killed(lake: Path) -> None:
    killed = run_forked(ROOT / "tests" / "integration" / "killed_run.py", [str(lake)], {}, ROOT, PATIENCE_S)
    assert killed.returncode == -9, killed.stderr

    (run,) = runs(lake)
    assert (run["state"], run["exit_code"], run["ended_at"]) == ("killed", None, None)


def test_a_recorded_command_is_as_it_was_typed(lake: Path, server: str) -> None:
    words = ["--all", "--max-runtime", "14400"]
    ran(lake, "export_to_data_lake", *words, env={"KSQLDB_URL": server})

    assert runs(lake)[0]["command"] == " ".join(["export_to_data_lake.py", *words])


def test_what_changes_nothing_is_not_recorded(lake: Path, server: str) -> None:
    ran(lake, "export_to_data_lake", "--all", "--dry-run", env={"KSQLDB_URL": server})
    ran(lake, "metadata_utils", "--stats")

    assert runs(lake) == []
    assert not (lake / "runs").exists()


def test_no_secret_is_recorded(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQL_HOST", "127.0.0.1")
    add_default_feeds(lake)
    command(lake, "sync_to_mysql", "--mysql-port", "9", "--mysql-password", "hunter2", "--source", "lake")

    recorded = b"".join(path.read_bytes() for path in lake.glob("runs/*"))
    assert b"sync_to_mysql.py --source lake" in recorded
    assert b"hunter2" not in recorded


def test_words_that_are_no_text_are_recorded_as_escapes(lake: Path) -> None:
    command(lake, "manage_feeds", "add", "--name", "x", "--type", "stream", "--source", "X", "--owner", "\udcff")

    assert r"\udcff" in runs(lake)[0]["command"]
    assert "begin: manage_feeds.py add" in log_of(lake, "manage_feeds")


def test_each_line_of_a_log_has_time_level_process_and_run(lake: Path, server: str) -> None:
    ran(lake, "export_to_data_lake", "--all", env={"KSQLDB_URL": server})
    command(lake, "metadata_utils", "rollback", "s", "--to-version", "1")

    exported, upkeep = log_of(lake, "export_to_data_lake"), log_of(lake, "metadata_utils")
    assert all(LINE.match(line) for line in [*exported.splitlines(), *upkeep.splitlines()])
    assert "begin: export_to_data_lake.py --all" in exported
    assert "end: exit code 0" in exported
    assert " ERROR " in upkeep and "(hint: " in upkeep


def test_a_log_of_json_lines(lake: Path, server: str) -> None:
    ran(lake, "export_to_data_lake", "--all", "--log-format", "json", env={"KSQLDB_URL": server})

    lines = [json.loads(line) for line in log_of(lake, "export_to_data_lake").splitlines()]
    assert {"at", "level", "pid", "run", "message"} == set(lines[0])
    assert lines[-1]["message"].startswith("end: exit code 0")


@pytest.mark.parametrize(("place", "said"), [("logs", "this run keeps no log"), ("runs", "this run is not recorded")])
def test_a_log_or_a_ledger_that_cannot_be_written_stops_nothing(lake: Path, server: str, place: str, said: str) -> None:
    (lake / place).write_text("no folder", encoding="utf-8")

    for words in (("export_to_data_lake", "--all"), ("metadata_utils", "verify", "--deep")):
        done = ran(lake, *words, env={"KSQLDB_URL": server})
        assert done.stderr.count(f"warning: {said}: ") == 1


def test_a_fault_is_in_the_log_with_its_traceback_and_the_exit_code(
    lake: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.export.run.export_feeds", lambda *_: 1 / 0)
    command(lake, "export_to_data_lake", "--all", "--log-format", "json", env={"KSQLDB_URL": server})

    lines = [json.loads(line) for line in log_of(lake, "export_to_data_lake").splitlines()]
    (fault,) = [line for line in lines if "traceback" in line]
    assert fault["level"] == "error"
    assert fault["traceback"].endswith("ZeroDivisionError: division by zero")
    assert lines[-1]["message"].startswith("end: exit code 1 after ")
    (run,) = runs(lake, "--failed")
    assert run["errors"][0]["message"] == "a fault of this program (ZeroDivisionError)"


def test_only_a_year_of_logs_is_kept(lake: Path, server: str) -> None:
    (lake / "logs").mkdir()
    months = [f"{year}-{month:02d}" for year in (2024, 2025) for month in range(1, 13)]
    for month in months:
        (lake / "logs" / f"export_to_data_lake_{month}.log").touch()
    (lake / "logs" / "notes.log").touch()

    ran(lake, "export_to_data_lake", "--all", env={"KSQLDB_URL": server})

    kept = sorted(path.name for path in (lake / "logs").glob("export_to_data_lake_*"))
    assert len(kept) == 13
    assert kept[0] == "export_to_data_lake_2025-01.log"
    assert (lake / "logs" / "notes.log").exists()


def test_quiet_shows_results_and_errors_only(lake: Path, server: str) -> None:
    done = ran(lake, "export_to_data_lake", "--all", "-q", env={"KSQLDB_URL": server, "COMMIT_ROWS": "1"})
    failed = ran(lake, "export_to_data_lake", "--all", "-q", code=75, env={"KSQLDB_URL": "http://127.0.0.1:9"})

    assert (done.stdout.splitlines()[-1], done.stderr) == ("1 feed exported, 3 rows", "")
    assert failed.stderr.startswith("error: ")


def handlers() -> list[logging.Handler]:
    return list(logging.getLogger("pipeline").handlers)


def test_verbose_shows_requests_and_commits_and_logs_them(lake: Path, server: str) -> None:
    env = {"KSQLDB_URL": server, "KSQLDB_USER": "u", "KSQLDB_PASSWORD": "hunter2"}
    done = ran(lake, "export_to_data_lake", "--all", "--verbose", env=env)
    ran(lake, "export_to_data_lake", "--all", env=env)

    debug = [line for line in done.stderr.splitlines() if " debug: " in line]
    request = re.compile(r"[-\d]{10}T[:.\d]{12}Z debug: ksqlDB: POST /ksql: 200 after [.\d]+ s: DESCRIBE .*")
    assert any(map(request.fullmatch, debug))
    assert any("debug: commit: version 1 of " in line for line in debug)
    assert len([line for line in log_of(lake, "export_to_data_lake").splitlines() if " DEBUG " in line]) == len(debug)
    assert "end: exit code 0" in log_of(lake, "export_to_data_lake").splitlines()[-1]
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("words", [("-v", "history", "s"), ("history", "s", "-v"), ("history", "-v", "s")])
def test_verbose_may_stand_before_or_after_the_name_of_a_command(lake: Path, words: tuple[str, ...]) -> None:
    before = handlers()

    ran(lake, "metadata_utils", *words)

    assert handlers() == before


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("export_to_data_lake", ("--verbose", "--jobs", "none")),
        ("metadata_utils", ("-v", "history", "--nonsense")),
        ("metadata_utils", ("history", "s", "-v", "--nonsense")),
        ("sync_to_mysql", ("-v", "history", "--source", "lake")),
        ("metadata_utils", ("-v", "history", "nobody")),
    ],
)
def test_a_command_that_is_not_carried_out_leaves_no_handler(lake: Path, script: str, words: tuple[str, ...]) -> None:
    before = handlers()

    ran(lake, script, *words, code=2)

    assert handlers() == before


def test_verbose_shows_the_traceback_of_a_fault_where_no_log_is_kept(
    lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("pipeline.report.model.describe_feed", broken)

    done = ran(lake, "metadata_utils", "--stats", "-v", code=1)

    assert "ZeroDivisionError: a fault" in done.stderr


def every_command() -> Iterator[Any]:
    for script in SCRIPTS:
        main = entry(script)
        yield pytest.param(script, [], main, id=script)
        for group in groups(main):
            for name, below in group.commands.items():
                yield pytest.param(script, [name], below, id=f"{script} {name}")


@pytest.mark.parametrize(("script", "words", "found"), list(every_command()))
def test_every_command_has_the_options_that_all_have(script: str, words: list[str], found: click.Command) -> None:
    assert {"--quiet", "--verbose", "--log-format", "--version"} <= {
        name for option in found.params for name in option.opts
    }
    main = importlib.import_module(script).main

    if script != "export_to_data_lake":  # there it is the version that a snapshot gets
        assert CliRunner().invoke(main, [*words, "--version"]).stdout == f"{VERSION}\n"
    assert CliRunner().invoke(main, [*words, "-h"]).stdout.startswith("Usage: ")
