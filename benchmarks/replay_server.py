"""`python -m benchmarks.replay_server ROWS DAYS EXTRA_BYTES TURNS SEED`: a server that answers for one stream.

It prints its port, then sends the rows from memory as fast as they are read. It answers only the requests of an export;
a push ends when it is closed, a pull by itself. Its own CPU is not part of the measurement.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from typing import Any

from benchmarks.events import COLUMNS, FINAL, FIRST_OFFSET, Answer, Shape, chunk, header

STREAM, TOPIC, SINK, QUERY = "BENCH", "bench-topic", "BENCH_COPY", "bench-query"
_SIMPLE = {"BIGINT", "INTEGER", "STRING", "BOOLEAN", "DOUBLE", "BYTES", "TIMESTAMP"}


def schema_of(type_: str) -> dict[str, Any]:
    """A type as DESCRIBE has it."""
    if type_ in _SIMPLE:
        return {"type": type_, "fields": None, "memberSchema": None}
    if type_.startswith("DECIMAL"):
        precision, scale = (int(number) for number in type_[8:-1].split(", "))
        return {**schema_of("STRING"), "type": "DECIMAL", "parameters": {"precision": precision, "scale": scale}}
    inner = type_[type_.index("<") + 1 : -1]
    if type_.startswith("ARRAY"):
        return {**schema_of("STRING"), "type": "ARRAY", "memberSchema": schema_of(inner)}
    if type_.startswith("MAP"):
        return {**schema_of("STRING"), "type": "MAP", "memberSchema": schema_of(inner.partition(", ")[2])}
    parts = [part.strip("`").partition("` ") for part in inner.replace(", `", "|`").split("|")]
    fields = [{"name": name, "schema": schema_of(kind)} for name, _, kind in parts]
    return {**schema_of("STRING"), "type": "STRUCT", "fields": fields}


class Server:
    """Answers on a free loopback port, each connection in a thread of its own."""

    def __init__(self, row_count: int, shape: Shape, seed: int) -> None:
        self._rows, self._answer = row_count, Answer(shape, seed)
        self._sent = threading.Event()
        self._closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            while request := lines.readline():
                size = 0
                while (line := lines.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    size = int(value) if name.lower() == b"content-length" else size
                body = json.loads(lines.read(size)) if size else {}
                path = request.split()[1]
                if path == b"/query-stream":
                    self._send_rows(connection, "EMIT CHANGES" in body["sql"])
                else:
                    self._send_json(connection, self._answer_to(path, body))

    def _send_rows(self, connection: socket.socket, is_push: bool) -> None:
        self._sent.clear()
        self._closed.clear()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(header(QUERY)))
        for block in self._answer.blocks(self._rows):
            connection.sendall(block)
        self._sent.set()
        if is_push:
            self._closed.wait()
        connection.sendall(chunk(FINAL) + b"0\r\n\r\n")

    def _send_json(self, connection: socket.socket, answer: object) -> None:
        body = json.dumps(answer).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def _answer_to(self, path: bytes, body: dict[str, Any]) -> object:
        if path == b"/info":
            return {"KsqlServerInfo": {"version": "7.6.13"}}
        if path == b"/close-query":
            self._closed.set()
            return {}
        statement = body["ksql"]
        if statement == "SHOW STREAMS;":
            return [{"@type": "streams", "streams": [{"name": STREAM}, {"name": SINK}]}]
        if statement == "SHOW TABLES;":
            return [{"@type": "tables", "tables": []}]
        if statement == "SHOW QUERIES EXTENDED;":
            return [{"@type": "query_descriptions", "queryDescriptions": [self._position()]}]
        return [{"@type": "sourceDescription", "sourceDescription": self._description()}]

    def _position(self) -> dict[str, Any]:
        end = FIRST_OFFSET + self._rows if self._sent.is_set() else -1
        at = {"topicPartitionEntity": {"topic": TOPIC, "partition": 0}, "endOffset": end, "committedOffset": end}
        return {"id": QUERY, "tasksMetadata": [{"topicOffsets": [at]}]}

    def _description(self) -> dict[str, Any]:
        offsets = {
            "partition": 0, "logStartOffset": FIRST_OFFSET, "logEndOffset": FIRST_OFFSET + self._rows,
            "consumerOffset": FIRST_OFFSET + self._rows,
        }  # fmt: skip
        return {
            "name": STREAM, "type": "STREAM", "topic": TOPIC, "partitions": 1, "keyFormat": "KAFKA",
            "valueFormat": "JSON", "fields": [{"name": name, "schema": schema_of(type_)} for name, type_ in COLUMNS],
            "readQueries": [{"sinks": [SINK]}],
            "queryOffsetSummaries": [{"topicSummaries": [{"kafkaTopic": TOPIC, "offsets": [offsets]}]}],
        }  # fmt: skip


def main() -> None:
    rows, days, extra_bytes, turns, seed = map(int, sys.argv[1:])
    server = Server(rows, Shape(days, extra_bytes, bool(turns)), seed)
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    server.serve()


if __name__ == "__main__":
    main()
