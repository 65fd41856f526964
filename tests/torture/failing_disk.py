"""F9, its disk: from one step on every later write fails, for each step of each command that writes to the lake."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.lake.store import STAGING
from tests.support import lake_at
from tests.torture.crash_points import compile_layer
from tests.torture.figures import Figure
from tests.torture.layered import LayeredStarter, layered_starter
from tests.torture.readers import check_readers
from tests.torture.trial import Done, Trial
from tests.torture.victim import scene

_SAID = {
    errno.ENOSPC: "the disk is full: ",
    errno.EACCES: "the lake cannot be written: ",
    errno.EROFS: "the lake cannot be written: ",
    errno.EIO: "the lake cannot be used: ",
}


_WITH_ROWS = ("stream", "snapshot", "full")
_LOCKS = ("_lock.json", ".run.json")
"""The records of who holds a feed and the lake."""


@dataclass(frozen=True)
class Way:
    """A command that writes. `fresh`: nothing was exported before it; `feeds`: how many may fail, each by itself."""

    script: str
    arguments: tuple[str, ...]
    fresh: bool = False
    feeds: int = 1


WAYS = (
    Way("export_to_data_lake", ("--all", "--json"), fresh=True, feeds=2),
    Way("export_to_data_lake", ("--stream", "events", "--json")),
    Way("export_to_data_lake", ("--table", "latest", "--json")),
    Way("export_to_data_lake", ("--stream", "events", "--full", "--json")),
    Way("metadata_utils", ("rollback", "latest", "--to-version", "1")),
    Way("metadata_utils", ("expire", "latest")),
    Way("metadata_utils", ("compact", "events")),
    Way("manage_feeds", ("update", "latest", "--owner", "somebody")),
)


@dataclass(frozen=True)
class _Step:
    number: int
    call: str
    path: str
    before: str
    """The path of the step before."""

    def can_fail(self, error: int) -> bool:
        """As `steps.c` has it: a full disk still lets files go; rights are asked for by name, not of open files."""
        if error == errno.ENOSPC:
            return self.call not in ("unlink", "rmdir")
        return error != errno.EACCES or not self.call.startswith(("f", "write", "pwrite"))

    def is_noticed(self, error: int) -> bool:
        """Whether the run must say that this step failed.

        A line of the log that cannot be written is on stderr as well, a run that cannot be recorded does its work, a
        lock whose end cannot be recorded is free when its process has ended, and what cannot be deleted the next run
        deletes.
        """
        is_log_line = "/logs/" in self.path and self.call == "write"
        is_harmless = is_log_line or self._is_record or self.call in ("unlink", "rmdir")
        return self.can_fail(error) and not is_harmless

    @property
    def _is_record(self) -> bool:
        """Whether it is of the record of a run or of a lock."""
        return self.lock != "" or "/runs" in self.path

    @property
    def lock(self) -> str:
        """The folder whose lock it records; empty if it records none."""
        if self.records_lock:
            return self.path
        return self.path.rpartition("/")[0] if self.path.removesuffix(".tmp").endswith(_LOCKS) else ""

    @property
    def records_lock(self) -> bool:
        """Whether it is the last step of the record of a lock."""
        return self.call == "fsync" and self.before.endswith(_LOCKS)

    @property
    def makes(self) -> str | None:
        """The file of the lake that is there from this step on, if it makes one; of a data file, its folder."""
        if self.call not in ("rename", "link") or self._is_record or f"/{STAGING}/" in self.path:
            return None
        return self.path.rpartition("/")[0] if self.path.endswith(".parquet") else self.path


def failing_writes(folder: Path, figure: Figure, errors: Sequence[int], every: int) -> None:
    """Lets each `every`-th step and all later ones fail, with each of the error numbers; adds up in `figure`.

    Each command has a lake of its own, and a process, one for each core.
    """
    try_way, steps = partial(_try_way, folder, compile_layer(folder), errors, every), 0
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as processes:
        for part, steps_of_way in processes.map(try_way, range(len(WAYS)), WAYS):
            figure.merge(part)
            steps += steps_of_way
    names = ", ".join(errno.errorcode[error] for error in errors)
    figure.details += f"; {names} at {steps} steps of {len(WAYS)} commands"
    figure.details += ", all of them" if every == 1 else f", one in {every}"


def _try_way(folder: Path, layer: Path, errors: Sequence[int], every: int, number: int, way: Way) -> tuple[Figure, int]:
    """What was found, and how many steps the command has."""
    figure, place = Figure("F9", ""), folder / f"command-{number}"
    place.mkdir()
    with layered_starter(layer) as starter, scene(place, rows=30, days=1) as stage:
        trial = Trial("", stage, figure, place)
        for _ in range(0 if way.fresh else 2):
            trial.expect_done(trial.run("--all"))
            stage.add_rows(10)
        before = place / "before"
        shutil.copytree(stage.root, before)
        trial.name = " ".join((way.script, *way.arguments))
        steps = _steps(starter, trial, way)
        for error in errors:
            for step in steps:
                if (number + step.number) % every == 0 and step.can_fail(error):
                    _restore(trial, before)
                    _fail_and_go_on(starter, trial, way, step, error, steps)
                    figure.tried += 1
    return figure, len(steps)


def _restore(trial: Trial, before: Path) -> None:
    shutil.rmtree(trial.stage.root)
    shutil.copytree(before, trial.stage.root)


def _steps(starter: LayeredStarter, trial: Trial, way: Way) -> list[_Step]:
    """The steps of a run that nothing disturbs."""
    log = trial.folder / "steps.log"
    log.unlink(missing_ok=True)
    done = _run(starter, trial, way, STEPS_LOG=str(log))
    trial.expect_done(done)
    return _logged(log)


def _logged(log: Path) -> list[_Step]:
    lines = [line.split(" ", 2) for line in log.read_text(encoding="utf-8").splitlines()]
    paths = ["", *(path for _, _, path in lines)]
    return [_Step(int(number), call, path, before) for (number, call, path), before in zip(lines, paths, strict=False)]


def _made(steps: Sequence[_Step]) -> Counter[str]:
    """The files that steps made, each as often as it was made."""
    return Counter(made for step in steps if (made := step.makes))


def _run(starter: LayeredStarter, trial: Trial, way: Way, **env: str) -> Done:
    output = trial.folder / "layered"
    wanted = trial.stage.env | {"STEPS_ROOT": str(trial.stage.root)} | env
    return Done.read(starter.run(way.script, way.arguments, wanted, output), output)


def _commits(trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """The notes of each feed's commits, the newest first."""
    feeds = (trial.stage.stream, trial.stage.table)
    tables = {feed.name: lake_at(trial.stage.root).table(feed) for feed in feeds}
    return {name: [entry.get("pipeline") or {} for entry in table.history()] for name, table in tables.items()}


