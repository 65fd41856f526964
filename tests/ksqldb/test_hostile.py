"""A broken or hostile server: what it sends has a bound, is refused in a sentence, and never reaches a terminal."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from pipeline.errors import (
    AddressNotUsable,
    AnswerIncomplete,
    AnswerMalformed,
    BodyNotReadable,
    BodyTooLong,
    PipelineError,
    QueryFailed,
    ServerUnreachable,
    StatementRefused,
    printable,
)
from pipeline.ksqldb.bodies import MOST_BODY_BYTES, PIECE_BYTES
from pipeline.ksqldb.client import Client, Connection
from pipeline.ksqldb.describe import describe, list_sources
from pipeline.ksqldb.framing import Ending, Framing
from tests.decode.rows import tuples
from tests.ksqldb.replay import ReplayServer, Scripted, replaying

HEAD = b'[{"queryId":"q","columnNames":["A","B"],"columnTypes":["INTEGER","STRING"]}'
EVIL = "\x1b[2J\x9b1m\u202etext\x00\r\n\x07 and more"
MB = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with replaying() as script:
        yield script


def info(client: Client) -> Any:
    return client.server_version()


def admin(client: Client) -> Any:
    return client.ksql("SHOW TABLES;")


def pull(client: Client) -> list[Any]:
    with client.query("SELECT * FROM X;", Framing.PLAIN_ARRAY, Ending.BRACKET) as answer:
        return [row for part in answer.rows() for row in tuples(part.batch)]


def client_of(server: ReplayServer, **options: Any) -> Client:
    return Client(Connection(server.url, **({"retry_s": 0, "timeout_s": 20} | options)))


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
@pytest.mark.parametrize("ask", [info, admin, pull])
def test_an_endless_body_that_is_no_answer_of_rows_is_left(
    server: ReplayServer, ask: Callable[[Client], Any], status: int
) -> None:
    server.say(Scripted(status, endless(b" " * PIECE_BYTES)))  # type: ignore[arg-type] # pieces without an end

    with takes_at_most(100 * MB), client_of(server) as client, pytest.raises(PipelineError) as raised:
        ask(client)

    assert isinstance(raised.value, AnswerMalformed if ask is pull and status == 200 else BodyTooLong)


@pytest.mark.parametrize("ask", [info, admin])
def test_a_body_of_the_longest_kind_is_taken(server: ReplayServer, ask: Callable[[Client], Any]) -> None:
    text = b'{"KsqlServerInfo":{"version":"7.6.13"}}' if ask is info else b"[]"
    server.say(Scripted(200, [text + b" " * (MOST_BODY_BYTES - len(text))]))

    with client_of(server) as client:
        assert ask(client) in ("7.6.13", [])


@cache
def bomb(size_bytes: int) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(b" " * MB) for _ in range(size_bytes // MB)) + packer.flush()


@pytest.mark.parametrize("ask", [info, admin, pull])
def test_a_body_that_unpacks_to_gigabytes_takes_no_memory(server: ReplayServer, ask: Callable[[Client], Any]) -> None:
    packed = bomb(300 * MB)
    server.say(Scripted(200, [packed], encoding="gzip"))

    with takes_at_most(200 * MB), client_of(server) as client, pytest.raises((BodyTooLong, AnswerMalformed)):
        ask(client)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate", "\u00e9\x01"])
def test_a_packing_that_nobody_asked_for_is_refused_by_name(server: ReplayServer, encoding: str) -> None:
    for ask in (admin, pull):
        server.say(Scripted(200, [b"[]"], encoding=encoding))
        with client_of(server) as client, pytest.raises(BodyNotReadable, match="not asked for") as raised:
            ask(client)
        assert raised.value.message.isprintable()


def test_an_answer_packed_in_two_parts_is_read_and_one_that_is_cut_is_not(server: ReplayServer) -> None:
    parts = [gzip.compress(HEAD), gzip.compress(b',[1,"x"]]')]
    server.say(Scripted(200, parts, encoding="gzip"))
    with client_of(server) as client:
        assert pull(client) == [(1, "x")]

    server.say(Scripted(200, [gzip.compress(b"[]")[:-9]], encoding="gzip"))
    with client_of(server) as client, pytest.raises(ServerUnreachable, match="not compressed as it says, or was cut"):
        admin(client)


@pytest.mark.parametrize("ask", [info, admin, pull])
def test_a_body_that_trickles_is_left_in_time(server: ReplayServer, ask: Callable[[Client], Any]) -> None:
    def trickle() -> Iterator[bytes]:
        while True:
            yield b" "
            threading.Event().wait(0.02)

    server.say(Scripted(200, trickle()))  # type: ignore[arg-type] # pieces without an end

    with client_of(server, timeout_s=0.3, stall_s=0.3) as client, pytest.raises(ServerUnreachable, match=r"0\.3 s"):
        ask(client)


@pytest.mark.parametrize("row", [b'[2,"\xff"]', b'[2,"\xed\xa0\x80"]', b"[2,\xc3]", b'[2,"\xc3'])
@pytest.mark.parametrize("before", [1, 40_000])
def test_text_that_is_no_utf_8_is_a_malformed_answer_wherever_it_comes(
    server: ReplayServer, row: bytes, before: int
) -> None:
    rows = b"".join(b',[1,"some text of a row"]' for _ in range(before))
    server.say(Scripted(200, [HEAD, rows, b"," + row + b"]"]))

    with client_of(server) as client, pytest.raises((AnswerMalformed, AnswerIncomplete)):
        pull(client)


def test_a_header_that_is_no_utf_8_is_a_malformed_answer(server: ReplayServer) -> None:
    server.say(Scripted(200, [HEAD.replace(b'"q"', b'"\xff"') + b"]"]))

    with client_of(server) as client, pytest.raises(AnswerMalformed, match="header"):
        pull(client)


@pytest.mark.parametrize("ask", [admin, pull])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_a_servers_text_is_shown_without_what_a_terminal_obeys(
    server: ReplayServer, ask: Callable[[Client], Any], status: int
) -> None:
    error = {"@type": EVIL, "error_code": EVIL, "message": EVIL + "x" * 100_000}
    server.say(Scripted(status, [json.dumps(error).encode()]))

    with client_of(server) as client, pytest.raises(PipelineError) as raised:
        ask(client)

    assert raised.value.message.isprintable()
    assert r"\x1b[2J\x9b1m\u202etext" in raised.value.message
    assert len(raised.value.message) < 3000


def test_an_error_in_an_answer_is_shown_without_what_a_terminal_obeys(server: ReplayServer) -> None:
    error = json.dumps({"@type": "generic_error", "error_code": 50000, "message": EVIL}).encode()
    server.say(Scripted(200, [HEAD + b"," + error + b"]"]))

    with client_of(server) as client, pytest.raises(QueryFailed) as raised:
        pull(client)

    assert raised.value.message.isprintable()


def test_names_of_sources_are_shown_without_what_a_terminal_obeys(server: ReplayServer) -> None:
    listed = [{"@type": "streams", "streams": [{"name": EVIL, "topic": "t"}]}, {"@type": "tables", "tables": []}]
    server.say(*(Scripted(200, [json.dumps([entity]).encode()]) for entity in listed))

    with client_of(server) as client:
        (name,) = list_sources(client)

    assert name.isprintable()


ODD_ADMIN_ANSWERS = [
    b"[5]",
    b'[{"@type":"streams"}]',
    b'[{"@type":"streams","streams":[5]}]',
    b'[{"@type":"streams","streams":{"name":"x"}}]',
    b'[{"@type":"streams","streams":[{"topic":"t"}]}]',
    b'[{"@type":"sourceDescription","sourceDescription":null}]',
    b'[{"@type":"sourceDescription","sourceDescription":{"name":"S"}}]',
    b'[{"@type":"sourceDescription","sourceDescription":{"name":"S","type":"STREAM","topic":"t","fields":[{"name":"A"}]}}]',
    b'[{"@type":"sourceDescription","sourceDescription":{"name":"S","type":"STREAM","topic":"t","fields":[{"name":"A",'
    b'"schema":{"type":"DECIMAL"}}],"partitions":"many"}}]',
]


@pytest.mark.parametrize("body", ODD_ADMIN_ANSWERS, ids=range(len(ODD_ADMIN_ANSWERS)))
def test_an_admin_answer_of_another_form_is_told_by_its_statement(server: ReplayServer, body: bytes) -> None:
    server.say(Scripted(200, [body]))

    for ask in (list_sources, lambda client: describe(client, "S")):
        with client_of(server) as client, pytest.raises(AnswerMalformed, match=r"SHOW STREAMS|DESCRIBE") as raised:
            ask(client)
        assert raised.value.hint


def test_a_version_is_shown_without_what_a_terminal_obeys(server: ReplayServer) -> None:
    server.say(Scripted(200, [json.dumps({"KsqlServerInfo": {"version": "7.6.13" + EVIL}}).encode()]))

    with client_of(server) as client:
        assert client.server_version().isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb\tc", "a b c"), ("\x1b[31m", r"\x1b[31m"), ("\u202ea\ud800", r"\u202ea\ud800"), ("é 名 😀", "é 名 😀")],
)
def test_what_is_not_printable_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert PipelineError(text, text).message == PipelineError(text, text).hint == shown


@pytest.mark.parametrize(
    "greeting", [b"J\x00\x00\x00\n8.0.36\x00\x08\x00\x00\x00`\x1b", b"SSH-2.0-x\r\n", b"\x15\x03\x03\n"]
)
def test_a_server_of_another_kind_is_told_without_its_bytes(greeting: bytes) -> None:
    with speaking(greeting) as port, pytest.raises(AddressNotUsable, match="there is no HTTP at") as raised:
        info(Client(Connection(f"http://127.0.0.1:{port}", retry_s=0)))

    assert raised.value.exit_code == 1
    assert "REST listener" in raised.value.hint
    assert greeting.decode("latin-1")[:3] not in raised.value.message


def test_https_to_a_port_that_speaks_http_says_so(server: ReplayServer) -> None:
    url = server.url.replace("http:", "https:")

    with Client(Connection(url, retry_s=0)) as client, pytest.raises(AddressNotUsable, match="speaks http") as raised:
        info(client)

    assert raised.value.hint == f"set KSQLDB_URL={server.url}"


@contextlib.contextmanager
def speaking(greeting: bytes) -> Iterator[int]:
    """A port where a server says that and nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(greeting)
                        connection.shutdown(socket.SHUT_WR)
                        while connection.recv(4096):
                            pass

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "url",
    ["http://[::1:8088", "http://localhost:99999", "http://localhost:port", "http://localhost:0", "http://a b:8088",
     "http://localhost:8088/?x=1", "http://localhost:8088#x", "http://host\x1b[2J:8088", "http://[::g]:8088"],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_when_it_is_read(url: str) -> None:
    with pytest.raises(AddressNotUsable, match="not an http:// or https:// URL") as raised:
        Connection(url)

    assert raised.value.exit_code == 1


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..b", "*"])
def test_a_host_that_cannot_be_looked_up_is_no_reason_to_try_again(host: str) -> None:
    with pytest.raises(PipelineError) as raised:
        info(Client(Connection(f"http://{host}:8088", retry_s=0)))

    assert "codec" not in raised.value.message


