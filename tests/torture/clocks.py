"""F12: clocks that jump in both directions, lock files removed by hand, two runs at once.

In each round at most one run has a wrong clock; a person then says that it was wrong, where that is asked for. Never do
two rounds of a feed in a row have one that is ahead by more than the grace period: that is outside of the promise. A
reader keeps each file that a commit ever named: within the grace period, which is longer than the experiment, none may
go.
"""

from __future__ import annotations

import datetime as dt
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import cli
from pipeline.errors import ClockWentBack
from pipeline.feeds import Feed
from pipeline.lake.lock import hold_feed
from pipeline.lake.table import LakeTable
from tests.support import folder_of, lake_at
from tests.torture.exports import check_table
from tests.torture.figures import Figure
from tests.torture.readers import check_readers, read_stream
from tests.torture.victim import COMMIT_READERS, Scene, scene, stopwatch

_DAY_S = 86_400
_SHIFTS = (300, -300, 23 * 3600, -23 * 3600, 2 * _DAY_S, -2 * _DAY_S, 800 * _DAY_S, -800 * _DAY_S)
_FAR_AHEAD_S = 2 * _DAY_S  # past the grace period
_WAYS = (("--stream", "events"), ("--table", "latest"))
_GRACE = "24"
PROMISES = (
    "lost rows",
    "duplicated rows",
    "unreadable",
    "torn table versions",
    "files deleted under a reader",
    "commits out of order",
    "runs that did not resume",
)


def wild_clocks(folder: Path, rounds: int, seed: int) -> Figure:
    """Rounds of one or two runs each, at random with a wrong clock, a lock that is removed, and a kill."""
    what = "clocks that jump in both directions between and within runs, locks removed by hand, two runs at once"
    figure, rng, started = Figure("F12", what, PROMISES, unit="runs"), random.Random(seed), time.monotonic()
    codes: dict[int, int] = {}
    removed = 0
    with scene(folder, rows=120) as stage:
        named, was_ahead = set[Path](), set[str]()
        for number in range(rounds):
            stage.add_rows(12)
            way, feed = rng.choice([(way, stage.stream if "events" in way else stage.table) for way in _WAYS])
            wrong = [shift for shift in _SHIFTS if shift < _FAR_AHEAD_S or feed.name not in was_ahead]
            shifts = [rng.choice((0, *wrong))]
            shifts += [0] if rng.random() < 0.4 else []
            # A clock that jumps within a run is another one each time that it is asked.
            clocks = [f"{shift},{rng.choice(wrong)}" if rng.random() < 0.2 else str(shift) for shift in shifts]
            was_ahead.discard(feed.name)
            if any(int(part) >= _FAR_AHEAD_S for clock in clocks for part in clock.split(",")):
                was_ahead.add(feed.name)
            running = [stage.start(*way, CLOCK_SHIFTS_S=clock, EXPIRE_GRACE_HOURS=_GRACE) for clock in clocks]
            if rng.random() < 0.4:
                removed += _remove_lock(stage, feed, running, rng)
            if rng.random() < 0.15:
                running[0].join(rng.uniform(0, 2))
                running[0].kill()
            for process in running:
                process.join()
                code = int(process.exitcode or 0)
                codes[code] = codes.get(code, 0) + 1
                figure.tried += 1
                if code not in (0, 1, 75, -9):
                    figure.count("runs that did not resume", f"round {number}: exit code {code}")
            named |= _check(stage, figure, named, f"round {number}, {way}, clocks {clocks}")
            _accept_clocks(stage)
        for way in _WAYS:
            process = stage.start(*way, EXPIRE_GRACE_HOURS=_GRACE)
            process.join()
            figure.count("runs that did not resume", f"at the end: {process.exitcode}", int(process.exitcode != 0))
        _check(stage, figure, named, "the end")
        source = stage.source_rows()
        for reader in COMMIT_READERS:
            seen = read_stream(stage.root, reader)
            figure.count("lost rows", f"the end, {reader}", sum((source - seen).values()))
            figure.count("duplicated rows", f"the end, {reader}", sum((seen - source).values()))
    endings = ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items()))
    figure.details = (
        f"{rounds} rounds; {removed} locks removed under a run; {endings}; {len(named)} files kept by a reader"
    )
    figure.seconds = stopwatch(started)
    return figure


def _remove_lock(stage: Scene, feed: Feed, running: list[Any], rng: random.Random) -> int:
    """Removes the lock of a run that has it, sometimes with its record, and lets another run begin."""
    folder = stage.root / feed.kind_folder / feed.name
    lock = folder / "_lock"
    before = lock.stat().st_mtime_ns if lock.exists() else 0
    record = folder / "_lock.json"
    while any(process.is_alive() for process in running):
        if lock.exists() and record.exists() and record.stat().st_mtime_ns > before:
            time.sleep(rng.uniform(0, 1.5))
            lock.unlink(missing_ok=True)
            if rng.random() < 0.4:
                record.unlink(missing_ok=True)
            way = _WAYS[0] if feed.type == "stream" else _WAYS[1]
            running.append(stage.start(*way, CLOCK_SHIFTS_S="0", EXPIRE_GRACE_HOURS=_GRACE))
            return 1
        time.sleep(0.01)
    return 0


def _check(stage: Scene, figure: Figure, named: set[Path], when: str) -> set[Path]:
    """Checks what readers see; returns the files that the logs name now."""
    check_readers(stage, figure, stage.source_rows(), when)
    check_table(stage, figure, when)
    found: set[Path] = set()
    for table in _tables(stage):
        found |= {folder_of(table) / file.path for file in table.files}
        figure.count("commits out of order", f"{when}: {table.feed.name}", int(not _in_order(table.history())))
    gone = [path for path in named | found if not path.exists()]
    figure.count("files deleted under a reader", f"{when}: {gone[:3]}", len(gone))
    return found


def _in_order(history: list[dict[str, Any]]) -> bool:
    """Whether no commit is before the one before it, but for those by which a person put the clock right."""
    entries = [entry for entry in reversed(history) if entry.get("pipeline_time_ms")]
    return all(
        before["pipeline_time_ms"] <= entry["pipeline_time_ms"] or entry["pipeline"]["kind"] == "clock accepted"
        for before, entry in itertools.pairwise(entries)
    )


def _tables(stage: Scene) -> Iterator[LakeTable]:
    for feed in (stage.stream, stage.table):
        yield lake_at(stage.root).table(feed)


def _accept_clocks(stage: Scene) -> None:
    """As a person does with `repair`, where a run with the right clock would be refused."""
    now = dt.datetime.now(dt.UTC)
    for table in _tables(stage):
        try:
            if table.exists:
                table.guarded(now)
        except ClockWentBack:
            holder = {"command": "repair", "since": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
            with hold_feed(folder_of(table), table.feed.name, holder):
                table.accept_clock(cli.new_run_id(now), now)
