"""In which order the parts of tasks may be committed that are staged in any order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.export.stage import Staged
from pipeline.source import Task


class InOrder:
    """Takes parts as they are staged, and gives those back behind which no offset of a topic partition is missing.

    A task has its turn when all tasks of its partitions before it have come to their ends. One that ends earlier leaves
    a hole: what is after it in its partitions is lost, and stays for the next run.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._before: list[set[int]] = []
        self._waiting: dict[int, list[Staged]] = {}
        self._whole, self._lost = set[int](), set[int]()
        newest = dict[int, int]()
        for number, task in enumerate(tasks):
            partitions = (task.ends or {}) if task.is_part else {}
            self._before.append({newest[partition] for partition in partitions if partition in newest})
            newest |= dict.fromkeys(partitions, number)

    @property
    def waiting_parts(self) -> int:
        """How many are held back."""
        return sum(map(len, self._waiting.values()))

    def has_turn(self, number: int) -> bool:
        """Whether what is staged of the task can be committed at once."""
        return self._before[number] <= self._whole

    def is_lost(self, number: int) -> bool:
        return number in self._lost

    def put(self, number: int, part: Staged) -> None:
        self._waiting.setdefault(number, []).append(part)

    def take(self) -> Iterator[tuple[int, Staged]]:
        """The parts that can be committed now, each with its task's number; those of one task in their order."""
        for number in sorted(self._waiting):
            while self.has_turn(number) and self._waiting[number]:
                part = self._waiting[number].pop(0)
                if part.outcome == "exact":
                    self._whole.add(number)
                elif not part.goes_on:
                    self._lose(number)
                yield number, part

    def _lose(self, number: int) -> None:
        """All that comes after a task which did not come to its end."""
        holes = {number}
        for other, before in enumerate(self._before):
            if before & holes:
                holes.add(other)
        self._lost |= holes - {number}

    def left(self) -> list[Staged]:
        """The parts that nobody has taken."""
        return [part for parts in self._waiting.values() for part in parts]
