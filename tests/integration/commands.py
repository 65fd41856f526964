"""The scripts run inside the test's own process: as many commands as a test likes, at the price of a few."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from click.testing import CliRunner, Result

FAST = {
    "QUIET_S": "0.5",
    "STALL_S": "20",
    "SNAPSHOT_RECHECK_S": "0",
    "KSQLDB_RETRY_S": "0",
    "KSQLDB_TIMEOUT_S": "10",
    "COLUMNS": "200",
}


def command(root: Path, script: str, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    """What the script printed, and its exit code; a traceback is in `exception`."""
    main = importlib.import_module(script).main
    return CliRunner().invoke(main, arguments, env=FAST | {"LAKE_ROOT": str(root)} | dict(env or {}))


def ran(root: Path, script: str, *arguments: str, code: int = 0, env: Mapping[str, str] | None = None) -> Result:
    """As `command`, for one whose exit code is known."""
    done = command(root, script, *arguments, env=env)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code == code, done.output
    return done
