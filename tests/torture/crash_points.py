"""F2: a kill before and after every step by which a command changes files, the steps found by running it once."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.private_process import install_packages
from tests.expected import expected_rows, lake_rows
from tests.torture.figures import Figure
from tests.torture.layered import LayeredStarter, layered_starter
from tests.torture.readers import check_complete, check_readers
from tests.torture.victim import Scene, scene, stopwatch

_SOURCE = Path(__file__).with_name("steps.c")


def compile_layer(folder: Path) -> Path:
    """The preloaded layer as a shared library; installs Debian's gcc with root rights when there is no compiler."""
    install_packages("C compiler", ["gcc", "libc6-dev"], lambda: shutil.which("gcc") is not None)
    library = folder / "steps.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


@dataclass(frozen=True)
class Way:
    """A command that is killed, and how the scene is made in which it has something to do.

    `broken` says that readers cannot read before it has done its work. What leaves the log keeps its files for
    `grace_hours`; then a bare glob sees them. `to_glob` has it killed beside its commit too, and a bare glob is exact
    after one export.
    """

    name: str
    arguments: tuple[str, ...]
    script: str = "export_to_data_lake"
    prepare: Callable[[Scene], None] = lambda stage: stage.add_rows(30)
    broken: bool = False
    grace_hours: int = 0
    to_glob: bool = False

    @property
    def env(self) -> dict[str, str]:
        return {"EXPIRE_GRACE_HOURS": str(self.grace_hours)}


def _expire_all(stage: Scene) -> None:
    for arguments, script in (
        (("update", "events", "--retention-days", "1"), "manage_feeds"),
        (("expire", "events", "--yes"), "metadata_utils"),
        (("update", "events", "--retention-days", "none"), "manage_feeds"),
    ):
        _must(stage, *arguments, script=script, grace_hours=48)


def _lose_a_file(stage: Scene) -> None:
    table = stage.lake.table(stage.stream)
    table.store.delete(table.files[0].path)


def _second_version(stage: Scene) -> None:
    stage.add_rows(30)
    _must(stage, "--all")


def _small_files(stage: Scene) -> None:
    for _ in range(2):
        stage.add_rows(30)
        _must(stage, "--stream", "events")


WAYS = (
    Way("stream", ("--stream", "events")),
    Way("table", ("--table", "latest")),
    Way("full", ("--stream", "events", "--full")),
    Way("repair", ("repair", "events", "--yes"), "metadata_utils", _lose_a_file, broken=True),
    Way("unexpire", ("unexpire", "events"), "metadata_utils", _expire_all, grace_hours=48),
    Way("rollback", ("rollback", "latest", "--to-version", "1"), "metadata_utils", _second_version),
    Way("compact", ("compact", "events"), "metadata_utils", _small_files, to_glob=True),
)


def every_crash_point(folder: Path, every: int) -> Figure:
    """Dies before and after one in `every` steps of one run of each command in WAYS."""
    what = "a kill before and after the file-system and commit steps of exports, repair, unexpire, rollback and compact"
    promises = (
        "lost rows", "duplicated rows", "unreadable", "half snapshots", "runs that did not resume", "kills that missed"
    )  # fmt: skip
    figure = Figure("F2", what, promises, unit="crash points")
    started, counted = time.monotonic(), []
    with layered_starter(compile_layer(folder)) as starter:
        for way in WAYS:
            place = folder / way.name
            place.mkdir()
            with scene(place, rows=30, days=1) as stage:
                steps = _try_way(stage, starter, figure, way, every)
            counted.append(f"{steps} of {way.name}")
    figure.details = f"steps: {', '.join(counted)}" + ("; all of them" if every == 1 else f"; one in {every}")
    figure.seconds = stopwatch(started)
    return figure


def _try_way(stage: Scene, starter: LayeredStarter, figure: Figure, way: Way, every: int) -> int:
    """Dies before and after one in `every` of its steps; returns how many it has."""
    _must(stage, "--all")
    way.prepare(stage)
    before = stage.root.parent / "before"
    shutil.copytree(stage.root, before)
    snapshots = [lake_rows(stage.root, stage.table)]
    steps = _run(stage, starter, way, stage.root.parent / "steps.log")
    snapshots.append(lake_rows(stage.root, stage.table))
    numbers = set(range((every + 1) // 2, steps + 1, every))
    numbers |= _commits(stage.root.parent / "steps.log") if way.to_glob else set()
    for number in sorted(numbers):
        for when in ("before", "after"):
            shutil.rmtree(stage.root)
            shutil.copytree(before, stage.root)
            _die_and_resume(stage, starter, figure, way, (number, when), snapshots)
    return steps


def _die_and_resume(
    stage: Scene,
    starter: LayeredStarter,
    figure: Figure,
    way: Way,
    point: tuple[int, str],
    snapshots: Sequence[Counter[str]],
) -> None:
    source = stage.source_rows()
    when = f"{way.name}, {point[1]} step {point[0]}"
    figure.tried += 1
    code = _start(stage, starter, way, None, point)
    figure.count("kills that missed", when, int(code != -signal.SIGKILL))
    if not way.broken:
        check_readers(stage, figure, source, when)
    figure.count("half snapshots", when, int(lake_rows(stage.root, stage.table) not in snapshots))
    if way.to_glob:
        code = stage.run("--all", **way.env)
        figure.count("runs that did not resume", f"{when}: --all", int(code != 0))
        check_complete(stage, figure, source, f"{when}, after one export")
    for arguments, script in ((way.arguments, way.script), (("--all",), "export_to_data_lake")):
        code = stage.run(*arguments, script=script, **way.env)
        figure.count("runs that did not resume", f"{when}: {' '.join(arguments)}", int(code != 0))
    check_complete(stage, figure, source, when)
    newest = expected_rows(stage.emulator.source(stage.table.source))
    figure.count("half snapshots", when, int(lake_rows(stage.root, stage.table) != newest))


def _must(stage: Scene, *arguments: str, script: str = "export_to_data_lake", grace_hours: int = 0) -> None:
    if code := stage.run(*arguments, script=script, EXPIRE_GRACE_HOURS=str(grace_hours)):
        raise RuntimeError(f"{script} {' '.join(arguments)} exits {code}")


def _run(stage: Scene, starter: LayeredStarter, way: Way, log: Path) -> int:
    """Runs the command once to its end; returns the number of its steps."""
    log.unlink(missing_ok=True)
    _start(stage, starter, way, log, None)
    return len(log.read_text(encoding="utf-8").splitlines())


def _commits(log: Path) -> set[int]:
    """The steps by which entries of the stream's log got their names."""
    lines = (line.split(" ", 2) for line in log.read_text(encoding="utf-8").splitlines())
    entry = re.compile(r".*/streams/events/_delta_log/\d{20}\.json")
    return {int(number) for number, call, path in lines if call == "link" and entry.fullmatch(path)}


def _start(stage: Scene, starter: LayeredStarter, way: Way, log: Path | None, point: tuple[int, str] | None) -> int:
    env = stage.env | way.env | {"STEPS_ROOT": str(stage.root)}
    if log is not None:
        env["STEPS_LOG"] = str(log)
    if point is not None:
        env |= {"STEPS_KILL": str(point[0]), "STEPS_WHEN": point[1]}
    return starter.run(way.script, way.arguments, env, stage.root.parent / "run")
