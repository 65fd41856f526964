"""Says at the end of a run how each lost worker ended, and where its threads were if Python knows."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

_FOLDER, _FOUND = pytest.StashKey[Path](), pytest.StashKey[list[str]]()
_PATIENCE_S = 60


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """In the run's own process, before a worker starts: a file for what Python says when the worker dies of a fault."""
    stash = node.config.stash
    if _FOLDER not in stash:
        stash[_FOLDER], stash[_FOUND] = Path(tempfile.mkdtemp(prefix="lost-workers-")), []
        node.config.add_cleanup(lambda: shutil.rmtree(stash[_FOLDER]))
    node.workerinput["faults"] = str(stash[_FOLDER] / node.gateway.id)


def pytest_sessionstart(session: pytest.Session) -> None:
    """In a worker."""
    if (given := getattr(session.config, "workerinput", {}).get("faults")) is not None:
        faulthandler.enable(os.open(given, os.O_WRONLY | os.O_CREAT))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    if error is None:
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        node.gateway._io.popen.wait(_PATIENCE_S)
    ended = _how(node.gateway._io.popen.returncode)
    faults = Path(node.workerinput["faults"])
    known = faults.read_text(encoding="utf-8", errors="replace") if faults.exists() else ""
    node.config.stash[_FOUND].append(f"the worker {node.gateway.id} {ended}\n{known}")


def _how(code: int | None) -> str:
    if code is None:
        return "answers no more, and its process runs"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for each in terminalreporter.config.stash.get(_FOUND, []):
        terminalreporter.section("lost worker", red=True)
        terminalreporter.write(each)
