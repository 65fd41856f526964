"""One connection to MySQL or MariaDB: session settings, typed errors, and one writer at a time.

The only module that imports the driver. Every session is strict, in UTC and utf8mb4. The driver's pure-Python form is
used: its C extension needs a newer OpenSSL than Debian 12 has.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import mysql.connector
from mysql.connector import errorcode

from pipeline.errors import ActionNeeded, PipelineError, TryLater

_LOCK = "ksqldb-lake warehouse sync"
_TRIES = 3
_PACKET_BYTES = 4 * 2**20  # of one INSERT, estimated; the smallest usual max_allowed_packet is 16 MiB
_LOCAL_REFUSED = (1148, 2068, 3948, 4166)  # LOAD DATA LOCAL: this server or this account does not take it
_ROW_REFUSED = (1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1452, 1644, 3819, 4025)
_T = TypeVar("_T")
_SESSION = (
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION'",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
)
_INIT_HINT = "python sync_to_mysql.py --init-schema"


class WarehouseUnreachable(TryLater):
    """No connection, or it broke; what was not committed is gone, the old star is whole."""


class WarehouseBusy(TryLater):
    """Another sync holds the warehouse, or rows stayed locked for too long."""


class WarehouseRefused(ActionNeeded):
    """The server refuses: credentials, rights, schema, space."""


class RowRefused(WarehouseRefused):
    """A table does not take a row, because of a key, a CHECK or a trigger; `reason` says why, in the server's words."""

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


@dataclass(frozen=True)
class Server:
    """Where the warehouse is. `ssl_ca` turns on TLS with verification of certificate and host name."""

    host: str = "localhost"
    port: int = 3306
    socket: str = ""
    user: str = "root"
    password: str = field(default="", repr=False)
    database: str = "data_warehouse"
    ssl_ca: str = ""
    timeout_s: float = 30

    @property
    def place(self) -> str:
        return self.socket or f"{self.host}:{self.port}"


