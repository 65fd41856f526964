"""Google's XML requests that write objects, before fake-gcs-server, which has only the JSON ones for that.

object_store speaks XML alone, and fake-gcs-server 1.56 answers its PUT with 400, "invalid uploadType" (its issue 331).
Here a PUT becomes the same upload or copy in JSON, with the same condition; what reads, lists and deletes passes as it
is. Uploads in parts are not there. Google takes one write a second of an object, and answers others with 429; with
`apart_s` the front does so too.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlencode, urlsplit

_BOUNDARY = "a-part-of-an-upload"
_PASSED = ("content-type", "content-range", "etag", "last-modified", "x-goog-generation", "x-goog-storage-class")


@contextlib.contextmanager
def gcs_front(behind: int, apart_s: float = 0) -> Iterator[int]:
    """The port of a front before the server at that port of this machine, until the block ends.

    Writes and deletions of an object that come less than `apart_s` after the one before are refused with 429.
    """
    changed_at = dict[str, float]()
    lock = threading.Lock()

    def comes_too_soon(path: str) -> bool:
        with lock:
            now = time.monotonic()
            too_soon = now - changed_at.get(path, -apart_s) < apart_s
            if not too_soon:
                changed_at[path] = now
            return too_soon

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is one packet

        def _pass(self) -> None:
            headers = {name: value for name, value in self.headers.items() if name != "host"}
            self._answer(*_asked(behind, self.command, self.path, self._body(), headers))

        do_GET = do_HEAD = do_POST = _pass  # its names

        def do_DELETE(self) -> None:
            if comes_too_soon(self.path):
                self._answer(429, {}, b"")
            else:
                self._pass()

        def do_PUT(self) -> None:
            if comes_too_soon(self.path):
                self._body()
                self._answer(429, {}, b"")
            else:
                self._put()

        def _put(self) -> None:
            bucket, _, key = unquote(urlsplit(self.path).path[1:]).partition("/")
            path, kind, body = _in_json(bucket, key, self._body(), dict(self.headers.items()))
            status, _, answer = _asked(behind, "POST", path, body, {"Content-Type": kind})
            if status == 200:
                made = json.loads(answer)
                made = made.get("resource", made)  # of a copy
                self._answer(200, {"ETag": f'"{made["etag"]}"', "x-goog-generation": made["generation"]}, b"")
            else:
                self._answer(status, {}, answer)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() in _PASSED:
                    self.send_header(name, value)
            is_head = self.command == "HEAD"
            self.send_header("Content-Length", headers.get("Content-Length", "0") if is_head else str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _in_json(bucket: str, key: str, data: bytes, headers: Mapping[str, str]) -> tuple[str, str, bytes]:
    """Path, type and body of the POST that does what a PUT with these headers asks."""
    if source := headers.get("x-goog-copy-source"):
        taken, _, name = unquote(source).strip("/").partition("/")
        return f"/storage/v1/b/{taken}/o/{quote(name, '')}/rewriteTo/b/{bucket}/o/{quote(key, '')}", "", b""
    query = {"uploadType": "multipart"}
    if (generation := headers.get("x-goog-if-generation-match")) is not None:
        query["ifGenerationMatch"] = generation
    known = {"name": key, "storageClass": headers.get("x-goog-storage-class", "STANDARD")}
    kinds = ("application/json", json.dumps(known).encode()), ("application/octet-stream", data)
    parts = [f"--{_BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode() + part + b"\r\n" for kind, part in kinds]
    body = b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
    return f"/upload/storage/v1/b/{bucket}/o?{urlencode(query)}", f"multipart/related; boundary={_BOUNDARY}", body


def _asked(
    port: int, method: str, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    """The server's answer: its status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()
