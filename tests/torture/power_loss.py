"""F4: the power goes off after each step of an export; what the disk had to keep is all that is left.

Each run is recorded once. For each step the trees are made that a power cut after it may leave (see `replay`), the
same tree only once. In each of them, before anything repairs it: every acknowledged log entry is there, byte for byte,
with its data files, and readers see whole commits. An entry is acknowledged when the run goes on to something else than
the log, or when a later run ends that found it. A file that is replaced whole (views, metadata, a feed) is as it was at
one time, and not older than when the run last said something. Then the next run must end well and every row be there
once.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.errors import PipelineError
from pipeline.lake.change import Change
from pipeline.lake.checkpoint import CHECKPOINT_EVERY
from pipeline.lake.store import LOG, STAGING
from pipeline.verify.files import check_files
from tests.support import lake_at
from tests.torture.crash_points import compile_layer
from tests.torture.exports import check_table
from tests.torture.figures import Figure
from tests.torture.layered import LayeredStarter, layered_starter
from tests.torture.readers import check_complete, check_readers
from tests.torture.replay import Disk, Step, Tree, read_record, read_tree, write_tree
from tests.torture.victim import Scene, scene, stopwatch

PROMISES = (
    "acknowledged commits lost",
    "torn commits",
    "files torn or too old",
    "damaged tables",
    "torn table versions",
    "lost rows",
    "duplicated rows",
    "unreadable",
    "runs that did not resume",
    "recordings with a hole",
)


@dataclass(frozen=True)
class Way:
    """A run to record. `killed_at`: an equal run was killed just before, after the last step whose "call path" this
    matches; its steps count too.
    """

    arguments: tuple[str, ...]
    fresh: bool = False
    killed_at: str = ""
    script: str = "export_to_data_lake"


WAYS = (
    Way(("--all",), fresh=True),
    Way(("--all",), fresh=True, killed_at=r" link .*/events/_delta_log/0+\.json"),
    Way(("--all",)),
    Way(("--stream", "events"), killed_at=r" link .*/events/_delta_log/\d+\.json"),
    Way(("--table", "latest"), killed_at=r" mkdir .*/version="),
    Way(("--stream", "events", "--full")),
    Way(("rollback", "latest", "--to-version", "3"), script="metadata_utils"),
    Way(("compact", "events"), script="metadata_utils"),
    Way(("update", "latest", "--owner", "somebody"), script="manage_feeds"),
)


@dataclass
class Crash:
    """A tree and where it comes from. `acknowledged` are the log entries that must be in it.

    `contents` are what each file that is replaced whole may hold, None for a file that is not there.
    """

    tree: Tree
    where: str
    acknowledged: frozenset[str]
    contents: Mapping[str, Sequence[bytes | None]] = field(default_factory=dict)


def power_loss(folder: Path, every: int, seed: int, ways: Sequence[Way] = WAYS) -> Figure:
    """Tries each `every`-th of the different trees that a power cut may leave."""
    what = "power loss after each step of an export: what was not synced is lost, torn, or kept in part"
    figure = Figure("F4", what, PROMISES, unit="trees")
    started, rng, steps, commits = time.monotonic(), random.Random(seed), 0, 0
    with layered_starter(compile_layer(folder)) as starter:
        for fresh in sorted({way.fresh for way in ways}, reverse=True):
            place = folder / ("fresh" if fresh else "filled")
            place.mkdir()
            with scene(place, rows=600, days=1) as stage:
                if not fresh:
                    _fill(stage, figure)
                before = read_tree(stage.root)
                for way in (way for way in ways if way.fresh == fresh):
                    disk, runs = _record(starter, stage, way, before, place)
                    crashes = _crashes(disk, runs, rng)
                    steps += sum(map(len, runs))
                    whole = disk.seen()
                    commits += len({path for path in whole if _is_entry(path)} - {*before})
                    figure.count("recordings with a hole", str(way), int(whole != read_tree(stage.root)))
                    for crash in crashes[rng.randrange(every) :: every]:
                        figure.tried += 1
                        try_crash(stage, figure, way, crash, whole)
    figure.details = f"{steps} steps of {len(ways)} commands with {commits} commits"
    figure.details += ", all trees" if every == 1 else f", one tree in {every}"
    figure.seconds = stopwatch(started)
    return figure


def _fill(stage: Scene, figure: Figure) -> None:
    """Several snapshots, one of them to expire; logs just before a checkpoint; new rows that the recorded run reads."""
    for _ in range(4):
        figure.count("runs that did not resume", "at the start", int(stage.run("--all") != 0))
        stage.add_rows(10)
    for feed in (stage.stream, stage.table):
        table = lake_at(stage.root).table(feed)
        while table.delta_version % CHECKPOINT_EVERY != CHECKPOINT_EVERY - 1:
            table.commit("", Change(), dt.datetime.now(dt.UTC))
    stage.add_rows(600)


def _put(stage: Scene, tree: Tree) -> None:
    shutil.rmtree(stage.root)
    write_tree(tree, stage.root)


def _record(
    starter: LayeredStarter, stage: Scene, way: Way, before: Tree, folder: Path
) -> tuple[Disk, list[list[Step]]]:
    """The disk before the runs of the way, and the steps of each; the lake is then as the last one left it."""
    log = folder / "steps.log"

    def run(**env: str) -> int:
        wanted = stage.env | {"STEPS_ROOT": str(stage.root), "COMMIT_ROWS": "12"} | env
        return starter.run(way.script, way.arguments, wanted, folder / "recorded")

    runs: list[dict[str, str]] = [{}]
    _put(stage, before)
    stage.emulator.options.rows_per_s = 1000  # the rows of two polls come apart, so that they are two commits
    if way.killed_at:
        log.unlink(missing_ok=True)
        run(STEPS_LOG=str(log))
        lines = log.read_text(encoding="utf-8").splitlines()
        last = max(number for number, line in enumerate(lines, 1) if re.search(way.killed_at, line))
        runs.insert(0, {"STEPS_KILL": str(last), "STEPS_WHEN": "after"})
        _put(stage, before)
    disk, steps = Disk(before), []
    for env in runs:
        record = folder / "steps.record"
        record.unlink(missing_ok=True)
        code = run(STEPS_RECORD=str(record), **env)
        if code != (-9 if env else 0):
            raise RuntimeError(f"the run to record ended with {code}: {way}")
        steps.append(read_record(record, stage.root))
    stage.emulator.options.rows_per_s = 0
    return disk, steps


def _crashes(disk: Disk, runs: list[list[Step]], rng: random.Random) -> list[Crash]:
    """All different trees of all cuts. A tree that several cuts leave must have what the last of them acknowledged."""
    found: dict[bytes, Crash] = {}
    acknowledged: set[str] = set()
    contents = {path: [content] for path, content in disk.seen().items() if _is_replaced(path)}
    linked: set[str] = set()
    found_by_run: set[str] = set()
    number = 0
    for steps in runs:
        linked, found_by_run = set(), linked
        for step in steps:
            number += 1
            disk.apply(step)
            if step is steps[-1]:
                acknowledged |= found_by_run
            if step.call == "link" and _is_entry(step.path):
                linked.add(step.path)
            elif f"/{LOG}" not in step.path and step.call != "fsync":
                acknowledged |= linked
            if step.call == "rename" and _is_replaced(step.path):
                contents.setdefault(step.path, [None]).append(disk.seen()[step.path])
            elif step.call == "say":
                contents = {path: known[-1:] for path, known in contents.items()}
            if _is_scratch(step.path) and step is not steps[-1]:
                continue  # no other tree than before
            for what, tree in disk.after_power_cut(rng):
                where = f"after step {number} ({step.call} {step.path}), {what}"
                allowed = {path: tuple(known) for path, known in contents.items()}
                found[_digest(tree)] = Crash(tree, where, frozenset(acknowledged), allowed)
    return list(found.values())


def _is_scratch(path: str) -> bool:
    """Whether it is one of the scripts' logs or staged, which no reader and no next run looks at."""
    return f"/{STAGING}/" in path or "logs" in PurePosixPath(path).parts


