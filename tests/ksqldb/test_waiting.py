"""What the client waits for, how long, and what it gives up at once."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S
from pipeline.errors import (
    AnswerIncomplete,
    ServerNotReady,
    ServerUnreachable,
    StatementRefused,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from tests.ksqldb.asking import HEAD, INFO, READY, STARTING, impatient, pull, show_tables
from tests.ksqldb.replay import ReplayServer, Scripted, replaying
from tests.vectors import in_both, needs_vectors


@pytest.mark.parametrize("name", in_both(["starting: GET /info", "own: starting: GET /info"]))
@pytest.mark.parametrize("ask", [Client.server_version, show_tables, pull])
def test_a_starting_server_is_waited_for(server: ReplayServer, ask: Any, name: str) -> None:
    ready = {Client.server_version: INFO, show_tables: b"[]", pull: HEAD + b"]"}[ask]
    server.say_recorded(name)
    server.answers += [STARTING, Scripted(200, [ready])]
    waits: list[float] = []

    with Client(Connection(server.url, retry_s=60), sleep=waits.append) as client:
        ask(client)

    assert len(waits) == 2
    assert all(0 <= wait <= 5 for wait in waits)


@needs_vectors
def test_a_restarting_server_is_waited_for(server: ReplayServer) -> None:
    server.say_recorded(*(f"starting, {number}: table pull" for number in (1, 2, 3, 4)))

    assert rows_after_three_waits(server) == 117


def test_a_server_that_starts_and_then_refuses_pulls_is_waited_for(server: ReplayServer) -> None:
    refusing = ["own: restarting: table pull"] * 2
    server.say_recorded("own: starting: GET /info", *refusing, "own: pull CLICK_COUNTS, json")

    assert rows_after_three_waits(server) == 4


def rows_after_three_waits(server: ReplayServer) -> int:
    waits: list[float] = []

    with Client(Connection(server.url, retry_s=30), sleep=waits.append) as client:
        rows = pull(client)

    assert len(waits) == 3
    return len(rows)


@pytest.mark.parametrize(
    "name", in_both([*(f"starting, {n}: table pull" for n in (1, 2, 3)), "own: restarting: table pull"])
)
def test_a_server_that_keeps_refusing_is_given_up(server: ReplayServer, name: str) -> None:
    server.say_recorded(name)

    with impatient(server.url) as client, pytest.raises(ServerNotReady, match="refuses for now") as raised:
        pull(client)

    assert raised.value.exit_code == 75


def test_a_statement_that_is_refused_for_good_is_not_repeated(server: ReplayServer) -> None:
    server.say(Scripted(400, [b'{"@type":"statement_error","error_code":40001,"message":"X does not exist."}']))

    with impatient(server.url, retry_s=60) as client, pytest.raises(StatementRefused, match=r"40001.*does not exist"):
        pull(client)

    assert len(server.asked) == 1


def test_an_answer_that_broke_is_not_asked_for_again(server: ReplayServer) -> None:
    server.say(Scripted(200, [HEAD], cut=True), READY)

    with impatient(server.url, retry_s=60) as client, pytest.raises(AnswerIncomplete):
        pull(client)

    assert len(server.asked) == 1


def test_a_refused_connection_is_told_without_waiting() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        waits: list[float] = []

        with (
            Client(Connection(url, retry_s=60), sleep=waits.append) as client,
            pytest.raises(ServerUnreachable, match=f"{url} cannot be reached: Connection refused"),
        ):
            client.server_version()

    assert waits == []


def test_a_server_that_was_reached_before_is_waited_for_when_it_goes_away() -> None:
    waits: list[float] = []
    with replaying() as server:
        server.say(Scripted(200, [INFO], chunked=False))  # which closes the connection
        client = Client(Connection(server.url, retry_s=0.1), sleep=waits.append)
        client.server_version()

    with client, pytest.raises(ServerUnreachable, match="Connection refused"):
        pull(client)

    assert waits


def test_a_server_that_does_not_answer_in_time_is_told(server: ReplayServer) -> None:
    server.say(Scripted(200, [INFO], after_s=FOR_EVER_S))

    with (
        impatient(server.url, timeout_s=0.1) as client,
        pytest.raises(ServerUnreachable, match=r"does not answer within 0\.1 s"),
    ):
        client.server_version()


def test_a_query_that_does_not_start_in_time_tells_how_long_it_was_waited_for(server: ReplayServer) -> None:
    server.say(Scripted(200, [HEAD], after_s=FOR_EVER_S))

    with (
        impatient(server.url, timeout_s=PATIENCE_S, stall_s=0.1) as client,
        pytest.raises(ServerUnreachable, match=r"does not answer within 0\.1 s"),
    ):
        pull(client)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_that_cannot_reach_the_server_is_waited_for(server: ReplayServer, status: int) -> None:
    info = b'{"KsqlServerInfo":{"version":"7.6.13"}}'
    server.say(Scripted(status, [b"<html>Bad Gateway</html>"]), Scripted(200, [info]))

    with Client(Connection(server.url), sleep=lambda _: None) as client:
        assert client.server_version() == "7.6.13"
