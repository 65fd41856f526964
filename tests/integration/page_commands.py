"""The commands that the pages show, run in the order in which they stand, and what they print compared with the page.

A block of `console` has commands after `$ ` and their output below them; `...` stands for lines that are left out. A
command has to end with 0, unless the next one is `echo $?`. A block of `python` may be followed by one of `text` with
its output. Dates of a page count from the day on which it was written, so they are moved to today and back; times of
day, seconds, sizes and ids are not compared.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import io
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner

from docsite.pages import FENCE
from tests.integration.commands import FAST

WRITTEN_ON = dt.date(2026, 11, 29)
"""The day from which the dates in all pages count."""
PLACE = "/opt/ksqldb-lake"
"""Where the pages say that the toolkit is."""
NOT_RUN = ("make ", "python3 -m venv", ". venv/bin/activate", "python -m pip", "python -m ksqldb_emulator")
"""What has to be there before the other commands: the test has it already, or starts it itself."""
_TERMINAL = {"COLUMNS": "100"}
_DATE = re.compile(r"\b(\d{4}-)?\d\d-\d\d\b(?(1)| (?=\d\d:\d\d\b))")
"""A date, or one without its year before a time of day, as in the column `newest UTC`."""
_VARYING = (
    (re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \w+: .*\n", re.MULTILINE), ""),  # progress of a slow machine
    (re.compile(r"all \d+ are there|with \d+ files and"), "ALL"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|\+00:00)?"), "MOMENT"),
    (re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]+"), "RUN"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{16,64}\b"), "ID"),
    (re.compile(r"\b\d[\d,.]* (s|ms|B|kB|MB|GB)\b"), "AMOUNT"),
    (re.compile(r'("(bytes|size|seconds|pid|entry_checksum|timestamp|modificationTime)": )[^,\n]+'), r"\1N"),
    (re.compile(r"\b\d+\.\d+\.\d+(-[\w.+-]+)?"), "VERSION"),
    (re.compile(r"\b\d+\.\d h ago"), "AGO"),
    (re.compile(r"\d{4}-\d\d\.(log|jsonl)"), "MONTH"),
    (re.compile(r"\b\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\n {8,}"), " "),
    (re.compile(r" \d+\.\d$", re.MULTILINE), " SECONDS"),
    (re.compile(r"-{3,}|─{3,}"), "---"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass
class Shell:
    """A folder in which a person works, with `data_lake`, `sql` and `.env`. `env` are settings that replace the page's.

    `sleep` in a page is the moment at which `wait` makes the server's later events arrive.
    `differences` are the commands that printed something other than the page says.
    """

    folder: Path
    env: Mapping[str, str]
    today: dt.date
    wait: Callable[[], None] = lambda: None
    copied_from: Path | None = None
    differences: list[str] = field(default_factory=list)
    names: dict[str, object] = field(default_factory=dict)

    def play(self, page: str) -> str:
        """Runs what the page shows, and returns it with the output of this run."""
        printed: str | None = None

        def played(found: re.Match[str]) -> str:
            nonlocal printed
            kind, code, before = found[1], found[2], printed
            printed = self._python(code) if kind == "python" else None
            if kind == "console":
                code = self._console(code)
            elif kind == "text" and before is not None:
                code = self._compared("python", code, before)
            return f"```{kind}\n{code}```"

        return FENCE.sub(played, page)

    def _console(self, code: str) -> str:
        parts = list(commands(code))
        text = ""
        for (command, shown), (following, said) in zip(parts, [*parts[1:], ("", "")], strict=True):
            if command == "echo $?\n" or command.startswith(NOT_RUN):
                text += f"$ {command}{shown}"
                continue
            expected = int(said) if following == "echo $?\n" else 0
            exit_code, output = self._run(self._moved(command.rstrip("\n"), forward=True))
            if exit_code != expected:
                self.differences.append(f"$ {command}ended with {exit_code}, not {expected}:\n{output}")
            text += f"$ {command}{self._compared(command, shown, output)}"
        return text

    def _compared(self, what: str, shown: str, output: str) -> str:
        output = self._as_on_the_page(output)
        lines = re.escape(comparable(shown)).replace("\\.\\.\\.\\\n", "(.*\n)*?")
        if re.fullmatch(lines, comparable(output)) is not None:
            return shown
        self.differences.append(f"$ {what}printed:\n{output}\nand the page has:\n{shown}")
        return output

    def _run(self, command: str) -> tuple[int, str]:
        if command.startswith("sleep "):
            self.wait()
            return 0, ""
        first, _, rest = command.partition(" | ")
        script = re.match(r"((?:[A-Z_]+=\S+ )*)python (-m )?([a-z_.]+?)(\.py)?( [^<|]*)?$", first, re.DOTALL)
        if script is None:
            return self._shell(command, "")
        settings = dict(word.partition("=")[::2] for word in script[1].split())
        words, _, target = (script[5] or "").partition(" > ")
        main = importlib.import_module(script[3]).main
        done = CliRunner().invoke(
            main, shlex.split(words.replace("\\\n", " ")), env=FAST | _TERMINAL | dict(self.env) | settings
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        if target:
            (self.folder / target.strip()).write_text(done.stdout, encoding="utf-8")
            return done.exit_code, done.stderr
        return self._shell(rest, done.stdout) if rest else (done.exit_code, done.output)

    def _shell(self, command: str, given: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, input=given, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def _python(self, code: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(self._moved(code, forward=True), "page", "exec"), self.names)
        return printed.getvalue()

    def _as_on_the_page(self, output: str) -> str:
        for folder in (self.folder, self.copied_from or self.folder):
            output = output.replace(str(folder), PLACE)
        for setting, place in (("KSQLDB_URL", "http://localhost:8088"), ("MYSQL_PORT", "3306")):
            if setting in self.env:
                output = output.replace(self.env[setting], place)
        output = re.sub(rf":\n +{PLACE}", f": {PLACE}", output)  # a longer path of the test's was wrapped
        return self._moved(output.replace("127.0.0.1:3306", "localhost:3306"), forward=False)

    def _moved(self, text: str, forward: bool) -> str:
        start, end = (WRITTEN_ON, self.today) if forward else (self.today, WRITTEN_ON)

        def moved(found: re.Match[str]) -> str:
            whole = found[0] if found[1] else _past(found[0].strip(), start)
            date = dt.date.fromisoformat(whole) + (end - start)
            return str(date) if found[1] else f"{date:%m-%d} "

        return _DATE.sub(moved, text)


def _past(month_and_day: str, today: dt.date) -> str:
    """The last such day before tomorrow."""
    year = today.year if month_and_day <= f"{today:%m-%d}" else today.year - 1
    return f"{year}-{month_and_day}"


def commands(code: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, with its line end, and the lines that it prints."""
    lines = code.splitlines(keepends=True)
    while lines:
        assert lines[0].startswith("$ "), f"no command: {lines[0]}"
        command = lines.pop(0)[2:]
        while lines and not _is_whole(command):
            command += lines.pop(0)
        count = next((n for n, line in enumerate(lines) if line.startswith("$ ")), len(lines))
        yield command, "".join(lines[:count])
        del lines[:count]


def _is_whole(command: str) -> bool:
    """Whether a shell would run what is typed so far."""
    if "<<'END'" in command:
        return command.endswith("\nEND\n")
    return not command.endswith("\\\n") and command.count('"') % 2 == 0


def comparable(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return "\n".join(line.strip() for line in text.splitlines()) + "\n" if text else ""
