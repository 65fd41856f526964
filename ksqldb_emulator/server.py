"""The emulated ksqlDB REST server over HTTP/1.1: its endpoints and authentication; how it starts and stops."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ksqldb_emulator.admin import run_statements
from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.faults import Faults
from ksqldb_emulator.options import Options
from ksqldb_emulator.query_stream import QueryStream
from ksqldb_emulator.replies import error_reply, json_reply, parse_body, refusal_reply
from ksqldb_emulator.sql import Refused
from ksqldb_emulator.state import State

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The endpoints over one state; `requests` has all requests in order."""

    def __init__(self, dataset: Dataset, options: Options | None = None) -> None:
        self.state = State(dataset)
        self.options = options or Options()
        self.faults = Faults()
        self.requests: list[dict[str, Any]] = []
        self._queries = QueryStream(self.state, self.options, self.faults)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=16 * 2**20)
        app.router.add_get("/", self._root, allow_head=False)
        app.router.add_get("/info", self._info, allow_head=False)
        app.router.add_get("/healthcheck", self._health, allow_head=False)
        app.router.add_get("/chc/live", self._alive, allow_head=False)
        app.router.add_get("/chc/ready", self._alive, allow_head=False)
        app.router.add_post("/ksql", self._ksql)
        app.router.add_post("/query-stream", self._queries.answer)
        app.router.add_post("/close-query", self._close_query)
        return app

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            body = await request.text()
        except ConnectionError:
            return web.Response(status=400)  # the client is gone; nobody reads this
        self.requests.append(
            {"method": request.method, "path": request.path, "headers": dict(request.headers), "body": body}
        )
        now = asyncio.get_running_loop().time()
        if now < self.state.ready_at and not request.path.startswith("/chc/"):
            return error_reply(503, 50302, "KSQL is not yet ready to serve requests.")
        refused = self._unauthorised(request)
        if refused is not None and request.path != "/healthcheck":
            return refused
        try:
            return await handler(request)
        except web.HTTPNotFound:
            page = "<html><body><h1>Resource not found</h1></body></html>"
            return web.Response(status=404, text=page, content_type="text/html")
        except web.HTTPMethodNotAllowed as error:
            return web.Response(status=405, headers={"allow": ",".join(sorted(error.allowed_methods))})

    def _unauthorised(self, request: web.Request) -> web.Response | None:
        if not self.options.user:
            return None
        wanted = base64.b64encode(f"{self.options.user}:{self.options.password}".encode()).decode()
        given = request.headers.get("Authorization", "")
        if given == f"Basic {wanted}":
            return None
        answer = error_reply(401, 40100, "Unauthorized")
        if given.startswith("Basic "):
            answer.headers["WWW-Authenticate"] = 'Basic realm="KsqlServer-Props"'
        return answer

    async def _root(self, _: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": "/info"})

    async def _info(self, _: web.Request) -> web.StreamResponse:
        fault = self.faults.take("info")
        if fault.status is not None:
            return web.Response(status=fault.status, text=fault.body)
        await asyncio.sleep(fault.first_byte_s)
        data = self.state.dataset
        info = {"version": data.version, "kafkaClusterId": data.cluster_id, "ksqlServiceId": data.service_id}
        return json_reply({"KsqlServerInfo": info | {"serverStatus": "RUNNING"}})

    async def _health(self, _: web.Request) -> web.Response:
        healthy = {"isHealthy": True}
        details = {"metastore": healthy, "kafka": healthy, "commandRunner": healthy}
        return json_reply({"isHealthy": True, "details": details, "serverState": "READY"})

    async def _alive(self, _: web.Request) -> web.Response:
        return json_reply({})

    async def _ksql(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.take("ksql")
        await asyncio.sleep(fault.first_byte_s)
        if fault.status is not None:
            return web.Response(status=fault.status, text=fault.body)
        body = parse_body(await request.text(), "ksql")
        if isinstance(body, web.Response):
            return body
        statements = str(body.get("ksql", ""))
        if "QUERIES" in statements.upper():
            await asyncio.sleep(self.state.cluster.look_takes_s())
        try:
            return json_reply(run_statements(self.state, statements))
        except Refused as error:
            return refusal_reply(error)

    async def _close_query(self, request: web.Request) -> web.StreamResponse:
        body = parse_body(await request.text(), "queryId")
        if isinstance(body, web.Response):
            return body
        query_id = str(body["queryId"])
        query = self.state.live.get(query_id)
        fault = self.faults.take("close", query.source.name if query else "")
        await asyncio.sleep(fault.first_byte_s)
        if query is None or fault.elsewhere or query.fault.elsewhere:
            return error_reply(400, 40000, f"No query with id {query_id}")
        query.closing = True
        return web.Response()


async def serve(server: Server, host: str, port: int, tls: ssl.SSLContext | None = None) -> tuple[web.AppRunner, int]:
    """Starts listening; returns the runner, to be cleaned up, and the port."""
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    await site.start()
    return runner, runner.addresses[0][1]


async def stop(runner: web.AppRunner) -> None:
    """Ends what `serve` started, and waits for everything that still runs in it."""
    await runner.cleanup()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
