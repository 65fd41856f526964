"""How a push is left that has come to its end: what may still come of it is waited for, and no longer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S
from pipeline.ksqldb import push
from pipeline.ksqldb.bodies import LONGEST_S
from pipeline.ksqldb.push import PushRead
from pipeline.limits import Limits
from pipeline.process import Terminated
from tests.ksqldb.push_server import ROWS, SENT, UNTIL_3, PushServer, pushing, row, rows_of
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("frequent_looks")


def test_rows_that_come_slowly_after_the_close_are_taken() -> None:
    """However short the quiet time is: the server says when they are all there."""
    limits, later = Limits(quiet_s=0.001, stall_s=FOR_EVER_S), [row(0, 3), row(0, 4)]
    with pushing(limits, UNTIL_3, rows=SENT, looks=[{0: (2, 3)}], rows_after_close=later) as (_, read):
        assert (rows_of(read), read.answer.proved) == ([*ROWS, (0, 3), (0, 4)], True)


class Pauses(threading.Event):
    """In place of each pause after the close `instead` happens; `asked_s` are the seconds that it could take."""

    def __init__(self, instead: Callable[[], object]) -> None:
        super().__init__()
        self.instead, self.asked_s = instead, list[float | None]()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout == push._POLL_S:
            return super().wait(timeout)
        self.asked_s.append(timeout)
        self.instead()
        return self.is_set()


class Sending:
    """A server that sends one row after the close in each of the first `most` pauses, and does not end."""

    def __init__(self, read: PushRead, server: PushServer, most: int) -> None:
        self.read, self.server, self.most, self._due = read, server, most, threading.Semaphore(0)
        self.pauses = read.watch._over = Pauses(self._one_more)
        server.rows_after_close, server.pause_after_close_s = self._rows(), 0

    def _rows(self) -> Iterator[bytes]:
        for number in range(self.most):
            self._due.acquire(timeout=PATIENCE_S)
            yield row(0, 3 + number)
        self.server.is_left.wait(PATIENCE_S)

    def _one_more(self) -> None:
        before = self.read.answer.byte_count
        self._due.release()
        if len(self.pauses.asked_s) <= self.most:
            wait_until(lambda: self.read.answer.byte_count > before, "the row of this pause")


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize(("most", "pauses"), [(3, 4), (push._MOST_WAITS, push._MOST_WAITS)])
def test_a_push_that_cannot_be_closed_is_left_when_nothing_comes_or_it_goes_on_for_ever(
    status: int, most: int, pauses: int
) -> None:
    """However long a stall may be; what its node has queued is taken before."""
    limits, script = Limits(quiet_s=7, stall_s=FOR_EVER_S), {"rows": SENT, "looks": [{0: (2, 3)}]}
    with pushing(limits, UNTIL_3, close_status=status, **script) as (server, read):
        sending = Sending(read, server, most)
        assert (rows_of(read), read.outcome) == ([*ROWS, *((0, 3 + n) for n in range(most))], "exact")

        assert sending.pauses.asked_s == [7] * pauses
        assert not read.answer.proved
        assert server.closed[0] == "q-1"
        wait_until(server.is_left.is_set, "the connection that is dropped")


@pytest.mark.parametrize(("stall_s", "pause_s"), [(5, 5), (1e30, LONGEST_S)])
def test_a_push_that_the_server_does_not_end_after_its_close_is_left_in_time(stall_s: float, pause_s: float) -> None:
    with pushing(Limits(FOR_EVER_S, stall_s), UNTIL_3, rows=SENT, looks=[{0: (2, 3)}]) as (server, read):
        sending = Sending(read, server, 1)
        assert (rows_of(read), read.outcome, read.answer.proved) == ([*ROWS, (0, 3)], "exact", False)

        assert sending.pauses.asked_s == [pause_s]


def test_who_leaves_a_push_does_not_wait_for_a_look_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that look, when it is answered at last, does nothing any more."""
    monkeypatch.setattr(push, "_LEAVE_S", 0.05)
    asked, answered = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        answered.wait(PATIENCE_S)

    with pushing(ends=UNTIL_3, rows=SENT, looks=[{0: (2, 3)}], before_look=hold) as (server, read):
        rows = read.rows()
        assert next(rows).batch.num_rows == 3
        assert asked.wait(PATIENCE_S)
        rows.close()
        assert server.closed == ["q-1"]
        answered.set()
        read.watch.join(PATIENCE_S)

    assert (read.watch.is_alive(), read.watch.outcome, server.closed) == (False, None, ["q-1"])


def test_a_signal_while_the_watch_of_a_push_starts_leaves_the_push(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_terminated() -> None:
        raise Terminated

    with pushing(rows=SENT, looks=[{0: (2, 3)}]) as (server, read):
        monkeypatch.setattr(read.watch, "start", raise_terminated)
        with pytest.raises(Terminated):
            rows_of(read)
        assert server.closed == ["q-1"]
