"""An answer while it is read: what comes before a break, how it is left, and what becomes of its query."""

from __future__ import annotations

import itertools
import select
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest

from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S
from pipeline.errors import AnswerIncomplete, PipelineError, ServerUnreachable
from pipeline.ksqldb import answer as answers
from pipeline.ksqldb.answer import Answer
from pipeline.ksqldb.bodies import LONGEST_S
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.framing import AnswerParser, Ending, Framing
from tests.ksqldb.replay import ReplayServer, Scripted

HEAD = b'[{"header":{"queryId":"q-1","schema":"`N` INTEGER"}},\n'
END = b'{"finalMessage":"Query Completed"}]'


def row(number: int) -> bytes:
    return b'{"row":{"columns":[%d]}},\n' % number


def ask(client: Client) -> Answer:
    return client.query("SELECT N FROM S EMIT CHANGES;", Framing.STREAMED_ROWS, Ending.COMPLETED)


def numbers(answer: Answer) -> list[int]:
    return [number for rows in answer.rows() for number in rows.batch.column(0).to_pylist()]


def closed(server: ReplayServer) -> list[Any]:
    return [asked.body for asked in server.asked if asked.path == "/close-query"]


def test_rows_that_come_with_the_header_come_first(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD + row(1), row(2), END]))

    with ask(client) as answer:
        assert (answer.header.query_id, [column.name for column in answer.layout.columns]) == ("q-1", ["N"])
        assert answer.proved is False
        assert (numbers(answer), answer.proved) == ([1, 2], True)
        assert answer.byte_count == len(HEAD + row(1) + row(2) + END)

    assert closed(server) == []


def test_rows_that_come_while_nobody_reads_are_taken_together(server: ReplayServer, client: Client) -> None:
    """Each is a chunk: to take them one by one would cost more than to decode them."""
    is_begun, is_sent = threading.Event(), threading.Event()

    def pieces() -> Iterator[bytes]:
        yield HEAD
        assert is_begun.wait(PATIENCE_S)
        yield from map(row, range(200))
        is_sent.set()
        yield END

    server.say(Scripted(200, pieces()))
    with ask(client) as answer:
        is_begun.set()
        assert is_sent.wait(PATIENCE_S)
        reads = itertools.count()
        answer._pieces = (piece for piece, _ in zip(answer._pieces, reads, strict=False))
        assert numbers(answer) == list(range(200))

    assert next(reads) < 10


def test_an_answer_that_ends_before_its_header_is_no_answer(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD[:20]]))

    with pytest.raises(AnswerIncomplete, match="broke off after 0 rows"):
        ask(client)


def test_an_answer_that_ends_before_its_last_message_is_not_whole(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD, row(1)]))

    with ask(client) as answer, pytest.raises(AnswerIncomplete, match="broke off after 1 rows"):
        numbers(answer)


def test_an_answer_that_breaks_says_how_many_rows_came(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD + row(1) + row(2)], cut=True))

    with ask(client) as answer:
        with pytest.raises(AnswerIncomplete) as caught:
            numbers(answer)

        assert caught.value.message.startswith("the connection broke after 2 rows: ")
        assert caught.value.hint == "nothing was kept of the broken answer; run the same command again"
        assert not answer.proved

    assert closed(server) == [{"queryId": "q-1"}]


def test_an_answer_that_is_hung_up_on_ends_quietly_with_its_whole_rows(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD + row(1), row(2) + b'{"row":{"colu'], idle_s=FOR_EVER_S))

    with ask(client) as answer:
        rows = answer.rows()
        first = next(rows)
        answer.hang_up()
        later = [number for each in rows for number in each.batch.column(0).to_pylist()]

        assert [*first.batch.column(0).to_pylist(), *later] in ([1], [1, 2])
        assert not answer.proved
        answer.hang_up()


def test_hanging_up_on_an_answer_that_is_over_or_closed_does_nothing(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD, row(1), END], chunked=False))

    with ask(client) as answer:
        assert numbers(answer) == [1]
        answer.hang_up()
    answer.hang_up()


def test_hanging_up_on_a_server_that_is_gone_ends_the_read(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD + row(1)], reset=True))

    with ask(client) as answer:
        is_reset = select.poll()
        is_reset.register(answer._response.raw._fp.fp.raw._sock, 0)
        assert is_reset.poll(PATIENCE_S * 1000) == [(ANY, select.POLLHUP | select.POLLERR)]
        answer.hang_up()
        assert (numbers(answer), answer.proved) == ([1], False)


def test_a_query_that_was_not_read_to_its_end_is_ended_once(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD], idle_s=FOR_EVER_S))

    answer = ask(client)
    answer.close()
    answer.close()

    assert closed(server) == [{"queryId": "q-1"}]


def test_an_end_that_the_server_refuses_is_no_error(server: ReplayServer, client: Client) -> None:
    def refuse(query_id: str) -> None:
        assert query_id == "q-1"
        raise PipelineError("no", "no")

    server.say(Scripted(200, [HEAD], idle_s=FOR_EVER_S))
    answer = ask(client)
    answer._end_query = refuse

    answer.close()

    assert answer._response.raw.closed


def test_a_block_that_fails_closes_the_answer_and_one_that_does_not_leaves_it_open(
    server: ReplayServer, client: Client
) -> None:
    server.say(Scripted(200, [HEAD], idle_s=FOR_EVER_S))
    answer = ask(client)

    with answer.closing_on_error():
        pass
    assert closed(server) == []
    with pytest.raises(KeyError), answer.closing_on_error():
        raise KeyError

    assert closed(server) == [{"queryId": "q-1"}]


def test_a_header_that_trickles_is_left(server: ReplayServer, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, is_in_time = iter([0.0, 120.0, 120.5]), threading.Event()

    def monotonic() -> float:
        now = next(seconds)
        if now:
            is_in_time.set()
        return now

    def trickle() -> Iterator[bytes]:
        yield b"["
        is_in_time.wait(PATIENCE_S)
        yield b" "

    server.say(Scripted(200, trickle(), idle_s=FOR_EVER_S))
    with unread(client) as answer:
        monkeypatch.setattr(answers, "time", SimpleNamespace(monotonic=monotonic))
        with pytest.raises(ServerUnreachable) as caught:
            answer.read_header(120)

    assert caught.value.message == "ksqlDB did not come to the end of its answer's header within 120 s"
    assert caught.value.hint == "check that the server is up and not overloaded, then run the same command again"
    assert list(seconds) == []


def unread(client: Client) -> Answer:
    """An answer whose header nobody has read yet."""
    response = client._open("POST", "/query-stream", {"sql": "x"}, "application/json")
    return Answer(response, AnswerParser(Framing.STREAMED_ROWS, Ending.COMPLETED), lambda _: None)


@pytest.mark.parametrize("stays_open", [True, False])
@pytest.mark.parametrize(("seconds", "limit"), [(None, None), (5, 5), (1e30, LONGEST_S)])
def test_a_read_without_a_byte_waits_as_long_as_it_was_said(
    server: ReplayServer, client: Client, seconds: float | None, limit: float | None, stays_open: bool
) -> None:
    server.say(Scripted(200, [HEAD], idle_s=FOR_EVER_S, chunked=stays_open))

    with ask(client) as answer:
        answer.wait_at_most(seconds)

        assert answer._response.raw._fp.fp.raw._sock.gettimeout() == limit


def test_an_answer_that_is_over_waits_for_nothing(server: ReplayServer, client: Client) -> None:
    server.say(Scripted(200, [HEAD, END], chunked=False))

    with ask(client) as answer:
        assert numbers(answer) == []
        answer.wait_at_most(5)
