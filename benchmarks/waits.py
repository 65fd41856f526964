"""`python -m benchmarks.waits`: eight feeds without new rows, by REST; and data files with Snappy and with zstd.

The feeds are the demo's, from the emulator, with the default waits. Writes its tables into docs/performance.md.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import pyarrow as pa

from benchmarks.page import head, write_figures
from benchmarks.process import Run, run_command
from benchmarks.rows import SCHEMA, row
from demo.__main__ import emulator
from demo.dataset import build_demo
from demo.story import ROOT
from pipeline.lake.encoding import Compression
from pipeline.lake.writer import StagedWriter

_TRANSACTIONS, _ROWS, _SEED = 1000, 100_000, 1
_BATCH_ROWS = 20_000
COMPRESSIONS: tuple[Compression, ...] = ("snappy", "zstd")


def export_again(folder: Path, rounds: int) -> dict[str, list[Run]]:
    """Repeats the command after a first run, with feeds side by side and one after the other."""
    build_demo(_TRANSACTIONS, dt.datetime.now(dt.UTC).date(), seed=_SEED).save(folder / "dataset.json")
    with emulator(folder / "dataset.json") as port:
        environment = {"LAKE_ROOT": str(folder / "lake"), "KSQLDB_URL": f"http://127.0.0.1:{port}"}

        def script(name: str, *arguments: str) -> Run:
            command = [sys.executable, str(ROOT / name), *arguments]
            return run_command(" ".join([name, *arguments]), 1, command, environment)

        script("manage_feeds.py", "sync")
        script("export_to_data_lake.py", "--all")
        ways = (["--all"], ["--all", "--jobs", "1"])
        runs = [script("export_to_data_lake.py", *way) for _ in range(rounds) for way in ways]
    return {way: [run for run in runs if run.way == way] for way in dict.fromkeys(run.way for run in runs)}


def write_files(folder: Path, row_count: int) -> dict[Compression, tuple[float, int]]:
    """CPU seconds and bytes of the same rows, in ksqlDB's shuffled order, written with each compression."""
    places = list(range(row_count))
    random.Random(_SEED).shuffle(places)
    batches = [
        pa.RecordBatch.from_pylist(
            [dict(zip(SCHEMA.names, row(place, _SEED), strict=True)) for place in places[start : start + _BATCH_ROWS]],
            schema=SCHEMA,
        )
        for start in range(0, row_count, _BATCH_ROWS)
    ]
    found = dict[Compression, tuple[float, int]]()
    for compression in (*COMPRESSIONS, *COMPRESSIONS):  # the first time of each warms up
        begun = time.process_time()
        writer = StagedWriter(folder / compression, SCHEMA, partition="1", compression=compression)
        for batch in batches:
            writer.add(batch)
        size_bytes = sum(file.size_bytes for file in writer.finish())
        found[compression] = (time.process_time() - begun, size_bytes)
    return found


def as_tables(exports: dict[str, list[Run]], files: dict[Compression, tuple[float, int]], row_count: int) -> list[str]:
    """Lines of Markdown."""
    lines = ["| command, nothing new | n | seconds | least .. most | CPU s | MB |", "|---|---|---|---|---|---|"]
    for way, runs in exports.items():
        seconds, cpu = [run.seconds for run in runs], median(run.cpu_seconds for run in runs)
        peak = max(run.peak_bytes for run in runs) / 1e6
        spread = f"{min(seconds):.1f} .. {max(seconds):.1f}"
        lines.append(f"| `{way}` | {len(runs)} | {median(seconds):.1f} | {spread} | {cpu:.1f} | {peak:.0f} |")
    lines += ["", f"| {row_count:,} rows of a table | CPU s to write | MB |", "|---|---|---|"]
    lines += [f"| {name} | {cpu:.2f} | {size / 1e6:.1f} |" for name, (cpu, size) in files.items()]
    return lines


@click.command()
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    """Measure, and write the page."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-waits-") as folder:
        exports, files = export_again(Path(folder), rounds), write_files(Path(folder), _ROWS)
    what = f"eight feeds of {_TRANSACTIONS:,} transactions"
    day = dt.datetime.now(dt.UTC).date()
    lines: Sequence[str] = as_tables(exports, files, _ROWS)
    figures = "\n".join([head("make bench-waits", what, rounds, _SEED, ("pyarrow",), day, load), "", *lines])
    write_figures("bench-waits", figures)
    click.echo(figures)


if __name__ == "__main__":
    main()
