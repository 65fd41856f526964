"""A server with one push query whose rows and positions a test scripts, look by look."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ksqldb_emulator.testing import FOR_EVER_S, PATIENCE_S
from pipeline.decode.layout import Layout
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.framing import Header, as_declared
from pipeline.ksqldb.push import PushRead, start_push
from pipeline.limits import Limits
from pipeline.source import Offsets, Source

HEADER = b'[{"header":{"queryId":"q-1","schema":"`ROWPARTITION` INTEGER, `ROWOFFSET` BIGINT"}},\n'
END = b'{"finalMessage":"Query Completed"}]\n'
Look = Mapping[int, tuple[int, int]] | None | int | list[Any]
"""By partition what was fetched and committed; None where the query is not listed; a status; or the answer itself."""


def row(partition: int, offset: int) -> bytes:
    return b'{"row":{"columns":[%d,%d]}},\n' % (partition, offset)


@dataclass
class PushServer:
    """The push sends `rows` at once, those in `rows_by_look` as it is looked at, and `rows_after_close` later.

    `looks` are answered in order, the last one again and again. It ends when it is closed, unless the close has another
    `close_status`, when it was looked at `ends_after` times, or when nobody reads it. `refusals` are the messages, or
    statuses, with which a push is refused; a status stays.
    """

    url: str = ""
    rows: bytes = b""
    rows_by_look: list[bytes] = field(default_factory=list)
    rows_after_close: Iterable[bytes] = ()
    looks: list[Look] = field(default_factory=lambda: [None])
    ends_after: int | None = None
    close_status: int = 200
    refusals: list[str | int] = field(default_factory=list)
    before_look: Callable[[], object] = lambda: None
    pause_after_close_s: float = 0.05
    pushes: list[dict[str, Any]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    look_count: int = 0
    is_left: threading.Event = field(default_factory=threading.Event)
    _is_closed: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def answer_look(self, statement: str) -> tuple[int, Any]:
        if statement != "SHOW QUERIES EXTENDED;":
            return 400, {"message": "not expected"}
        self.look_count += 1
        self.before_look()
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, int):
            return look, {"error_code": look * 100, "message": "not now"}
        if isinstance(look, list):
            return 200, look
        others = {"id": "q-0", "tasksMetadata": [{"topicOffsets": [_at("s", 0, 98, 99)]}]}
        queries = [others] if look is None else [others, {"id": "q-1", "tasksMetadata": _tasks(look)}]
        return 200, [{"other": 1}, {"queryDescriptions": queries}]

    def push(self, send: Callable[[bytes], None]) -> None:
        send(HEADER + self.rows)
        sent = 0
        while not self._is_closed.wait(0.005) and not self._over.is_set():
            if sent < min(self.look_count, len(self.rows_by_look)):
                send(self.rows_by_look[sent])
                sent += 1
            if self.ends_after is not None and self.look_count >= self.ends_after:
                break
        for piece in self.rows_after_close:
            self._over.wait(self.pause_after_close_s)
            send(piece)
        if self.close_status != 200:
            self.is_left.wait(PATIENCE_S)
        send(END)

    def refuse(self) -> tuple[int, Any]:
        refusal = self.refusals[0]
        if isinstance(refusal, int):
            return refusal, {"error_code": refusal * 100, "message": "not now"}
        return 400, {"error_code": 40000, "message": self.refusals.pop(0)}

    def close(self, query_id: str) -> int:
        self.closed.append(query_id)
        self._is_closed.set()
        return self.close_status


def _at(topic: str, partition: int, fetched: int, committed: int) -> dict[str, Any]:
    where = {"topic": topic, "partition": partition}
    return {"topicPartitionEntity": where, "endOffset": fetched, "committedOffset": committed}


def _tasks(look: Mapping[int, tuple[int, int]]) -> list[dict[str, Any]]:
    """A task a partition, with a topic besides that the query writes."""
    return [{"topicOffsets": [_at("other", p, 0, 1), _at("s", p, *position)]} for p, position in look.items()]


@contextlib.contextmanager
def serving(**script: Any) -> Iterator[PushServer]:
    """Listens on a free loopback port until the block ends."""
    server = PushServer(**script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with contextlib.suppress(ConnectionError):  # a client that leaves early is part of the tests
                if self.path == "/ksql":
                    self._whole(*server.answer_look(body["ksql"]))
                elif self.path == "/close-query":
                    self._whole(server.close(body["queryId"]), {"message": "unknown"})
                elif server.refusals:
                    server.pushes.append(body)
                    self._whole(*server.refuse())
                else:
                    server.pushes.append(body)
                    self._push()

        def _whole(self, status: int, answer: Any) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _push(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            left = threading.Thread(target=self._watch_for_the_end, daemon=True)
            left.start()
            server.push(lambda piece: self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece)) if piece else None)
            self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True

        def _watch_for_the_end(self) -> None:
            with contextlib.suppress(OSError):
                self.connection.recv(1, socket.MSG_PEEK)
            server.is_left.set()

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._over.set()
        server.is_left.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


SOURCE = Source("S", "stream", "s", 1)
ROWS = [(0, 0), (0, 1), (0, 2)]
SENT = b"".join(row(*each) for each in ROWS)
PATIENT = Limits(quiet_s=FOR_EVER_S, stall_s=FOR_EVER_S)
UNTIL_3 = {0: Offsets(0, 3, 0)}


@contextlib.contextmanager
def pushing(
    limits: Limits = PATIENT,
    ends: Mapping[int, Offsets] | None = None,
    bookmark: Mapping[int, int] | None = None,
    layouts: list[Header] | None = None,
    **script: Any,
) -> Iterator[tuple[PushServer, PushRead]]:
    """A push that has been started; the columns of its answer are noted in `layouts`."""

    def layout_of(header: Header) -> Layout:
        if layouts is not None:
            layouts.append(header)
        return as_declared(header)

    with serving(**script) as server, Client(Connection(server.url)) as client:
        yield server, start_push(client, SOURCE, "SELECT 1 EMIT CHANGES;", limits, ends, bookmark or {}, layout_of)


def rows_of(read: PushRead) -> list[tuple[int, int]]:
    return [tuple(each.values()) for rows in read.rows() for each in rows.batch.to_pylist()]
