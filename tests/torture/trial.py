"""One bad day: a scene, what is done in it, and what must be true of it, counted in a figure."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ksqldb_emulator.testing import PATIENCE_S, comes_true
from pipeline.feeds import Feed
from tests.expected import expected_rows, lake_rows
from tests.torture.figures import Figure
from tests.torture.readers import check_complete, check_readers
from tests.torture.victim import Scene, scene

PROMISES = (
    "reported wrongly",
    "lost rows",
    "duplicated rows",
    "changed rows",
    "runs that did not resume",
    "queries left",
)
_NO_REPORT = re.compile(r"Traceback|panicked|Exception ignored|Warning")


@dataclass(frozen=True)
class Done:
    """How a script ended, and what it said."""

    code: int
    out: str
    err: str

    @classmethod
    def read(cls, code: int, output: Path) -> Done:
        """From the files in which `run_script` puts what a script says."""
        out, err = (output.with_suffix(suffix).read_text(encoding="utf-8") for suffix in (".out", ".err"))
        return cls(code, out, err)


@dataclass
class Trial:
    """A named try in a scene. `full` asks for the real length of what is otherwise scaled down."""

    name: str
    stage: Scene
    figure: Figure
    folder: Path
    full: bool = False
    mysql: Mapping[str, str] = field(default_factory=dict)
    _numbers: Iterable[int] = field(default_factory=itertools.count)

    def wrong(self, what: str, detail: str) -> None:
        self.figure.count(what, f"{self.name}: {detail}")

    def run(self, *arguments: str, script: str = "export_to_data_lake", **env: str) -> Done:
        """Runs a script to its end."""
        return self.start(*arguments, script=script, **env)()

    def sync(self, *arguments: str, **env: str) -> Done:
        """Loads the lake's tables into a database that is this trial's own."""
        wanted = {**self.mysql, "MYSQL_DATABASE": self.name, **env}
        return self.run("--source", "lake", *arguments, script="sync_to_mysql", **wanted)

    def start(self, *arguments: str, script: str = "export_to_data_lake", **env: str) -> Running:
        output = self.folder / f"run-{next(iter(self._numbers))}"
        return Running(self.stage.start(*arguments, script=script, output=output, **env), output)

    def expect_error(self, done: Done, code: int, *said: str, errors: int = 1) -> None:
        """`errors` times one sentence and a hint on stderr, nothing like a traceback, and the exit code."""
        lines = [line for line in done.err.splitlines() if line.startswith(("error: ", "hint: "))]
        pairs = ["error: ", "hint: "] * errors
        in_pairs = len(lines) == len(pairs) and all(
            line.startswith(start) and len(line) > len(start) for line, start in zip(lines, pairs, strict=True)
        )
        missing = [text for text in said if text not in done.err]
        if done.code != code or not in_pairs or missing or _NO_REPORT.search(done.err):
            self.wrong(
                "reported wrongly", f"exit code {done.code}, not {code}; lacks {missing}; said {done.err[-1500:]!r}"
            )

    def expect_done(self, done: Done, *said: str) -> None:
        """Exit code 0, nothing like an error, and what is to be said on either output."""
        missing = [text for text in said if text not in done.err + done.out]
        if missing or "error: " in done.err or _NO_REPORT.search(done.err):
            self.wrong("reported wrongly", f"lacks {missing}; said {done.err[-1500:]!r}")
        if done.code != 0:
            self.wrong("runs that did not resume", f"exit code {done.code}: {done.err[-1500:]!r}")

    def expect_complete(self) -> None:
        """Every row of the source once, with its values, whatever the reader; nothing else in the lake."""
        source = self.stage.source_rows()
        check_readers(self.stage, self.figure, source, self.name)
        check_complete(self.stage, self.figure, source, self.name)
        for feed in (self.stage.stream, self.stage.table):
            self.expect_rows(feed, expected_rows(self.stage.emulator.source(feed.source)))

    def expect_rows(self, feed: Feed, wanted: Counter[str]) -> None:
        seen = lake_rows(self.stage.root, feed)
        lacking, extra = wanted - seen, seen - wanted
        if lacking or extra:
            detail = f"{feed.name}: {lacking.total()} lack, {extra.total()} are extra: {[*lacking, *extra][:2]}"
            self.wrong("changed rows", detail)

    def expect_hidden(self, secret: str) -> None:
        """The secret is in no file of the lake and nothing that a script has said."""
        for path in self.folder.rglob("*"):
            if path.is_file() and secret.encode() in path.read_bytes():
                self.wrong("reported wrongly", f"{path} shows the secret")

    def expect_no_query(self) -> None:
        """No query is left running at the server."""
        if not comes_true(lambda: not self.stage.emulator.open_queries):
            self.wrong("queries left", f"{self.stage.emulator.open_queries}")

    def wait_for_query(self) -> None:
        if not comes_true(lambda: bool(self.stage.emulator.open_queries)):
            raise RuntimeError(f"{self.name}: the export has not begun to read")

    def wait_for_rows(self, name: str) -> None:
        """Until a running push has sent the first rows of a source."""
        if not comes_true(lambda: bool(self.stage.emulator.sent_to(name))):
            raise RuntimeError(f"{self.name}: no row of {name} was read")


@dataclass
class Running:
    """A script on its way; called it waits for the end."""

    process: Any
    output: Path

    def __call__(self) -> Done:
        self.process.join(PATIENCE_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        return Done.read(int(self.process.exitcode), self.output)


Case = Callable[[Trial], None]


def try_case(
    case: Case, figure: Figure, folder: Path, full: bool = False, mysql: Mapping[str, str] | None = None
) -> None:
    """Gives a case a scene of its own, in `folder`, and counts in `figure` what it finds."""
    place = folder / case.__name__
    place.mkdir(parents=True)
    with scene(place, rows=300) as stage:
        case(Trial(case.__name__, stage, figure, place, full, mysql or {}))
    figure.tried += 1
