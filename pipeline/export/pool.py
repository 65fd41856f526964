"""Has several workers stage the tasks of a stream, and returns their parts in the order of the commits.

Workers are started only where there is more than one task; one task, as of a source that cannot seek, is staged by this
process. Staged parts that were not returned are removed here, or after a kill by the next run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait

from pipeline.errors import PipelineError, TimeIsOver
from pipeline.export.engine import Engine, Worker
from pipeline.export.order import InOrder
from pipeline.export.stage import Staged
from pipeline.export.worker import ENDED, GO_ON, Assignment
from pipeline.lake.names import name_of_part
from pipeline.lake.staging import Staging
from pipeline.limits import Limits
from pipeline.progress import Meter
from pipeline.source import StreamSource, Task

_LOOK_S = 0.4
"""How often the signal to stop is checked while no worker reports anything."""
_AHEAD = 2
"""How many staged parts may wait for an earlier one, besides one for each worker."""

_Parts = Generator[tuple[int, Staged], None, None]


@dataclass(frozen=True)
class Work:
    """Tasks of one stream, and where and how to stage them; `name` is the beginning of the files' names, `meter` counts
    the rows.
    """

    tasks: Sequence[Task]
    stream: StreamSource
    limits: Limits
    staging: Staging
    name: str
    commit_rows: int | None = None
    meter: Meter | None = None

    def parts(self, engine: Engine) -> contextlib.closing[_Parts]:
        """The parts, each with the number of its task, in the order in which to commit them; to be closed.

        When the time is over no new task is begun, and the begun ones end early. Raises WorkerLost, SparkUnusable and
        what `stage` raises, after all parts that can be committed all the same.
        """
        apart = len(self.tasks) > 1 and engine.workers > 1
        return contextlib.closing(_stage_apart(self, engine) if apart else _stage_here(self))

    def assignment(self, number: int) -> Assignment:
        task = self.tasks[number]
        return Assignment(
            task,
            self.stream,
            self.limits,
            self.staging,
            name_of_part(self.name, number),
            commit_rows=None if task.is_part else self.commit_rows,
        )


def _stage_here(work: Work) -> _Parts:
    order = InOrder(work.tasks)
    for number in range(len(work.tasks)):
        if order.is_lost(number) or (number and work.limits.over):
            continue
        for part in work.assignment(number).parts(work.meter):
            order.put(number, part)
            yield from order.take()


def _stage_apart(work: Work, engine: Engine) -> _Parts:
    turn = work.limits.take_turn("processes", work.tasks[0].feed)
    pool = _Pool(work, engine)
    try:
        while pool.goes_on():
            pool.hear()
            if work.limits.stopped:
                raise TimeIsOver(work.tasks[0].feed)
            yield from pool.order.take()
            if pool.error is not None:
                raise pool.error
    finally:
        pool.stop()
        turn.give_back()
        for part in pool.order.left():
            part.discard()


class _Worker:
    """A worker and the task `number` that it stages now; `waits` says that it waits to continue it."""

    def __init__(self, hands: Worker) -> None:
        self._hands = hands
        self.connection = hands.connection
        self.stop = hands.stop
        self.number: int | None = None
        self.waits = False

    def receive(self) -> Staged | PipelineError | None:
        """The next part, ENDED, or the error that ended the task; that it is lost if the worker is gone."""
        try:
            heard: Staged | PipelineError | None = self.connection.recv()
        except (EOFError, OSError):
            return self._hands.lost()
        return heard

    def send(self, word: object) -> None:
        try:
            self.connection.send(word)
        except OSError:
            raise self._hands.lost() from None


class _Pool:
    """Gives tasks to workers in order, and only so many that few parts wait to be committed. An `error` ends it."""

    def __init__(self, work: Work, engine: Engine) -> None:
        self.order = InOrder(work.tasks)
        self.error: PipelineError | None = None
        self._work, self._engine, self._most = work, engine, min(engine.workers, len(work.tasks))
        self._workers: list[_Worker] = []
        self._next = 0

    def goes_on(self) -> bool:
        """Lets every worker continue that may; returns whether one is left whose parts can still be committed."""
        for worker in self._busy():
            if worker.waits and self._may_stage(worker.number):
                worker.waits = False
                worker.send(GO_ON)
        while self._hand_out():
            pass
        return bool(self._busy())

    def hear(self) -> None:
        """Receives the next messages of busy workers."""
        busy = {worker.connection: worker for worker in self._busy()}
        for connection in wait(list(busy), _LOOK_S):
            worker = busy[connection]  # type: ignore[index] # of the connections alone
            heard = worker.receive()
            if isinstance(heard, PipelineError):
                self.error = self.error or heard
            elif heard is ENDED:
                worker.number = None
            elif worker.number is not None:
                if self._work.meter is not None:
                    self._work.meter.add(heard.row_count, heard.size_bytes)
                self.order.put(worker.number, heard)
                worker.waits = heard.goes_on

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()

    def _hand_out(self) -> bool:
        """Gives the next task to a free worker; returns False when there is no such task or worker now."""
        tasks, limits = self._work.tasks, self._work.limits
        while self._next < len(tasks) and self.order.is_lost(self._next):
            self._next += 1
        if self._next == len(tasks) or limits.over or not self._may_stage(self._next):
            return False
        worker = next((worker for worker in self._workers if worker.number is None), None)
        if worker is None and len(self._workers) == self._most:
            return False
        if worker is None:
            worker = _Worker(self._engine.start())
            self._workers.append(worker)
        worker.number = self._next
        assignment = self._work.assignment(self._next)
        worker.send((replace(assignment, limits=replace(limits, turns=None)), limits.left_s()))
        self._next += 1
        return True

    def _may_stage(self, number: int | None) -> bool:
        is_first = number is not None and self.order.has_turn(number)
        return is_first or self.order.waiting_parts < self._most + _AHEAD

    def _busy(self) -> list[_Worker]:
        return [
            worker for worker in self._workers if worker.number is not None and not self.order.is_lost(worker.number)
        ]
