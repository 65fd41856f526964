"""A scene to hurt: an emulated server, a lake, and exports in processes that can be killed at any moment.

Exports are forked from a process that has everything imported, so a try costs what the export costs.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.testing import Emulator, running
from pipeline import cli
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.lake import Lake
from tests.forked import modules_of_scripts
from tests.support import lake_at

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([*modules_of_scripts(), "tests.torture.victim"])
FAST = {
    "QUIET_S": "0.5",
    "STALL_S": "20",
    "SNAPSHOT_RECHECK_S": "0",
    "SNAPSHOT_WAIT_S": "5",
    "COMMIT_ROWS": "400",
    "KSQLDB_RETRY_S": "5",
    "EXPIRE_GRACE_HOURS": "0",
}
_FACT = {
    "fact": "fact_product_purchase_counts",
    "keys": ["product_id"],
    "columns": {"product_id": "k", "purchase_count": "n"},
}
DAY_MS = 86_400_000
KEYS = 50
"""Keys of the table."""
COLUMNS = ["rowpartition", "rowoffset", "n"]
COMMIT_READERS = ("delta", "pandas", "polars", "delta_scan", "views")


def make_dataset(rows: int, days: int = 4, keys: int = KEYS) -> Dataset:
    """A stream over three partitions and several days that a query reads, and the table which that query writes."""
    columns = (
        Column("K", parse_type("STRING"), "KEY"),
        Column("N", parse_type("BIGINT")),
        Column("TEXT", parse_type("STRING")),
    )
    start_ms, step_ms = 1_790_000_000_000, days * DAY_MS // rows
    records = [
        Record(n % 3, n // 3, start_ms + n * step_ms, {"K": f"ké{n % keys}", "N": n, "TEXT": "x" * 400})
        for n in range(rows)
    ]
    query = Query("CTAS_LATEST_1", "CREATE TABLE LATEST AS ...", ("LATEST",), ("latest",), ("events",))
    stream = Source("EVENTS", "STREAM", columns, "events", 3, records, read_queries=(query,))
    return Dataset([stream, Source("LATEST", "TABLE", columns, "latest", 1, list(records), write_query=query)])


def following(records: Sequence[Record], count: int) -> list[Record]:
    """So many new ones, with the time of the last."""
    last, start = records[-1], len(records)
    return [
        replace(last, partition=n % 3, offset=n // 3, values={**(last.values or {}), "K": f"ké{n % KEYS}", "N": n})
        for n in range(start, start + count)
    ]


@dataclass
class Scene:
    """A lake and the server that it is filled from."""

    root: Path
    emulator: Emulator
    stream: Feed
    table: Feed

    @property
    def env(self) -> dict[str, str]:
        return FAST | {"LAKE_ROOT": str(self.root), "KSQLDB_URL": self.emulator.url}

    @property
    def lake(self) -> Lake:
        return lake_at(self.root)

    def new_lake(self, name: str) -> None:
        """Goes on with another lake, which has the stream's feed alone."""
        self.root = self.root.with_name(name)
        self.lake.feeds.add(self.stream)

    @property
    def readers(self) -> tuple[str, ...]:
        """Those that see what is committed; see `seen_by`."""
        return COMMIT_READERS

    @property
    def readers_at_rest(self) -> tuple[str, ...]:
        """Those that see it while no run is under way."""
        return (*COMMIT_READERS, "glob")

    def seen_by(self, reader: str) -> Counter[tuple[int, int, int]]:
        """(partition, offset, n) of the stream's rows as a reader sees them."""
        from tests.torture.readers import read_stream  # not where processes are forked: it imports every reader

        return read_stream(self.root, reader)

    def start(
        self, *arguments: str, script: str = "export_to_data_lake", output: Path | None = None, **env: str
    ) -> ForkServerProcess:
        """Starts a script; what it says goes to `output`.out and `output`.err, or nowhere."""
        process = _CONTEXT.Process(target=run_script, args=(script, arguments, self.env | env, output))
        process.start()
        return process

    def run(self, *arguments: str, script: str = "export_to_data_lake", **env: str) -> int:
        """Runs a script to its end; returns its exit code."""
        process = self.start(*arguments, script=script, output=None, **env)
        process.join()
        return int(process.exitcode or 0)

    def kill_after(self, seconds: float, *arguments: str, script: str = "export_to_data_lake") -> bool:
        """Kills a script at that moment; returns whether it was still running."""
        process = self.start(*arguments, script=script)
        process.join(seconds)
        process.kill()  # which knows what to do where the process has just ended
        process.join()
        return process.exitcode == -signal.SIGKILL

    def add_rows(self, count: int) -> None:
        """Lets more events arrive, in the stream and in the table."""
        for name in ("EVENTS", "LATEST"):
            self.emulator.append(name, following(self.emulator.source(name).records, count))

    def source_rows(self) -> Counter[tuple[int, int, int]]:
        """(partition, offset, n) of every row of the stream."""
        rows = (record for record in self.emulator.source("EVENTS").records if record.values is not None)
        return Counter((record.partition, record.offset, record.values["N"]) for record in rows if record.values)


def run_script(script: str, arguments: Sequence[str], env: Mapping[str, str], output: Path | None) -> None:
    """Runs a script in this process, whose end it is. In the environment `RUN_AS` is a user's number, and
    `CLOCK_SHIFTS_S` the seconds by which this process's clock is wrong; several, if it jumps while it runs.
    """
    os.environ.update(env)
    sys.path += env.get("PYTHONPATH", "").split(os.pathsep)
    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        target = Path(os.devnull) if output is None else output.with_suffix(suffix)
        os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    if user := env.get("RUN_AS"):
        os.setuid(int(user))
    if shifts := env.get("CLOCK_SHIFTS_S"):
        _shift_clock([int(shift) for shift in shifts.split(",")])
    warnings.simplefilter("error")
    sys.argv = [script, *arguments]
    module = __import__(script)
    module.main.main(args=list(arguments), standalone_mode=True)


def _shift_clock(shifts_s: Sequence[int]) -> None:
    """Gives this process a clock that is wrong by so much: by the next of the shifts each time that it is asked."""
    turns, real = itertools.cycle(shifts_s), cli.utc_now
    cli.utc_now = lambda: real() + dt.timedelta(seconds=next(turns))


def feeds_of_scene() -> tuple[Feed, Feed]:
    """A feed of the stream, and one of the table."""
    stream = parse_feed({"name": "events", "type": "stream", "source": "EVENTS"}, "events")
    table = parse_feed(
        {"name": "latest", "type": "table", "source": "LATEST", "retention_versions": 3, "warehouse": _FACT}, "latest"
    )
    return stream, table


@contextlib.contextmanager
def scene(folder: Path, rows: int = 3000, days: int = 4) -> Iterator[Scene]:
    """An empty lake with a stream feed and a table feed."""
    stream, table = feeds_of_scene()
    root = folder / "lake"
    for feed in (stream, table):
        lake_at(root).feeds.add(feed)
    with running(make_dataset(rows, days)) as emulator:
        yield Scene(root, emulator, stream, table)


def stopwatch(started: float) -> float:
    return round(time.monotonic() - started, 1)
