"""F6: warehouse loads with client and server killed at random, and readers who must see one whole star or another."""

from __future__ import annotations

import contextlib
import datetime as dt
import multiprocessing
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_lake_config import DEFAULT_FEEDS, PROJECT_ROOT
from demo.private_mysql import PrivateServer, running_mariadb
from demo.unpacked_mysql import running_mysql
from ksqldb_emulator.testing import PATIENCE_S
from pipeline.errors import PipelineError
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from pipeline.warehouse.sync import SyncRequest, load_one
from tests.torture.figures import Figure
from tests.torture.victim import stopwatch

_Running = Callable[[Path], contextlib.AbstractContextManager[PrivateServer]]
_CONTEXT = multiprocessing.get_context("forkserver")
_ROWS = {
    "user_transaction_summary": 900,
    "user_transaction_summary_eur": 900,
    "payment_method_totals": 40,
    "product_purchase_counts": 300,
}
_NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
_VIEWS = (
    "user_transaction_summary",
    "user_transaction_summary_eur",
    "payment_method_totals",
    "product_purchase_counts",
)
_ORPHANS = (
    "SELECT COUNT(*) FROM fact_user_transaction_summary f LEFT JOIN dim_users d ON d.user_id = f.user_id"
    " WHERE d.user_id IS NULL",
    "SELECT COUNT(*) FROM fact_user_transaction_summary_eur f LEFT JOIN dim_users d ON d.user_id = f.user_id"
    " WHERE d.user_id IS NULL",
    "SELECT COUNT(*) FROM fact_payment_method_totals f LEFT JOIN dim_payment_methods d"
    " ON d.payment_method_id = f.payment_method_id WHERE d.payment_method_id IS NULL",
)
_COUNTS = {"product_purchase_counts": "unique_buyers"}


def killed_loads(folder: Path, loads: int, seed: int) -> Figure:
    """`loads` loads on each server, of a star whose every row carries the load's number, so that a mixture shows."""
    what = "warehouse loads, client or server killed at random"
    figure = Figure("F6", what, ("mixed or partial stars", "orphan facts", "loads that did not resume"), unit="loads")
    rng, started = random.Random(seed), time.monotonic()
    parts = [
        f"{name}: {_kill_loads(folder / name, running, figure, loads, rng)}"
        for name, running in (("MariaDB", running_mariadb), ("MySQL", running_mysql))
    ]
    figure.details = "; ".join(parts)
    figure.seconds = stopwatch(started)
    return figure


def _kill_loads(folder: Path, running: _Running, figure: Figure, loads: int, rng: random.Random) -> str:
    """Says what was killed, and how often all tables were read beside it."""
    folder.mkdir()
    with running(folder) as database:
        server = Server(host=database.host, port=database.port, user=database.user, timeout_s=5)
        init_schema(server, PROJECT_ROOT / "sql")
        _start(server, 0).join()  # also starts what the others are forked from
        begun = time.monotonic()
        _start(server, 1).join()
        one_load_s = time.monotonic() - begun
        readers = _Readers(server, figure)
        with readers:
            kills = {"client": 0, "server": 0}
            for number in range(2, loads + 2):
                figure.tried += 1
                _maybe_kill(rng, server, database, number, one_load_s, kills)
            process = _start(server, loads + 2)
            process.join()
        figure.count("loads that did not resume", times=int(process.exitcode != 0))
        with Connection(server) as connection:
            seen = _star(connection)
        figure.count("stars that were not loaded in the end", f"{seen}", int(seen != {loads + 2}))
    return (
        f"{kills['client']} kills of the client, {kills['server']} of the server, {readers.reads:,} reads of all "
        "tables, in one transaction each"
    )


def _maybe_kill(
    rng: random.Random, server: Server, database: PrivateServer, number: int, one_load_s: float, kills: dict[str, int]
) -> None:
    process = _start(server, number)
    process.join(rng.uniform(0, 1.3 * one_load_s))
    if process.exitcode is None:
        if rng.random() < 0.1:
            database.stop(signal.SIGKILL)
            database.start()
            kills["server"] += 1
        else:
            process.kill()
            kills["client"] += 1
    process.join()


