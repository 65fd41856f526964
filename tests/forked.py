"""A script as a process of its own, without the second that its imports take.

A server that has everything imported forks a process for each run. That process becomes what `python SCRIPT.py` is:
its environment, folder, arguments and files are those of the run, and the interpreter ends it, not we. What is there
to see of a real start (imports, missing packages, Ctrl-C before the first line) is tested with real starts.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.start import leave_out_pandas

_ROOT = Path(__file__).resolve().parent.parent
_HEAVY = ("deltalake", "duckdb", "mysql.connector", "pyarrow.dataset", "pyarrow.parquet", "rich.progress", "requests")
"""What scripts import when they come to need it."""


def run_forked(
    script: Path, arguments: Sequence[str], env: Mapping[str, str], cwd: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Runs a script of the project to its end; its environment is `env` and nothing else."""
    umask = os.umask(0o077)
    os.umask(umask)
    run = {"script": str(script), "arguments": arguments, "env": dict(env), "cwd": str(cwd), "umask": umask}
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with theirs:
            socket.send_fds(_server(), [b"r"], [theirs.fileno(), out.fileno(), err.fileno()])
        ours.settimeout(timeout_s)
        with ours.makefile("rw", encoding="utf-8") as channel:
            print(json.dumps(run), file=channel, flush=True)
            pid = int(channel.readline())
            try:
                status = int(channel.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(
            [str(script), *arguments], os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode()
        )


@functools.cache
def _server() -> socket.socket:
    """The way to the server, which ends when this process does."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-W", "error", "-c", "from tests.forked import serve; serve()"]
    server = subprocess.Popen(command, stdin=theirs.fileno(), cwd=_ROOT)
    theirs.close()

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


def serve() -> None:
    """Forks a process for each run that is asked for; returns in those, when their script has ended."""
    import_everything()
    gc.freeze()
    with socket.socket(fileno=0) as asked:
        while True:
            word, files, _, _ = socket.recv_fds(asked, 1, 3)
            if not word:
                return
            if os.fork() == 0:
                break
            for file in files:
                os.close(file)
            _reap()
        asked.detach()
    _run_and_report(*files)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def import_everything() -> None:
    """Imports what any script may come to need, and nothing that none does."""
    leave_out_pandas()
    for module in modules_of_scripts():
        with contextlib.suppress(ImportError):  # a test says so better
            importlib.import_module(module)


def modules_of_scripts() -> list[str]:
    rooms = (_ROOT / "pipeline", _ROOT / "commands")
    package = [path for room in rooms for path in room.rglob("*.py") if path.name != "__init__.py"]
    paths = [*sorted(package), *sorted(_ROOT.glob("*.py"))]
    return [*_HEAVY, "tests.support", *(".".join(path.relative_to(_ROOT).with_suffix("").parts) for path in paths)]


def _run_and_report(answers: int, out: int, err: int) -> None:
    with socket.socket(fileno=answers) as back, back.makefile("rw", encoding="utf-8") as channel:
        run = json.loads(channel.readline())
        if (pid := os.fork()) != 0:
            print(pid, file=channel, flush=True)
            print(os.waitpid(pid, 0)[1], file=channel, flush=True)
            os._exit(0)
    gc.unfreeze()  # what is frozen when the interpreter ends counts as leaked
    _become(run, out, err)
    runpy.run_path(run["script"], run_name="__main__")


def _become(run: Mapping[str, Any], out: int, err: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for standard, file in enumerate((nothing, out, err)):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(run["cwd"])
    os.umask(run["umask"])
    os.environ.clear()
    os.environ.update(run["env"])
    sys.argv = [run["script"], *run["arguments"]]
    sys.path[0] = str(_ROOT)
