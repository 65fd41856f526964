"""Scripts with the layer of `steps.c` below them, forked from one process that has them imported."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from data_lake_config import PROJECT_ROOT
from tests.forked import import_everything
from tests.torture.victim import run_script

_LIMIT_S = 60


class LayeredStarter:
    """Starts scripts one after another; see `layered_starter`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, script: str, arguments: Sequence[str], env: Mapping[str, str], output: Path) -> int:
        """Runs a script to its end, which comes within a minute; returns its exit code, -n for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"script": script, "arguments": list(arguments), "env": dict(env), "output": str(output)}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextlib.contextmanager
def layered_starter(layer: Path) -> Iterator[LayeredStarter]:
    command = [sys.executable, "-m", "tests.torture.layered"]
    env = os.environ | {"LD_PRELOAD": str(layer)}
    with subprocess.Popen(
        command, env=env, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield LayeredStarter(process)
        finally:
            process.kill()


def _serve() -> None:
    import_everything()
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.alarm(_LIMIT_S)
            run_script(job["script"], job["arguments"], job["env"], Path(job["output"]))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