def _start(server: Server, number: int) -> Any:
    process = _CONTEXT.Process(target=_load, args=(server, number))
    process.start()
    return process


def _load(server: Server, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            load_one(server, list(_snapshots(number)), SyncRequest("ksqldb"), _NOW)
            return
        except PipelineError as error:
            # The server may be on its way up, or still be freeing the lock of a client that was killed.
            if error.exit_code != 75 or time.monotonic() > deadline:
                raise SystemExit(error.exit_code) from error
            time.sleep(0.05)


def _snapshots(number: int) -> Iterator[TableSnapshot]:
    for feed in DEFAULT_FEEDS:
        if feed.warehouse is None:
            continue
        columns = sorted({*feed.warehouse.columns.values(), *_dimension_columns(feed.warehouse.dimension)})
        schema = pa.schema([(name, _type(name)) for name in columns])
        rows = [{name: _value(name, index, number) for name in columns} for index in range(_ROWS[feed.name])]
        batch = pa.RecordBatch.from_pylist(rows, schema=schema)
        yield TableSnapshot(feed.name, feed.warehouse, schema, lambda b=batch: iter([b]), len(rows), None, _NOW)  # type: ignore[misc] # bound at once


def _dimension_columns(dimension: Any) -> list[str]:
    return list(dimension.columns.values()) if dimension is not None else []


def _type(name: str) -> pa.DataType:
    if name.endswith("_date"):
        return pa.timestamp("us", tz="UTC")
    if name in ("transaction_count", "purchase_count", "unique_buyers"):
        return pa.int64()
    return (
        pa.decimal128(18, 8) if name == "exchange_rate" else pa.decimal128(12, 2) if _is_amount(name) else pa.string()
    )


def _is_amount(name: str) -> bool:
    return any(part in name for part in ("amount", "revenue", "price"))


def _value(name: str, index: int, number: int) -> Any:
    """Keys by place, every number the load's own."""
    if name in ("transaction_count", "purchase_count", "unique_buyers"):
        return number
    if name.endswith("_date"):
        return _NOW
    if _is_amount(name) or name == "exchange_rate":
        return Decimal(number)
    if name == "transaction_type":
        return ("purchase", "refund")[index % 2]
    return f"{name} {index // 2 if name.startswith('user') else index}"


def _star(connection: Connection) -> set[int]:
    """The load numbers that all rows of the current star carry, -n for a fact that has n rows too few."""
    seen: set[int] = set()
    for view in _VIEWS:
        column = _COUNTS.get(view, "transaction_count")
        rows = connection.rows(f"SELECT {column}, COUNT(*) FROM current_{view} GROUP BY 1")
        seen |= {int(number) for number, _ in rows}
        missing = _ROWS[view] - sum(int(count) for _, count in rows)
        if missing:
            seen.add(-missing)
    return seen


class _Readers(contextlib.AbstractContextManager["_Readers"]):
    """Threads that read all six tables in one transaction, together about a hundred times a second."""

    def __init__(self, server: Server, figure: Figure) -> None:
        self.reads = 0
        self._server, self._figure = server, figure
        self._over = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]

    def __enter__(self) -> _Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _run(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(PipelineError), Connection(self._server) as connection:  # while the server is down
                while not self._over.wait(0.005):
                    self._read(connection)

    def _read(self, connection: Connection) -> None:
        with connection.transaction():
            seen = _star(connection)
            orphans = sum(int(connection.rows(sql)[0][0]) for sql in _ORPHANS)
        with self._counting:
            self.reads += 1
            self._judge(seen, orphans)

    def _judge(self, seen: set[int], orphans: int) -> None:
        self._figure.count("mixed or partial stars", f"read {self.reads}: {sorted(seen)}", int(len(seen) != 1))
        self._figure.count("orphan facts", f"read {self.reads}", orphans)
