"""HTTP to one ksqlDB server: requests, authentication, TLS, typed errors, and retries of what is safe.

The only module that speaks HTTP. Every request has a timeout, follows no redirect, and asks for its format with an
explicit Accept (a missing one gets an answer without an end mark). An answer is used only when it is proved complete;
see `framing`. A crash leaves at most one query running on the server, which ends it when the connection drops.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3

from pipeline.errors import ActionNeeded, PipelineError, TryLater
from pipeline.ksqldb.framing import AnswerIncomplete, AnswerMalformed, AnswerParser, Ending, Framing, Header, Rows
from pipeline.ksqldb.refusals import (
    ServerNotReady,
    ServerNotSupported,
    ServerUnreachable,
    StatementRefused,
    reason,
    refusal,
    unreachable,
)

OLDEST_PLATFORM = (7, 2)
OLDEST_STANDALONE = (0, 26)
_READ_BYTES = 64 * 1024
_CLOSE_S = 2.0  # who leaves does not wait for a server that is silent: the dropped connection ends the query as well
_ADMIN_ACCEPT = "application/vnd.ksql.v1+json"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Connection:
    """Where the server is and how to speak to it.

    `ca_file` and `client_cert` are paths of PEM files. `timeout_s` bounds connecting and each admin request, `retry_s`
    the waiting for a server that refuses for now, `stall_s` a read that brings no byte.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca_file: str = ""
    client_cert: str = ""
    timeout_s: float = 30
    retry_s: float = 90
    stall_s: float = 120

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ActionNeeded(
                "the ksqlDB address is not an http:// or https:// URL", "set KSQLDB_URL, e.g. http://localhost:8088"
            )
        if parts.username or parts.password:
            raise ActionNeeded(
                "the ksqlDB address holds a user or password, which would end up in logs",
                "give them as KSQLDB_USER and KSQLDB_PASSWORD",
            )


