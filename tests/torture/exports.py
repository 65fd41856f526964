"""F1 and F5: exports and compactions killed at random times, and many of them at once; on a disk or in a bucket."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from tests.torture.bucket_scene import Place, name_at, scene_at
from tests.torture.figures import Figure
from tests.torture.readers import check_complete, check_readers
from tests.torture.victim import KEYS, Scene, stopwatch

_EXPORT, _UPKEEP = "export_to_data_lake", "metadata_utils"
_COMPACT = ("compact", "events")
_GRACE = "1"
"""Hours, where readers run beside what replaces files."""
_WHERE = {"disk": "", "bucket": "; the lake in a bucket of SeaweedFS (S3)"}
_WAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (_EXPORT, ("--all",)),
    (_EXPORT, ("--stream", "events")),
    (_EXPORT, ("--table", "latest")),
    (_UPKEEP, _COMPACT),
)


def random_kills(folder: Path, kills: int, seed: int, place: Place = "disk") -> Figure:
    """SIGKILL at uniformly random times; after each kill read, at the end compare with the source."""
    what = f"SIGKILL at random times during exports of a stream and a table, and compactions{_WHERE[place]}"
    promises = ("lost rows", "duplicated rows", "unreadable", "runs that did not resume", "rows that vanished")
    figure = Figure(name_at(place, "F1"), what, promises, unit="kills")
    rng, started = random.Random(seed), time.monotonic()
    rounds, commits = 0, 0
    with scene_at(place, folder, rows=3000) as stage:
        source = stage.source_rows()
        _export_all(stage, figure)  # the first process also starts what the others are forked from
        commits += _start_again(stage)
        seen = stage.seen_by("delta")
        lasts = {way: _seconds_of(stage, *way) for way in _WAYS}
        while figure.tried < kills:
            before, seen = seen, stage.seen_by("delta")
            figure.count("rows that vanished", f"kill {figure.tried}", sum((before - seen).values()))
            if sum(seen.values()) == sum(source.values()):
                # Everything is committed: a run that ends well is checked whole, then it begins again from nothing.
                _export_all(stage, figure)
                _clean(stage, figure)
                check_complete(stage, figure, source, f"round {rounds}")
                rounds, commits, seen = rounds + 1, commits + _start_again(stage), Counter()
            script, arguments = rng.choice(_WAYS)
            if stage.kill_after(rng.uniform(0, lasts[script, arguments]), *arguments, script=script):
                figure.tried += 1
                check_readers(stage, figure, source, f"kill {figure.tried}")
                check_table(stage, figure, f"kill {figure.tried}")
        _export_all(stage, figure)
        figure.count("runs that did not resume", "compact", int(stage.run(*_COMPACT, script=_UPKEEP) != 0))
        _clean(stage, figure)
        check_complete(stage, figure, source, "the end")
        commits += _start_again(stage)
    figure.details = f"{rounds + 1} loads of {sum(source.values())} rows from nothing, {commits} commits of the stream"
    figure.seconds = stopwatch(started)
    return figure


def _seconds_of(stage: Scene, script: str, arguments: tuple[str, ...]) -> float:
    """How long a command takes that has everything to do."""
    started = time.monotonic()
    stage.run(*arguments, script=script)
    return time.monotonic() - started


def _start_again(stage: Scene) -> int:
    """Empties the stream's table; returns how many commits it had."""
    lake = stage.lake
    commits = len(lake.table(stage.stream).history())
    lake.delete_data(stage.stream, {})
    lake.write_views()
    return commits


def _export_all(stage: Scene, figure: Figure) -> None:
    code = stage.run("--all")
    figure.count("runs that did not resume", f"exit code {code}", int(code != 0))


def _clean(stage: Scene, figure: Figure) -> None:
    """Files that were replaced by a compaction go, for a bare glob."""
    code = stage.run("expire", script=_UPKEEP)
    figure.count("runs that did not resume", f"expire: exit code {code}", int(code != 0))


def check_table(stage: Scene, figure: Figure, when: str) -> None:
    """The current version is whole, whatever was killed."""
    table = stage.lake.table(stage.table)
    if table.current_version is None:
        return
    files = table.versions().get(table.current_version, [])
    keys = [row["k"] for batch in table.read_batches(files) for row in batch.to_pylist()]
    whole = len(keys) == KEYS == len(set(keys))
    figure.count("torn table versions", f"{when}: {len(keys)} of {KEYS} rows", int(not whole))


def many_at_once(folder: Path, processes: int, rounds: int, place: Place = "disk") -> Figure:
    """Many processes export the same feeds; readers, expiry and compaction run beside them."""
    what = f"processes exporting the same feeds at once, readers, expiry and compaction beside them{_WHERE[place]}"
    promises = ("errors", "unreadable", "lost rows", "histories that are not linear")
    figure = Figure(name_at(place, "F5"), what, promises, unit="runs")
    started = time.monotonic()
    with scene_at(place, folder, rows=1500) as stage:
        held = 0
        for number in range(rounds):
            stage.add_rows(100)
            source = stage.source_rows()
            running = [
                stage.start(*command, script=_UPKEEP, EXPIRE_GRACE_HOURS=_GRACE) for command in (("expire",), _COMPACT)
            ]
            running += [stage.start("--all", EXPIRE_GRACE_HOURS=_GRACE) for _ in range(processes)]
            while any(process.is_alive() for process in running):
                check_readers(stage, figure, source, f"round {number}")
            codes = [int(process.exitcode or 0) for process in running]
            figure.tried += processes
            held += codes[2:].count(75)
            bad = [code for code in codes if code not in (0, 75)]
            figure.count("errors", f"round {number}: {codes}", len(bad))
        _export_all(stage, figure)
        figure.count("errors", "compact", int(stage.run(*_COMPACT, script=_UPKEEP) != 0))
        _clean(stage, figure)
        check_complete(stage, figure, stage.source_rows(), "the end")
        commits, compactions = 0, 0
        for feed in (stage.stream, stage.table):
            history = stage.lake.table(feed).history()
            versions = [int(entry["version"]) for entry in history]
            compactions += sum((entry.get("pipeline") or {}).get("kind") == "compact" for entry in history)
            linear = versions == list(range(max(versions), -1, -1))
            figure.count("histories that are not linear", feed.name, int(not linear))
            commits += len(versions)
        figure.details = (
            f"{commits} commits of both feeds in {rounds} rounds, {compactions} of them compactions; "
            f"{held} runs found a feed held and exited 75"
        )
    figure.seconds = stopwatch(started)
    return figure
