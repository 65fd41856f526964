"""One run of one way in its own process, with its time, CPU and memory."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("spawn")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """One run of one way. The memory is the client's peak, with Python and all libraries.

    `cpu_seconds` are of all its threads and of the processes that it has waited for, in the kernel too; 0 where they
    were not measured. `server_cpu_seconds` are those of the server meanwhile.
    """

    way: str
    rows: int
    seconds: float
    peak_bytes: int
    cpu_seconds: float = 0
    server_cpu_seconds: float = 0

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a row."""
        return self.cpu_seconds / self.rows * 1e6


class Failed(RuntimeError):
    """A way ended with an error, so there is nothing to measure."""


def run_command(
    way: str, rows: int, command: Sequence[str], environment: Mapping[str, str], server_pid: int | None = None
) -> Run:
    """A command from its start to its end, with Python's own start and all imports. Raises Failed."""
    before = cpu_seconds(server_pid) if server_pid else 0.0
    started = time.monotonic()
    with subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.read().decode()
        except BaseException:
            process.kill()
            raise
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        raise Failed(f"{way} ended with {process.returncode}: {said}")
    served = cpu_seconds(server_pid) - before if server_pid else 0.0
    return Run(way, rows, seconds, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime, served)


def without_native(folder: Path) -> str:
    """The folder as a path that Python is to import from first: then the decoder in Rust counts as not built."""
    (folder / "ksqldb_lake_native.py").write_text("raise ImportError\n", encoding="utf-8")
    return str(folder)


def call_apart(way: str, rows: int, act: Callable[..., float], *values: Any) -> Run:
    """Runs `act` in its own process; `act` returns its measured seconds. The CPU is that of the whole call."""
    with ProcessPoolExecutor(1, _CONTEXT) as process:
        seconds, peak, cpu = process.submit(_in_child, act, *values).result()
    return Run(way, rows, seconds, peak, cpu)


def _in_child(act: Callable[..., float], *values: Any) -> tuple[float, int, float]:
    before = time.process_time()
    seconds = act(*values)
    return seconds, peak_bytes(), time.process_time() - before


def cpu_seconds(pid: int) -> float:
    """The CPU that a running process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def peak_bytes(pid: int | str = "self") -> int:
    """The peak memory of a process. The ru_maxrss of a fork would start with its parent's."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