class Connection:
    """An open session; every method raises this module's errors. Autocommit is off.

    `takes_local_files` says whether rows can be sent by LOAD DATA LOCAL; it becomes false when the server refuses one.
    Only files in a folder that this session has made can be asked for by the server.
    """

    def __init__(self, server: Server, with_database: bool = True) -> None:
        self.server = server
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        where: dict[str, Any] = {"unix_socket": server.socket} if server.socket else {}
        if not server.socket:
            where = {"host": server.host, "port": server.port}
        if server.ssl_ca:
            where |= {"ssl_ca": server.ssl_ca, "ssl_verify_cert": True, "ssl_verify_identity": True}
        if with_database:
            where["database"] = server.database
        with _errors(server):
            self._raw: Any = mysql.connector.connect(  # a pooled one lacks methods
                user=server.user,
                password=server.password,
                charset="utf8mb4",
                collation="utf8mb4_bin",
                connection_timeout=max(1, int(server.timeout_s)),
                autocommit=False,
                use_pure=True,
                allow_local_infile_in_path=tempfile.gettempdir(),
                **where,
            )
        if not server.socket:
            _send_at_once(self._raw)
        for statement in _SESSION:
            self.run(statement)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()
        with contextlib.suppress(mysql.connector.Error, OSError):
            self._raw.close()

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Runs one statement; returns the number of rows that it changed, or told."""
        with _errors(self.server), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(sql, tuple(values))
            if cursor.with_rows:
                cursor.fetchall()
            return int(cursor.rowcount)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with _errors(self.server), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(sql, tuple(values))
            return [tuple(row) for row in cursor.fetchall()]

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows one by one, as they come; read them all before the next statement."""
        with _errors(self.server), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(sql, tuple(values))
            while rows := cursor.fetchmany(1000):
                yield from (tuple(row) for row in rows)

    @cached_property
    def is_mariadb(self) -> bool:
        return "mariadb" in text_of(self.rows("SELECT VERSION()")[0][0]).lower()

    @cached_property
    def takes_local_files(self) -> bool:
        return bool(int(self.rows("SELECT @@local_infile")[0][0]))

    def load_file(self, table: str, columns: str, write: Callable[[Path], object]) -> int | None:
        """Sends the file that `write` makes by LOAD DATA LOCAL; returns the rows that arrived, None when refused.

        The file has tabs between and newlines after its columns, backslash escapes and \\N. `columns` is the
        statement's column list with its SET clause. LOAD DATA LOCAL turns errors into warnings, so a warning raises
        WarehouseRefused; so does a temporary folder that cannot be written.
        """
        path = self._own_folder() / "rows"
        try:
            with _writing_in(path.parent):
                write(path)
            sent = self.run(
                f"LOAD DATA LOCAL INFILE %s INTO TABLE {quote(table)} CHARACTER SET utf8mb4 {columns}", (str(path),)
            )
        except PipelineError as error:
            if _is_local_refused(error):
                self.takes_local_files = False
                return None
            raise
        finally:
            path.unlink(missing_ok=True)
        for _, number, text in self.rows("SHOW WARNINGS LIMIT 1"):
            raise WarehouseRefused(
                f"MySQL at {self.server.place} would change rows (warning {number}): {text_of(text)}",
                "nothing was changed",
            )
        return sent

    def _own_folder(self) -> Path:
        if self._folder is None:
            with _writing_in(Path(tempfile.gettempdir())):
                self._folder = tempfile.TemporaryDirectory(prefix="ksqldb-lake-sync-")
            self._raw.set_allow_local_infile_in_path(self._folder.name)
        return Path(self._folder.name)

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Adds rows by multi-row INSERTs, each small enough for the server's max_allowed_packet."""
        waiting: list[Sequence[Any]] = []
        size = 0
        for row in rows:
            row_size = sum(2 * len(value) if isinstance(value, str | bytes) else 32 for value in row)
            if waiting and size + row_size > _PACKET_BYTES:
                self._insert(table, columns, waiting)
                waiting, size = [], 0
            waiting.append(row)
            size += row_size
        if waiting:
            self._insert(table, columns, waiting)

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        names = ", ".join(quote(column) for column in columns)
        one = "(" + ", ".join(["%s"] * len(columns)) + ")"
        with _errors(self.server), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(
                f"INSERT INTO {quote(table)} ({names}) VALUES {', '.join([one] * len(rows))}",
                tuple(value for row in rows for value in row),
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits at the end of the block, or nothing of it at all."""
        with _errors(self.server):
            self._raw.commit()  # what was staged in tables of this session is a transaction of its own
            self._raw.start_transaction()
        try:
            yield
        except BaseException:
            with contextlib.suppress(mysql.connector.Error, OSError):
                self._raw.rollback()
            raise
        with _errors(self.server):
            self._raw.commit()

    def in_transaction(self, work: Callable[[], _T]) -> _T:
        """Does `work` in one transaction, and again, up to three times, while others hold rows that it needs."""
        for attempt in range(1, _TRIES):
            try:
                with self.transaction():
                    return work()
            except WarehouseBusy:
                time.sleep(0.5 * attempt)
        with self.transaction():
            return work()

    @contextlib.contextmanager
    def hold_warehouse(self) -> Iterator[None]:
        """Holds the warehouse's lock; the server frees it when the session ends, however it ends.

        Raises WarehouseBusy naming the session that holds it.
        """
        name = f"{_LOCK} {self.server.database}"[:64]
        if self.rows("SELECT GET_LOCK(%s, 0)", (name,))[0][0] != 1:
            raise WarehouseBusy(
                f"another sync holds the warehouse {self.server.database} ({self._holder(name)})",
                "wait for it to end, then run the same command again",
            )
        try:
            self.run("COMMIT")  # so that what is read from here on is what the holder before us left
            yield
        finally:
            with contextlib.suppress(PipelineError):
                self.rows("SELECT RELEASE_LOCK(%s)", (name,))

    def _holder(self, lock: str) -> str:
        """The session that holds a lock, as far as this account may see it."""
        other = self.rows("SELECT IS_USED_LOCK(%s)", (lock,))[0][0]
        listed = "SELECT user, host, time FROM information_schema.processlist WHERE id = %s"
        for user, host, seconds in self.rows(listed, (other,)):
            return f"connection {other}: {text_of(user)} from {text_of(host)}, {seconds} s in its current statement"
        return f"connection {other} of the server"


def _send_at_once(raw: Any) -> None:
    """A file ends with two small packets: the second would wait 40 ms until the first is acknowledged.

    The driver (26.10) has no option for it.
    """
    raw._socket.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def text_of(value: object) -> str:
    """Servers tell names and versions as bytes in some versions."""
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


def quote(name: str) -> str:
    """An identifier of our own declarations, quoted."""
    return "`" + name.replace("`", "``") + "`"


@contextlib.contextmanager
def _errors(server: Server) -> Iterator[None]:
    try:
        yield
    except mysql.connector.Error as error:
        raise _named(error, server) from error
    except OSError as error:
        raise WarehouseUnreachable(
            f"MySQL at {server.place} cannot be reached: {error.strerror or error}", "check MYSQL_HOST and MYSQL_PORT"
        ) from error


@contextlib.contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WarehouseRefused(
            f"rows cannot be put into the temporary folder {folder}: {error.strerror}; nothing was changed",
            "free space there, or name another folder by TMPDIR",
        ) from error


def _is_local_refused(error: BaseException) -> bool:
    """The driver (26.10) wraps the server's refusal of a file in an error without a number."""
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, mysql.connector.Error) and cause.errno in _LOCAL_REFUSED:
            return True
        cause = cause.__cause__
    return False


