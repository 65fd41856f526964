"""The order in which parts may be committed whose tasks are staged at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.export.stage import Staged
from pipeline.source import Task


class InOrder:
    """Collects parts as they are staged; returns each after all parts with earlier offsets of its topic partitions.

    A task has its turn when all earlier tasks of its partitions have reached their ends. A task that stops before its
    end leaves a hole: later parts of its partitions are discarded, and the next run reads them again.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._before: list[set[int]] = []
        self._waiting: dict[int, list[Staged]] = {}
        self._whole, self._lost = set[int](), set[int]()
        newest = dict[int, int]()
        for number, task in enumerate(tasks):
            partitions = task.ends or {}
            self._before.append({newest[partition] for partition in partitions if partition in newest})
            newest |= dict.fromkeys(partitions, number)

    @property
    def waiting_parts(self) -> int:
        """How many parts wait for earlier ones."""
        return sum(map(len, self._waiting.values()))

    def has_turn(self, number: int) -> bool:
        """Whether parts of the task can be committed as soon as they are staged."""
        return self._before[number] <= self._whole

    def is_lost(self, number: int) -> bool:
        return number in self._lost

    def put(self, number: int, part: Staged) -> None:
        self._waiting.setdefault(number, []).append(part)

    def take(self) -> Iterator[tuple[int, Staged]]:
        """The parts that can be committed now, each with its task's number; parts of one task in order."""
        for number in sorted(self._waiting):
            while self.has_turn(number) and self._waiting[number]:
                part = self._waiting[number].pop(0)
                if part.outcome == "exact":
                    self._whole.add(number)
                elif not part.goes_on:
                    self._lose(number)
                yield number, part

    def _lose(self, number: int) -> None:
        """Discards the later parts of the partitions of a task that stopped before its end."""
        holes = {number}
        for other, before in enumerate(self._before):
            if before & holes:
                holes.add(other)
        self._lost |= holes - {number}

    def left(self) -> list[Staged]:
        """The parts that were never returned."""
        return [part for parts in self._waiting.values() for part in parts]
