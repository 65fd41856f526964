"""The emulator inside a test: a real server in a thread, with its state and faults at hand."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ksqldb_emulator.cluster import Cluster
from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.faults import Faults
from ksqldb_emulator.options import Options
from ksqldb_emulator.server import Server, serve, stop

FOR_EVER_S = 86_400.0
"""A pause or a silence that ends only when the test says so."""
PATIENCE_S = 300
"""How long is waited for what must come: a guard against waiting for ever, far above what a busy machine takes."""


def comes_true(condition: Callable[[], bool]) -> bool:
    """Waits until the condition holds; False when it never did."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Emulator:
    """A running server."""

    def __init__(self, server: Server, url: str) -> None:
        self._server, self.url = server, url

    @property
    def faults(self) -> Faults:
        return self._server.faults

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self._server.requests

    @property
    def open_queries(self) -> list[str]:
        return list(self._server.state.live)

    @property
    def options(self) -> Options:
        return self._server.options

    @property
    def cluster(self) -> Cluster:
        return self._server.state.cluster

    def tables(self) -> list[Source]:
        """Those that a query writes."""
        return [source for source in self._server.state.sources if source.kind == "TABLE" and source.write_query]

    def sent_to(self, name: str) -> dict[int, int]:
        """How far the running pushes of a source have sent it: by partition the offset of the next row."""
        live = (query for query in list(self._server.state.live.values()) if query.source.name == name)
        return {partition: offset for query in live for partition, offset in query.processed.items()}

    def source(self, name: str) -> Source:
        return self._server.state.dataset.source(name)

    def append(self, name: str, records: Sequence[Record]) -> None:
        """Adds records to a source's topic; running pushes send them."""
        self.source(name).records.extend(records)

    def replace_source(self, source: Source) -> None:
        """Drops the source of that name and creates it again."""
        sources = self._server.state.sources
        sources[:] = [other for other in sources if other.name != source.name] + [source]

    def restart(self, starting_s: float = 0.0, refuse_pulls_s: float = 0.0) -> None:
        self._server.state.restart(starting_s, refuse_pulls_s)


@contextlib.contextmanager
def running(dataset: Dataset, tls: tuple[str, str] | None = None, port: int = 0, **options: Any) -> Iterator[Emulator]:
    """Serves `dataset` on a free loopback port until the block ends. `tls` is certificate and key, PEM paths."""
    server = Server(dataset, Options(**options))
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    loop = asyncio.new_event_loop()
    runner, port = loop.run_until_complete(serve(server, "127.0.0.1", port, context))
    thread = threading.Thread(target=loop.run_forever, name="ksqldb-emulator", daemon=True)
    thread.start()
    try:
        yield Emulator(server, f"{'https' if tls else 'http'}://127.0.0.1:{port}")
    finally:
        asyncio.run_coroutine_threadsafe(stop(runner), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
