"""Rounds of runs: every way of loading once a round, each in a fresh process, its rows checked afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import ways
from benchmarks.process import Run, call_apart
from benchmarks.rows import DataSet, totals_of
from data_lake_config import PROJECT_ROOT
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server

_IDLE_PAGES = 100  # of 16 kB: an idle server goes on writing a few of its own
_WRITE_NOW = {"innodb_io_capacity_max": 20_000, "innodb_io_capacity": 20_000, "innodb_max_dirty_pages_pct": 0}


@dataclass(frozen=True)
class Sizes:
    """The number of users, with ten rows each: for our loads and LOAD DATA, for the upsert, and for row by row."""

    users: int
    upsert_users: int
    row_users: int


FULL = Sizes(100_000, 10_000, 300)
QUICK = Sizes(10_000, 10_000, 300)


@dataclass(frozen=True)
class Bench:
    """A server and the files to load."""

    server: Server
    big: DataSet
    middle: DataSet
    small: DataSet


def warm_up(bench: Bench) -> None:
    """One load that is not measured: a server's first rows are its slowest."""
    new_warehouse(bench.server)
    ways.bare_load(bench.server, bench.middle, checks=True)


def bare(bench: Bench) -> Iterator[Run]:
    """The lower bound: plain LOAD DATA without anything else."""
    new_warehouse(bench.server)
    for way, checks in (("load, no checks", False), ("load", True)):
        yield _measure(way, ways.bare_load, bench.server, bench.big, checks)
        ways.check_rows(bench.server, totals_of(bench.big.lake), prefix="bare_")
        with Connection(bench.server) as connection:
            for table in (ways.FACT, ways.DIMENSION):
                connection.run(f"DROP TABLE bare_{table}")


def ours(bench: Bench) -> Iterator[Run]:
    """The toolkit: a first snapshot, the same one again, recognised by files and by rows, and the next one."""
    new_warehouse(bench.server)
    server, data = bench.server, bench.big
    yield _measure("sync", ways.sync, server, data, data.lake, "lake", 1, 0)
    ways.check_rows(server, totals_of(data.lake))
    yield _measure("sync, same version", ways.sync, server, data, data.lake, "lake", 1, 0)
    yield _measure("sync, same rows", ways.sync, server, data, data.lake, "ksqldb", None, 0)
    ways.check_snapshots(server, 1)
    yield _measure("sync, 5 % changed", ways.sync, server, data, data.changed, "lake", 2, 1)
    ways.check_snapshots(server, 2)
    ways.check_rows(server, totals_of(data.lake))
    ways.check_rows(server, totals_of(data.changed), snapshot=2)


def upsert(bench: Bench) -> Iterator[Run]:
    new_warehouse(bench.server)
    for way in ("upsert", "upsert, same rows"):
        yield _measure(way, ways.plain_upsert, bench.server, bench.middle)
        ways.check_rows(bench.server, totals_of(bench.middle.lake))


def row_by_row(bench: Bench) -> Iterator[Run]:
    new_warehouse(bench.server)
    yield _measure("row and commit", ways.row_by_row, bench.server, bench.small)
    ways.check_rows(bench.server, totals_of(bench.small.lake))


GROUPS: dict[str, Callable[[Bench], Iterator[Run]]] = {
    "bare": bare,
    "ours": ours,
    "upsert": upsert,
    "rows": row_by_row,
}


def wait_until_written(server: Server, limit_s: float = 120) -> None:
    """Waits until the server has written what earlier runs left in its memory, so that no run pays for another's rows.

    Else a bare load took three times as long after millions of rows had been dropped (MariaDB 10.11). Its settings are
    put back. Raises TimeoutError.
    """
    deadline = time.monotonic() + limit_s
    with Connection(server) as connection:
        usual = connection.rows(f"SELECT {', '.join(f'@@GLOBAL.{name}' for name in _WRITE_NOW)}")[0]
        for name, value in _WRITE_NOW.items():
            connection.run(f"SET GLOBAL {name} = {value}")
        while int(connection.rows("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")[0][1]) > _IDLE_PAGES:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server still has rows to write after {limit_s:.0f} s")
            time.sleep(0.1)
        for name, value in reversed(list(zip(_WRITE_NOW, usual, strict=True))):
            connection.run(f"SET GLOBAL {name} = {value}")


def _measure(way: str, load: Callable[..., float], server: Server, data: DataSet, *values: Any) -> Run:
    wait_until_written(server)
    return call_apart(way, data.row_count, load, server, data, *values)


def new_warehouse(server: Server) -> None:
    """The star schema, empty."""
    with Connection(server, with_database=False) as connection:
        connection.run(f"DROP DATABASE IF EXISTS {server.database}")
    init_schema(server, PROJECT_ROOT / "sql")