def _named(error: mysql.connector.Error, server: Server) -> PipelineError:
    number, text = error.errno, (error.msg or str(error)).rstrip(".")
    broken = number == -1 and not isinstance(error, mysql.connector.InternalError)
    if broken or number in (2002, 2003, 2005, 2006, 2013, 2055, 1053, 1040, 1158, 1159, 1160, 1161, 4031):
        return WarehouseUnreachable(
            f"MySQL at {server.place} cannot be reached or broke off: {text}",
            "check that it is up, and MYSQL_HOST and MYSQL_PORT; nothing was changed, run the same command again",
        )
    if number in (errorcode.ER_ACCESS_DENIED_ERROR, 1698, 1251):
        return WarehouseRefused(
            f"MySQL at {server.place} refuses the user {server.user!r} or its password",
            "check MYSQL_USER and MYSQL_PASSWORD",
        )
    if number in (1044, 1142, 1143, 1227, 1370, 1410):
        return WarehouseRefused(
            f"the MySQL user {server.user!r} lacks a right: {text}", "docs/warehouse.md names the rights it needs"
        )
    if number == errorcode.ER_BAD_DB_ERROR:
        return WarehouseRefused(f"MySQL at {server.place} has no database {server.database!r}", _INIT_HINT)
    if number in (1146, 1054, 1356):
        return WarehouseRefused(f"the warehouse's schema is not as expected: {text}", _INIT_HINT)
    if number in (1205, 1213, 3572):
        return WarehouseBusy(f"rows of the warehouse are locked: {text}", "run the same command again")
    if number in (1153, 2020):
        return WarehouseRefused(
            f"a row is larger than MySQL at {server.place} takes: {text}", "raise max_allowed_packet on the server"
        )
    if number in _ROW_REFUSED:
        reason = "the key is there twice for MySQL" if number == errorcode.ER_DUP_ENTRY else text
        return RowRefused(f"MySQL at {server.place} refuses a row: {text}", "nothing was changed", reason)
    if number in (1021, 1114, 1041):
        return WarehouseRefused(f"MySQL at {server.place} has no space left: {text}", "free space on the server")
    return WarehouseRefused(f"MySQL at {server.place} refuses (error {number}): {text}", "nothing was changed")
