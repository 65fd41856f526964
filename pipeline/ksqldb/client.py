"""HTTP to one ksqlDB server: requests, authentication, TLS, typed errors, and retries where they are safe.

The only module that speaks HTTP. Every request has a timeout, follows no redirect, and asks for its format with an
explicit Accept (a missing one gets an answer without an end mark). An answer is used only when it is proved complete;
see `framing`. A crash leaves at most one query running on the server, which ends it when the connection drops.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import requests
import tenacity
import urllib3

from pipeline.decode.layout import Layout
from pipeline.errors import AnswerMalformed, ServerNotReady, ServerNotSupported, ServerUnreachable, StatementRefused
from pipeline.ksqldb.answer import Answer
from pipeline.ksqldb.bodies import LONGEST_S, read_whole
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.errors import quoted, refusal, unreachable
from pipeline.ksqldb.framing import AnswerParser, Ending, Framing, Header, as_declared
from pipeline.limits import Limits
from pipeline.printable import printable
from pipeline.turns import Turn

_log = logging.getLogger("pipeline")

OLDEST_PLATFORM = (7, 2)
OLDEST_STANDALONE = (0, 26)
_CLOSE_S = 2.0  # the longest wait for a silent server to end a query: the dropped connection ends it as well
_ADMIN_ACCEPT = "application/vnd.ksql.v1+json"
_T = TypeVar("_T")


class Client:
    """A session with one server; each thread needs its own client."""

    def __init__(self, connection: Connection, sleep: Callable[[float], None] = time.sleep) -> None:
        self.connection = connection
        self._url = connection.url.rstrip("/")
        self._sleep = sleep
        self._reached = False
        self._answer: Answer | None = None
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no .netrc, and no proxy of the shell, which could cut an answer
        session.headers["Accept-Encoding"] = "identity"  # a proxy that compresses delays rows
        if self.connection.user:
            pair = f"{self.connection.user}:{self.connection.password}"
            session.headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        elif self.connection.token:
            session.headers["Authorization"] = f"Bearer {self.connection.token}"
        session.verify = self.connection.ca_file or True
        session.cert = self.connection.client_cert or None
        return session

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end_last_query()
        self._session.close()

    def server_version(self) -> str:
        """The version from `/info`.

        Raises ServerNotSupported for servers before 0.26 / Platform 7.2 and for other kinds of servers.
        """
        answer = self._retrying(lambda: self._json(self._ask("GET", "/info")))
        info = answer.get("KsqlServerInfo") if isinstance(answer, dict) else None
        if not isinstance(info, dict) or "version" not in info:
            raise ServerNotSupported(
                f"what answers at {self._url} is not a ksqlDB server", "check KSQLDB_URL (the REST listener, not Kafka)"
            )
        version = quoted(info["version"])
        numbers = re.match(r"(\d{1,6})\.(\d{1,6})(?!\d)", version)
        oldest = OLDEST_STANDALONE if version.startswith("0.") else OLDEST_PLATFORM
        if numbers is None or (int(numbers[1]), int(numbers[2])) < oldest:
            raise ServerNotSupported(
                f"the ksqlDB server at {self._url} has version {version}; "
                "0.26 / Confluent Platform 7.2 is the oldest that can be read without loss",
                "upgrade the server, or read from a newer one of the same cluster",
            )
        return version

    def ksql(self, statement: str) -> list[dict[str, Any]]:
        """Runs an admin statement and returns the entities of its answer."""
        answer = self._retrying(lambda: self._json(self._ask("POST", "/ksql", {"ksql": statement})))
        if not isinstance(answer, list) or not all(isinstance(entity, dict) for entity in answer):
            raise AnswerMalformed(f"the server answers {statement!r} with something other than entities", "report this")
        return answer

    def query(
        self,
        sql: str,
        framing: Framing,
        ending: Ending,
        properties: Mapping[str, str] | None = None,
        at_most_s: float | None = None,
        silent_s: float | None = None,
        layout_of: Callable[[Header], Layout] = as_declared,
        turn: Turn | None = None,
    ) -> Answer:
        """Starts a query and reads its answer's header; on an error the query is closed.

        Only the start is retried: rows of two answers are never mixed. A client has one query at a time: an earlier one
        that an error left open is ended first. `at_most_s` limits the wait for a server that refuses for now or is
        silent; `silent_s`, or else `stall_s`, a read without a byte. `layout_of` returns how to decode the answer's
        columns. `turn` is given back when the answer is closed, or when there is none.
        """
        self._end_last_query()
        body = {"sql": sql, "properties": dict(properties or {})}
        silent_s = self.connection.stall_s if silent_s is None else silent_s
        wait_s = min(silent_s, LONGEST_S if at_most_s is None else at_most_s, LONGEST_S)

        def start() -> Answer:
            return self._start(body, AnswerParser(framing, ending, layout_of), framing.value, at_most_s, wait_s)

        turn = turn or Turn()
        try:
            self._answer = self._retrying(start, at_most_s)
        except BaseException:
            turn.give_back()
            raise
        self._answer.turn = turn
        return self._answer

    def take_turn(self, limits: Limits, what: str) -> Turn:
        """Ends this client's earlier query, then waits for a turn to scan the server. Raises TimeIsOver."""
        self._end_last_query()
        return limits.take_turn("scan", what)

    def apart(self) -> Client:
        """A new client for another thread, with the same connection settings."""
        other = Client(self.connection, self._sleep)
        other._reached = self._reached
        return other

    def _end_last_query(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _start(
        self, body: dict[str, Any], parser: AnswerParser, accept: str, at_most_s: float | None, wait_s: float
    ) -> Answer:
        response = self._open("POST", "/query-stream", body, accept, at_most_s, wait_s)
        is_push = "EMIT CHANGES" in body["sql"]
        answer = Answer(response, parser, self._end_push if is_push else _leave_pull)
        with answer.closing_on_error():
            answer.read_header(wait_s)
        return answer

    def _end_push(self, query_id: str) -> None:
        self.close_query(query_id, _CLOSE_S)

    def close_query(self, query_id: str, at_most_s: float | None = None) -> bool:
        """Ends a query; False when this node does not know it: it has ended, or another node runs it."""
        try:
            self._ask("POST", "/close-query", {"queryId": query_id}, at_most_s)
        except StatementRefused:
            return False
        return True

    def _open(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        accept: str = _ADMIN_ACCEPT,
        at_most_s: float | None = None,
        silent_s: float | None = None,
    ) -> requests.Response:
        """Sends a request; returns the response with status 200, whose body is not read yet."""
        timeout_s = self._wait_s(at_most_s)
        silent_s = timeout_s if silent_s is None else silent_s
        data, begun = None if body is None else json.dumps(body).encode(), time.monotonic()
        try:
            response = self._session.request(
                method,
                self._url + path,
                data=data,
                headers={"Accept": accept, "Content-Type": "application/json"},
                timeout=(timeout_s, silent_s),
                allow_redirects=False,
                stream=True,
            )
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            connecting = isinstance(error, requests.exceptions.ConnectTimeout)
            raise unreachable(error, self._url, timeout_s if connecting else silent_s) from error
        took_s, said = time.monotonic() - begun, printable(str(next(iter((body or {}).values()), "")), 300)
        _log.debug("ksqlDB: %s %s: %s after %.2f s: %s", method, path, response.status_code, took_s, said)
        if response.status_code == 200:
            self._reached = True
            return response
        raise refusal(response.status_code, self._whole(response, timeout_s).decode(errors="replace"), self._url)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, at_most_s: float | None = None) -> bytes:
        """Sends a request and returns the whole body of the response."""
        return self._whole(self._open(method, path, body, at_most_s=at_most_s), self._wait_s(at_most_s))

    def _whole(self, response: requests.Response, within_s: float) -> bytes:
        try:
            with response:
                return read_whole(response.raw, self._url, within_s)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            raise unreachable(error, self._url, within_s, begun=True) from error

    def _wait_s(self, at_most_s: float | None) -> float:
        return min(self.connection.timeout_s, LONGEST_S if at_most_s is None else at_most_s, LONGEST_S)

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body.decode())
        except (ValueError, RecursionError):
            if body.lstrip()[:1] in (b"[", b"{"):
                raise ServerUnreachable(
                    f"the answer of ksqlDB at {self._url} was cut off, or changed on its way",
                    "run the same command again",
                ) from None
            raise ServerNotSupported(
                f"what answers at {self._url} does not speak JSON, so it is no ksqlDB server", "check KSQLDB_URL"
            ) from None

    def _retrying(self, attempt: Callable[[], _T], at_most_s: float | None = None) -> _T:
        """Repeats an attempt that the server refuses for now, with growing random pauses, up to `retry_s` in all.

        There is no wait for a server that was never reached: a wrong address is more likely than a restart.
        """

        def passing(error: BaseException) -> bool:
            return isinstance(error, ServerNotReady) or (isinstance(error, ServerUnreachable) and self._reached)

        policy = tenacity.Retrying(
            retry=tenacity.retry_if_exception(passing),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
            stop=tenacity.stop_after_delay(min(self.connection.retry_s, math.inf if at_most_s is None else at_most_s)),
            sleep=self._sleep,
            reraise=True,
        )
        return policy(attempt)


def _leave_pull(_: str) -> None:
    """Does nothing: the server has no command to end a pull, which ends by itself."""
