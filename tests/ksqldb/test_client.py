"""The client against servers that are down, starting, foreign, strict or slow; and what it sends."""

from __future__ import annotations

import base64
import gzip
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from ksqldb_emulator.dataset import Column, Dataset, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import running
from pipeline.errors import (
    ActionNeeded,
    AnswerIncomplete,
    AuthenticationFailed,
    PipelineError,
    ServerNotSupported,
)
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.framing import Ending, Framing
from tests.ksqldb.asking import HEAD, INFO, READY, impatient, pull, show_tables
from tests.ksqldb.replay import ReplayServer, Scripted, replaying
from tests.vectors import in_both


@pytest.mark.parametrize(
    ("version", "supported"),
    [("7.2.15", True), ("8.3.1", True), ("10.0.0", True), ("0.26.0", True), ("0.29.0", True), ("7.6.0-ccs", True),
     ("7.1.4", False), ("0.25.1", False), ("6.2.0", False), ("0.9.5", False), ("strange", False)],
)  # fmt: skip
def test_versions_before_0_26_and_7_2_are_refused(server: ReplayServer, version: str, supported: bool) -> None:
    server.say(Scripted(200, [json.dumps({"KsqlServerInfo": {"version": version}}).encode()]))

    with Client(Connection(server.url)) as client:
        if supported:
            assert client.server_version() == version
        else:
            with pytest.raises(ServerNotSupported, match=version) as raised:
                client.server_version()
            assert raised.value.hint


@pytest.mark.parametrize("body", [b"<html></html>", b"[]", b'{"ok": true}', b"", b'{"KsqlServerInfo": 5}', b"\xff"])
def test_what_is_no_ksqldb_server_is_told(server: ReplayServer, body: bytes) -> None:
    server.say(Scripted(200, [body]))

    with Client(Connection(server.url)) as client, pytest.raises(ServerNotSupported, match="ksqlDB server"):
        client.server_version()


@pytest.mark.parametrize("status", [302, 307, 404, 405, 406])
def test_a_status_without_a_ksqldb_error_names_the_address(server: ReplayServer, status: int) -> None:
    server.say(Scripted(status, [b"<html>moved</html>"]))

    with impatient(server.url) as client, pytest.raises(ServerNotSupported, match=f"status {status}") as raised:
        pull(client)

    assert server.url in raised.value.message
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed_with_our_credentials(server: ReplayServer, status: int) -> None:
    with replaying() as elsewhere:
        elsewhere.say(READY)
        server.say(Scripted(status, location=elsewhere.url + "/query-stream"))

        with impatient(server.url, token="abc.def") as client, pytest.raises(ServerNotSupported):
            pull(client)

        assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        ({"user": "ré", "password": "pä:ss"}, "Basic " + base64.b64encode("ré:pä:ss".encode()).decode()),
        ({"token": "abc.def"}, "Bearer abc.def"),
        ({}, None),
    ],
)
def test_credentials_are_sent_as_the_server_wants_them(
    server: ReplayServer, credentials: dict[str, Any], header: str | None
) -> None:
    server.say(Scripted(200, [INFO]))
    connection = Connection(server.url, **credentials)

    with Client(connection) as client:
        assert client.server_version() == "7.6.13"

    assert server.asked[-1].headers.get("Authorization") == header
    for secret in ("pä:ss", "abc.def"):
        assert secret not in repr(connection)


@pytest.mark.parametrize("who", in_both(["none", "wrong password", "bearer", "own: basic auth"]))
def test_refused_credentials_are_told_at_once_and_never_shown(server: ReplayServer, who: str) -> None:
    requests = {"GET /info": Client.server_version, "POST /ksql": show_tables, "POST /query-stream": pull}
    for request, ask in requests.items():
        server.say_recorded(who if who.startswith("own: ") else f"basic auth: {request}, credentials {who}")

        with (
            impatient(server.url, user="reader", password="s3cret-word", retry_s=60) as client,
            pytest.raises(AuthenticationFailed, match="401") as raised,
        ):
            ask(client)

        assert len(server.asked) == 1
        assert "s3cret-word" not in raised.value.message + raised.value.hint
        assert raised.value.exit_code == 1


