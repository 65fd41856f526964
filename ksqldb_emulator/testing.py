"""The emulator inside a test: a real server in a thread, with its state and faults at hand."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web

from ksqldb_emulator.cluster import Cluster
from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.faults import Faults
from ksqldb_emulator.server import Options, Server, serve


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

    def source(self, name: str) -> Source:
        return self._server.state.dataset.source(name)

    def append(self, name: str, records: Sequence[Record]) -> None:
        """Adds records to a source's topic; running pushes send them."""
        self.source(name).records.extend(records)

    def replace_source(self, source: Source) -> None:
        """Drops the source of that name and makes it anew."""
        sources = self._server.state.sources
        sources[:] = [other for other in sources if other.name != source.name] + [source]

    def restart(self, starting_s: float = 0.0, refuse_pulls_s: float = 0.0) -> None:
        self._server.state.restart(starting_s, refuse_pulls_s)


async def _end(runner: web.AppRunner) -> None:
    """Stops listening, and ends the answers that would never end by themselves."""
    await runner.cleanup()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


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
        asyncio.run_coroutine_threadsafe(_end(runner), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
