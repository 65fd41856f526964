"""The record of a command: a dated log of what it printed, and an entry in the lake's ledger of runs.

A failure to write either does not stop the command. A command that is killed has a beginning in both and no end.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.errors import PipelineError
from pipeline.text import rfc3339

log = logging.getLogger("pipeline")


class Ledger(Protocol):
    """Where runs are recorded; both raise PipelineError."""

    def begin(self, run_id: str, command: str, now: dt.datetime) -> None: ...
    def end(self, run_id: str, now: dt.datetime, outcome: dict[str, Any]) -> None: ...


@dataclass
class Record:
    """A running command: what it printed so far, and the errors that it reported.

    `result` is its result as JSON, if there is one; `commits` says whether it can commit anything.
    """

    run_id: str
    command: str
    ledger: Ledger | None = None
    commits: bool = True
    result: Any = None
    said: list[str] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def begin(self, now: dt.datetime, tell: Callable[[str], None]) -> None:
        """Logs and records that the command begins; reports to `tell` when that cannot be recorded."""
        keep(logging.INFO, f"begin: {self.command}")
        if self.ledger is not None:
            try:
                self.ledger.begin(self.run_id, self.command, now)
            except PipelineError as error:
                self.ledger = None
                tell(f"this run is not recorded: {error.message}")

    def end(self, exit_code: int, now: dt.datetime) -> None:
        """Logs and records how it ended."""
        seconds = round(time.monotonic() - self.started, 3)
        keep(logging.INFO, f"end: exit code {exit_code} after {seconds:.1f} s")
        if self.ledger is not None:
            outcome = {"exit_code": exit_code, "seconds": seconds, "errors": self.errors}
            outcome |= {"said": self.said} if self.result is None else {"result": self.result}
            with contextlib.suppress(PipelineError):  # a full disk: the log says it, or nothing does
                self.ledger.end(self.run_id, now, outcome)


def write_log_to(handler: logging.Handler, run_id: str, as_json: bool) -> None:
    """Has this process log to `handler`: each line with its time in UTC, level, process id and run id.

    A line that cannot be written, on a full disk, is left out: the same line is on stderr.
    """
    logging.raiseExceptions = False
    is_verbose = any(isinstance(other, _Shown) for other in log.handlers)
    handler.setLevel(logging.DEBUG if is_verbose else logging.INFO)
    handler.setFormatter(_JsonLines(run_id) if as_json else _TextLines(run_id))
    for old in [old for old in log.handlers if not isinstance(old, _Shown)]:
        log.removeHandler(old)
        old.close()
    log.addHandler(handler)
    log.setLevel(handler.level)
    log.propagate = False


@contextlib.contextmanager
def debug_lines(show: Callable[[str], None]) -> Iterator[None]:
    """Calls `show` with each debug line, and with tracebacks, until the block ends; a log that is kept has them too."""
    handler = _Shown(show)
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        log.setLevel(logging.INFO)
        log.removeHandler(handler)
        handler.close()


def keep(level: int, text: str, trace: bool = False) -> None:
    """Logs a line if this process keeps a log; with `trace`, also the traceback of the exception being handled."""
    if log.handlers:
        log.log(level, "%s", text, exc_info=trace)


class _Shown(logging.Handler):
    """Shows what is not on stderr otherwise: debug lines with their time in UTC, and tracebacks."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self._show = show

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.DEBUG:
            self._show(f"{_moment_of(record)} debug: {record.getMessage()}")
        elif record.exc_info:
            self._show(f"{_moment_of(record)} {self.format(record)}")


class _TextLines(logging.Formatter):
    """`2026-11-28T22:15:32.123Z INFO 4711 20261128T221532Z-1a2b3c4d text`, and a traceback below it."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)s %(process)d {run_id} %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002 # logging's
        return _moment_of(record)


class _JsonLines(logging.Formatter):
    """One JSON object a line: at, level, pid, run, message, traceback (where there is one)."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self._run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": _moment_of(record),
            "level": record.levelname.lower(),
            "pid": os.getpid(),
            "run": self._run_id,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _moment_of(record: logging.LogRecord) -> str:
    return rfc3339(dt.datetime.fromtimestamp(record.created, dt.UTC))
