"""Reads a table, for lake and warehouse, until a read can be accepted as complete even while nodes of its cluster die.

No answer proves that a table was read completely: for a minute after the death of a node a cluster answers with status
200 and a part of the rows, or none. So a read counts only if a look at the cluster before and one after it are equal
and show it whole, and a snapshot needs two such reads, a pause apart, the second not smaller than the first. What
remains undetected is a loss that no look shows for longer than the pause: a node that took over a part of the table and
takes that long to restore its state. A read that is exact at known offsets does not depend on the cluster: one is
enough. The caller stores the reads; a crash leaves the stored ones, which the next run removes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Generic, Literal, Protocol, TypeVar

import pyarrow as pa

from pipeline.errors import ClusterNotWhole, SnapshotNotBelieved, SnapshotShrank, TryLater
from pipeline.limits import Limits, ReadPolicy
from pipeline.source import Look, TableRead, TableSource, TableState

_FAILURES = 3  # after so many failed reads between clean looks the cause is not a dead node
_CHANGED = "the cluster changed while it was read"
_SHORTEST, _LONGEST = 1 / 60, 1 / 6  # pauses after a look that was not clean, as shares of the time limit


Proof = Literal["exact", "its own", ""]
"""What proves a read without looks complete: it is exact at known offsets, its answer has a proved end, or nothing."""


class Stored(Protocol):
    """A stored read: its number of rows, and how to discard it."""

    @property
    def row_count(self) -> int: ...
    def discard(self) -> None: ...


_S = TypeVar("_S", bound=Stored)


def read_believed(
    table: TableSource,
    state: TableState,
    limits: Limits,
    policy: ReadPolicy,
    previous_rows: int | None,
    store: Callable[[TableRead, int], _S],
) -> _S:
    """Reads a complete snapshot of a table; `store` stores a read and gets its number, from 1.

    `state` is the table's state before the first read, `previous_rows` the row count of the last snapshot. Every read
    but the returned one is discarded. Raises what `read_until_believed` raises.
    """
    look, name = table.looks(state), table.source.name
    numbers, last = itertools.count(1), list[TableRead]()

    def read() -> _S:
        last[:] = [table.read(limits, watched=look is not None)]
        return store(last[0], next(numbers))

    def look_in_time() -> Look:
        assert look is not None
        with limits.in_time(name):
            return look()

    def sleep(seconds: float) -> None:
        left_s = limits.left_s()
        policy.sleep(seconds if left_s is None else min(seconds, left_s))

    in_time = dataclasses.replace(policy, sleep=sleep)

    def proof() -> Proof:
        return "exact" if last[0].state else "its own" if last[0].proved else ""

    if look is None:
        limits.give_way()  # a read with its own proof reads a whole topic, which takes long
        return read_until_believed(read, None, name, previous_rows, in_time, (), proof)
    return read_until_believed(read, look_in_time, name, previous_rows, in_time, table.passing)


def read_watched(table: TableSource, state: TableState, limits: Limits) -> Iterator[pa.RecordBatch]:
    """One read of a table for a comparison, with a look at the cluster before and after it.

    Raises ClusterNotWhole when a look is not clean, or the cluster has changed meanwhile.
    """
    look = table.looks(state)
    before = look() if look else Look()
    _refuse_trouble(table, before.trouble)
    yield from table.read(limits, watched=look is not None).batches
    after = look() if look else Look()
    _refuse_trouble(table, after.trouble or ("" if after == before else "the cluster changed meanwhile"))


def _refuse_trouble(table: TableSource, trouble: str) -> None:
    if trouble:
        raise ClusterNotWhole(
            f"the table {table.source.name} cannot be read whole now: {trouble}",
            "look at the server that it is read from, then run the same command again",
        )


def read_until_believed(
    read: Callable[[], _S],
    look: Callable[[], Look] | None,
    table: str,
    previous_rows: int | None,
    policy: ReadPolicy,
    passing: tuple[type[TryLater], ...] = (),
    proof: Callable[[], Proof] = lambda: "its own",
) -> _S:
    """Reads until a read can be accepted as complete, and returns it; the others are discarded.

    `read` reads and stores all rows; it is repeated when it fails with one of the errors in `passing`. Without `look`,
    `proof` says what proves the last read complete. One read is then enough, unless it is the first of its table or has
    fewer rows than the last snapshot; if it is exact at known offsets, one is enough in these cases too. Raises
    SnapshotNotBelieved, SnapshotShrank, and what `read` and `look` raise.
    """
    believed = _Reader(read, look, table, policy, passing, proof).until_believed(previous_rows)
    if previous_rows is not None and believed.row_count < previous_rows * (1 - policy.max_shrink):
        rows = believed.row_count
        believed.discard()
        raise SnapshotShrank(
            f"the table {table} has {rows} rows, and had {previous_rows} in its last snapshot: more than "
            f"{policy.max_shrink:.0%} are gone, so this one is not published",
            "look at the source whether these rows were really deleted; only if they were, run the same command once "
            f"with {policy.allow_shrink}",
        )
    return believed


class _Reader(Generic[_S]):
    """Repeats the reads of one table; has the time since the first, and the length of the next pause."""

    def __init__(
        self,
        read: Callable[[], _S],
        look: Callable[[], Look] | None,
        table: str,
        policy: ReadPolicy,
        passing: tuple[type[TryLater], ...],
        proof: Callable[[], Proof],
    ) -> None:
        self._read, self._table, self._policy, self._passing = read, table, policy, passing
        self._proof: Callable[[], Proof] = proof if look is None else _none
        self._look: Callable[[], Look] = look or Look
        self._last_clean: Look | None = None
        self._pause_s = policy.recheck_s
        self._trouble_since: float | None = None
        self._failures = 0

    def until_believed(self, previous_rows: int | None) -> _S:
        first: _S | None = None
        try:
            while True:
                found = self._read_that_counts()
                if isinstance(found, str):
                    _discard(first)
                    first, self._last_clean = None, None
                    self._wait(found)
                    continue
                before, first = first, found
                not_fewer = previous_rows is not None and found.row_count >= previous_rows
                proof = self._proof()
                enough = proof == "exact" or (proof == "its own" and not_fewer)
                smaller = before is not None and found.row_count < before.row_count
                _discard(before)
                if enough or (before is not None and not smaller):
                    return found
                if smaller:
                    # A later read with as few rows may have lost the same rows: to a node that died and came back.
                    _discard(first)
                    first = None
                    self._wait(f"it had fewer rows at each read, {found.row_count} at the last")
                else:
                    self._policy.sleep(self._pause_s)
        except BaseException:
            _discard(first)
            raise

    def _read_that_counts(self) -> _S | str:
        """A read between two clean and equal looks, or the reason why there is none."""
        before = self._look()
        if before.trouble or before != (self._last_clean or before):
            return before.trouble or _CHANGED
        try:
            found = self._read()
        except self._passing as error:
            return self._what_failed(error, before)
        try:
            after = self._look()
        except BaseException:
            found.discard()
            raise
        if after == before:
            self._last_clean = after
            return found
        found.discard()
        return after.trouble or _CHANGED

    def _what_failed(self, error: TryLater, before: Look) -> str:
        after = self._look()
        if after == before:
            self._failures += 1
            if self._failures == _FAILURES:
                raise error
        return after.trouble or error.message

    def _wait(self, trouble: str) -> None:
        """Waits, longer each time: the node that takes over a dead node's part needs time to restore it."""
        limit_s, now = self._policy.wait_s, self._policy.clock()
        if self._trouble_since is None:
            self._trouble_since = now
        longest_s = max(limit_s * _LONGEST, self._policy.recheck_s)
        self._pause_s = min(max(2 * self._pause_s, limit_s * _SHORTEST), longest_s)
        if now + self._pause_s > self._trouble_since + limit_s:
            raise SnapshotNotBelieved(
                f"the table {self._table} could not be read whole within {limit_s:g} s: {trouble}",
                "nothing of it was kept; look at the server that it is read from, then run the same command again",
            )
        self._policy.tell(f"{self._table}: {trouble}; reading it again in {self._pause_s:g} s")
        self._policy.sleep(self._pause_s)


def _none() -> Proof:
    return ""


def _discard(stored: _S | None) -> None:
    if stored is not None:
        stored.discard()
