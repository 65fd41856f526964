"""`python -m benchmarks.export`: a stream from ksqlDB's bytes to committed Parquet, against alternatives.

A separate process replays the answer from memory; its CPU is counted separately. Only a run at full size, with all
ways, writes its tables into docs/performance.md.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pyarrow.parquet as pq

from benchmarks import stream_ways
from benchmarks.events import Answer, Shape
from benchmarks.page import head, show_figures
from benchmarks.process import Failed, Run, call_apart, run_command, without_native
from benchmarks.stream_report import as_tables
from data_lake_config import PROJECT_ROOT
from demo.environment import python_of
from pipeline.decode.engine import engine


@dataclass(frozen=True)
class Sizes:
    """Rows of each way; slow ways get fewer. `many` are those at which memory is measured again."""

    ours: int
    naive: int
    dlt: int
    many: int


FULL = Sizes(2_000_000, 200_000, 100_000, 20_000_000)
QUICK = Sizes(200_000, 20_000, 10_000, 600_000)


@dataclass(frozen=True)
class Bench:
    """The folder of a run; each way has its own new folder in it."""

    folder: Path
    sizes: Sizes
    seed: int

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


@contextlib.contextmanager
def replaying(rows: int, seed: int, shape: Shape) -> Iterator[tuple[str, int]]:
    """The server's address and process."""
    words = [rows, shape.days, shape.extra_bytes, int(shape.turns), seed]
    command = [sys.executable, "-m", "benchmarks.replay_server", *map(str, words)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}", server.pid
        finally:
            server.kill()


def export(bench: Bench, way: str, rows: int, native: bool = True, shape: Shape | None = None) -> Run:
    """The whole command, into a lake of its own."""
    folder = bench.new_folder()
    with replaying(rows, bench.seed, shape or Shape()) as (url, pid):
        environment = {"KSQLDB_URL": url, "LAKE_ROOT": str(folder / "lake")}
        if not native:
            environment["PYTHONPATH"] = without_native(folder)
        add = ["manage_feeds.py", "add", "--name", "bench", "--type", "stream", "--source", "BENCH"]
        for command in (["data_lake_config.py"], add):
            run_command(way, rows, [sys.executable, *_script(command)], environment)
        run = run_command(way, rows, [sys.executable, *_script(["export_to_data_lake.py", "--all"])], environment, pid)
    _check(way, folder / "lake" / "streams", rows)
    return run


def _script(command: Sequence[str]) -> list[str]:
    return [str(PROJECT_ROOT / command[0]), *command[1:]]


def native(bench: Bench) -> Iterator[Run]:
    """Raises Failed where the native decoder is not built."""
    if engine().name != "native":
        raise Failed("the native decoder is not built: make needs cargo for it")
    yield export(bench, "native", bench.sizes.ours)


def reference(bench: Bench) -> Iterator[Run]:
    yield export(bench, "reference", bench.sizes.ours, native=False)


def bare(bench: Bench) -> Iterator[Run]:
    folder, rows = bench.new_folder(), bench.sizes.ours
    with (folder / "answer").open("wb") as file:
        file.writelines(Answer(Shape(), bench.seed, chunked=False).blocks(rows))
    yield call_apart("bare", rows, stream_ways.bare, folder / "answer", folder)
    (folder / "answer").unlink()
    _check("bare", folder, rows)


def naive(bench: Bench) -> Iterator[Run]:
    folder, rows = bench.new_folder(), bench.sizes.naive
    with replaying(rows, bench.seed, Shape()) as (url, _):
        yield call_apart("naive", rows, stream_ways.naive, url, folder)
    _check("naive", folder, rows)


def dlt(bench: Bench) -> Iterator[Run]:
    """The cost of its start, measured with one row, is subtracted."""
    python, way = str(python_of("bench-dlt")), str(PROJECT_ROOT / "benchmarks" / "dlt_way.py")
    runs = []
    for rows in (1, bench.sizes.dlt):
        folder = bench.new_folder()
        quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
        with replaying(rows, bench.seed, Shape()) as (url, pid):
            runs.append(run_command("dlt", rows, [python, way, url, str(folder)], quiet, pid))
        _check("dlt", folder / "lake" / "events", rows)
    start, whole = runs
    cpu_seconds, seconds = whole.cpu_seconds - start.cpu_seconds, whole.seconds - start.seconds
    yield Run("dlt", whole.rows, seconds, whole.peak_bytes, cpu_seconds, whole.server_cpu_seconds)


def memory(bench: Bench) -> Iterator[Run]:
    """The memory at ten times the rows, with rows of 10 kB, and with 400 days whose files are open at once."""
    sizes = bench.sizes
    yield export(bench, "many rows", sizes.many)
    yield export(bench, "rows of 10 kB", sizes.ours // 20, shape=Shape(extra_bytes=10_000))
    yield export(bench, "rows of 10 MB", 60, shape=Shape(extra_bytes=10_000_000))
    yield export(bench, "400 days", sizes.ours // 2, shape=Shape(days=400, turns=True))


GROUPS: dict[str, Callable[[Bench], Iterator[Run]]] = {
    "native": native, "bare": bare, "reference": reference, "naive": naive, "dlt": dlt,
}  # fmt: skip


def _check(way: str, folder: Path, rows: int) -> None:
    """Raises Failed unless all rows are there; a log's checkpoints are Parquet files too, and hold none."""
    files = (path for path in folder.rglob("*.parquet") if path.parent.name != "_delta_log")
    found = sum(pq.read_metadata(path).num_rows for path in files)
    if found != rows:
        raise Failed(f"{way} wrote {found} rows of {rows}")


def measure(bench: Bench, groups: Sequence[str], rounds: int) -> list[Run]:
    """Every chosen way once a round, in alternating order; memory once, after the last round."""
    runs = list[Run]()
    for number in range(1, rounds + 1):
        for group in groups if number % 2 else reversed(groups):
            runs += map(_said, (memory if group == "memory" and number == rounds else GROUPS.get(group, _none))(bench))
    return runs


def _none(_: Bench) -> Iterator[Run]:
    yield from ()


def _said(run: Run) -> Run:
    click.echo(
        f"{run.way:<14} {run.rows:>10,} rows {run.cpu_us:7.2f} CPU us/row {run.seconds:8.2f} s"
        f" {run.peak_bytes / 1e6:6.0f} MB, server {run.server_cpu_seconds:.2f} CPU s"
    )
    return run


@click.command()
@click.option("--only", "groups", multiple=True, type=click.Choice([*GROUPS, "memory"]), help="Only these ways.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--many", type=click.IntRange(1), help="Rows at which memory is measured again.")
@click.option("--seed", default=1, show_default=True)
def main(groups: tuple[str, ...], rounds: int, many: int | None, seed: int) -> None:
    """Measure exports of a stream: two million rows; with BENCH=quick a tenth of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    is_quick = os.environ.get("BENCH") == "quick"
    sizes, load = QUICK if is_quick else FULL, os.getloadavg()[0]
    if many:
        sizes = replace(sizes, many=many)
    asked = groups or (*GROUPS, "memory")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        runs = measure(Bench(Path(folder), sizes, seed), asked, rounds)
    command, today = f"{'BENCH=quick ' if is_quick else ''}make bench-export", dt.datetime.now(dt.UTC).date()
    words = head(command, "rows of 16 nested columns", rounds, seed, ("pyarrow", "pandas"), today, load)
    figures = f"{words}\n\n{as_tables(runs)}"
    is_full = not is_quick and set(asked) == {*GROUPS, "memory"}
    show_figures("bench-export", figures, is_full)


if __name__ == "__main__":
    main()
