"""What the threads of one process share: turns at work that only so many may do at once, and the signal to stop.

Turns exist only in memory, so they end with the process.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from pipeline.errors import TimeIsOver

_T = TypeVar("_T")
_LEAVE_S = 3.0  # how long an early end waits for the threads to release their locks and connections

Shared = Literal["scan", "processes"]
"""A scan of the server; processes that stage rows."""


class Turns:
    """Allows so many `scans` of the server at once, and worker processes to one feed at a time, in order of arrival.

    Other feeds get their first scan only when each feed in `first` has had a turn, pauses, or has ended.
    """

    def __init__(self, scans: int = 1, first: Iterable[str] = ()) -> None:
        self._free: dict[Shared, int] = {"scan": scans, "processes": 1}
        self._lines: dict[Shared, deque[str]] = {"scan": deque(), "processes": deque()}
        self._first = set(first)
        self._changed = threading.Condition()
        self.stopped = False

    def of(self, feed: str) -> FeedTurns:
        return FeedTurns(self, feed)

    def stop(self) -> None:
        """Makes all threads stop: for them the time is over."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def waiting(self, shared: Shared) -> int:
        """How many feeds wait for a turn."""
        return len(self._lines[shared])

    def _take(self, shared: Shared, feed: str, what: str, at_most_s: float | None) -> Turn:
        line = self._lines[shared]

        def is_next() -> bool:
            first = self._first if shared == "scan" else set[str]()
            if not self._free[shared] or (first and feed not in first):
                return False
            return next((other for other in line if other in first), line[0]) == feed

        with self._changed:
            line.append(feed)
            try:
                self._changed.wait_for(lambda: self.stopped or is_next(), at_most_s)
                if self.stopped or not is_next():
                    raise TimeIsOver(what)
                self._free[shared] -= 1
            finally:
                line.remove(feed)
                if shared == "scan":
                    self._first.discard(feed)
                self._changed.notify_all()
        return Turn(lambda: self._free_again(shared))

    def _pause(self, feed: str, seconds: float) -> None:
        self._give_way(feed)
        with self._changed:
            self._changed.wait_for(lambda: self.stopped, seconds)

    def _give_way(self, feed: str) -> None:
        with self._changed:
            self._first.discard(feed)
            self._changed.notify_all()

    def _free_again(self, shared: Shared) -> None:
        with self._changed:
            self._free[shared] += 1
            self._changed.notify_all()


@dataclass(frozen=True)
class FeedTurns:
    """The turns of one feed, for its one thread."""

    turns: Turns
    feed: str

    @property
    def stopped(self) -> bool:
        return self.turns.stopped

    def take(self, shared: Shared, what: str, at_most_s: float | None) -> Turn:
        """Waits for a turn. Raises TimeIsOver when the time is over before, or all are to stop."""
        return self.turns._take(shared, self.feed, what, at_most_s)

    def pause(self, seconds: float) -> None:
        """Sleeps, until `stop` at most; the feed loses its priority."""
        self.turns._pause(self.feed, seconds)

    def give_way(self) -> None:
        """Ends this feed's priority over the others."""
        self.turns._give_way(self.feed)


class Turn:
    """A turn to be given back; giving it back twice is harmless."""

    def __init__(self, give_back: Callable[[], None] = lambda: None) -> None:
        self._rest: deque[Callable[[], None]] = deque([give_back])

    def give_back(self) -> None:
        with contextlib.suppress(IndexError):
            self._rest.pop()()


def _result_of(task: Callable[[], _T]) -> _T | BaseException:
    """What the task returns, or the exception that it raises."""
    try:
        return task()
    except BaseException as error:  # noqa: BLE001 # raised where results are taken
        return error


def side_by_side(
    tasks: Sequence[Callable[[], _T]], at_once: int, stop: Callable[[], None], first: Sequence[int] = ()
) -> Generator[_T, None, None]:
    """The results of the tasks in their order; `at_once` threads run them, beginning with the numbers in `first`.

    An error of a task is raised in its place. When the generator is closed early, `stop` is called and the threads get
    a moment to release what they hold; a thread that waits for a silent server is left behind. To be closed.
    """
    todo, done, changed = queue.SimpleQueue[int](), dict[int, _T | BaseException](), threading.Condition()
    for number in dict.fromkeys([*first, *range(len(tasks))]):
        todo.put(number)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                number = todo.get_nowait()
                result = _result_of(tasks[number])
                with changed:
                    done[number] = result
                    changed.notify_all()

    threads = [
        threading.Thread(target=work, name=f"feeds-{number}", daemon=True) for number in range(min(at_once, len(tasks)))
    ]
    try:
        for thread in threads:
            thread.start()
        for number in range(len(tasks)):
            with changed:
                while number not in done:
                    changed.wait()
            result = done.pop(number)
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stop()
        _leave(todo, threads)


def _leave(todo: queue.SimpleQueue[int], threads: Iterable[threading.Thread]) -> None:
    """Waits a moment for the threads. One that a signal kept from starting, or that starts late, finds no task."""
    with contextlib.suppress(queue.Empty):
        while True:
            todo.get_nowait()
    end = time.monotonic() + _LEAVE_S
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0, end - time.monotonic()))
