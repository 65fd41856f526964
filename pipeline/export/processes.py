"""Processes of this machine that stage tasks. They end with this process, or a moment after it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Pipe

from pipeline.errors import WorkerLost

_SERVE = (
    "import sys; sys.path[:] = {path!r}; from pipeline.start import import_quickly; import_quickly(); "
    "from pipeline.export.worker import serve; serve({descriptor})"
)


@dataclass(frozen=True)
class Processes:
    """See `engine.Engine`."""

    workers: int = 1

    def start(self) -> Process:
        return Process()

    def close(self) -> None:
        """They share nothing."""


class Process:
    """See `engine.Worker`."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            serve = _SERVE.format(path=sys.path, descriptor=theirs.fileno())
            # In its own session, so that Ctrl-C reaches this process alone, which then stops the worker.
            self._process = subprocess.Popen(
                [sys.executable, "-c", serve],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def lost(self) -> WorkerLost:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return WorkerLost(
            f"a process that staged rows {how}; what was committed before stays",
            "run the same command again; where that happens again, look whether memory is short, or set "
            "EXPORT_WORKERS=1",
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self.connection.close()
