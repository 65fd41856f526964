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
from tests.integration.started import when_imported
from tests.support import add_default_feeds

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
