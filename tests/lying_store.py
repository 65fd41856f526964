"""A proxy before an object store that answers truly, or loses, delays, cuts and invents answers."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from pipeline.lake.access import StoreAccess

Fault = Literal[
    "", "answer lost", "request lost", "late", "cut", "409", "412", "429", "500", "503", "done, then 409",
    "done, then 412", "done, then 500", "done, then 503", "never refused",
]  # fmt: skip
"""What becomes of a request: `late` reaches the store after its connection was closed; one that is `never refused` is
answered as by a store that ignores conditions.
"""
DONE: tuple[Fault, ...] = ("answer lost", "cut", "done, then 409", "done, then 412", "done, then 500", "done, then 503")
NOT_DONE: tuple[Fault, ...] = ("request lost", "409", "412", "500", "503")
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class LyingStore:
    """The proxy at `url`. `decide` says for each request, by its method and path, what becomes of it."""

    url: str
    decide: Callable[[str, str], Fault] = lambda _method, _path: ""
    counted: Counter[str] = field(default_factory=Counter)
    """Requests by their method, and faults by their name."""
    late: list[threading.Thread] = field(default_factory=list)
    late_s: float = 0.3
    arrive: threading.Event = field(default_factory=threading.Event)
    """What is late arrives when this is set, or after `late_s`."""

    def access(self, behind: StoreAccess) -> StoreAccess:
        return replace(behind, endpoint=self.url)

    def wait_for_late(self) -> None:
        """Returns when each late request has reached the store."""
        self.arrive.set()
        for thread in self.late:
            thread.join()


class Once:
    """A fault of the first request that writes an object whose path ends so."""

    def __init__(self, fault: Fault, path: str, times: int = 1) -> None:
        self.fault, self.path, self.left = fault, path, times

    def __call__(self, method: str, path: str) -> Fault:
        if self.left and method == "PUT" and path.endswith(self.path):
            self.left -= 1
            return self.fault
        return ""


@contextlib.contextmanager
def lying_store(behind: str, tls: ssl.SSLContext | None = None) -> Iterator[LyingStore]:
    """A proxy before the store at that URL, until the block ends; with `tls` it speaks HTTPS."""
    host = urlsplit(behind).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is one packet

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.decide(self.command, self.path)
            proxy.counted[self.command] += 1
            proxy.counted[fault] += bool(fault)
            if fault == "late":
                thread = threading.Thread(target=self._forward_late, args=(body,))
                proxy.late.append(thread)
                thread.start()
            if fault in ("late", "request lost"):
                self.close_connection = True
            elif fault.isdigit():
                self._say(int(fault), b"")
            else:
                try:
                    answer = self._forward(body)
                except OSError:  # the store is gone: the tests are over
                    self.close_connection = True
                else:
                    self._answer(fault, *answer)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # its names

        def _forward_late(self, body: bytes) -> None:
            proxy.arrive.wait(proxy.late_s)
            self._forward(body)

        def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(host, timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def _answer(self, fault: Fault, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            if fault == "answer lost":
                self.close_connection = True
            elif fault.startswith("done"):
                self._say(int(fault[-3:]), b"")
            elif fault == "never refused" and status == 412:
                self._say(200, b"", [("ETag", '"of another object"')])
            else:
                self._say(status, body, headers, cut=fault == "cut")

        def _say(
            self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None, cut: bool = False
        ) -> None:
            if cut:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Len")
                self.close_connection = True
                return
            self.send_response(status)
            there = {name.lower(): value for name, value in headers or []}
            for name, value in there.items():
                if name not in _HOP:
                    self.send_header(name, value)
            is_head = self.command == "HEAD"
            self.send_header("Content-Length", there.get("content-length", "0") if is_head else str(len(body)))
            self.end_headers()
            if not is_head:
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    proxy = LyingStore(f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.wait_for_late()
        server.shutdown()
        thread.join()
        server.server_close()
