"""Failures of a server, or of the connection to it, as errors by what a person should do next.

Messages have no text of libraries, and only a short part of a server's own message.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from typing import Any

import requests
import urllib3

from pipeline.errors import (
    ActionNeeded,
    AddressNotUsable,
    AuthenticationFailed,
    PipelineError,
    ServerNotReady,
    ServerNotSupported,
    ServerUnreachable,
    StatementRefused,
)
from pipeline.printable import printable

_PASSING_REFUSALS = (
    "Cannot determine which host contains the required partitions",
    "Unable to execute pull query",
    "failed to find valid host",
    "Exhausted standby hosts",
    "concurrency limit for pull queries",
    "bandwidth rate limit for pull queries",
    "number of active, push queries to exceed the configured limit",
)
_MOST_QUOTED = 1000
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def quoted(text: Any) -> str:
    """A server's own text for a message: `printable`, and cut to a limited length."""
    return printable(str(text).strip(), _MOST_QUOTED).strip()


def unreachable(error: Exception, url: str, timeout_s: float, begun: bool = False) -> PipelineError:
    """The typed error for a request that got no answer, or not all of one that had `begun`."""
    cause = innermost(error)
    if isinstance(cause, ssl.SSLError):
        return _tls_refused(cause, url)
    if isinstance(error, ValueError):  # requests and urllib3 cannot parse the address, or cannot look it up
        return AddressNotUsable("KSQLDB_URL is not an address that can be used", "e.g. http://localhost:8088")
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return ActionNeeded(
            f"a TLS file cannot be used: {_os_words(error)}", "check KSQLDB_CA_FILE and KSQLDB_CLIENT_CERT"
        )
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        return ServerUnreachable(
            f"ksqlDB at {url} does not answer within {timeout_s:g} s",
            "check that the server is up and not overloaded, then run the same command again",
        )
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        return AddressNotUsable(f"there is no host of the name in {url}", "set KSQLDB_URL to the server's address")
    if not begun and _is_no_http(cause):
        return AddressNotUsable(
            f"there is no HTTP at {url}: another kind of server listens there",
            "set KSQLDB_URL to ksqlDB's REST listener (port 8088 by default), with https:// where it speaks TLS",
        )
    return ServerUnreachable(
        f"the answer of ksqlDB at {url} broke off: {reason(error)}"
        if begun
        else f"ksqlDB at {url} cannot be reached: {reason(error)}",
        "check KSQLDB_URL and that the server is up, then run the same command again",
    )


def _tls_refused(cause: ssl.SSLError, url: str) -> PipelineError:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ActionNeeded(
            f"the TLS certificate of {url} is not trusted: {quoted(cause.verify_message).rstrip('.')}",
            "set KSQLDB_CA_FILE to the CA that signed it",
        )
    if cause.reason in _NOT_TLS:
        return AddressNotUsable(
            f"the server at {url} does not speak https: most likely it speaks http there",
            f"set KSQLDB_URL=http{url.removeprefix('https')}",
        )
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return ServerUnreachable(
            f"the server at {url} ended the connection instead of speaking TLS",
            "check KSQLDB_URL and that the server is up, then run the same command again",
        )
    if cause.reason is None:
        return ActionNeeded("a TLS file cannot be used", "check KSQLDB_CA_FILE and KSQLDB_CLIENT_CERT")
    return ActionNeeded(
        f"no TLS connection to {url} came about ({cause.reason.lower().replace('_', ' ')})",
        "check KSQLDB_CA_FILE and KSQLDB_CLIENT_CERT",
    )


def refusal(status: int, text: str, url: str) -> PipelineError:
    """The typed error for a status other than 200, by status, error code and the few texts that mean 'try later'."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
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
    message, code = str(body["message"]), quoted(body.get("error_code"))
    if status in (401, 403):
        return AuthenticationFailed(
            f"ksqlDB at {url} refuses these credentials (status {status}: {quoted(message)})",
            "check KSQLDB_USER and KSQLDB_PASSWORD (or KSQLDB_TOKEN) and the user's rights",
        )
    if status in (429, 503) or any(text in message for text in _PASSING_REFUSALS):
        return ServerNotReady(
            f"ksqlDB at {url} refuses for now (status {status}): {quoted(message)}",
            "run the same command again in a minute",
        )
    return StatementRefused(
        f"ksqlDB refuses the request (status {status}, error {code}): {quoted(message)}",
        "check the feed's source and the server's log",
    )


def innermost(error: BaseException) -> BaseException:
    """The cause behind the wrappers: libraries wrap a refused connection four deep."""
    seen, known = error, [error]
    while True:
        inner = seen.__cause__ or seen.__context__ or getattr(seen, "reason", None)
        if not isinstance(inner, BaseException) or any(inner is one for one in known):
            return seen
        seen = inner
        known.append(seen)


def _is_no_http(cause: BaseException) -> bool:
    """Whether the server answered something other than HTTP; a connection closed without an answer does not count."""
    strange = http.client.BadStatusLine | http.client.UnknownProtocol | http.client.LineTooLong
    return isinstance(cause, strange) and not isinstance(cause, http.client.RemoteDisconnected)


def reason(error: BaseException) -> str:
    """Why a connection failed or broke, in our own words or the operating system's."""
    cause = innermost(error)
    if isinstance(cause, socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(cause, http.client.RemoteDisconnected):
        return "the server closed the connection without an answer"
    if isinstance(cause, TimeoutError):
        return "nothing came for too long"
    if isinstance(cause, urllib3.exceptions.DecodeError):
        return "the answer is not compressed as it says, or was cut"
    if isinstance(cause, OSError) and cause.errno:
        return _os_words(cause)
    return "the answer was cut off"


def _os_words(error: OSError) -> str:
    text = os.strerror(error.errno) if error.errno else "it cannot be read"
    return f"{error.filename}: {text}" if isinstance(error.filename, str) else text
