"""`python -m benchmarks.warehouse`: loads of the warehouse against plain LOAD DATA and simple alternatives.

Starts private servers, one after the other. Only a run at full size, with both servers and all ways, writes its
tables into docs/performance.md.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import click

from benchmarks.page import head, show_figures
from benchmarks.process import peak_bytes
from benchmarks.report import Measured, as_tables
from benchmarks.rows import make_data_set
from benchmarks.runs import FULL, GROUPS, QUICK, Bench, Sizes, warm_up
from demo.private_mysql import PrivateServer, running_mariadb
from demo.unpacked_mysql import running_mysql
from pipeline.warehouse.connection import Connection, text_of
from pipeline.warehouse.server import Server

_COMMON = ("--innodb-buffer-pool-size=3G", "--max-allowed-packet=128M", "--innodb-flush-log-at-trx-commit=1")
_STARTERS: dict[str, tuple[Callable[..., AbstractContextManager[PrivateServer]], tuple[str, ...]]] = {
    "MariaDB": (running_mariadb, (*_COMMON, "--innodb-log-file-size=2G")),
    "MySQL": (
        running_mysql,  # which does not sync to disk by default
        (*_COMMON, "--innodb-redo-log-capacity=2G", "--innodb-flush-method=O_DIRECT", "--innodb-doublewrite=ON"),
    ),
}
_SETTINGS = (
    "innodb_buffer_pool_size", "innodb_log_file_size", "innodb_redo_log_capacity", "innodb_flush_log_at_trx_commit",
    "innodb_flush_method", "innodb_doublewrite", "log_bin", "max_allowed_packet",
)  # fmt: skip


def measure(product: str, running: PrivateServer, bench: Bench, groups: Sequence[str], rounds: int) -> Measured:
    """Every chosen group of ways once a round, in alternating order, so that other load affects all of them."""
    warm_up(bench)
    runs = []
    for number in range(1, rounds + 1):
        for group in groups if number % 2 else reversed(groups):
            for run in GROUPS[group](bench):
                runs.append(run)
                click.echo(
                    f"{product} {number}/{rounds} {run.way:<18} {run.rows:>9,} rows {run.seconds:8.2f} s"
                    f" {run.rate:>12,.0f} rows/s {run.peak_bytes / 1e6:6.0f} MB"
                )
    assert running.process is not None
    with Connection(bench.server) as connection:
        ((product_version,),) = connection.rows("SELECT VERSION()")
        listed = ", ".join(f"'{name}'" for name in _SETTINGS)
        settings = connection.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({listed})")
    return Measured(
        product=product,
        version=text_of(product_version),
        settings=", ".join(f"{text_of(name)}={_short(text_of(value))}" for name, value in sorted(settings)),
        server_peak_bytes=peak_bytes(running.process.pid),
        runs=runs,
    )


def _short(value: str) -> str:
    """A size in MB where it is one."""
    return f"{int(value) >> 20}M" if value.isdigit() and int(value) >= 2**20 else value


def run_all(
    folder: Path, sizes: Sizes, products: Sequence[str], groups: Sequence[str], rounds: int, seed: int
) -> list[Measured]:
    """Makes the files, then measures on each server in turn."""
    users = (sizes.users, sizes.upsert_users, sizes.row_users)
    big, middle, small = (make_data_set(folder / f"{place}", count, seed) for place, count in enumerate(users))
    measured = []
    for product in products:
        start, options = _STARTERS[product]
        (home := folder / product).mkdir()
        with start(home, options) as running:
            server = Server(running.host, running.port, user=running.user, database="bench")
            measured.append(measure(product, running, Bench(server, big, middle, small), groups, rounds))
    return measured


@click.command()
@click.option("--server", "products", multiple=True, type=click.Choice(list(_STARTERS)), help="Only this server.")
@click.option("--only", "groups", multiple=True, type=click.Choice(list(GROUPS)), help="Only these ways.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
def main(products: tuple[str, ...], groups: tuple[str, ...], rounds: int, seed: int) -> None:
    """Measure loads of the warehouse: a million rows; with BENCH=quick a tenth of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    sizes = QUICK if os.environ.get("BENCH") == "quick" else FULL
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measured = run_all(Path(folder), sizes, products or tuple(_STARTERS), groups or tuple(GROUPS), rounds, seed)
    asked = f"{'BENCH=quick ' if sizes == QUICK else ''}make bench-warehouse"
    what, today = f"{sizes.users:,} users with ten rows each", dt.datetime.now(dt.UTC).date()
    words = head(asked, what, rounds, seed, ("pyarrow", "mysql-connector-python"), today, load)
    figures = f"{words}\n\n{as_tables(measured)}"
    is_full = sizes == FULL and len(measured) == len(_STARTERS) and set(groups or GROUPS) == set(GROUPS)
    show_figures("bench-warehouse", figures, is_full)


if __name__ == "__main__":
    main()
