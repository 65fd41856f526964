"""A push query from its start to its end: what ends it, what is kept of it, and how it is left."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from ksqldb_emulator.testing import FOR_EVER_S
from pipeline.errors import (
    AnswerIncomplete,
    AnswerMalformed,
    AuthenticationFailed,
    ReadStalled,
    StatementRefused,
    TimeIsOver,
    TopicChanged,
)
from pipeline.ksqldb import push
from pipeline.ksqldb.framing import Header
from pipeline.limits import Limits
from pipeline.source import Offsets
from pipeline.turns import Turns
from tests.ksqldb.push_server import ROWS, SENT, UNTIL_3, pushing, row, rows_of
from tests.support import wait_until

pytestmark = pytest.mark.usefixtures("frequent_looks")
STEADY = {
    "auto.offset.reset": "earliest",
    "ksql.streams.num.stream.threads": "1",
    "ksql.streams.commit.interval.ms": "100",
}


@pytest.fixture
def _a_second_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(push, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))


def test_a_push_is_closed_when_its_true_ends_are_committed() -> None:
    headers: list[Header] = []
    looks = [None, {0: (2, 2)}, {0: (2, 3)}]
    with pushing(ends=UNTIL_3, rows=SENT, looks=looks, layouts=headers) as (server, read):
        assert (rows_of(read), read.outcome, read.answer.proved) == (ROWS, "exact", True)

    assert (server.look_count, server.closed) == (3, ["q-1"])
    assert [column.name for column in headers[0].columns] == ["ROWPARTITION", "ROWOFFSET"]
    assert server.pushes == [{"sql": "SELECT 1 EMIT CHANGES;", "properties": STEADY}]


def test_without_true_ends_a_push_is_closed_when_it_is_quiet() -> None:
    with pushing(Limits(quiet_s=0.05, stall_s=FOR_EVER_S), rows=SENT, looks=[{0: (2, 3)}]) as (server, read):
        assert (rows_of(read), read.outcome) == (ROWS, "quiet")

    assert server.closed == ["q-1"]


@pytest.mark.parametrize("look", [None, {0: (2, 2)}])
def test_a_push_is_closed_at_the_time_limit(look: Any) -> None:
    with pushing(ends=UNTIL_3, rows=SENT, looks=[look]) as (server, read):
        read.watch._limits = Limits(FOR_EVER_S, FOR_EVER_S, time.monotonic() + 0.1)  # the start is not what is tried
        assert (rows_of(read), read.outcome, server.closed) == (ROWS, "time limit", ["q-1"])


def test_what_is_at_its_end_when_the_time_is_over_was_read_to_its_end() -> None:
    with pushing(ends=UNTIL_3, rows=SENT, looks=[{0: (2, 3)}]) as (_, read):
        read.watch._limits = Limits(FOR_EVER_S, FOR_EVER_S, time.monotonic())
        assert (rows_of(read), read.outcome) == (ROWS, "exact")


def test_a_push_is_not_begun_when_the_time_is_over() -> None:
    with pytest.raises(TimeIsOver, match=r"^S was not read"), pushing(Limits(deadline=time.monotonic())):
        pass


def test_a_push_that_the_server_refuses_for_now_is_begun_in_time_or_not_at_all() -> None:
    """A server without a time limit is tried for minutes."""
    limits = Limits(deadline=time.monotonic() + 0.1)
    with pytest.raises(TimeIsOver, match=r"^S was not read"), pushing(limits, refusals=[503]):
        pass


def test_a_push_has_its_turn_until_it_only_waits() -> None:
    turns, others = Turns(), list[bool]()

    def note_whether_others_may_scan() -> None:
        try:
            turns.of("other").take("scan", "OTHER", 0).give_back()
            others.append(True)
        except TimeIsOver:
            others.append(False)

    limits = Limits(FOR_EVER_S, FOR_EVER_S, turns=turns.of("feed"))
    script: dict[str, Any] = {"looks": [{0: (2, 2)}, {0: (2, 3)}], "before_look": note_whether_others_may_scan}
    with (
        pushing(limits, bookmark={0: 3}, rows=SENT, ends_after=3, **script) as (_, read),
        pytest.raises(AnswerIncomplete),
    ):
        rows_of(read)

    assert others[:3] == [False, False, True]


def test_a_push_that_is_left_gives_its_turn_back() -> None:
    turns = Turns()
    with pushing(Limits(turns=turns.of("feed")), rows=SENT) as (_, read):
        rows = read.rows()
        next(rows)
        with pytest.raises(TimeIsOver):
            turns.of("other").take("scan", "OTHER", 0)
        rows.close()

        turns.of("other").take("scan", "OTHER", 0)


def test_a_topic_that_ends_before_the_bookmark_ends_the_push() -> None:
    with pushing(Limits(0.05, FOR_EVER_S), bookmark={0: 9}, looks=[{0: (2, 3)}], rows=SENT) as (server, read):
        with pytest.raises(TopicChanged, match="topic s was recreated or cut: partition 0 ends at offset 3"):
            rows_of(read)

        assert (read.outcome, server.closed) == (None, ["q-1"])


def test_a_push_that_somebody_else_ends_is_not_taken_for_whole() -> None:
    with pushing(ends=UNTIL_3, rows=SENT, looks=[{0: (2, 2)}], ends_after=3) as (server, read):
        with pytest.raises(AnswerIncomplete) as caught:
            rows_of(read)

        assert caught.value.message == (
            "the query was ended by somebody else before it was at its end (TERMINATE, or a close by its id)"
        )
        assert (caught.value.hint, read.outcome) == ("run the same command again", None)
        assert server.closed == []


@pytest.mark.usefixtures("_a_second_a_look")
@pytest.mark.parametrize(
    ("look", "ends", "looks", "where"),
    [
        (None, UNTIL_3, 4, "the server no longer lists the query"),
        ({0: (2, 2), 1: (5, 6)}, UNTIL_3, 5, "positions 0: (2, 2), 1: (5, 6), ends 0: 3"),
        ({1: (5, 6), 0: (2, 2)}, None, 5, "positions 0: (2, 2), 1: (5, 6)"),
    ],
)
def test_a_push_without_progress_has_stalled(
    look: Any, ends: Mapping[int, Offsets] | None, looks: int, where: str
) -> None:
    with pushing(Limits(FOR_EVER_S, 4), ends, rows=SENT, looks=[look]) as (server, read):
        rows = read.rows()
        first = next(rows)  # what was sent has come before it is looked for
        with pytest.raises(ReadStalled) as caught:
            list(rows)

        assert caught.value.message == f"reading S stalled: no progress for 4 s ({where})"
        assert caught.value.hint == "the rows that came are kept; look at the server, then run the same command again"
        assert (first.batch.num_rows, read.outcome) == (3, None)
        assert server.look_count == looks
        wait_until(server.is_left.is_set, "the connection that is dropped")


@pytest.mark.usefixtures("_a_second_a_look")
def test_a_position_that_moves_is_no_stall() -> None:
    looks: list[Any] = [*({0: (n, n)} for n in range(9)), {0: (1, 3)}]
    with pushing(Limits(FOR_EVER_S, 2), UNTIL_3, rows=SENT, looks=looks) as (_, read):
        assert (rows_of(read), read.outcome) == (ROWS, "exact")


@pytest.mark.usefixtures("_a_second_a_look")
def test_rows_that_come_are_no_stall() -> None:
    looks: list[Any] = [{0: (1, 1)}] * 9 + [{0: (8, 9)}]
    later = [row(0, n) for n in range(9)]
    with pushing(Limits(FOR_EVER_S, 2), {0: Offsets(0, 9, 0)}, looks=looks, rows_by_look=later) as (server, read):
        seen = [read.answer.byte_count]

        def wait_for_a_row() -> None:
            if server.look_count <= len(later):
                wait_until(lambda: read.answer.byte_count > seen[-1], "the row of this look")
            seen.append(read.answer.byte_count)

        server.before_look = wait_for_a_row
        assert (rows_of(read), read.outcome) == ([(0, n) for n in range(9)], "exact")


def test_a_server_that_does_not_answer_for_a_while_is_asked_again() -> None:
    """Soon: the next look is the next try, though a statement elsewhere is tried for minutes."""
    with pushing(ends=UNTIL_3, rows=SENT, looks=[503, {0: (2, 2)}, 503, {0: (2, 3)}]) as (server, read):
        assert (rows_of(read), read.outcome) == (ROWS, "exact")

    assert server.look_count == 4


@pytest.mark.usefixtures("_a_second_a_look")
def test_a_server_that_never_shows_the_position_stalls_in_time() -> None:
    with pushing(Limits(FOR_EVER_S, 3), UNTIL_3, rows=SENT, looks=[503]) as (server, read):
        rows = read.rows()
        next(rows)
        with pytest.raises(ReadStalled, match="no longer lists the query"):
            list(rows)

        assert server.look_count == 3


def test_a_server_that_refuses_to_show_the_position_ends_the_read() -> None:
    with pushing(ends=UNTIL_3, rows=SENT, looks=[{0: (2, 2)}, 403]) as (server, read):
        with pytest.raises(AuthenticationFailed):
            rows_of(read)

        wait_until(server.is_left.is_set, "the connection that is dropped")


@pytest.mark.parametrize(
    "answer",
    [
        [{"queryDescriptions": [{"id": "q-1", "tasksMetadata": [{"topicOffsets": [{"endOffset": 1}]}]}]}],
        [{"queryDescriptions": 5}],
        [{"queryDescriptions": ["q-1"]}],
        [{"queryDescriptions": [{"id": "q-1", "tasksMetadata": [{"topicOffsets": [
            {"topicPartitionEntity": {"topic": "s", "partition": "x"}, "endOffset": 1, "committedOffset": 1}]}]}]}],
    ],
)  # fmt: skip
def test_positions_that_cannot_be_understood_end_the_read(answer: list[Any]) -> None:
    with pushing(ends=UNTIL_3, rows=SENT, looks=[answer]) as (_, read):
        with pytest.raises(AnswerMalformed) as caught:
            rows_of(read)

        assert caught.value.message == "the server's answer to 'SHOW QUERIES EXTENDED;' is not understood"
        assert caught.value.hint == "report this with the server's version"


@pytest.mark.parametrize(
    "answer",
    [
        [{"queryDescriptions": None}],
        [{"queryDescriptions": [{"id": "q-1"}]}],
        [{"queryDescriptions": [{"id": "q-1", "tasksMetadata": [{"topicOffsets": None}]}]}],
    ],
)
def test_a_query_without_tasks_is_waited_for(answer: list[Any]) -> None:
    with pushing(ends=UNTIL_3, rows=SENT, looks=[answer, {0: (2, 3)}]) as (_, read):
        assert (rows_of(read), read.outcome) == (ROWS, "exact")


@pytest.mark.parametrize("property_", ["ksql.streams.num.stream.threads", "commit.interval.ms"])
def test_without_the_properties_that_an_administrator_forbids_more_time_is_allowed(property_: str) -> None:
    with pushing(Limits(3, 60), refusals=[f"Cannot override: {property_}"]) as (server, read):
        assert read.watch._rule.quiet_s == 3 + push._UNSTEADY_EXTRA_S

    assert [asked["properties"] for asked in server.pushes] == [STEADY, {"auto.offset.reset": "earliest"}]


def test_a_push_that_is_refused_for_another_reason_is_not_asked_for_again() -> None:
    refusals = ["S does not exist"]
    with pytest.raises(StatementRefused, match="S does not exist"), pushing(refusals=refusals, rows=SENT):
        pass


def test_a_watch_that_waits_for_a_silent_server_keeps_no_process_alive() -> None:
    with pushing() as (_, read):
        assert read.watch.daemon


def test_the_silence_of_a_push_has_no_limit() -> None:
    """It is silent while nothing matches; the watch over it has one."""
    with pushing(Limits(3, 60)) as (_, read):
        assert read.answer._response.raw._fp.fp.raw._sock.gettimeout() is None
        assert (read.watch._rule.quiet_s, read.watch._rule.slow_s) == (3, 60)