def _expect_true_claims(trial: Trial, way: Way, done: Done, before: Mapping[str, Sequence[Any]]) -> None:
    """What an export counts is what the log has more than before; one that counts nothing has committed nothing."""
    if way.script != "export_to_data_lake":
        return
    counted = {feed["feed"]: feed for feed in json.loads(done.out)["feeds"]} if done.out.strip() else {}
    for name, notes in _commits(trial).items():
        new = [note for note in notes[: len(notes) - len(before[name])] if note.get("kind") in _WITH_ROWS]
        rows = sum(note["rows"] + note.get("kept_rows", 0) for note in new)
        counted_here = counted.get(name, {"commits": 0, "rows": 0})
        if (counted_here["commits"], counted_here["rows"]) != (len(new), rows):
            trial.wrong(
                "reported wrongly", f"{counted_here} of {name}, whose log has {len(new)} commits of {rows} rows more"
            )


def _fail_and_go_on(
    starter: LayeredStarter, trial: Trial, way: Way, step: _Step, error: int, whole: Sequence[_Step]
) -> None:
    """Lets a run fail from a step on, looks at what it says and leaves, and has the next ones finish the work.

    `whole` are the steps of a run that nothing disturbs: one that has not made all of its files has to say so.
    """
    trial.name = f"{way.script} {' '.join(way.arguments)}, {errno.errorcode[error]} from {step} on"
    commits = _commits(trial)
    log = trial.folder / "failing.log"
    log.unlink(missing_ok=True)
    failed = _run(starter, trial, way, STEPS_FAIL=str(step.number), STEPS_ERRNO=str(error), STEPS_LOG=str(log))
    _expect_true_claims(trial, way, failed, commits)
    # Feeds take turns as it happens, so a step of that number is not always the one that it was before.
    steps = _logged(log)
    failing = [later for later in steps[step.number - 1 :] if later.can_fail(error)]
    recorded = {"", *(done.path for done in steps[: step.number - 1] if done.records_lock)}
    has_no_lock = failing != [] and failing[0].lock not in recorded  # it may end with an error, though it has no work
    may_stop = failed.code != 0 and (has_no_lock or any(later.call in ("unlink", "rmdir") for later in failing))
    is_whole = _made(whole) <= _made(steps[: step.number - 1])
    if may_stop or not is_whole or any(later.is_noticed(error) for later in failing):
        trial.expect_error(failed, 1, _SAID[error], errors=max(1, min(way.feeds, failed.err.count("error: "))))
    else:
        trial.expect_done(failed)
    check_readers(trial.stage, trial.figure, trial.stage.source_rows(), trial.name)
    if way.script != "export_to_data_lake":
        trial.expect_done(trial.run(*way.arguments, script=way.script))
    trial.expect_done(trial.run("--all"))
    trial.expect_done(trial.run("expire", script="metadata_utils"))  # files that were replaced, for a bare glob
    trial.expect_complete()
