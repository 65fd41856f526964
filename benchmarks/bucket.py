"""`python -m benchmarks.bucket`: what an old lake costs in a bucket, of one stream and one table, in requests and time.

The lake is made on a disk and copied into a private S3 server (SeaweedFS). Requests are counted by a proxy before the
server, in a run of their own; seconds are taken without it. Only a run at full size writes docs/performance.md.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from benchmarks.old_lake import ROWS, feeds, make_lake, server
from benchmarks.page import head, show_figures
from benchmarks.process import Run, run_command
from demo.environment import python_of
from ksqldb_emulator.testing import running
from pipeline.lake.bucket import Bucket
from tests.lying_store import Fault, LyingStore, lying_store
from tests.private_seaweedfs import KEY, SECRET, PrivateSeaweedfs, running_seaweedfs

_ROOT = Path(__file__).resolve().parent.parent
_YEAR, _QUICK = 8_760, 200
_KINDS = ("read", "list", "write")
_ASK = """
import json, sys, time
from pathlib import Path
import duckdb, duckdb_extension_httpfs
(extension,) = Path(duckdb_extension_httpfs.__file__).parent.glob("extensions/*/*.duckdb_extension")
given = json.load(sys.stdin)
with duckdb.connect() as connection:
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"LOAD '{extension}'")
    connection.execute(f"CREATE SECRET (TYPE s3, {given['secret']})")
    started = time.monotonic()
    connection.execute(given["views"])
    rows = connection.sql(given["question"]).fetchall()
    print(json.dumps([time.monotonic() - started, rows[0][0]]))
"""
"""Runs in build/delta_scan, where the extension httpfs is: it is packed for an older DuckDB than the toolkit's."""


@dataclass(frozen=True)
class Cost:
    """What one command or question costs: requests by their kind, and seconds."""

    what: str
    requests: dict[str, int]
    seconds: float

    def row(self) -> str:
        counts = " | ".join(f"{self.requests[kind]:,}" for kind in _KINDS)
        return f"| {self.what} | {counts} | {self.seconds:.3g} |"


@dataclass
class Place:
    """The lake in its bucket, and the ways to it: direct, or by the proxy, which counts."""

    store: PrivateSeaweedfs
    proxy: LyingStore
    url: str = ""

    def environment(self, endpoint: str) -> dict[str, str]:
        waits = {"QUIET_S": "0.5", "SNAPSHOT_RECHECK_S": "0", "STALL_S": "600"}
        lake = {"LAKE_ROOT": "s3://lakes/year", "KSQLDB_URL": self.url, "LAKE_STORE_ENDPOINT": endpoint}
        return self.store.settings | lake | waits

    def command(self, *command: str, counting: bool = False) -> Run:
        """Runs a script, with Python's start."""
        script, *arguments = command
        environment = self.environment(self.proxy.url if counting else self.store.url)
        return run_command(script, 0, [sys.executable, str(_ROOT / script), *arguments], environment)

    def requests_of(self, act: Callable[[], object]) -> dict[str, int]:
        """The requests that `act` sends through the proxy, by their kind."""
        counted = dict.fromkeys(_KINDS, 0)

        def note(method: str, path: str) -> Fault:
            kind = "list" if "list-type" in path else "read" if method in ("GET", "HEAD") else "write"
            counted[kind] += 1
            return ""

        self.proxy.decide = note
        act()
        return counted

    def ask(self, question: str, counting: bool = False) -> float:
        """Seconds in which a new DuckDB with httpfs loads `views.sql` and answers a question."""
        endpoint = (self.proxy.url if counting else self.store.url).removeprefix("http://")
        secret = f"KEY_ID '{KEY}', SECRET '{SECRET}', ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false"
        views = Bucket("s3", "lakes", self.store.access).get("year/views.sql")[0].decode()
        given = json.dumps({"secret": secret, "views": views, "question": question})
        command = [str(python_of("delta-scan")), "-I", "-c", _ASK]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
        seconds, rows = json.loads(done.stdout)
        assert rows == 24 * ROWS, f"a day of {rows} rows"
        return float(seconds)


def measure(folder: Path, commits: int, rounds: int, seed: int) -> Iterator[Cost]:
    """The costs of a lake whose feeds have so many commits each: as they are, and compacted."""
    newest = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(hours=1)
    make_lake(folder / "lake", commits, newest, seed, of_a_kind=1)
    (folder / "store").mkdir()
    with (
        running(server(commits, newest)) as emulator,
        running_seaweedfs(folder / "store") as store,
        lying_store(store.url) as proxy,
    ):
        place = Place(store, proxy, emulator.url)
        place.command("metadata_utils.py", "copy-lake", str(folder / "lake"), "s3://lakes/year")
        yield from _costs(place, "as they are", newest, rounds)
        runs = list[Run]()
        counted = place.requests_of(lambda: runs.append(place.command("metadata_utils.py", "compact", counting=True)))
        yield Cost("`compact`, by the proxy", counted, runs[0].seconds)
        yield from _costs(place, "compacted", newest, rounds)


def _costs(place: Place, state: str, newest: dt.datetime, rounds: int) -> Iterator[Cost]:
    """Of a run without news, and of a question about one day; the first run, which tidies up, is not counted."""
    export = ("export_to_data_lake.py", "--all")
    place.command(*export)
    seconds = median(place.command(*export).seconds for _ in range(rounds))
    counted = place.requests_of(lambda: place.command(*export, counting=True))
    yield Cost(f"no-op `--all` of both feeds, {state}", counted, seconds)
    day = newest.date() - dt.timedelta(days=2)
    question = f"SELECT count(*), sum(amount) FROM {feeds()[0].name} WHERE date = DATE '{day}'"
    seconds = median(place.ask(question) for _ in range(rounds))
    counted = place.requests_of(lambda: place.ask(question, counting=True))
    yield Cost(f"`views.sql` loaded and asked for one day of the stream, {state}", counted, seconds)


def as_table(costs: list[Cost]) -> str:
    head_ = f"| what | {' | '.join(f'{kind} requests' for kind in _KINDS)} | seconds |"
    return "\n".join([head_, "|---|---|---|---|---|", *(cost.row() for cost in costs)])


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
@click.option("--commits", type=click.IntRange(72), help="Of each feed, in place of a year of hours.")
def main(rounds: int, seed: int, commits: int | None) -> None:
    """Measure a year of hourly commits in a bucket; with BENCH=quick some days of them."""
    quick, load = os.environ.get("BENCH") == "quick", os.getloadavg()[0]
    count = commits or (_QUICK if quick else _YEAR)
    costs = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for cost in measure(Path(folder), count, rounds, seed):
            costs.append(cost)
            click.echo(cost.row())
    asked = f"{'BENCH=quick ' if quick else ''}make bench-bucket"
    what = f"a stream and a table with {count:,} hourly commits each"
    words = head(asked, what, rounds, seed, ("deltalake", "obstore", "pyarrow"), dt.datetime.now(dt.UTC).date(), load)
    text = f"{words}\n\n{as_table(costs)}"
    is_full = count == _YEAR
    show_figures("bench-bucket", text, is_full)


if __name__ == "__main__":
    main()
