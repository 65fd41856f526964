"""A worker process that stages tasks, one after the other, for the process that commits.

Both exchange plain values only. The worker ends when that process ends, in whatever way; its staged files are then
removed by the next run.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue

from pipeline.errors import PipelineError
from pipeline.export.stage import Staged, stage
from pipeline.lake.staging import Staging
from pipeline.limits import Limits
from pipeline.progress import Meter
from pipeline.source import StreamSource, Task

GO_ON = None
"""The message that a worker waits for after each part of a task but the last."""
ENDED = None
"""A worker's message after the last part of a task; a PipelineError instead says that the task failed."""


@dataclass(frozen=True)
class Assignment:
    """A task, and where to stage it."""

    task: Task
    stream: StreamSource
    limits: Limits
    staging: Staging
    name: str
    commit_rows: int | None

    def within(self, left_s: float | None) -> Assignment:
        """The assignment in another process, with `left_s` from now: processes share no clock."""
        deadline = None if left_s is None else time.monotonic() + left_s
        return replace(self, limits=replace(self.limits, deadline=deadline))

    def parts(self, meter: Meter | None = None) -> Iterator[Staged]:
        return stage(self.task, self.stream, self.limits, self.staging, self.name, self.commit_rows, meter)


def serve(descriptor: int) -> None:
    """Stages the assignments that arrive at this file descriptor, until its other end is closed."""
    inbox = SimpleQueue[bytes]()
    with Connection(descriptor) as driver:
        threading.Thread(target=_listen, args=(driver, inbox), daemon=True).start()
        while True:
            assignment, left_s = pickle.loads(inbox.get())
            _stage(assignment.within(left_s), driver, inbox)


def _listen(driver: Connection, inbox: SimpleQueue[bytes]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            inbox.put(driver.recv_bytes())
    os._exit(1)


def _stage(assignment: Assignment, driver: Connection, inbox: SimpleQueue[bytes]) -> None:
    try:
        for part in assignment.parts():
            driver.send(part)
            if part.goes_on:
                inbox.get()
    except PipelineError as error:
        driver.send(error)
        return
    driver.send(ENDED)
