"""Threads take turns in the order in which they came, and let go when they are to stop."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from ksqldb_emulator.testing import FOR_EVER_S
from pipeline.errors import TimeIsOver
from pipeline.process import Terminated
from pipeline.turns import Turn, Turns, side_by_side
from tests.support import wait_until


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(), list[int]()
    first = turns.of("first").take("scan", "S", None)

    def take(number: int) -> None:
        turn = turns.of(str(number)).take("scan", "S", FOR_EVER_S)
        order.append(number)
        turn.give_back()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        wait_until(lambda number=number: turns.waiting("scan") == number + 1, "a thread in the line")
    first.give_back()
    for thread in threads:
        thread.join()

    assert order == [0, 1, 2, 3, 4]


def test_feeds_that_go_first_have_their_first_turn_before_all_others() -> None:
    turns, order = Turns(first=["table 1", "table 2", "table 3"]), list[str]()

    def take(feed: str) -> None:
        turn = turns.of(feed).take("scan", "S", FOR_EVER_S)
        order.append(feed)
        turn.give_back()

    threads = [threading.Thread(target=take, args=(feed,)) for feed in ("stream", "table 2", "table 1")]
    threads[0].start()
    wait_until(lambda: turns.waiting("scan") == 1, "a stream in the line")
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(order) == 2, "two tables that had their turn")
    assert turns.waiting("scan") == 1
    turns.of("table 3").pause(0)  # it has found that it cannot read now
    for thread in threads:
        thread.join()

    assert sorted(order[:2]) == ["table 1", "table 2"]
    assert order[2] == "stream"


def test_a_turn_is_given_back_once() -> None:
    turns = Turns(scans=1)
    turn = turns.of("a").take("scan", "S", None)
    turn.give_back()
    turn.give_back()
    turns.of("b").take("scan", "S", 0)

    with pytest.raises(TimeIsOver, match="LATE"):
        turns.of("c").take("scan", "LATE", 0)
    turns.of("c").take("processes", "S", 0)
    Turn().give_back()


def test_who_waits_for_a_turn_or_pauses_stops_at_once_when_all_are_to_stop() -> None:
    turns = Turns()
    turns.of("held").take("scan", "S", None)
    mine, errors = turns.of("waits"), list[TimeIsOver]()

    def wait() -> None:
        mine.pause(FOR_EVER_S)
        try:
            mine.take("scan", "S", FOR_EVER_S)
        except TimeIsOver as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    turns.stop()
    thread.join(FOR_EVER_S)

    assert len(errors) == 1


def test_results_come_in_the_order_of_the_tasks_and_those_named_first_begin_first() -> None:
    begun, last_is_done = list[int](), threading.Event()

    def task(number: int) -> int:
        begun.append(number)
        if number == 3:
            last_is_done.set()
        else:
            assert last_is_done.wait(FOR_EVER_S)
        return number

    tasks = [lambda number=number: task(number) for number in range(4)]
    assert list(side_by_side(tasks, 4, lambda: None, first=[3])) == [0, 1, 2, 3]
    assert begun[0] == 3
    begun.clear()
    assert list(side_by_side(tasks, 1, lambda: None)) == [0, 1, 2, 3]
    assert begun == [0, 1, 2, 3]


def test_an_error_comes_in_the_place_of_its_task() -> None:
    def fails() -> int:
        raise ValueError("no")

    results = side_by_side([lambda: 1, fails, lambda: 3], 2, lambda: None)

    assert next(results) == 1
    with pytest.raises(ValueError, match="no"):
        next(results)


def test_who_leaves_early_has_the_others_stop() -> None:
    turns, paused = Turns(), threading.Event()

    def waits() -> int:
        paused.set()
        turns.of("waits").pause(FOR_EVER_S)
        return 2

    begun = time.monotonic()
    with contextlib.closing(side_by_side([lambda: 1, waits], 2, turns.stop)) as results:
        assert next(results) == 1
        assert paused.wait(FOR_EVER_S)

    assert turns.stopped
    assert time.monotonic() - begun < FOR_EVER_S
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feeds-")]


def test_a_signal_while_the_threads_start_comes_through_and_those_that_run_end(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, start = Turns(), threading.Thread.start

    def start_one(thread: threading.Thread) -> None:
        if thread.name == "feeds-1":
            raise Terminated
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)

    with pytest.raises(Terminated):
        next(side_by_side([lambda: turns.of("waits").pause(FOR_EVER_S)] * 3, 3, turns.stop))

    assert turns.stopped
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("feeds-")]


def test_a_thread_that_starts_late_begins_no_task_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, late = list[int](), list[threading.Thread]()

    def start_late(thread: threading.Thread) -> None:
        late.append(thread)
        raise Terminated

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_late)
        with pytest.raises(Terminated):
            next(side_by_side([lambda: begun.append(1)], 1, lambda: None))
    late[0].start()
    late[0].join()

    assert begun == []
