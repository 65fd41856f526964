"""What an odd server, or an address that is none, says reaches the reader in plain words."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.errors import (
    AddressNotUsable,
    AnswerMalformed,
    PipelineError,
    QueryFailed,
    StatementRefused,
    printable,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import describe, list_sources
from tests.ksqldb.asking import impatient, info, pull, show_tables
from tests.ksqldb.replay import ReplayServer, Scripted

HEADER = b'[{"queryId":"q","columnNames":["A","B"],"columnTypes":["INTEGER","STRING"]}'

EVIL = "\x1b[2J\x9b1m\u202etext\x00\r\n\x07 and more"


@pytest.mark.parametrize("ask", [show_tables, pull])
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_a_servers_text_is_shown_without_what_a_terminal_obeys(
    server: ReplayServer, ask: Callable[[Client], Any], status: int
) -> None:
    error = {"@type": EVIL, "error_code": EVIL, "message": EVIL + "x" * 100_000}
    server.say(Scripted(status, [json.dumps(error).encode()]))

    with impatient(server.url) as client, pytest.raises(PipelineError) as raised:
        ask(client)

    assert raised.value.message.isprintable()
    assert r"\x1b[2J\x9b1m\u202etext" in raised.value.message
    assert len(raised.value.message) < 3000


def test_an_error_in_an_answer_is_shown_without_what_a_terminal_obeys(server: ReplayServer) -> None:
    error = json.dumps({"@type": "generic_error", "error_code": 50000, "message": EVIL}).encode()
    server.say(Scripted(200, [HEADER + b"," + error + b"]"]))

    with impatient(server.url) as client, pytest.raises(QueryFailed) as raised:
        pull(client)

    assert raised.value.message.isprintable()


def test_names_of_sources_are_shown_without_what_a_terminal_obeys(server: ReplayServer) -> None:
    listed = [{"@type": "streams", "streams": [{"name": EVIL, "topic": "t"}]}, {"@type": "tables", "tables": []}]
    server.say(*(Scripted(200, [json.dumps([entity]).encode()]) for entity in listed))

    with impatient(server.url) as client:
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
        with impatient(server.url) as client, pytest.raises(AnswerMalformed, match=r"SHOW STREAMS|DESCRIBE") as raised:
            ask(client)
        assert raised.value.hint


def test_a_version_is_shown_without_what_a_terminal_obeys(server: ReplayServer) -> None:
    server.say(Scripted(200, [json.dumps({"KsqlServerInfo": {"version": "7.6.13" + EVIL}}).encode()]))

    with impatient(server.url) as client:
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


@pytest.mark.parametrize("cut", [b"", b"5", b"zz\r\n", b"\x00\xff\r\n", b"1\r\nx", b"0", b"-5\r\n", b"9" * 70_000])
def test_a_node_killed_in_an_answer_is_told_in_our_words(cut: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(HEADER), HEADER)
    for ask in (pull, show_tables):
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

    with impatient(server.url) as client, pytest.raises(StatementRefused, match=r"Syntax Error Unknown 'x'$"):
        show_tables(client)
