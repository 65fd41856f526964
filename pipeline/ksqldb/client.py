"""HTTP to one ksqlDB server: requests, authentication, TLS, typed errors, and retries of what is safe.

The only module that speaks HTTP. Every request has a timeout, follows no redirect, and asks for its format with an
explicit Accept (a missing one gets an answer without an end mark). An answer is used only when it is proved complete;
see `framing`. A crash leaves at most one query running on the server, which ends it when the connection drops.
"""

from __future__ import annotations

import base64
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import requests
import tenacity
import urllib3

from pipeline.decode.layout import Layout
from pipeline.errors import (
    AnswerMalformed,
    ServerNotReady,
    ServerNotSupported,
    ServerUnreachable,
    StatementRefused,
)
from pipeline.ksqldb.answer import Answer
from pipeline.ksqldb.bodies import LONGEST_S, read_whole
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.errors import quoted, refusal, unreachable
from pipeline.ksqldb.framing import AnswerParser, Ending, Framing, Header, as_declared
from pipeline.limits import Limits
from pipeline.turns import Turn

OLDEST_PLATFORM = (7, 2)
OLDEST_STANDALONE = (0, 26)
_CLOSE_S = 2.0  # who leaves does not wait for a server that is silent: the dropped connection ends the query as well
_ADMIN_ACCEPT = "application/vnd.ksql.v1+json"
_T = TypeVar("_T")


class Client:
    """A session with one server; a thread of its own needs a client of its own."""

    def __init__(self, connection: Connection, sleep: Callable[[float], None] = time.sleep) -> None:
        self.connection = connection
        self._url = connection.url.rstrip("/")
        self._sleep = sleep
        self._reached = False
        self._answer: Answer | None = None
        self._session = self._new_session()

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no .netrc, no proxy of the shell between us and the proof of completeness
        session.headers["Accept-Encoding"] = "identity"  # a proxy that compresses holds rows back
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

        Raises ServerNotSupported for servers before 0.26 / Platform 7.2 and for what is no ksqlDB server.
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
        """The entities that an admin statement answers with."""
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
        """Starts a query; the answer's header is there when this returns, and the query is closed on the way out.

        Only the start is retried: what was read of an answer is never mixed with a second one. The server has one scan
        of ours at a time: the query before, where an error kept it from being read, is ended first. A server that
        keeps refusing or silent is waited for `at_most_s`. `silent_s`, else `stall_s`, bounds a read without a byte.
        `layout_of` says what is made of the columns that the answer has. `turn` is given back when the answer is
        closed, or there is none.
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
        """Waits until the server has no scan of another thread; that of the query before is ended first.

        Raises TimeIsOver.
        """
        self._end_last_query()
        return limits.take_turn("scan", what)

    def apart(self) -> Client:
        """A client for another thread, which waits for the server as this one does."""
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
        """Ends a query; False when this node does not know it (it is over, or another node runs it)."""
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
        """The beginning of a good answer; its body is still to be read."""
        timeout_s = self._wait_s(at_most_s)
        silent_s = timeout_s if silent_s is None else silent_s
        data = None if body is None else json.dumps(body).encode()
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
        if response.status_code == 200:
            self._reached = True
            return response
        raise refusal(response.status_code, self._whole(response, timeout_s).decode(errors="replace"), self._url)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, at_most_s: float | None = None) -> bytes:
        """The whole body of a good answer."""
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
        """Repeats a start that the server refuses for now, with growing random pauses, up to `retry_s` in all.

        A server that was never reached is not waited for: that is a wrong address more often than a restart.
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
    """The server knows no way to end a pull: it ends by itself."""
