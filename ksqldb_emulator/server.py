"""The emulated ksqlDB REST server over HTTP/1.1: endpoints, authentication, framings, and faults on the wire."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ksqldb_emulator.admin import run_statements
from ksqldb_emulator.cluster import EXHAUSTED, Pull
from ksqldb_emulator.dataset import Dataset
from ksqldb_emulator.faults import NO_FAULT, Fault, Faults
from ksqldb_emulator.queries import Pace, Plan, paused, plan, pull_rows, push_rows
from ksqldb_emulator.sql import Refused
from ksqldb_emulator.state import LiveQuery, State
from ksqldb_emulator.values import to_json

V1_JSON = "application/vnd.ksql.v1+json"
PLAIN_JSON = "application/json"
_RESTARTING = (
    "Error starting pull query: Cannot determine which host contains the required partitions to serve the pull query."
    " \nThe underlying persistent query may be restarting (e.g. as a result of ALTER SYSTEM) view the status of your"
    " by issuing <DESCRIBE foo>."
)
_INTERNAL = (
    "The server encountered an internal error when processing the query. Please consult the server logs for more"
    " information."
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Options(Pace):
    """How this server behaves, which can change at any time. `linger_s`: how long a query outlives its client."""

    user: str = ""
    password: str = ""
    linger_s: float = 0
    max_push_queries: int = 100
    denied_properties: tuple[str, ...] = ()


class _Cut(Exception):
    """A scripted fault has ended the answer."""


class _UnchunkedResponse(web.StreamResponse):
    """A body without chunks or length: only the end of the connection ends it."""

    _length_check = False


class _Body:
    """An answer's body on its way out, with the fault that may befall it."""

    def __init__(self, request: web.Request, fault: Fault, content_type: str, status: int = 200) -> None:
        kind = _UnchunkedResponse if fault.unchunked else web.StreamResponse
        self._response = kind(status=status, headers={"Content-Type": content_type})
        if fault.unchunked:
            self._response.force_close()
        else:
            self._response.enable_chunked_encoding()
        self._request, self._fault, self._sent, self._rest = request, fault, 0, b""

    async def start(self) -> None:
        await self._response.prepare(self._request)

    async def write(self, text: str, last: bool = False) -> None:
        data = text.encode()
        size = self._fault.chunk_bytes
        if size is None:
            return await self._write(data)
        self._rest += data
        while len(self._rest) >= size or (last and self._rest):
            piece, self._rest = self._rest[:size], self._rest[size:]
            await self._write(piece)
        return None

    async def _write(self, data: bytes) -> None:
        cut = self._fault.cut_at
        if cut is not None and self._sent + len(data) > cut:
            await self._response.write(data[: cut - self._sent])
            await self._end_early()
        await self._response.write(data)
        self._sent += len(data)

    async def _end_early(self) -> None:
        transport = self._request.transport
        if self._fault.clean or transport is None:
            await self._response.write_eof()
        elif self._fault.reset:
            await asyncio.sleep(0.002)  # let what was written leave before the reset overtakes it
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        raise _Cut

    async def end(self) -> web.StreamResponse:
        await self._response.write_eof()
        if self._fault.unchunked and self._request.transport is not None:
            self._request.transport.close()
        return self._response

    def break_off(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    @property
    def response(self) -> web.StreamResponse:
        return self._response

    @property
    def is_gone(self) -> bool:
        return self._request.transport is None or self._request.transport.is_closing()


class Server:
    """The endpoints over one state; `requests` is what was asked, in order."""

    def __init__(self, dataset: Dataset, options: Options | None = None) -> None:
        self.state = State(dataset)
        self.options = options or Options()
        self.faults = Faults()
        self.requests: list[dict[str, Any]] = []

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._middleware], client_max_size=16 * 2**20)
        app.router.add_get("/", self._root, allow_head=False)
        app.router.add_get("/info", self._info, allow_head=False)
        app.router.add_get("/healthcheck", self._health, allow_head=False)
        app.router.add_get("/chc/live", self._alive, allow_head=False)
        app.router.add_get("/chc/ready", self._alive, allow_head=False)
        app.router.add_post("/ksql", self._ksql)
        app.router.add_post("/query-stream", self._query_stream)
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
            return _error(503, 50302, "KSQL is not yet ready to serve requests.")
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
        answer = _error(401, 40100, "Unauthorized")
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
        return _json({"KsqlServerInfo": info | {"serverStatus": "RUNNING"}})

    async def _health(self, _: web.Request) -> web.Response:
        healthy = {"isHealthy": True}
        details = {"metastore": healthy, "kafka": healthy, "commandRunner": healthy}
        return _json({"isHealthy": True, "details": details, "serverState": "READY"})

    async def _alive(self, _: web.Request) -> web.Response:
        return _json({})

    async def _ksql(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.take("ksql")
        await asyncio.sleep(fault.first_byte_s)
        if fault.status is not None:
            return web.Response(status=fault.status, text=fault.body)
        body = _parsed(await request.text(), "ksql")
        if isinstance(body, web.Response):
            return body
        statements = str(body.get("ksql", ""))
        if "QUERIES" in statements.upper():
            await asyncio.sleep(self.state.cluster.look_takes_s())
        try:
            return _json(run_statements(self.state, statements))
        except Refused as error:
            return _refusal(error)

    async def _query_stream(self, request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "*/*")
        if accept not in (V1_JSON, PLAIN_JSON):
            if accept.startswith(("*/*", "application/vnd.ksql")):
                return _error(406, 40600, "This emulator speaks v1+json and json only: send one as Accept")
            return web.Response(status=406)
        body = _parsed(await request.text(), "sql")
        if isinstance(body, web.Response):
            return body
        properties = {str(key): str(value) for key, value in (body.get("properties") or {}).items()}
        try:
            planned = plan(self.state, str(body["sql"]))
        except Refused as error:
            return _refusal(error)
        fault = self.faults.take("push" if planned.select.push else "pull", planned.source.name)
        refused = self._refuse_start(planned, properties, fault)
        if refused is not None:
            return refused
        out = _Body(request, fault, accept)
        fate = Pull.WHOLE
        if planned.source.write_query and not planned.select.push and planned.source.kind == "TABLE":
            fate = self.state.cluster.fate_of_pull()
        try:
            if fate is Pull.SILENT:
                await self._idle(out)
            await asyncio.sleep(fault.first_byte_s)
            if planned.select.push:
                return await self._push(planned, properties, out, fault, accept)
            return await self._pull(planned, out, fault, accept, fate)
        except (_Cut, ConnectionError):
            return out.response

    def _refuse_start(self, planned: Plan, properties: dict[str, str], fault: Fault) -> web.Response | None:
        if fault.status is not None:
            return web.Response(status=fault.status, text=fault.body)
        if properties.get("auto.offset.reset", "latest") not in ("earliest", "latest"):
            return _error(500, 50000, _INTERNAL)
        denied = [name for name in properties if name in self.options.denied_properties]
        if denied:
            return _error(400, 40000, f"Cannot override properties denied by the server: {', '.join(denied)}")
        if not planned.select.push and planned.source.kind == "TABLE":
            if asyncio.get_running_loop().time() < self.state.pulls_at:
                return _refusal(Refused(_RESTARTING, statement=planned.text))
        elif len(self.state.live) >= self.options.max_push_queries:
            text = (
                "Not executing statement(s) as it would cause the number of active, push queries to exceed the "
                f"configured limit. Configured limit: {self.options.max_push_queries}."
            )
            return _refusal(Refused(text, statement=planned.text))
        return None

    async def _pull(self, planned: Plan, out: _Body, fault: Fault, accept: str, fate: Pull) -> web.StreamResponse:
        rows, limited = pull_rows(self.state, planned, fault, fate)
        frame = _Frame(planned, accept, fault)
        await out.start()
        await out.write(frame.head())
        for index, row in enumerate(rows):
            if fault.error_after == index:
                return await self._fail(out, frame)
            if fault.idle_after == index:
                await self._idle(out)
            await out.write(frame.row(row))
        if fault.error_after == len(rows):
            return await self._fail(out, frame)
        if fate is Pull.FAILING:
            return await self._fail(out, frame, EXHAUSTED)
        if fate is Pull.HANGING:
            await self._idle(out)
        final = "" if planned.source.kind == "TABLE" else "Limit Reached" if limited else "Query Completed"
        await self._finish(out, frame, final)
        return await out.end()

    async def _push(
        self, planned: Plan, properties: dict[str, str], out: _Body, fault: Fault, accept: str
    ) -> web.StreamResponse:
        commit_s = int(properties.get("ksql.streams.commit.interval.ms", 2000)) / 1000
        threads = int(properties.get("ksql.streams.num.stream.threads", 4))
        query = LiveQuery(planned.query_id, planned.text, planned.source, commit_s, threads, fault)
        self.state.live[query.id] = query
        frame = _Frame(planned, accept, fault)
        final = "Query Completed"
        watcher = asyncio.create_task(self._close_when_gone(query, out))
        try:
            await out.start()  # who has seen the head finds the query listed
            await out.write(frame.head())
            latest = planned.source.kind == "STREAM" and properties.get("auto.offset.reset", "latest") == "latest"
            count, sent = 0, list[str]()
            rows = push_rows(self.state, planned, query, latest, self.options)
            async for row, tombstone in rows:
                if tombstone and accept == PLAIN_JSON:
                    continue
                if fault.unsent_after is not None and count >= fault.unsent_after:
                    continue
                if fault.error_after == count:
                    return await self._fail(out, frame)
                if fault.idle_after == count:
                    await self._idle(out)
                await out.write(frame.row(row, tombstone))
                count += 1
                sent.append(row)
                if fault.replay_rows and count % max(2, fault.replay_rows) == 0:
                    for again in sent[-fault.replay_rows :]:
                        await out.write(frame.row(again))
                if count == planned.select.limit:
                    final = "Limit Reached"
                    break
            self.state.live.pop(query.id, None)  # before the last byte: who has read it all finds the query gone
            if not out.is_gone:
                await self._finish(out, frame, final)
            return await out.end()
        finally:
            if out.is_gone:
                await watcher
            watcher.cancel()
            self.state.live.pop(query.id, None)

    async def _close_when_gone(self, query: LiveQuery, out: _Body) -> None:
        """A dropped connection ends its query, which stays in the list for a while; a restart drops the connection."""
        while not out.is_gone:
            if query.killed:
                out.break_off()
            await asyncio.sleep(0.05)
        await paused(lambda: self.options.linger_s)
        query.closing = True

    async def _idle(self, out: _Body) -> None:
        while not out.is_gone:
            await asyncio.sleep(0.05)
        raise _Cut

    async def _fail(
        self, out: _Body, frame: _Frame, message: str = "java.lang.RuntimeException: a scripted error"
    ) -> web.StreamResponse:
        await out.write(frame.error(message), last=True)
        return await out.end()

    async def _finish(self, out: _Body, frame: _Frame, final: str) -> None:
        if final and frame.streamed:
            await out.write(frame.final(final))
        await out.write(frame.tail(), last=True)

    async def _close_query(self, request: web.Request) -> web.StreamResponse:
        body = _parsed(await request.text(), "queryId")
        if isinstance(body, web.Response):
            return body
        query_id = str(body["queryId"])
        query = self.state.live.get(query_id)
        fault = self.faults.take("close", query.source.name if query else "")
        await asyncio.sleep(fault.first_byte_s)
        if query is None or fault.elsewhere or query.fault.elsewhere:
            return _error(400, 40000, f"No query with id {query_id}")
        query.closing = True
        return web.Response()


class _Frame:
    """One answer's framing: streamed rows, or the plain array.

    Streamed rows of streams and pushes are written with the separator behind each element, so a row's line is whole
    as soon as it is sent; in the other answers it comes before the next element.
    """

    def __init__(self, planned: Plan, accept: str, fault: Fault = NO_FAULT) -> None:
        self._plan, self._fault = planned, fault
        self.streamed = accept == V1_JSON
        gap = (",\n" if self.streamed else ",") + ("\n" if fault.keep_alive else "")
        behind = self.streamed and not planned.marks_keys
        self._before, self._behind = ("", gap) if behind else (gap, "")

    def head(self) -> str:
        if not self.streamed:
            return "[" + self._plan.metadata() + self._behind
        header = to_json({"header": {"queryId": self._plan.query_id, "schema": self._plan.header_schema()}})
        return "[" + header + self._behind

    def row(self, row: str, tombstone: bool = False) -> str:
        if not self.streamed:
            return self._before + row
        mark = ',"tombstone":true' if tombstone else ""
        return f'{self._before}{{"row":{{"columns":{row}{mark}}}}}{self._behind}'

    def final(self, message: str) -> str:
        return self._before + to_json({"finalMessage": message})

    def error(self, message: str) -> str:
        error = {"@type": "generic_error", "error_code": 50000, "message": message}
        element = to_json({"errorMessage": error} if self.streamed else error)
        return self._before + element + self._behind + "]"

    def tail(self) -> str:
        comma = ",\n" if self._fault.trailing_comma else ""
        return comma + ("" if self._fault.no_bracket else "]")


def _parsed(text: str, required: str) -> dict[str, Any] | web.Response:
    try:
        body = json.loads(text)
    except ValueError as error:
        return _error(400, 40000, f"Invalid JSON in request: {error}")
    if not isinstance(body, dict) or required not in body:
        return _error(400, 40000, f"Invalid JSON in request: Missing required creator property '{required}' (index 0)")
    return body


def _json(data: Any) -> web.Response:
    return web.Response(text=to_json(data), content_type="application/json")


def _error(status: int, code: int, message: str) -> web.Response:
    return web.Response(status=status, text=to_json({"@type": "generic_error", "error_code": code, "message": message}))


def _refusal(error: Refused) -> web.Response:
    body = {
        "@type": "statement_error",
        "error_code": error.code,
        "message": error.message,
        "statementText": error.statement,
        "entities": [],
    }
    return web.Response(status=error.code // 100, text=to_json(body))


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
