"""F14: commands on a lake in a bucket, killed at each of their requests to the store, and many of them at once."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ksqldb_emulator.testing import running
from pipeline import cli
from pipeline.lake.bucket import Bucket
from pipeline.lake.files import parquet_files
from pipeline.lake.lake import Lake
from pipeline.verify.files import check_files
from tests.lying_store import Fault, LyingStore, lying_store
from tests.private_seaweedfs import PrivateSeaweedfs, running_seaweedfs
from tests.torture.figures import Figure
from tests.torture.victim import FAST, KEYS, Scene, feeds_of_scene, make_dataset, stopwatch

_ROWS = 60
"""At first; more than the table has keys, so each whole snapshot has as many rows."""
_EXPORT, _UPKEEP = "export_to_data_lake", "metadata_utils"


@dataclass
class BucketScene(Scene):
    """A lake in a bucket below `prefix`, reached by a proxy, and the server that it is filled from."""

    server: PrivateSeaweedfs = field(kw_only=True)
    proxy: LyingStore = field(kw_only=True)
    prefix: str = field(kw_only=True)

    @property
    def env(self) -> dict[str, str]:
        place = {"LAKE_ROOT": f"s3://lakes/{self.prefix}", "LAKE_STORE_ENDPOINT": self.proxy.url}
        return FAST | self.server.settings | place | {"KSQLDB_URL": self.emulator.url}

    @property
    def lake(self) -> Lake:
        """The lake as it truly is."""
        return Lake(f"s3://lakes/{self.prefix}", cli.tell, 0, access=self.server.access)

    def copy_to(self, prefix: str) -> None:
        """Copies the lake, and goes on with the copy."""
        bucket = Bucket("s3", "lakes", self.server.access)
        for key in list(bucket.all_below(f"{self.prefix}/")):
            bucket.copy(key, prefix + key.removeprefix(self.prefix))
        self.prefix = prefix

    def kill_at(self, number: int, fault: Fault, arguments: tuple[str, ...], script: str) -> bool:
        """Kills a command as it sends this request, which the store does not get, or gets later; whether it sent it."""
        process, count = self.start(*arguments, script=script), 0

        def decide(_method: str, _path: str) -> Fault:
            nonlocal count
            count += 1
            if count != number or process.pid is None:
                return ""
            os.kill(process.pid, signal.SIGKILL)
            return fault

        self.proxy.decide = decide
        process.join()
        self.proxy.decide = lambda _method, _path: ""
        return process.exitcode == -signal.SIGKILL


@dataclass(frozen=True)
class Way:
    """A command that is killed, and exports by which it has something to do."""

    name: str
    arguments: tuple[str, ...]
    script: str = _EXPORT
    before: tuple[tuple[str, ...], ...] = ()


WAYS = (
    Way("stream", ("--stream", "events")),
    Way("table", ("--table", "latest")),
    Way("full", ("--stream", "events", "--full")),
    Way("compact", ("compact", "events"), _UPKEEP, (("--stream", "events"),)),
    Way("rollback", ("rollback", "latest", "--to-version", "1"), _UPKEEP, (("--table", "latest"),)),
)


def bucket_kills(folder: Path, every: int, processes: int, ways: Sequence[Way] = WAYS) -> Figure:
    """Dies at one in `every` requests of each command; at the end so many exports run at once."""
    what = "a kill at the requests of exports, compact and rollback to a bucket of SeaweedFS, and exports at once"
    promises = ("lost rows", "duplicated rows", "half snapshots", "findings", "files left", "runs that did not resume")
    figure = Figure("F14", what, promises, unit="kills")
    started = time.monotonic()
    with _scene(folder) as stage:
        counted = [f"{_try_way(stage, figure, way, every)} of {way.name}" for way in ways]
        held = _crowd(stage, figure, processes)
    figure.details = f"requests: {', '.join(counted)}; one in {every} tried, as not sent and as late; "
    figure.details += f"of {processes} exports at once {held} found a feed held"
    figure.seconds = stopwatch(started)
    return figure


@contextlib.contextmanager
def _scene(folder: Path) -> Iterator[BucketScene]:
    stream, table = feeds_of_scene()
    with (
        running(make_dataset(_ROWS, days=1)) as emulator,
        running_seaweedfs(folder) as server,
        lying_store(server.url) as proxy,
    ):
        yield BucketScene(folder, emulator, stream, table, server=server, proxy=proxy, prefix="")


def _try_way(stage: BucketScene, figure: Figure, way: Way, every: int) -> int:
    """Dies at one in `every` of its requests; returns how many it has."""
    stage.prefix = f"{way.name}-before"
    for feed in (stage.stream, stage.table):
        stage.lake.feeds.add(feed)
    for arguments in (("--all",), *way.before):
        _must(stage, figure, way.name, arguments, _EXPORT)
        stage.add_rows(30)
    stage.copy_to(f"{way.name}-whole")
    stage.proxy.counted.clear()
    _must(stage, figure, way.name, way.arguments, way.script)
    requests = sum(stage.proxy.counted[method] for method in ("GET", "HEAD", "PUT", "POST", "DELETE"))
    faults: tuple[Fault, ...] = ("request lost", "late")
    for number in range((every + 1) // 2, requests + 1, every):
        for fault in faults:
            stage.prefix = f"{way.name}-before"
            stage.copy_to(f"{way.name}-{number}-{fault.replace(' ', '-')}")
            figure.tried += stage.kill_at(number, fault, way.arguments, way.script)
            when = f"{way.name}: killed at request {number} ({fault})"
            _check(stage, figure, when, is_complete=False)
            stage.run(*way.arguments, script=way.script)  # what was late may arrive meanwhile and be in its way
            stage.proxy.wait_for_late()
            stage.proxy.arrive.clear()
            for _ in range(2):
                _must(stage, figure, when, ("--all",), _EXPORT)
            _check(stage, figure, when, is_complete=True)
    return requests


def _must(stage: BucketScene, figure: Figure, when: str, arguments: tuple[str, ...], script: str) -> None:
    code = stage.run(*arguments, script=script)
    figure.count("runs that did not resume", f"{when}: exit code {code} of {' '.join(arguments)}", int(code != 0))


def _crowd(stage: BucketScene, figure: Figure, processes: int) -> int:
    """Many exports of the same feeds at once, while more rows arrive; returns how many found a feed held."""
    stage.add_rows(30)
    started = [stage.start("--all") for _ in range(processes)]
    for process in started:
        process.join()
    codes = Counter(process.exitcode for process in started)
    figure.count("runs that did not resume", str(codes), processes - codes[0] - codes[75])
    for _ in range(2):
        _must(stage, figure, "after the crowd", ("--all",), _EXPORT)
    _check(stage, figure, "after the crowd", is_complete=True)
    return codes[75]


def _check(stage: BucketScene, figure: Figure, when: str, is_complete: bool) -> None:
    """The lake, read truly: no row is doubled or half there; when complete none is lost and no file is left over."""
    table, source = stage.lake.table(stage.stream), stage.source_rows()
    found = Counter(
        (row["rowpartition"], row["rowoffset"], row["n"])
        for batch in table.read_batches(table.files)
        for row in batch.to_pylist()
    )
    figure.count("duplicated rows", when, sum((found - source).values()))
    figure.count("lost rows", when, sum((source - found).values()) if is_complete else 0)
    for finding in check_files(table).findings:
        figure.count("findings", f"{when}: {finding}")
    snapshots = stage.lake.table(stage.table)
    shown = snapshots.versions().get(snapshots.current_version or 0, [])
    keys = [row["k"] for batch in snapshots.read_batches(shown) for row in batch.to_pylist()]
    figure.count("half snapshots", when, int(not len(keys) == KEYS == len(set(keys))))
    if is_complete:
        left = set(parquet_files(table.store)) - {file.path for file in table.files}
        figure.count("files left", f"{when}: {sorted(left)}", len(left))