@pytest.mark.parametrize("url", ["localhost:8088", "ftp://host", "http://", "", "http://reader:s3cret@localhost:8088"])
def test_an_address_that_cannot_be_used_is_refused_without_showing_secrets(url: str) -> None:
    with pytest.raises(ActionNeeded) as raised:
        Connection(url)

    assert raised.value.hint
    assert "s3cret" not in raised.value.message


def test_a_wrong_authority_is_refused_and_the_right_one_taken(tmp_path: Path) -> None:
    right, wrong = trustme.CA(), trustme.CA()
    files = {"right": tmp_path / "right.pem", "wrong": tmp_path / "wrong.pem"}
    right.cert_pem.write_to_path(files["right"])
    wrong.cert_pem.write_to_path(files["wrong"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    right.issue_cert("127.0.0.1").configure_cert(context)

    with replaying(context) as server:
        server.say(READY)
        for ca_file in ("", str(files["wrong"])):
            with (
                impatient(server.url, ca_file=ca_file, retry_s=60) as client,
                pytest.raises(ActionNeeded, match=r"certificate .* is not trusted") as raised,
            ):
                pull(client)
            assert "KSQLDB_CA_FILE" in raised.value.hint
        assert server.asked == []  # neither statement nor credentials were shown to it
        with impatient(server.url, ca_file=str(files["right"])) as client:
            assert pull(client) == [(1,)]
        with impatient(server.url, ca_file=str(tmp_path / "none.pem")) as client, pytest.raises(ActionNeeded):
            pull(client)


def test_a_query_asks_for_its_format_and_sends_its_properties(server: ReplayServer) -> None:
    server.say(READY)

    with (
        impatient(server.url + "/") as client,
        client.query("SELECT 1;", Framing.PLAIN_ARRAY, Ending.BRACKET, {"auto.offset.reset": "earliest"}) as answer,
    ):
        assert list(answer.rows())

    (asked,) = server.asked
    assert asked.path == "/query-stream"
    assert asked.headers["Accept"] == "application/json"
    assert asked.headers["Accept-Encoding"] == "identity"
    assert asked.body == {"sql": "SELECT 1;", "properties": {"auto.offset.reset": "earliest"}}


@pytest.mark.parametrize("sql", ["SELECT * FROM X EMIT CHANGES;", "SELECT * FROM X;"])
def test_a_push_that_is_left_early_is_closed_on_the_server(server: ReplayServer, sql: str) -> None:
    server.say(READY)

    with impatient(server.url) as client:
        with client.query(sql, Framing.PLAIN_ARRAY, Ending.BRACKET):
            pass
        with pytest.raises(PipelineError), client.query(sql, Framing.PLAIN_ARRAY, Ending.BRACKET):
            raise ActionNeeded("the reader failed")
        left = [asked.body for asked in server.asked if asked.path == "/close-query"]
        server.say(READY)
        assert pull(client, sql) == [(1,)]

    # Pulls are not known to /close-query, and a query that was read to its end is over.
    assert left == ([{"queryId": "transient_X_1"}] * 2 if "EMIT" in sql else [])
    assert [asked.path for asked in server.asked] == ["/query-stream"]


def test_an_answer_that_a_proxy_compressed_is_taken_whole_or_not_at_all(server: ReplayServer) -> None:
    packed = gzip.compress(HEAD + b",[1]]")
    for size in (1, 7, len(packed)):
        server.say(Scripted(200, [packed[at : at + size] for at in range(0, len(packed), size)], encoding="gzip"))
        with impatient(server.url) as client:
            assert pull(client) == [(1,)]

    for broken in (packed[:-12], packed[:20], gzip.compress(HEAD + b",[1]"), HEAD + b",[1]]"):
        server.say(Scripted(200, [broken], encoding="gzip"))
        with impatient(server.url) as client, pytest.raises(AnswerIncomplete):
            pull(client)


def test_a_query_that_an_error_left_unread_is_ended_before_the_next_one_and_at_the_end() -> None:
    columns = (Column("N", parse_type("BIGINT")),)
    stream = Source("S", "STREAM", columns, "s", 1, [Record(0, n, n, {"N": n}) for n in range(9)])
    with running(Dataset([stream])) as emulator:
        with Client(Connection(emulator.url)) as client:
            for _ in range(2):
                client.query("SELECT N FROM S EMIT CHANGES;", Framing.STREAMED_ROWS, Ending.COMPLETED)

        assert [request["path"] for request in emulator.requests] == ["/query-stream", "/close-query"] * 2
