"""Reads a push query to its end, which a second thread decides.

A push never ends by itself. The thread follows the query's position in SHOW QUERIES EXTENDED and closes the query when
every partition's true end is reached (`exact`), when almost nothing has come for a while and everything fetched is
processed (`quiet`: REST shows no better end), or at the time limit. A query that does none of these ends in an error.
While a query only waits, the next scan of the server may begin.
One stream thread and a short commit interval make progress visible and steady (seen on 7.2, 7.6, 8.3). The rule by
which a query is at its end is in `stop_rule`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.decode.layout import Layout
from pipeline.errors import (
    AnswerIncomplete,
    AnswerMalformed,
    PipelineError,
    ReadStalled,
    StatementRefused,
    TopicChanged,
    TryLater,
)
from pipeline.ksqldb.answer import Answer
from pipeline.ksqldb.bodies import LONGEST_S
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.framing import Ending, Framing, Header, Rows
from pipeline.ksqldb.stop_rule import Position, StopRule
from pipeline.limits import Limits
from pipeline.source import Offsets, Outcome, Source

_EARLIEST = {"auto.offset.reset": "earliest"}
_STEADY = {"ksql.streams.num.stream.threads": "1", "ksql.streams.commit.interval.ms": "100"}
_POLL_S = 0.4
_MOST_WAITS = 20  # of QUIET_S each
_LEAVE_S = 1.0  # how long the end of a read waits for a request of the thread
_UNSTEADY_EXTRA_S = 5.0  # commits come every 2 s, and tasks that move between threads are not listed for up to 2 s


@dataclass
class PushRead:
    """A push while it is read. `outcome` is set when `rows` has ended."""

    answer: Answer
    watch: _Watch
    outcome: Outcome | None = None

    def rows(self) -> Iterator[Rows]:
        """The rows in the order in which they come; within a partition that is the order of offsets.

        Raises ReadStalled, TopicChanged, AnswerIncomplete where somebody else ended the query, and errors of reading.
        """
        try:
            self.watch.start()
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
    layout_of: Callable[[Header], Layout],
) -> PushRead:
    """Starts a push from earliest. `ends` are the true ends taken before, `bookmark` the next offset of each partition.

    Where an administrator forbids the properties that make progress steady, the query runs without them and gets more
    time.
    """

    def ask(properties: Mapping[str, str]) -> Answer:
        turn = client.take_turn(limits, source.name)
        streamed, ending, left_s = Framing.STREAMED_ROWS, Ending.COMPLETED, limits.left_s()
        return client.query(sql, streamed, ending, properties, left_s, layout_of=layout_of, turn=turn)

    quiet_s = limits.quiet_s
    with limits.in_time(source.name):
        try:
            answer = ask(_EARLIEST | _STEADY)
        except StatementRefused as error:
            if not any(name.removeprefix("ksql.streams.") in error.message for name in _STEADY):
                raise
            answer = ask(_EARLIEST)
            quiet_s += _UNSTEADY_EXTRA_S
    answer.wait_at_most(None)
    rule = StopRule(source, quiet_s, ends, bookmark, limits.stall_s)
    return PushRead(answer, _Watch(client, answer, source, rule, limits))


class _Watch(threading.Thread):
    """Follows one push and ends it by the stop rule; does not read rows."""

    def __init__(self, client: Client, answer: Answer, source: Source, rule: StopRule, limits: Limits) -> None:
        super().__init__(daemon=True)
        self.outcome: Outcome | None = None
        self.error: PipelineError | None = None
        # No retries in the client: the thread asks again anyway, and a retry would delay the end of the read.
        self._connection = replace(client.connection, retry_s=0)
        self._answer, self._source, self._rule, self._limits = answer, source, rule, limits
        self._over = threading.Event()

    def stop(self) -> None:
        """Ends the thread; one that waits for a silent server is left behind, and does nothing more."""
        self._over.set()
        if self.is_alive():  # a signal may have kept it from starting
            self.join(_LEAVE_S)

    def run(self) -> None:
        try:
            with Client(self._connection) as client:
                self._follow(client)
        except PipelineError as error:
            self.error = error  # the server refuses to show the position, so the read would never end
        finally:
            if not self._over.is_set():
                self._answer.hang_up()

    def _follow(self, client: Client) -> None:
        """Looks at the position repeatedly until the query is ended, makes no progress, or `stop` is called."""
        seen: tuple[object, int] = (None, self._answer.byte_count)
        changed_at = time.monotonic()
        while not self._over.wait(_POLL_S):
            now = time.monotonic()
            positions = self._positions(client)
            if self._over.is_set():
                return
            if (positions, self._answer.byte_count) != seen:
                seen, changed_at = (positions, self._answer.byte_count), now
            try:
                self.outcome = self._rule.decide(positions, now) if positions is not None else None
            except TopicChanged as error:
                self.error = error
            if self._rule.idle:
                self._answer.turn.give_back()
            if self._limits.over and self.outcome is None:
                self.outcome = "time limit"
            if self.outcome is not None or self.error is not None:
                self._end(client)
                return
            if now - changed_at >= self._limits.stall_s:
                self.error = self._stalled(positions)
                return

    def _end(self, client: Client) -> None:
        """Closes the query, and waits for the end of its answer; no longer than it may still come."""
        waits, wait_s = _MOST_WAITS, self._limits.quiet_s
        with contextlib.suppress(PipelineError):
            if client.close_query(self._answer.header.query_id):
                waits, wait_s = 1, self._limits.stall_s
        # Queued rows still come, slowly to a slow reader. If another node runs the query, the server never marks their
        # end: they are over when none came for a while, or taken for new ones when they keep coming.
        for _ in range(waits):
            seen = self._answer.byte_count
            if self._over.wait(min(LONGEST_S, wait_s)) or self._answer.byte_count == seen:
                return

    def _positions(self, client: Client) -> dict[int, Position] | None:
        """The position of each partition; None while the server does not list the query or does not answer."""
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

    def _stalled(self, positions: dict[int, Position] | None) -> ReadStalled:
        where = "the server no longer lists the query"
        if positions is not None:
            ends = {partition: offsets.end for partition, offsets in (self._rule.ends or {}).items()}
            where = f"positions {_show(positions)}" + (f", ends {_show(ends)}" if ends else "")
        return ReadStalled(
            f"reading {self._source.name} stalled: no progress for {self._limits.stall_s:g} s ({where})",
            "the rows that came are kept; look at the server, then run the same command again",
        )


def _show(by_partition: Mapping[int, object]) -> str:
    return ", ".join(f"{partition}: {value}" for partition, value in sorted(by_partition.items()))
