"""The endpoint `/query-stream`: pulls and pushes, with their scripted faults."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ksqldb_emulator.body import Body, Cut
from ksqldb_emulator.cluster import EXHAUSTED, Pull
from ksqldb_emulator.faults import Fault, Faults
from ksqldb_emulator.framing import PLAIN_JSON, V1_JSON, Frame
from ksqldb_emulator.options import Options
from ksqldb_emulator.queries import Plan, paused, plan, pull_rows, push_rows
from ksqldb_emulator.replies import error_reply, parse_body, refusal_reply
from ksqldb_emulator.sql import Refused
from ksqldb_emulator.state import LiveQuery, State

_RESTARTING = (
    "Error starting pull query: Cannot determine which host contains the required partitions to serve the pull query."
    " \nThe underlying persistent query may be restarting (e.g. as a result of ALTER SYSTEM) view the status of your"
    " by issuing <DESCRIBE foo>."
)
_INTERNAL = (
    "The server encountered an internal error when processing the query. Please consult the server logs for more"
    " information."
)


class QueryStream:
    """Answers the queries of one server."""

    def __init__(self, state: State, options: Options, faults: Faults) -> None:
        self.state, self.options, self.faults = state, options, faults

    async def answer(self, request: web.Request) -> web.StreamResponse:
        accept = request.headers.get("Accept", "*/*")
        if accept not in (V1_JSON, PLAIN_JSON):
            if accept.startswith(("*/*", "application/vnd.ksql")):
                return error_reply(406, 40600, "This emulator speaks v1+json and json only: send one as Accept")
            return web.Response(status=406)
        body = parse_body(await request.text(), "sql")
        if isinstance(body, web.Response):
            return body
        properties = {str(key): str(value) for key, value in (body.get("properties") or {}).items()}
        try:
            planned = plan(self.state, str(body["sql"]))
        except Refused as error:
            return refusal_reply(error)
        fault = self.faults.take("push" if planned.select.push else "pull", planned.source.name)
        refused = self._refuse_start(planned, properties, fault)
        if refused is not None:
            return refused
        out = Body(request, fault, accept)
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
        except (Cut, ConnectionError):
            return out.response

    def _refuse_start(self, planned: Plan, properties: dict[str, str], fault: Fault) -> web.Response | None:
        if fault.status is not None:
            return web.Response(status=fault.status, text=fault.body)
        if properties.get("auto.offset.reset", "latest") not in ("earliest", "latest"):
            return error_reply(500, 50000, _INTERNAL)
        denied = [name for name in properties if name in self.options.denied_properties]
        if denied:
            return error_reply(400, 40000, f"Cannot override properties denied by the server: {', '.join(denied)}")
        if not planned.select.push and planned.source.kind == "TABLE":
            if asyncio.get_running_loop().time() < self.state.pulls_at:
                return refusal_reply(Refused(_RESTARTING, statement=planned.text))
        elif len(self.state.live) >= self.options.max_push_queries:
            text = (
                "Not executing statement(s) as it would cause the number of active, push queries to exceed the "
                f"configured limit. Configured limit: {self.options.max_push_queries}."
            )
            return refusal_reply(Refused(text, statement=planned.text))
        return None

    async def _pull(self, planned: Plan, out: Body, fault: Fault, accept: str, fate: Pull) -> web.StreamResponse:
        rows, limited = pull_rows(self.state, planned, fault, fate)
        frame = Frame(planned, accept, fault)
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
        self, planned: Plan, properties: dict[str, str], out: Body, fault: Fault, accept: str
    ) -> web.StreamResponse:
        query = self._start_query(planned, properties, fault)
        frame = Frame(planned, accept, fault)
        final = "Query Completed"
        watcher = asyncio.create_task(self._close_when_gone(query, out))
        try:
            await out.start()  # after the query is listed, so that a client with the header finds it
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
            self.state.live.pop(query.id, None)  # before the last byte, so that a client that read all finds it gone
            if not out.is_gone:
                await self._finish(out, frame, final)
            return await out.end()
        finally:
            if out.is_gone:
                await watcher
            watcher.cancel()
            self.state.live.pop(query.id, None)

    def _start_query(self, planned: Plan, properties: dict[str, str], fault: Fault) -> LiveQuery:
        commit_s = int(properties.get("ksql.streams.commit.interval.ms", 2000)) / 1000
        threads = int(properties.get("ksql.streams.num.stream.threads", 4))
        query = LiveQuery(planned.query_id, planned.text, planned.source, commit_s, threads, fault)
        self.state.live[query.id] = query
        return query

    async def _close_when_gone(self, query: LiveQuery, out: Body) -> None:
        """A dropped connection ends its query, which stays in the list for a while; a restart drops the connection."""
        while not out.is_gone:
            if query.killed:
                out.break_off()
            await asyncio.sleep(0.05)
        await paused(lambda: self.options.linger_s)
        query.closing = True

    async def _idle(self, out: Body) -> None:
        while not out.is_gone:
            await asyncio.sleep(0.05)
        raise Cut

    async def _fail(
        self, out: Body, frame: Frame, message: str = "java.lang.RuntimeException: a scripted error"
    ) -> web.StreamResponse:
        await out.write(frame.error(message), last=True)
        return await out.end()

    async def _finish(self, out: Body, frame: Frame, final: str) -> None:
        if final and frame.streamed:
            await out.write(frame.final(final))
        await out.write(frame.tail(), last=True)
