"""Errors of MySQL and its driver, turned into errors that a person can act on: one sentence and one hint each.

The numbers are those of MySQL and MariaDB, which agree; negative and 2xxx numbers are the driver's.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mysql.connector
from mysql.connector.errors import ConnectionTimeoutError, ReadTimeoutError, WriteTimeoutError

from pipeline.errors import (
    PipelineError,
    RowRefused,
    WarehouseBusy,
    WarehouseRefused,
    WarehouseUnreachable,
)
from pipeline.feeds import MYSQL_NAME
from pipeline.warehouse.server import Server

_BROKEN = {
    1040: "it has as many connections as it takes",
    1053: "it is shutting down",
    1158: "the connection broke off",
    1159: "the connection broke off",
    1160: "the connection broke off",
    1161: "the connection broke off",
    1927: "somebody ended this session there",
    2002: "nobody answers there",
    2003: "nobody answers there",
    2005: "its name is unknown",
    2006: "the connection broke off",
    2013: "the connection broke off",
    2055: "the connection broke off",
    4031: "it ended this session, which had been idle",
}
_MOST_WORDS = 300
_LOCAL_REFUSED = (1148, 2068, 3948, 4166)  # LOAD DATA LOCAL: this server or this account does not take it
_ROW_REFUSED = (1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1452, 1644, 3819, 4025)
_KEY_TWICE = 1062
_WRONG_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL
_AGAIN = "run the same command again"


@dataclass(frozen=True)
class _Refusal:
    """What some error numbers mean: a sentence and a hint, in which `text` is the server's own message."""

    numbers: tuple[int, ...]
    message: str
    hint: str
    error: type[PipelineError] = WarehouseRefused

    def at(self, server: Server, text: str, number: int = 0) -> PipelineError:
        words = {"place": server.place, "user": server.user, "database": server.database}
        words |= {"text": text, "number": str(number), "init": _init_hint(server.database)}
        return self.error(self.message.format(**words), self.hint.format(**words))


_ROW_TOO_LARGE = _Refusal(
    (1153, 2020), "a row is larger than MySQL at {place} takes: {text}", "raise max_allowed_packet on the server"
)
_REFUSALS = (
    _Refusal(
        (2026,),
        "MySQL at {place} offers no TLS, which MYSQL_SSL_CA asks for",
        "turn TLS on at the server; without MYSQL_SSL_CA nothing is verified",
    ),
    _Refusal(
        (1045, 1251, 1698),
        "MySQL at {place} refuses the user {user!r} or its password",
        "check MYSQL_USER and MYSQL_PASSWORD, and whether the account needs TLS (MYSQL_SSL_CA, MYSQL_SSL_CERT)",
    ),
    _Refusal(
        (1044,),
        "the MySQL user {user!r} may not use the database {database!r}, if it is there",
        "docs/warehouse.md names the rights it needs; --init-schema makes it, by an account that may",
    ),
    _Refusal(
        (1142, 1143, 1227, 1370, 1410),
        "the MySQL user {user!r} lacks a right: {text}",
        "docs/warehouse.md names the rights it needs",
    ),
    _Refusal((1049,), "MySQL at {place} has no database {database!r}", "{init}"),
    _Refusal((1054, 1146, 1356), "the warehouse's schema is not as expected: {text}", "{init}"),
    _Refusal(
        (1205, 1213, 3572), "rows of the warehouse are locked: {text}", "run the same command again", WarehouseBusy
    ),
    _ROW_TOO_LARGE,
    _Refusal(
        (1290, 1792, 1836),
        "MySQL at {place} takes no changes: {text}",
        "set MYSQL_HOST to the primary, or end its read-only mode",
    ),
    _Refusal((1021, 1041, 1114), "MySQL at {place} has no space left: {text}", "free space on the server"),
)
_BY_NUMBER = {number: refusal for refusal in _REFUSALS for number in refusal.numbers}
_ANY_OTHER = _Refusal((), "MySQL at {place} refuses (error {number}): {text}", "nothing was changed")


