"""F14: F2 for a lake in a bucket, where a step is a request: commands killed at each of theirs, and many at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.lake.files import parquet_files
from pipeline.verify.files import check_files
from tests.lying_store import Fault
from tests.torture.bucket_scene import BucketScene, bucket_scene
from tests.torture.crash_points import WAYS, Way
from tests.torture.figures import Figure
from tests.torture.readers import check_complete, check_readers
from tests.torture.victim import KEYS, stopwatch

_ROWS = 60
"""At first; more than the table has keys, so each whole snapshot has as many rows."""
_FAULTS: tuple[Fault, ...] = ("request lost", "late")


def bucket_kills(folder: Path, every: int, processes: int, ways: Sequence[Way] = WAYS) -> Figure:
    """Dies at one in `every` requests of each command; at the end so many exports run at once."""
    what = "a kill at the requests of exports, repair, unexpire, rollback and compact to a bucket of SeaweedFS (S3)"
    promises = (
        "lost rows", "duplicated rows", "unreadable", "half snapshots", "findings", "files left",
        "runs that did not resume", "kills that missed",
    )  # fmt: skip
    figure = Figure("F14", f"{what}, and exports at once", promises, unit="kills")
    started = time.monotonic()
    with bucket_scene(folder, _ROWS, days=1) as stage:
        counted = [f"{_try_way(stage, figure, way, every)} of {way.name}" for way in ways]
        held = _crowd(stage, figure, processes)
    figure.details = f"requests: {', '.join(counted)}; {'all' if every == 1 else f'one in {every}'} tried, as not sent "
    figure.details += f"and as late; of {processes} exports at once {held} found a feed held"
    figure.seconds = stopwatch(started)
    return figure


def _try_way(stage: BucketScene, figure: Figure, way: Way, every: int) -> int:
    """Dies at one in `every` of its requests; returns how many it has."""
    stage.prefix = f"{way.name}-before"
    for feed in (stage.stream, stage.table):
        stage.lake.feeds.add(feed)
    _must(stage, figure, way, way.name, "--all")
    way.prepare(stage)
    stage.copy_to(f"{way.name}-whole")
    stage.proxy.counted.clear()
    _must(stage, figure, way, way.name, *way.arguments, script=way.script)
    requests = sum(stage.proxy.counted[method] for method in ("GET", "HEAD", "PUT", "POST", "DELETE"))
    for number in range((every + 1) // 2, requests + 1, every):
        for fault in _FAULTS:
            stage.prefix = f"{way.name}-before"
            stage.copy_to(f"{way.name}-{number}-{fault.replace(' ', '-')}")
            _die_and_resume(stage, figure, way, number, fault)
    return requests


def _die_and_resume(stage: BucketScene, figure: Figure, way: Way, number: int, fault: Fault) -> None:
    source, when = stage.source_rows(), f"{way.name}: killed at request {number} ({fault})"
    figure.tried += 1
    hit = stage.kill_at(number, fault, *way.arguments, script=way.script, **way.env)
    figure.count("kills that missed", when, int(not hit))
    if not way.broken:
        check_readers(stage, figure, source, when)
        _check_files(stage, figure, when)
    stage.run(*way.arguments, script=way.script, **way.env)  # what was late may arrive meanwhile and be in its way
    stage.proxy.wait_for_late()
    stage.proxy.arrive.clear()
    for _ in range(2):
        _must(stage, figure, way, when, "--all")
    _check_end(stage, figure, when)


def _must(
    stage: BucketScene, figure: Figure, way: Way, when: str, *arguments: str, script: str = "export_to_data_lake"
) -> None:
    code = stage.run(*arguments, script=script, **way.env)
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
        _must(stage, figure, WAYS[0], "after the crowd", "--all")
    _check_end(stage, figure, "after the crowd")
    return codes[75]


def _check_end(stage: BucketScene, figure: Figure, when: str) -> None:
    """Each row is there once, and no file that the log does not name."""
    check_complete(stage, figure, stage.source_rows(), when)
    _check_files(stage, figure, when)
    table = stage.lake.table(stage.stream)
    left = set(parquet_files(table.store)) - {file.path for file in table.files}
    figure.count("files left", f"{when}: {sorted(left)}", len(left))


def _check_files(stage: BucketScene, figure: Figure, when: str) -> None:
    """What the log names is there as it was written, and the table is whole."""
    for finding in check_files(stage.lake.table(stage.stream)).findings:
        figure.count("findings", f"{when}: {finding}")
    snapshots = stage.lake.table(stage.table)
    shown = snapshots.versions().get(snapshots.current_version or 0, [])
    keys = [row["k"] for batch in snapshots.read_batches(shown) for row in batch.to_pylist()]
    figure.count("half snapshots", when, int(not len(keys) == KEYS == len(set(keys))))
