"""A broken or hostile server: what it sends has a bound, is refused in a sentence, and never reaches a terminal."""

from __future__ import annotations

import contextlib
import gzip
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from pipeline.errors import (
    AnswerIncomplete,
    AnswerMalformed,
    BodyNotReadable,
    BodyTooLong,
    PipelineError,
    ServerUnreachable,
)
from pipeline.ksqldb.bodies import MOST_BODY_BYTES, PIECE_BYTES
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.framing import Ending, Framing
from tests.decode.rows import tuples
from tests.ksqldb.asking import impatient, info, pull, show_tables
from tests.ksqldb.replay import ReplayServer, Scripted

HEADER = b'[{"queryId":"q","columnNames":["A","B"],"columnTypes":["INTEGER","STRING"]}'

MB = 2**20


@contextlib.contextmanager
def takes_at_most(size_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size_bytes
    finally:
        tracemalloc.stop()


def endless(piece: bytes) -> Iterator[bytes]:
    while True:
        yield piece


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("ask", [info, show_tables, pull])
def test_an_endless_body_that_is_no_answer_of_rows_is_left(
    server: ReplayServer, ask: Callable[[Client], Any], status: int
) -> None:
    server.say(Scripted(status, endless(b" " * PIECE_BYTES)))  # type: ignore[arg-type] # pieces without an end

    with takes_at_most(100 * MB), impatient(server.url) as client, pytest.raises(PipelineError) as raised:
        ask(client)

    assert isinstance(raised.value, AnswerMalformed if ask is pull and status == 200 else BodyTooLong)


@pytest.mark.parametrize("ask", [info, show_tables])
def test_a_body_of_the_longest_kind_is_taken(server: ReplayServer, ask: Callable[[Client], Any]) -> None:
    text = b'{"KsqlServerInfo":{"version":"7.6.13"}}' if ask is info else b"[]"
    server.say(Scripted(200, [text + b" " * (MOST_BODY_BYTES - len(text))]))

    with impatient(server.url) as client:
        assert ask(client) in ("7.6.13", [])


@cache
def bomb(size_bytes: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(b" " * MB) for _ in range(size_bytes // MB)) + packer.flush()


@pytest.mark.parametrize("ask", [info, show_tables, pull])
def test_a_body_that_unpacks_to_gigabytes_takes_no_memory(server: ReplayServer, ask: Callable[[Client], Any]) -> None:
    packed = bomb(150 * MB)
    server.say(Scripted(200, [packed], encoding="gzip"))

    with takes_at_most(100 * MB), impatient(server.url) as client, pytest.raises((BodyTooLong, AnswerMalformed)):
        ask(client)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate", "\u00e9\x01"])
def test_a_packing_that_nobody_asked_for_is_refused_by_name(server: ReplayServer, encoding: str) -> None:
    for ask in (show_tables, pull):
        server.say(Scripted(200, [b"[]"], encoding=encoding))
        with impatient(server.url) as client, pytest.raises(BodyNotReadable, match="not asked for") as raised:
            ask(client)
        assert raised.value.message.isprintable()


def test_an_answer_packed_in_two_parts_is_read_and_one_that_is_cut_is_not(server: ReplayServer) -> None:
    parts = [gzip.compress(HEADER), gzip.compress(b',[1,"x"]]')]
    server.say(Scripted(200, parts, encoding="gzip"))
    with impatient(server.url) as client:
        assert pull(client) == [(1, "x")]

    server.say(Scripted(200, [gzip.compress(b"[]")[:-9]], encoding="gzip"))
    with (
        impatient(server.url) as client,
        pytest.raises(ServerUnreachable, match="not compressed as it says, or was cut"),
    ):
        show_tables(client)


@pytest.mark.parametrize("ask", [info, show_tables, pull])
def test_a_body_that_trickles_is_left_in_time(server: ReplayServer, ask: Callable[[Client], Any]) -> None:
    def trickle() -> Iterator[bytes]:
        while True:
            yield b" "
            threading.Event().wait(0.02)

    server.say(Scripted(200, trickle()))  # type: ignore[arg-type] # pieces without an end

    with impatient(server.url, timeout_s=0.3, stall_s=0.3) as client, pytest.raises(ServerUnreachable, match=r"0\.3 s"):
        ask(client)


@pytest.mark.parametrize("row", [b'[2,"\xff"]', b'[2,"\xed\xa0\x80"]', b"[2,\xc3]", b'[2,"\xc3'])
@pytest.mark.parametrize("before", [1, 1100])  # rows of a kilobyte: the others are taken before the last one
def test_text_that_is_no_utf_8_is_a_malformed_answer_wherever_it_comes(
    server: ReplayServer, row: bytes, before: int
) -> None:
    rows = b"".join(b',[1,"%s"]' % (b"x" * 1000) for _ in range(before))
    server.say(Scripted(200, [HEADER, rows, b"," + row + b"]"]))

    with impatient(server.url) as client, pytest.raises((AnswerMalformed, AnswerIncomplete)):
        pull(client)


def test_a_header_that_is_no_utf_8_is_a_malformed_answer(server: ReplayServer) -> None:
    server.say(Scripted(200, [HEADER.replace(b'"q"', b'"\xff"') + b"]"]))

    with impatient(server.url) as client, pytest.raises(AnswerMalformed, match="header"):
        pull(client)


@pytest.mark.parametrize("seconds", [1e30, float("inf")])
def test_waits_that_no_system_takes_are_cut_to_a_day(server: ReplayServer, seconds: float) -> None:
    server.say(Scripted(200, [HEADER + b',[1,"x"]]']))

    with (
        impatient(server.url, timeout_s=seconds, retry_s=seconds, stall_s=seconds) as client,
        client.query("SELECT 1;", Framing.PLAIN_ARRAY, Ending.BRACKET, at_most_s=seconds) as answer,
    ):
        answer.wait_at_most(seconds)
        assert [row for part in answer.rows() for row in tuples(part.batch)] == [(1, "x")]