def is_stall(error: BaseException) -> bool:
    """Whether the server did not answer in time, so that it may still be running our statement."""
    return any(isinstance(cause, ReadTimeoutError | WriteTimeoutError) for cause in _causes(error))


def is_local_refused(error: BaseException) -> bool:
    """Whether the server refuses files; the driver (26.10) wraps that error in one without a number."""
    return any(isinstance(cause, mysql.connector.Error) and cause.errno in _LOCAL_REFUSED for cause in _causes(error))


def named(error: mysql.connector.Error, server: Server) -> PipelineError:
    """Our error for one of the driver's, with the server's own message where it names something.

    It has no secrets: neither the driver nor the server repeats them.
    """
    number, text = error.errno, (error.msg or "").rstrip(".")[:_MOST_WORDS]
    if isinstance(error, ConnectionTimeoutError | ReadTimeoutError | WriteTimeoutError):
        return _timed_out(error, server)
    if untrusted := [cause for cause in _causes(error) if isinstance(cause, ssl.SSLCertVerificationError)]:
        return _untrusted(untrusted[0], server.place)
    if number in _BROKEN or (number == -1 and not isinstance(error, mysql.connector.InternalError)):
        return unreachable(server, error)
    if number in _ROW_REFUSED:
        reason = "the key is there twice for MySQL" if number == _KEY_TWICE else text
        return RowRefused(f"MySQL at {server.place} refuses a row: {text}", "nothing was changed", reason)
    return _BY_NUMBER.get(number, _ANY_OTHER).at(server, text, number)


def _timed_out(error: mysql.connector.Error, server: Server) -> WarehouseUnreachable:
    connecting = isinstance(error, ConnectionTimeoutError)
    setting, checks = ("MYSQL_TIMEOUT_S", f", and {_where(server)}") if connecting else ("MYSQL_STALL_S", "")
    return WarehouseUnreachable(
        f"MySQL at {server.place} did not answer within {setting}", f"check that it is up{checks}; {_AGAIN}"
    )


def _where(server: Server) -> str:
    """The settings that say where the server is."""
    return "MYSQL_SOCKET" if server.socket else "MYSQL_HOST and MYSQL_PORT"


def _init_hint(database: str) -> str:
    """The hint that gives this database its schema; it repeats the name, which may have come from an option."""
    if not MYSQL_NAME.fullmatch(database):
        return "give the warehouse a name of letters, digits and _: --database, or MYSQL_DATABASE"
    return f"python sync_to_mysql.py --init-schema --database {database}"


def unreachable(server: Server, error: BaseException) -> PipelineError:
    """The error for a failed connection; an unknown host, or a file that is no socket, needs a person."""
    cause = next((cause for cause in _causes(error) if isinstance(cause, OSError)), None)
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        return WarehouseRefused(f"there is no host {server.host!r}", "set MYSQL_HOST to the server's name")
    path = Path(server.socket)
    if server.socket and path.exists() and not path.is_socket():
        return WarehouseRefused(f"{server.socket} is no socket", "set MYSQL_SOCKET to that of the server")
    why = _BROKEN.get(getattr(error, "errno", None) or 0, "the connection broke off")
    if cause is not None and cause.errno and cause.errno > 0:
        why = os.strerror(cause.errno)
    return WarehouseUnreachable(
        f"MySQL at {server.place} cannot be reached: {why}",
        f"check that it is up, and {_where(server)}; {_AGAIN}",
    )


def row_too_large(server: Server, size: str) -> PipelineError:
    return _ROW_TOO_LARGE.at(server, size)


def _untrusted(error: Any, place: str) -> WarehouseRefused:
    if error.verify_code in _WRONG_NAME:
        return WarehouseRefused(
            f"the certificate of MySQL at {place} is for another host name",
            "set MYSQL_HOST to a name in the certificate",
        )
    return WarehouseRefused(
        f"the certificate of MySQL at {place} is not trusted: {error.verify_message}",
        "set MYSQL_SSL_CA to the file with the CA that signed it",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
