"""What a server, or the way to it, says instead of an answer, as errors by what a person should do next."""

from __future__ import annotations

import json
import socket

import requests

from pipeline.errors import ActionNeeded, PipelineError, TryLater

_PASSING_REFUSALS = (
    "Cannot determine which host contains the required partitions",
    "Unable to execute pull query",
    "failed to find valid host",
    "Exhausted standby hosts",
    "concurrency limit for pull queries",
    "bandwidth rate limit for pull queries",
    "number of active, push queries to exceed the configured limit",
)


class ServerUnreachable(TryLater):
    """No connection, or the connection broke before an answer."""


class ServerNotReady(TryLater):
    """The server answers, but refuses for now: starting, restarting, or at a limit."""


class AuthenticationFailed(ActionNeeded):
    """The server wants other credentials."""


class StatementRefused(ActionNeeded):
    """The server refuses the statement; repeating it will not help."""


class ServerNotSupported(ActionNeeded):
    """The server is older than what this client can read without loss, or is no ksqlDB server."""


def unreachable(error: Exception, url: str, timeout_s: float) -> PipelineError:
    """The typed error for a request that got no answer."""
    if isinstance(error, requests.exceptions.SSLError):
        return ActionNeeded(
            f"the TLS certificate of {url} is not trusted: {reason(error)}",
            "set KSQLDB_CA_FILE to the CA that signed it",
        )
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return ActionNeeded(f"a TLS file cannot be used: {error}", "check KSQLDB_CA_FILE and KSQLDB_CLIENT_CERT")
    if isinstance(error, requests.exceptions.Timeout):
        return ServerUnreachable(
            f"ksqlDB at {url} does not answer within {timeout_s:g} s",
            "check that the server is up and not overloaded, then run the same command again",
        )
    return ServerUnreachable(
        f"ksqlDB at {url} cannot be reached: {reason(error)}",
        "check KSQLDB_URL and that the server is up, then run the same command again",
    )


def refusal(status: int, text: str, url: str) -> PipelineError:
    """The typed error for an answer other than 200, by status, error code and the few texts that mean 'wait'."""
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if not isinstance(body, dict) or "message" not in body:
        if status in (502, 503, 504):
            return ServerNotReady(
                f"something before ksqlDB at {url} answers with status {status}: it cannot reach the server for now",
                "run the same command again in a minute",
            )
        return ServerNotSupported(
            f"{url} answers with status {status} and no ksqlDB error",
            "check KSQLDB_URL, and proxies between here and the server",
        )
    message = str(body["message"]).strip()
    if status in (401, 403):
        return AuthenticationFailed(
            f"ksqlDB at {url} refuses these credentials (status {status}: {message})",
            "check KSQLDB_USER and KSQLDB_PASSWORD (or KSQLDB_TOKEN) and the user's rights",
        )
    if status in (429, 503) or any(text in message for text in _PASSING_REFUSALS):
        return ServerNotReady(
            f"ksqlDB at {url} refuses for now (status {status}): {message}",
            "run the same command again in a minute",
        )
    return StatementRefused(
        f"ksqlDB refuses the request (status {status}, error {body.get('error_code')}): {message}",
        "check the feed's source and the server's log",
    )


def reason(error: BaseException) -> str:
    """The innermost cause in a few words: libraries wrap a refused connection four deep."""
    seen: BaseException = error
    while True:
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    if isinstance(seen, socket.gaierror):
        return "the host name cannot be resolved"
    text = getattr(seen, "strerror", None) or str(seen) or type(seen).__name__
    return str(text).rstrip(".")
