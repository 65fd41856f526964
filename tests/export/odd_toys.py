"""Toy streams whose tasks are slow, die or end early, in whichever process they are read; files tell what happened."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import pyarrow as pa

from ksqldb_emulator.testing import comes_true
from pipeline.errors import ReadStalled
from pipeline.limits import Limits
from pipeline.source import StreamRead, Task
from pipeline.unreadable import SCHEMA
from tests.export.toy_source import ToyStream

How = Literal[
    "dies", "dies each time", "hangs", "lacks a package", "leaves out", "names its process", "stalls", "time is over",
    "dies with its answer", "waits for others",
]  # fmt: skip


class Deadly(str):
    """A text that kills the process that sends it to another one."""

    def __reduce__(self) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


@dataclass(frozen=True)
class OddToy(ToyStream):
    """The task whose first topic partition begins at `place` does `how`; where it fails, only the first time."""

    folder: Path = Path()
    place: tuple[int, int] = (0, 0)
    how: How = "hangs"

    def read(self, task: Task, limits: Limits) -> StreamRead:
        read, place = super().read(task, limits), next((p, at.start) for p, at in (task.ends or {}).items())
        (self.folder / f"begun-{place[0]}-{place[1]}").touch()
        if self.how == "names its process":
            (self.folder / f"process-{os.getpid()}").touch()
        if place == self.place and not (self.folder / "done").exists():
            read.batches = self._odd(read, read.batches)
        return read

    def begun(self) -> int:
        return len(list(self.folder.glob("begun-*")))

    def _odd(self, read: StreamRead, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield next(batches)
        if self.how == "waits for others":
            assert comes_true(lambda: self.begun() > 3)
        elif self.how == "leaves out":
            partition, first = self.place
            made = {"rowpartition": partition, "reason": "it is no JSON"}
            records = [made | {"rowoffset": offset} for offset in (first + 1, first + 3)]
            read.unreadable += [pa.RecordBatch.from_pylist(records, schema=SCHEMA)]
        elif self.how != "dies with its answer":
            self._fail(read)
            return
        yield from batches
        if self.how == "dies with its answer":
            (self.folder / "done").touch()
            read.outcome = Deadly("exact")  # type: ignore[assignment] # as good as this text

    def _fail(self, read: StreamRead) -> None:
        if self.how == "hangs":
            with (self.folder / "alive").open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)  # until this process ends
                (self.folder / "pid").write_text(str(os.getpid()), encoding="ascii")
                (self.folder / "pid").rename(self.folder / "hangs")
                signal.pause()
        if self.how not in ("dies each time", "lacks a package"):
            (self.folder / "done").touch()
        if self.how.startswith("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "lacks a package":
            raise ModuleNotFoundError("No module named 'pyarrow'")
        if self.how == "stalls":
            raise ReadStalled("no more comes", "look at the brokers")
        read.outcome = "time limit"
