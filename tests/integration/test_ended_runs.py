"""What is recorded of a run that a signal ends, at whatever moment, or whose lines nobody reads."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.definitions import build
from demo.events import generate
from ksqldb_emulator.testing import Emulator, running
from tests.integration.commands import ran
from tests.integration.started import unread, when_imported
from tests.support import add_default_feeds, lake_at

STAYS = "what was committed stays, the next run goes on from there"
INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM)"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running(build(generate(60, dt.date(2026, 11, 20), seed=4))) as server:
        yield server


def last_run(root: Path) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(ran(root, "metadata_utils", "runs", "--json").stdout)["runs"][0]
    return run


def test_a_signal_while_the_threads_of_an_export_start_is_recorded(lake_root: Path, emulator: Emulator) -> None:
    add_default_feeds(lake_root)
    when_one_starts = f"""
import threading
start = threading.Thread.start
def start_one(thread):
    if thread.name == "feeds-1":
        {TERMINATE}
    start(thread)
threading.Thread.start = start_one
"""
    env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}

    done = when_imported("export_to_data_lake", "click", when_one_starts, "--all", "--jobs", "3", env=env)

    assert (done.returncode, done.stderr.splitlines()[-1]) == (143, f"terminated: {STAYS}"), done.stderr
    assert last_run(lake_root)["state"] == "stopped"


@pytest.mark.parametrize(("happens", "code", "word"), [(INTERRUPT, 130, "interrupted"), (TERMINATE, 143, "terminated")])
@pytest.mark.parametrize("module", ["pipeline.ksqldb.client", "msgspec._core"])
def test_a_signal_while_a_recorded_export_imports_a_module_is_recorded(
    lake_root: Path, emulator: Emulator, module: str, happens: str, code: int, word: str
) -> None:
    add_default_feeds(lake_root)
    env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}

    done = when_imported("export_to_data_lake", module, happens, "--all", env=env)

    assert (done.returncode, done.stderr.splitlines()[-1]) == (code, f"{word}: {STAYS}"), done.stderr
    assert last_run(lake_root)["state"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "works"),
    [
        (["sql", "SELECT 1"], "pipeline.query.answering"),
        (["verify"], "pipeline.verify.verification.verify_feeds"),
    ],
)
def test_a_command_that_commits_nothing_does_not_say_that_something_stays(
    lake_root: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], works: str
) -> None:
    def ctrl_c(*_: object) -> None:
        raise KeyboardInterrupt

    add_default_feeds(lake_root)
    monkeypatch.setattr(works, ctrl_c)

    done = ran(lake_root, "metadata_utils", *arguments, code=130)

    assert (done.stdout, done.stderr) == ("", "interrupted\n")


def test_an_export_whose_lines_nobody_reads_to_the_end_is_recorded_as_what_it_did(
    lake_root: Path, emulator: Emulator
) -> None:
    add_default_feeds(lake_root)
    env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": emulator.url}

    done = unread("export_to_data_lake.py", "--all", env=env, with_stderr=True)

    recorded = last_run(lake_root)
    assert (done.returncode, recorded["state"], recorded["errors"]) == (0, "ok", [])
    assert len(recorded["result"]["feeds"]) == 8


def test_a_change_that_nobody_reads_of_is_done(lake_root: Path) -> None:
    add_default_feeds(lake_root)

    done = unread("manage_feeds.py", "delete", "payment_method_totals", "--confirm", env={"LAKE_ROOT": str(lake_root)})

    assert (done.returncode, done.stderr) == (0, "")
    assert "payment_method_totals" not in [feed.name for feed in lake_at(lake_root).feeds.list().feeds]
    assert last_run(lake_root)["state"] == "ok"


def test_what_is_wrong_is_an_exit_code_for_who_reads_no_line(lake_root: Path) -> None:
    add_default_feeds(lake_root)
    (lake_root / "feeds/active/broken.json").write_text("{", encoding="utf-8")

    assert ran(lake_root, "manage_feeds", "list", code=1).stdout
    assert unread("manage_feeds.py", "list", env={"LAKE_ROOT": str(lake_root)}).returncode == 1
    assert unread("manage_feeds.py", "--help", env={"LAKE_ROOT": str(lake_root)}).returncode == 0


@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_rows_of_a_query_end_when_nobody_reads_them(lake_root: Path, form: str) -> None:
    add_default_feeds(lake_root)
    endless = "SELECT r FROM range(1000000000000) AS rows(r)"

    done = unread("metadata_utils.py", "sql", endless, "--format", form, env={"LAKE_ROOT": str(lake_root)})

    assert (done.returncode, done.stderr) == (0, "")
