"""The scripts started as processes, as a shell does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from ksqldb_emulator.testing import PATIENCE_S
from tests.support import ROOT

_QUICK = {"KSQLDB_RETRY_S": "0", "SNAPSHOT_RECHECK_S": "0", "QUIET_S": "0.5"}
WHEN_IMPORTED = """
import importlib.abc, os, runpy, signal, sys
script, module, happens = sys.argv[1:4]
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            exec(happens, globals())
sys.meta_path.insert(0, Watch())
sys.argv = [script, *sys.argv[4:]]
sys.path[0] = os.path.dirname(script)
runpy.run_path(script, run_name="__main__")
"""
"""Runs a script as `python SCRIPT.py` does, and does something when it imports a module."""


def run(*words: str, env: Mapping[str, str] | None = None, redirect: str = "") -> subprocess.CompletedProcess[str]:
    line = f'exec "$0" "$@" {redirect}'
    return subprocess.run(
        ["sh", "-c", line, sys.executable, *words],
        env=os.environ | _QUICK | dict(env or {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def unread(*words: str, env: Mapping[str, str], with_stderr: bool = False) -> subprocess.CompletedProcess[str]:
    """As `run`, with stdout, or both streams, in a pipe whose reader has gone, as behind `head`."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        return subprocess.run(
            [sys.executable, *words],
            env=os.environ | _QUICK | dict(env),
            cwd=ROOT,
            stdout=pipe,
            stderr=subprocess.STDOUT if with_stderr else subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )


def when_imported(
    script: str, module: str, happens: str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return run("-c", WHEN_IMPORTED, str(ROOT / f"{script}.py"), module, happens, *arguments, env=env)
