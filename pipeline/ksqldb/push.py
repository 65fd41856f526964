"""A push query read to a proven or declared end: the stop rule, and the watch over a silent connection.

A push never ends by itself. A second thread follows the query's position in SHOW QUERIES EXTENDED and closes it
when every partition's true end is reached (`exact`), when next to nothing has come for a while and everything fetched
is processed (`quiet`: the server cannot tell more), or at the time limit. What it cannot explain it ends as an error.
Facts: one stream thread and a short commit interval make progress visible and steady (7.2, 7.6, 8.3); the listed
`endOffset` is what was fetched, not the end of the topic; an empty partition stays at -1 for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import (
    AnswerIncomplete,
    AnswerMalformed,
    PipelineError,
    PushStalled,
    StatementRefused,
    TopicChanged,
    TryLater,
)
from pipeline.ksqldb.answer import Answer
from pipeline.ksqldb.bodies import LONGEST_S
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.framing import Ending, Framing, Header, Rows
from pipeline.source import UNKNOWN, Limits, Offsets, Outcome, Source

Position = tuple[int, int]  # fetched, committed

_NOT_FETCHED: Position = (-1, -1)
_EARLIEST = {"auto.offset.reset": "earliest"}
_STEADY = {"ksql.streams.num.stream.threads": "1", "ksql.streams.commit.interval.ms": "100"}
_POLL_S = 0.4
_MOST_WAITS = 20  # of QUIET_S each
_LEAVE_S = 1.0  # how long who leaves waits for a request that is on its way
_UNSTEADY_EXTRA_S = 5.0  # commits every 2 s, and tasks that move between threads vanish for up to 2 s
_POLL_RECORDS = 1000  # max.poll.records of the server's consumer
_EMPTY_FACTOR = 4  # a busy server takes seconds before it fetches at all; empty partitions look the same until then


@dataclass
class PushRead:
    """A push while it is read. `outcome` is set when `rows` has ended."""

    header: Header
    answer: Answer
    watch: _Watch
    outcome: Outcome | None = None

    def rows(self) -> Iterator[Rows]:
        """The rows in the order they come, within a partition in the order of their offsets.

        Raises PushStalled, TopicChanged, AnswerIncomplete where somebody else ended the query, or what reading raises.
        """
        self.watch.start()
        try:
            yield from self.answer.rows()
        finally:
            self.watch.stop()
            self.answer.close()
        if self.watch.error is not None:
            raise self.watch.error
        if self.watch.outcome is None:
            raise AnswerIncomplete(
                "the query was ended by somebody else before it was at its end (TERMINATE, or a close by its id)",
                "run the same command again",
            )
        self.outcome = self.watch.outcome


def start_push(
    client: Client,
    source: Source,
    sql: str,
    limits: Limits,
    ends: Mapping[int, Offsets] | None,
    bookmark: Mapping[int, int],
) -> PushRead:
    """Starts a push from earliest. `ends` are the true ends taken before, `bookmark` the next offset a partition.

    An administrator may forbid the properties that make progress steady; then the query runs without them and more
    time is allowed.
    """
    quiet_s = limits.quiet_s
    with limits.in_time(source.name):
        try:
            answer = client.query(sql, Framing.STREAMED_ROWS, Ending.COMPLETED, _EARLIEST | _STEADY, limits.left_s())
        except StatementRefused as error:
            if not any(name.removeprefix("ksql.streams.") in error.message for name in _STEADY):
                raise
            answer = client.query(sql, Framing.STREAMED_ROWS, Ending.COMPLETED, _EARLIEST, limits.left_s())
            quiet_s += _UNSTEADY_EXTRA_S
    answer.wait_at_most(None)
    rule = StopRule(source, quiet_s, ends, bookmark, limits.stall_s)
    return PushRead(answer.header, answer, _Watch(client, answer, source, rule, limits))


@dataclass
class StopRule:
    """Decides from the positions seen over time whether the scan is at its end.

    Where the ends are known, they decide. Else the server is `quiet` when for `quiet_s` it fetched less than one
    full poll and has processed it: a scan that is behind fetches full polls, several a second, so what comes more
    slowly is what arrives just now. Without this a stream that is written to all the time would never be at its end.
    A scan of big records is as slow as that: while it moves, it is given `slow_s` to come to its bookmark.
    """

    source: Source
    quiet_s: float
    ends: Mapping[int, Offsets] | None
    bookmark: Mapping[int, int]
    slow_s: float = 120
    _calm: dict[int, Position] = field(default_factory=dict)
    _calm_since: float = 0.0
    _last: dict[int, Position] = field(default_factory=dict)
    _moved_at: float = 0.0
    _unfetched_since: float | None = None

    def judge(self, positions: dict[int, Position], now: float) -> Outcome | None:
        """`exact`, `quiet`, or None to go on.

        Raises TopicChanged when the scan ended before the bookmark.
        """
        if self.ends is not None:
            return self._judge_by_ends(self.ends, positions, now)
        if not self._is_calm(positions):
            self._calm, self._calm_since = positions, now
        if positions != self._last:
            self._last, self._moved_at = positions, now
        behind = [p for p, (_, committed) in positions.items() if 0 <= committed < self.bookmark.get(p, 0)]
        patience = self.quiet_s * (_EMPTY_FACTOR if _NOT_FETCHED in positions.values() else 1)
        if behind and now - self._moved_at < self.quiet_s:
            patience = max(patience, self.slow_s)
        all_there = set(positions) >= set(range(self.source.partitions))
        if not all_there or now - self._calm_since < patience or not self._is_processed(positions):
            return None
        for partition in behind:
            raise topic_recreated(self.source, partition, positions[partition][1], self.bookmark[partition])
        return "quiet"

    def _judge_by_ends(
        self, ends: Mapping[int, Offsets], positions: Mapping[int, Position], now: float
    ) -> Outcome | None:
        """A partition that retention has emptied is never fetched; it is waited for where its start is not known."""
        due = [partition for partition, offsets in ends.items() if not self._reached(partition, offsets, positions)]
        if not due:
            return "exact"
        if any(ends[p].start != UNKNOWN or positions.get(p) != _NOT_FETCHED for p in due):
            self._unfetched_since = None
        elif self._unfetched_since is None:
            self._unfetched_since = now
        waited_s = 0.0 if self._unfetched_since is None else now - self._unfetched_since
        return "quiet" if waited_s >= self.quiet_s * _EMPTY_FACTOR else None

    def _reached(self, partition: int, offsets: Offsets, positions: Mapping[int, Position]) -> bool:
        nothing_new = offsets.end <= max(self.bookmark.get(partition, 0), offsets.start)
        return nothing_new or positions.get(partition, _NOT_FETCHED)[1] >= offsets.end

    def _is_calm(self, positions: Mapping[int, Position]) -> bool:
        """Whether less than one full poll was fetched, or waits to be processed, since it was calm."""
        if set(positions) != set(self._calm):
            return False
        steps = [positions[partition][0] - before[0] for partition, before in self._calm.items()]
        waiting = sum(max(0, fetched + 1 - committed) for fetched, committed in positions.values() if fetched >= 0)
        return min(steps, default=0) >= 0 and sum(steps) < _POLL_RECORDS and waiting < _POLL_RECORDS

    @staticmethod
    def _is_processed(positions: Mapping[int, Position]) -> bool:
        return all(position == _NOT_FETCHED or position[1] > position[0] for position in positions.values())


def topic_recreated(source: Source, partition: int, end: int, bookmark: int) -> TopicChanged:
    return TopicChanged(
        f"the topic {source.topic} was re-created or cut: partition {partition} ends at offset {end}, "
        f"but rows up to offset {bookmark - 1} are in the lake",
        "keep the old history under its feed (manage_feeds.py archive) and add a new feed for the new topic",
    )


class _Watch(threading.Thread):
    """Follows one push and ends it by the rule; never touches the rows."""

    def __init__(self, client: Client, answer: Answer, source: Source, rule: StopRule, limits: Limits) -> None:
        super().__init__(name="push-watch", daemon=True)
        self.outcome: Outcome | None = None
        self.error: PipelineError | None = None
        # It asks again by itself; waiting for a server that refuses would keep who leaves waiting.
        self._connection = replace(client.connection, retry_s=0)
        self._answer, self._source, self._rule, self._limits = answer, source, rule, limits
        self._over = threading.Event()
        self._ended_it = False

    def stop(self) -> None:
        """Ends the thread; one that waits for a silent server is left behind, and does nothing any more."""
        self._over.set()
        if self.is_alive():
            self.join(_LEAVE_S)

    def run(self) -> None:
        try:
            with Client(self._connection) as client:
                self._follow(client)
        except PipelineError as error:
            self.error = error  # the server refuses to tell the position: nobody would ever end the read
        finally:
            if not self._ended_it:
                self._answer.hang_up()

    def _follow(self, client: Client) -> None:
        """Looks at the position again and again until the query is ended or `stop` is called."""
        seen: tuple[object, int] = (None, -1)
        changed_at = time.monotonic()
        while not self._over.wait(_POLL_S):
            now = time.monotonic()
            positions = self._positions(client)
            if self._over.is_set():
                break
            if (positions, self._answer.byte_count) != seen:
                seen, changed_at = (positions, self._answer.byte_count), now
            try:
                self.outcome = self._rule.judge(positions, now) if positions is not None else None
            except TopicChanged as error:
                self.error = error
            if self._limits.over and self.outcome is None:
                self.outcome = "time limit"
            if self.outcome is not None or self.error is not None:
                self._end(client)
                self._ended_it = True
                return
            if now - changed_at >= self._limits.stall_s:
                self.error = self._stalled(positions)
                return
        self._ended_it = True

    def _end(self, client: Client) -> None:
        """Closes the query; where its node is another one, or the answer does not end, drops the connection."""
        try:
            closed = client.close_query(self._answer.header.query_id or "")
        except PipelineError:
            closed = False
        # Rows that are already queued still come, to a slow reader slowly. Without a close the server never says that
        # they are all there: it is left when nothing came for a while, or when new ones keep on coming.
        seen, waits = -1, 1 if closed else _MOST_WAITS
        while waits and seen != self._answer.byte_count:
            seen, waits = self._answer.byte_count, waits - 1
            if self._over.wait(min(LONGEST_S, self._limits.stall_s if closed else self._limits.quiet_s)):
                return
        self._answer.hang_up()

    def _positions(self, client: Client) -> dict[int, Position] | None:
        """By partition; None while the server does not list the query or does not answer."""
        try:
            entities = client.ksql("SHOW QUERIES EXTENDED;")
        except TryLater:
            return None
        try:
            for entity in entities:
                for query in entity.get("queryDescriptions") or ():
                    if query.get("id") == self._answer.header.query_id:
                        return self._positions_of(query)
            return None
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AnswerMalformed(
                "the server's answer to 'SHOW QUERIES EXTENDED;' is not understood",
                "report this with the server's version",
            ) from None

    def _positions_of(self, query: Mapping[str, Any]) -> dict[int, Position]:
        return {
            int(at["topicPartitionEntity"]["partition"]): (int(at["endOffset"]), int(at["committedOffset"]))
            for task in query.get("tasksMetadata") or ()
            for at in task.get("topicOffsets") or ()
            if at["topicPartitionEntity"]["topic"] == self._source.topic
        }

    def _stalled(self, positions: dict[int, Position] | None) -> PushStalled:
        where = "the server no longer lists the query"
        if positions is not None:
            ends = {partition: offsets.end for partition, offsets in (self._rule.ends or {}).items()}
            where = f"positions {_show(positions)}" + (f", ends {_show(ends)}" if ends else "")
        return PushStalled(
            f"reading {self._source.name} stalled: no progress for {self._limits.stall_s:g} s ({where})",
            "the rows that came are kept; look at the server, then run the same command again",
        )


def _show(by_partition: Mapping[int, object]) -> str:
    return ", ".join(f"{partition}: {value}" for partition, value in sorted(by_partition.items()))