class TimeIsOver(TryLater):
    """A read was not at its end at its deadline."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was not read to its end in the time given; nothing of it was kept",
            "run the same command with a higher --max-runtime",
        )


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
        answer = self._retrying(lambda: self._json(self._request("GET", "/info")))
        info = answer.get("KsqlServerInfo") if isinstance(answer, dict) else None
        if not isinstance(info, dict) or "version" not in info:
            raise ServerNotSupported(
                f"what answers at {self._url} is not a ksqlDB server", "check KSQLDB_URL (the REST listener, not Kafka)"
            )
        version = str(info["version"])
        numbers = re.match(r"(\d+)\.(\d+)", version)
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
        answer = self._retrying(lambda: self._json(self._request("POST", "/ksql", {"ksql": statement})))
        if not isinstance(answer, list):
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
    ) -> Answer:
        """Starts a query; the answer's header is there when this returns, and the query is closed on the way out.

        Only the start is retried: what was read of an answer is never mixed with a second one. The server has one scan
        of ours at a time: the query before, where an error kept it from being read, is ended first. A server that
        keeps refusing or silent is waited for `at_most_s`. `silent_s`, else `stall_s`, bounds a read without a byte.
        """
        self._end_last_query()
        body = {"sql": sql, "properties": dict(properties or {})}
        self._answer = self._retrying(lambda: self._start(body, framing, ending, at_most_s, silent_s), at_most_s)
        return self._answer

    def _end_last_query(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _start(
        self, body: dict[str, Any], framing: Framing, ending: Ending, at_most_s: float | None, silent_s: float | None
    ) -> Answer:
        silent_s = self.connection.stall_s if silent_s is None else silent_s
        response = self._request("POST", "/query-stream", body, framing.value, silent_s=silent_s, at_most_s=at_most_s)
        answer = Answer(self, response, AnswerParser(framing, ending), pull="EMIT CHANGES" not in body["sql"])
        with answer.closing_on_error():
            answer.read_header()
        return answer

    def close_query(self, query_id: str, at_most_s: float | None = None) -> bool:
        """Ends a query; False when this node does not know it (it is over, or another node runs it)."""
        try:
            self._request("POST", "/close-query", {"queryId": query_id}, at_most_s=at_most_s)
        except StatementRefused:
            return False
        return True

    def _request(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        accept: str = _ADMIN_ACCEPT,
        silent_s: float | None = None,
        at_most_s: float | None = None,
    ) -> requests.Response:
        at_most_s = math.inf if at_most_s is None else at_most_s
        timeout_s = min(self.connection.timeout_s, at_most_s)
        stream = silent_s is not None  # an admin answer is read at once
        silent_s = timeout_s if silent_s is None else min(silent_s, at_most_s)
        try:
            response = self._session.request(
                method,
                self._url + path,
                data=None if body is None else json.dumps(body).encode(),
                headers={"Accept": accept, "Content-Type": "application/json"},
                timeout=(timeout_s, silent_s),
                allow_redirects=False,
                stream=stream,
            )
            if response.status_code == 200:
                self._reached = True
                return response
            text = response.text
        except (OSError, urllib3.exceptions.HTTPError) as error:
            connecting = isinstance(error, requests.exceptions.ConnectTimeout)
            raise unreachable(error, self._url, timeout_s if connecting else silent_s) from error
        raise refusal(response.status_code, text, self._url)

    def _json(self, response: requests.Response) -> Any:
        try:
            return response.json()
        except ValueError:
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


class Answer(contextlib.AbstractContextManager["Answer"]):
    """One query's answer while it is being read."""

    def __init__(self, client: Client, response: requests.Response, parser: AnswerParser, pull: bool) -> None:
        self._client, self._response, self._parser, self._pull = client, response, parser, pull
        self._pieces = response.raw.stream(_READ_BYTES, decode_content=True)  # a proxy may compress all the same
        self._early: list[Rows] = []
        self._done = False
        self._hung_up = False
        self._closed = False
        self.byte_count = 0

    @property
    def header(self) -> Header:
        assert self._parser.header is not None
        return self._parser.header

    def read_header(self) -> None:
        while self._parser.header is None:
            piece = self._next_piece()
            if piece is None:
                self._early += self._finish()
                return
            self._early += self._parser.feed(piece)

    def rows(self) -> Iterator[Rows]:
        """The rows, as they come; ends only when the answer is proved complete.

        After `hang_up` it ends quietly with the rows that came whole.
        Raises AnswerIncomplete, AnswerMalformed or QueryFailed; then nothing of the answer may be used as complete.
        """
        yield from self._early
        while not self._done:
            piece = self._next_piece()
            yield from self._finish() if piece is None else self._parser.feed(piece)

    def _finish(self) -> Iterator[Rows]:
        self._done = True
        return self._parser.flush() if self._hung_up else self._parser.finish()

    def _next_piece(self) -> bytes | None:
        try:
            piece = next(self._pieces, None)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if self._hung_up:
                return None
            raise AnswerIncomplete(
                f"the connection broke after {self._parser.row_count} rows: {reason(error)}",
                "nothing was kept of the broken answer; run the same command again",
            ) from error
        self.byte_count += len(piece or b"")
        return piece

    def wait_at_most(self, seconds: float | None) -> None:
        """Sets the limit on a read without a byte.

        None lifts it: a push over a large topic is silent while nothing matches. The caller must then watch the query
        from another thread and `hang_up` when it stalls.
        """
        connection = self._response.raw.connection
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(seconds)

    @contextlib.contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Closes the answer when the block fails, and leaves it open when it does not."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def hang_up(self) -> None:
        """Ends a read that another thread is waiting in; rows that did not come whole are left to the next run."""
        self._hung_up = True
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._response.raw.shutdown()

    def close(self) -> None:
        """Drops the connection, and ends the query if it was not read to its end."""
        if self._closed:
            return
        self._closed = True
        if not self._done and not self._pull and self._parser.header and self._parser.header.query_id:
            with contextlib.suppress(PipelineError):
                self._client.close_query(self._parser.header.query_id, _CLOSE_S)
        self._response.close()

    def __exit__(self, *exc: object) -> None:
        self.close()