@pytest.mark.parametrize("seconds", [1e30, float("inf")])
def test_waits_that_no_system_takes_are_cut_to_a_day(server: ReplayServer, seconds: float) -> None:
    server.say(Scripted(200, [HEAD + b',[1,"x"]]']))

    with (
        client_of(server, timeout_s=seconds, retry_s=seconds, stall_s=seconds) as client,
        client.query("SELECT 1;", Framing.PLAIN_ARRAY, Ending.BRACKET, at_most_s=seconds) as answer,
    ):
        answer.wait_at_most(seconds)
        assert [row for part in answer.rows() for row in tuples(part.batch)] == [(1, "x")]


@pytest.mark.parametrize("cut", [b"", b"5", b"zz\r\n", b"\x00\xff\r\n", b"1\r\nx", b"0", b"-5\r\n", b"9" * 70_000])
def test_a_node_killed_in_an_answer_is_told_in_our_words(cut: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(HEAD), HEAD)
    for ask in (pull, admin):
        with speaking(start + cut) as port, pytest.raises(PipelineError) as raised:
            ask(Client(Connection(f"http://127.0.0.1:{port}", retry_s=0, timeout_s=10)))
        message = raised.value.message
        assert raised.value.exit_code == 75, message
        assert not any(word in message for word in ("invalid literal", "Incomplete", "Connection broken", "b'")), (
            message
        )


def test_a_refused_statement_keeps_the_servers_reason_in_one_line(server: ReplayServer) -> None:
    body = {"@type": "statement_error", "error_code": 40001, "message": "line 1:8: Syntax Error\nUnknown 'x'\n"}
    server.say(Scripted(400, [json.dumps(body).encode()]))

    with client_of(server) as client, pytest.raises(StatementRefused, match=r"Syntax Error Unknown 'x'$"):
        admin(client)