def _is_entry(path: str) -> bool:
    return f"/{LOG}/" in path and not _is_scratch(path) and PurePosixPath(path).suffix == ".json"


def _is_replaced(path: str) -> bool:
    return PurePosixPath(path).name in ("views.sql", "_metadata.json") or path.startswith("feeds/")


def _digest(tree: Tree) -> bytes:
    """Equal for trees that differ in scratch only."""
    digest = hashlib.sha256()
    for path, content in sorted(tree.items()):
        if not _is_scratch(path):
            digest.update(repr((path, content)).encode())
    return digest.digest()


def try_crash(stage: Scene, figure: Figure, way: Way, crash: Crash, whole: Tree) -> None:
    """Checks a tree before and after the next run."""
    where = f"{way}, {crash.where}"
    _put(stage, crash.tree)
    source = stage.source_rows()
    lost = [path for path in crash.acknowledged if crash.tree.get(path) != whole[path]]
    figure.count("acknowledged commits lost", f"{where}: {lost}", len(lost))
    torn = [path for path, content in crash.tree.items() if _is_entry(path) and content != whole.get(path)]
    figure.count("torn commits", f"{where}: {torn}", len(torn))
    other = [path for path, allowed in crash.contents.items() if crash.tree.get(path) not in allowed]
    figure.count("files torn or too old", f"{where}: {other}", len(other))
    if _check_tables(stage, figure, where):
        check_readers(stage, figure, source, where)
    figure.count("runs that did not resume", where, int(stage.run("--all") != 0))
    if "--full" in way.arguments or "compact" in way.arguments:  # the files that were replaced, for a bare glob
        figure.count(
            "runs that did not resume", f"{where}, expire", int(stage.run("expire", script="metadata_utils") != 0)
        )
    if _check_tables(stage, figure, f"{where}, resumed"):
        check_complete(stage, figure, source, f"{where}, resumed")


def _check_tables(stage: Scene, figure: Figure, where: str) -> bool:
    """Each file that a log names is there as written, and a table's version is whole; returns whether it is so."""
    sound = True
    try:
        for feed in (stage.stream, stage.table):
            found = check_files(lake_at(stage.root).table(feed)).findings
            figure.count("damaged tables", f"{where}: {found}", len(found))
            sound = sound and not found
        if sound:
            check_table(stage, figure, where)
    except PipelineError as error:
        figure.count("unreadable", f"{where}: {error}")
        return False
    return sound
