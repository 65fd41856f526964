"""The ways of loading that are compared. Each runs in a process of its own and returns the seconds it took.

Ours is the product's `load_star`; the others are what one would write with the driver alone, on the same tables.
The clock runs from before the connection is opened until after the last COMMIT.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import mysql.connector

from benchmarks.rows import NOW, SCHEMA, SUMMED, USER_COLUMNS, DataSet, Totals, batched, read_batches, rows_of
from data_lake_config import DEFAULT_FEEDS
from pipeline.start import leave_out_pandas
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.load import load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.server import Server

FACT, DIMENSION = "fact_user_transaction_summary", "dim_users"
UPSERT_ROWS = 5000
"""Rows of one executemany."""
_MAPPING = next(feed.warehouse for feed in DEFAULT_FEEDS if feed.name == "user_transaction_summary")
_FACT_COLUMNS = (
    "snapshot_version", "snapshot_date", "user_id", "transaction_type", *SUMMED, "last_transaction_date",
)  # fmt: skip


class WrongRows(RuntimeError):
    """The rows after a load are not those that were loaded."""


def sync(server: Server, data: DataSet, path: Path, source: str, lake_version: int | None, days: int) -> float:
    """The toolkit, from a file of the lake to the last COMMIT; `days` after the first snapshot."""
    assert _MAPPING is not None
    leave_out_pandas()  # as the scripts do
    at = NOW + dt.timedelta(days=days)
    snapshot = TableSnapshot(
        feed="user_transaction_summary", mapping=_MAPPING, schema=SCHEMA, batches=lambda: read_batches(path),
        row_count=data.row_count, lake_version=lake_version, taken_at=at,
    )  # fmt: skip
    started = time.monotonic()
    with Connection(server) as connection:
        load_star(connection, [snapshot], source, at)
    return time.monotonic() - started


def bare_load(server: Server, data: DataSet, checks: bool) -> float:
    """LOAD DATA LOCAL of the ready files into empty copies of the tables, which have no foreign keys."""
    with _raw(server) as (connection, cursor):
        for table in (DIMENSION, FACT):
            cursor.execute(f"DROP TABLE IF EXISTS bare_{table}")
            cursor.execute(f"CREATE TABLE bare_{table} LIKE {table}")
        connection.commit()
    started = time.monotonic()
    with _raw(server) as (connection, cursor):
        if not checks:
            cursor.execute("SET SESSION unique_checks = 0")
            cursor.execute("SET SESSION foreign_key_checks = 0")
        for table, columns, path in (
            (DIMENSION, USER_COLUMNS, data.sorted_users),
            (FACT, _FACT_COLUMNS, data.sorted_facts),
        ):
            names = ", ".join(columns)
            cursor.execute(f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE bare_{table} CHARACTER SET utf8mb4 ({names})")
        connection.commit()
    return time.monotonic() - started


def plain_upsert(server: Server, data: DataSet) -> float:
    """The driver's executemany, users first, then facts, in one transaction."""
    started = time.monotonic()
    with _raw(server) as (connection, cursor):
        _upsert_users(cursor, data)
        for batch in batched(_facts(data.lake), UPSERT_ROWS):
            cursor.executemany(_UPSERT_FACT, batch)
        connection.commit()
    return time.monotonic() - started


def row_by_row(server: Server, data: DataSet) -> float:
    """One upsert and one COMMIT for each fact row; the users go in before, all at once."""
    started = time.monotonic()
    with _raw(server) as (connection, cursor):
        _upsert_users(cursor, data)
        for fact in _facts(data.lake):
            cursor.execute(_UPSERT_FACT, fact)
            connection.commit()
    return time.monotonic() - started


def check_rows(server: Server, expected: Totals, snapshot: int = 1, prefix: str = "") -> None:
    """Raises WrongRows unless the star, or the plain copies of its tables, have the loaded rows."""
    with Connection(server) as connection:
        ((rows, amount, transactions, facts),) = connection.rows(
            f"SELECT COUNT(*), SUM(total_amount), SUM(transaction_count), SUM({_crc32(_FACT_COLUMNS[2:])})"
            f" FROM {prefix}{FACT} WHERE snapshot_version = %s",
            (snapshot,),
        )
        ((users, members),) = connection.rows(f"SELECT COUNT(*), SUM({_crc32(USER_COLUMNS)}) FROM {prefix}{DIMENSION}")
    found = Totals(rows, users, Decimal(amount or 0), int(transactions or 0), int(facts or 0), int(members or 0))
    if found != expected:
        raise WrongRows(f"the tables hold {found}, and were given {expected}")


def _crc32(columns: Sequence[str]) -> str:
    return f"CRC32(CONCAT_WS('|', {', '.join(columns)}))"


def check_snapshots(server: Server, expected: int) -> None:
    """Raises WrongRows unless the ledger has so many snapshots: rows that it already has make no new one."""
    with Connection(server) as connection:
        ((found,),) = connection.rows("SELECT COUNT(*) FROM etl_snapshots")
    if found != expected:
        raise WrongRows(f"the ledger has {found} snapshots, not {expected}")


_LEDGER = (
    "INSERT IGNORE INTO etl_snapshots (snapshot_version, snapshot_date, taken_at, loaded_at, source, status)"
    f" VALUES (1, '{NOW:%Y-%m-%d}', '{NOW:%Y-%m-%d %H:%M:%S}', '{NOW:%Y-%m-%d %H:%M:%S}', 'lake', 'complete')"
)


def _upsert(table: str, columns: tuple[str, ...], updated: tuple[str, ...]) -> str:
    """The upsert statement, with VALUES(column), which both servers accept."""
    updates = ", ".join(f"{name} = VALUES({name})" for name in updated)
    marks = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) ON DUPLICATE KEY UPDATE {updates}"


def _upsert_users(cursor: Any, data: DataSet) -> None:
    """Adds the ledger's row, which facts refer to, and each user with the attributes of the newest row."""
    cursor.execute(_LEDGER)
    newest: dict[str, tuple[dt.datetime, tuple[Any, ...]]] = {}
    for row in rows_of(data.lake):
        if row[0] not in newest or newest[row[0]][0] < row[-1]:
            newest[row[0]] = (row[-1], row[:5])
    for batch in batched((user for _, user in newest.values()), UPSERT_ROWS):
        cursor.executemany(_UPSERT_USER, batch)


_UPSERT_USER = _upsert(DIMENSION, USER_COLUMNS, USER_COLUMNS[1:])
_UPSERT_FACT = _upsert(FACT, _FACT_COLUMNS, _FACT_COLUMNS[4:])


def _facts(path: Path) -> Iterator[tuple[Any, ...]]:
    for row in rows_of(path):
        yield (1, NOW.date(), row[0], *row[5:11], row[11].replace(tzinfo=None))


@contextlib.contextmanager
def _raw(server: Server) -> Iterator[tuple[Any, Any]]:
    """The driver's own connection, and a cursor of it."""
    connection: Any = mysql.connector.connect(
        host=server.host, port=server.port, user=server.user, password=server.password, database=server.database,
        charset="utf8mb4", collation="utf8mb4_bin", autocommit=False, use_pure=True, allow_local_infile=True,
    )  # fmt: skip
    with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'")
        yield connection, cursor
