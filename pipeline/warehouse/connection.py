"""One connection to MySQL or MariaDB: TLS, time limits, session settings, and one writer at a time.

Every session is strict, in UTC and utf8mb4, and checks keys, whatever the server's own settings are. Every wait has a
limit: for a connection, for an answer, for locks. When a session is interrupted during a statement, it is also killed
on the server, so that the statement does not go on. The driver's pure-Python form is used: its C extension needs a
newer OpenSSL than Debian 12 has.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import mysql.connector

from pipeline.errors import PipelineError, RowRefused, WarehouseBusy
from pipeline.printable import printable
from pipeline.scratch import scratch_file, scratch_folder
from pipeline.warehouse.password_command import password_from
from pipeline.warehouse.refusals import is_local_refused, is_stall, named, row_too_large, unreachable
from pipeline.warehouse.server import Server, tls_options, tune_socket

_log = logging.getLogger("pipeline")
_LOCK = "ksqldb-lake warehouse sync"
_TRIES = 3
_KILL_S = 5.0
_IDLE_S = 28_800  # the session is idle while this process sorts a large snapshot; the servers' own default
_NO_FOLDER = f"{os.devnull}/none"  # allows no file until this session has made its folder
_PACKET_BYTES = 4 * 2**20  # the most bytes of one INSERT
_T = TypeVar("_T")
_SESSION = (
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION'",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION foreign_key_checks = 1, unique_checks = 1 /*M! , check_constraint_checks = 1 */",  # MariaDB's alone
    "SET SESSION sql_select_limit = 18446744073709551615, sql_big_selects = 1, sql_safe_updates = 0",
    f"SET SESSION completion_type = 'NO_CHAIN', wait_timeout = {_IDLE_S}",
)


class Connection:
    """An open session; every method raises this module's errors. Autocommit is off.

    `takes_local_files` says whether rows can be sent by LOAD DATA LOCAL; it becomes false when the server refuses one.
    The server can request files only from a folder that this session has made.
    """

    def __init__(self, server: Server, with_database: bool = True) -> None:
        self.server = server
        self._kept = contextlib.ExitStack()
        self._lock = ""
        where: dict[str, Any] = {"unix_socket": server.socket}  # traffic stays on this machine and needs no TLS
        if not server.socket:
            where = {"host": server.host, "port": server.port} | tls_options(server)
        if with_database:
            where["database"] = server.database
        command = server.password_command
        password = password_from(command, server.timeout_s) if command else server.password
        with _errors(server):
            self._raw: Any = mysql.connector.connect(  # a pooled one lacks methods
                user=server.user,
                password=password,
                charset="utf8mb4",
                collation="utf8mb4_bin",
                connection_timeout=_seconds(server.timeout_s),
                read_timeout=_seconds(server.stall_s),
                write_timeout=_seconds(server.stall_s),
                autocommit=False,
                use_pure=True,
                allow_local_infile_in_path=_NO_FOLDER,
                **where,
            )
        if not server.socket:
            tune_socket(self._raw)
        wait = _seconds(server.lock_wait_s)
        for statement in (*_SESSION, f"SET SESSION lock_wait_timeout = {wait}, innodb_lock_wait_timeout = {wait}"):
            self.run(statement)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self._kept.close()
        with contextlib.suppress(mysql.connector.Error, OSError):
            self._raw.close()

    @contextlib.contextmanager
    def _asking(self, sql: str = "") -> Iterator[None]:
        """Turns the driver's errors into ours; ends the session on both sides when its answer is not waited for."""
        if sql:
            _log.debug("MySQL: %s", printable(sql, 300))
        is_open = False
        try:
            with _errors(self.server):
                yield
            is_open = True
        except PipelineError as error:
            is_open = not is_stall(error)
            raise
        finally:
            if not is_open:
                self.abandon()

    def abandon(self) -> None:
        """Closes the socket and kills the session on the server, which would otherwise go on with the statement.

        Only a session that holds the warehouse's lock is killed: the lock proves that the server behind a proxy is the
        same one, so that the session's number is not another client's.
        """
        number = self._raw.connection_id
        self._raw.shutdown()
        if not self._lock:
            return
        short = replace(self.server, timeout_s=min(self.server.timeout_s, _KILL_S), stall_s=_KILL_S)
        with contextlib.suppress(PipelineError), Connection(short, with_database=False) as other:
            if other.rows("SELECT IS_USED_LOCK(%s)", (self._lock,))[0][0] == number:
                other.run(f"KILL {int(number)}")

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Runs one statement; returns the number of rows that it changed or returned."""
        with self._asking(sql), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(sql, tuple(values))
            if cursor.with_rows:
                cursor.fetchall()
            return int(cursor.rowcount)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._asking(sql), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(sql, tuple(values))
            return [tuple(row) for row in cursor.fetchall()]

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows one by one; all must be read before the next statement."""
        with self._asking(sql), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(sql, tuple(values))
            while rows := cursor.fetchmany(1000):
                yield from (tuple(row) for row in rows)

    @cached_property
    def is_mariadb(self) -> bool:
        return "mariadb" in text_of(self.rows("SELECT VERSION()")[0][0]).lower()

    @cached_property
    def _most_bytes(self) -> int:
        return int(self.rows("SELECT @@max_allowed_packet")[0][0])

    @cached_property
    def takes_local_files(self) -> bool:
        return bool(int(self.rows("SELECT @@local_infile")[0][0]))

    def load_file(self, table: str, columns: str, lines: bytes | memoryview, values: Sequence[Any] = ()) -> int | None:
        """Sends lines as a file by LOAD DATA LOCAL; returns the rows that arrived, None when the server refuses files.

        Columns are separated by tabs and lines end with newlines, with backslash escapes and \\N. `columns` is the
        statement's column list with its SET clause, for `values`. LOAD DATA LOCAL turns errors into warnings, so a
        warning raises RowRefused. Raises ScratchUnusable when the temporary folder cannot be written.
        """
        statement = f"LOAD DATA LOCAL INFILE %s INTO TABLE {quote(table)} CHARACTER SET utf8mb4 {columns}"
        try:
            with scratch_file(self._own_folder, lines) as path:
                sent = self.run(statement, (str(path), *values))
        except PipelineError as error:
            if is_local_refused(error):
                self.takes_local_files = False
                return None
            raise
        ((warning_count,),) = self.rows("SHOW COUNT(*) WARNINGS")
        if int(warning_count):
            shown = self.rows("SHOW WARNINGS LIMIT 1")  # none where max_error_count is 0
            reason = f"{text_of(shown[0][2])} (warning {shown[0][1]})" if shown else "the server does not say why"
            raise RowRefused(
                f"MySQL at {self.server.place} would leave out or change a row: {reason}", "nothing was changed", reason
            )
        return sent

    @cached_property
    def _own_folder(self) -> Path:
        folder = self._kept.enter_context(scratch_folder())
        self._raw.set_allow_local_infile_in_path(str(folder))
        return folder

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Adds rows by multi-row INSERTs, each small enough for the server's max_allowed_packet.

        Raises WarehouseRefused for a row that is larger: the server would only close the connection.
        """
        waiting: list[Sequence[Any]] = []
        size = 0
        for row in rows:
            length = sum(len(value) for value in row if isinstance(value, str | bytes))
            if length > self._most_bytes:
                raise row_too_large(self.server, f"{length:,} characters")
            row_size = 4 * length + 32 * len(row)  # at most, with escapes, quotes and commas
            if waiting and size + row_size > min(_PACKET_BYTES, self._most_bytes // 2):
                self._insert(table, columns, waiting)
                waiting, size = [], 0
            waiting.append(row)
            size += row_size
        if waiting:
            self._insert(table, columns, waiting)

    def _insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        names = ", ".join(quote(column) for column in columns)
        one = "(" + ", ".join(["%s"] * len(columns)) + ")"
        with self._asking(), contextlib.closing(self._raw.cursor()) as cursor:
            cursor.execute(
                f"INSERT INTO {quote(table)} ({names}) VALUES {', '.join([one] * len(rows))}",
                tuple(value for row in rows for value in row),
            )

    @contextlib.contextmanager
    def transaction(self, commit: bool = True) -> Iterator[None]:
        """Commits at the end of the block; rolls back on an error, and in a dry run (`commit` is False)."""
        with self._asking():
            self._raw.commit()  # ends the transaction that filled the session's temporary tables
            self._raw.start_transaction()
        try:
            yield
        except BaseException:
            with contextlib.suppress(mysql.connector.Error, OSError):
                self._raw.rollback()
            raise
        with self._asking():
            (self._raw.commit if commit else self._raw.rollback)()

    def in_transaction(self, work: Callable[[], _T], commit: bool = True) -> _T:
        """Runs `work` in one transaction; repeats it, up to three times, when others hold rows that it needs."""
        for attempt in range(1, _TRIES):
            try:
                with self.transaction(commit):
                    return work()
            except WarehouseBusy:
                time.sleep(0.5 * attempt)
        with self.transaction(commit):
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
        self._lock = name
        try:
            self.run("COMMIT")  # reads from here on see all that the previous holder of the lock committed
            yield
        finally:
            with contextlib.suppress(PipelineError):
                self.rows("SELECT RELEASE_LOCK(%s)", (name,))
            self._lock = ""

    def _holder(self, lock: str) -> str:
        """A description of the session that holds a lock, as far as this account may see it."""
        other = self.rows("SELECT IS_USED_LOCK(%s)", (lock,))[0][0]
        listed = "SELECT user, host, time FROM information_schema.processlist WHERE id = %s"
        for user, host, seconds in self.rows(listed, (other,)):
            return f"connection {other}: {text_of(user)} from {text_of(host)}, {seconds} s in its current statement"
        return f"connection {other} of the server"


def _seconds(limit_s: float) -> int:
    """The driver and the servers take whole seconds."""
    return max(1, math.ceil(limit_s))


def text_of(value: object) -> str:
    """A name or a version, which some servers send as bytes."""
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


def quote(name: str) -> str:
    """Quotes an identifier; only for names from our own declarations."""
    return "`" + name.replace("`", "``") + "`"


@contextlib.contextmanager
def _errors(server: Server) -> Iterator[None]:
    try:
        yield
    except mysql.connector.Error as error:
        raise named(error, server) from error
    except OSError as error:
        raise unreachable(server, error) from error
