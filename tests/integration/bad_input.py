"""Commands as nobody should type them, made from the scripts' own options by a seeded generator.

Options and commands are found by asking click, so that new ones are covered; settings and the lake's files are spoiled
besides. `complaints` has everything that a command may not do, whatever it was given.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.testing import Result

from data_lake_config import Settings
from tests.support import ROOT

SCRIPTS = ("data_lake_config", "manage_feeds", "export_to_data_lake", "metadata_utils", "sync_to_mysql", "test_setup")
_TEXTS = (
    "", " ", "NOPE", "../x", "/nope/x.csv", "-1", "0", "1", "7", "nan", "inf", "1e30", "9" * 30, "9999-12-31",
    "2026-11-20", "Z\udcfcrich", "\x1b[31mred", "a\nb", "ü", "x" * 300, "%s{0}", "'; DROP TABLE x", "none", "date:",
    "date:NOPE", "2147483647", "TRUE", "~nobody/x", "*", "[", "http://[::1", "-", "--", "--nope",
)  # fmt: skip
_SETTINGS = ("", " ", "NOPE", "-1", "0", "nan", "inf", "1e30", "9" * 30, "\x1b[31m", "ü", "x\ny", "[", "~nobody/x")
_ROOTS = ("", " ", "~nobody/x", "s3://bucket/x", "/dev/null/x", "/nope/\x1b", "/nope/a?b", "file://elsewhere/x")
_URLS = ("", "http://[::1:8088", "ftp://x", "localhost:8088", "http://", "http://127.0.0.1:9", "http://127.0.0.1:99999")
_BROKEN_FEEDS = (
    b"", b"{", b"[]", b"null", b'{"name": 1}', b"[" * 50_000, "{\"name\": \"Zürich\"}".encode("latin-1"), b"\x00\xff",
    b'{"name": "x", "type": "stream", "source": "X", "retention_days": 999999}', b'{"name": "x", "x": NaN}',
)  # fmt: skip
_AGAIN = re.compile(r"\b(again|wait|later)\b")
_COMMAND = re.compile(r"(?:python )?\b([a-z_]+)\.py((?: [^\s;,:()]+)*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One command, and what is spoiled before it."""

    script: str
    arguments: tuple[str, ...]
    settings: Mapping[str, str]
    spoiled: str

    def __str__(self) -> str:
        words = " ".join(ascii(word) for word in self.arguments)
        return f"{self.script}.py {words}  {dict(self.settings)!a}  {self.spoiled}"


def script(name: str) -> click.Command:
    command: click.Command = importlib.import_module(name).main
    return command


def attempts(seed: int, count: int, feeds: tuple[str, ...]) -> Iterator[Attempt]:
    """The commands number `seed * count` and following; the first of all give each option and each setting once."""
    dice = random.Random(seed)
    everything = [*all_options(), *all_settings()]
    for number in range(seed * count, (seed + 1) * count):
        due = everything[number] if number < len(everything) else None
        if isinstance(due, Option):
            command, words = script(due.script), [due.command] if due.command else []
            command = command.commands[due.command] if isinstance(command, click.Group) and words else command
            name, words = due.script, words + _options(dice, command, feeds, 0.1, due.option)
        else:
            name = dice.choice(SCRIPTS)
            words = _command(dice, script(name), feeds)
        settings = {}
        if isinstance(due, str) or dice.random() < 0.2:
            setting = due if isinstance(due, str) else dice.choice(all_settings())
            settings[setting] = dice.choice({"KSQLDB_URL": _URLS, "LAKE_ROOT": _ROOTS}.get(setting, _SETTINGS))
        spoiled = dice.choice(sorted(SPOILED)) if dice.random() < 0.3 else "nothing"
        yield Attempt(name, tuple(words), settings, spoiled)


@dataclasses.dataclass(frozen=True)
class Option:
    """An option of a script, or of one of its commands."""

    script: str
    command: str
    option: str


def all_options() -> list[Option]:
    commands = [(name, "", script(name)) for name in SCRIPTS]
    commands += [(name, inner, each) for name, _, group in commands for inner, each in _inner(group).items()]
    return [
        Option(name, inner, parameter.opts[0])
        for name, inner, command in commands
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.is_eager
    ]


def _inner(command: click.Command) -> dict[str, click.Command]:
    return command.commands if isinstance(command, click.Group) else {}


def all_settings() -> list[str]:
    return sorted(name.upper() for name in Settings.model_fields)


def _command(dice: random.Random, command: click.Command, feeds: tuple[str, ...]) -> list[str]:
    words = list[str]()
    if isinstance(command, click.Group) and dice.random() < 0.9:
        words += _options(dice, command, feeds, 0.03)
        words.append(dice.choice(sorted(command.commands)) if dice.random() < 0.97 else dice.choice(_TEXTS))
        command = command.commands.get(words[-1], command)
    return words + _options(dice, command, feeds, 0.2)


def _options(
    dice: random.Random, command: click.Command, feeds: tuple[str, ...], share: float, due: str = ""
) -> list[str]:
    words = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            count = dice.choice((0, 1, 2)) if parameter.nargs != 1 else int(dice.random() < 0.95)
            words += [_value(dice, parameter, feeds) for _ in range(count)]
        elif (
            isinstance(parameter, click.Option)
            and not parameter.is_eager
            and (parameter.opts[0] == due or dice.random() < (0.9 if parameter.required else share))
        ):
            words.append(parameter.opts[0])
            if not parameter.is_flag:
                words.append(_value(dice, parameter, feeds))
    if dice.random() < 0.03:
        words.append("--nope")
    return words


def _value(dice: random.Random, parameter: click.Parameter, feeds: tuple[str, ...]) -> str:
    if dice.random() < 0.25:
        return dice.choice(_TEXTS)
    if isinstance(parameter.type, click.Choice):
        return str(dice.choice(list(parameter.type.choices)))
    if isinstance(parameter.type, click.IntRange | click.FloatRange):
        return dice.choice(("1", "2", "3", "30"))
    if isinstance(parameter.type, click.Path):
        return dice.choice(("-", "/nope/x.csv", "/dev/full"))
    if parameter.name == "source":
        return dice.choice(("TRANSACTION_STREAM", "payment_method_totals", "NOPE"))
    return dice.choice(feeds)


def _feed_file(dice: random.Random, lake: Path) -> None:
    path = dice.choice(sorted((lake / "feeds" / "active").glob("*.json")))
    path.write_bytes(dice.choice(_BROKEN_FEEDS))


def _any_file(pattern: str) -> Any:
    def spoil(dice: random.Random, lake: Path) -> None:
        path = dice.choice(sorted(lake.glob(pattern)))
        way = dice.randrange(3)
        if way == 0:
            path.unlink()
        else:
            path.write_bytes(b"" if way == 1 else path.read_bytes()[: path.stat().st_size // 2])

    return spoil


def _no_log(dice: random.Random, lake: Path) -> None:
    path = dice.choice(sorted(lake.glob("*/*/_delta_log")))
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def _a_file_for_a_folder(dice: random.Random, lake: Path) -> None:
    path = lake / dice.choice(("logs", "views.sql.tmp", ".run.lock"))
    if not path.exists():
        path.mkdir() if path.name != "logs" else path.write_bytes(b"")


SPOILED = {
    "a feed's file": _feed_file,
    "a data file": _any_file("*/*/*=*/*.parquet"),
    "an entry of a log": _any_file("*/*/_delta_log/*.json"),
    "a feed's metadata": _any_file("*/*/_metadata.json"),
    "the views": _any_file("views.sql"),
    "a lost log": _no_log,
    "a folder": _a_file_for_a_folder,
}


def complaints(attempt: Attempt, done: Result, changed: bool) -> list[str]:
    """Everything that is wrong with how a command ended."""
    found, code = [], done.exit_code
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        found.append(f"a traceback: {done.exception!r}")
    text = done.stderr + done.stdout
    if "Traceback (most recent" in text or "fault of this program" in text:
        found.append("a fault of this program")
    if code not in (0, 1, 2, 75):
        found.append(f"exit code {code}")
    if sign := _CONTROL.search(text):
        found.append(f"control character {sign.group()!a}")
    if code == 2 and changed:
        found.append("wrong usage changed the lake")
    lines = done.stderr.splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    if len(hints) < len(errors):
        found.append("an error without a hint")
    if code in (2, 75) and not hints and "Usage: " not in done.stderr:
        found.append("no hint")
    if code == 1 and not errors and not done.stdout:
        found.append("an error that says nothing")
    if code == 0 and errors:
        found.append("an error with exit code 0")
    if code == 75 and not all(_AGAIN.search(hint) for hint in hints):
        found.append("75, and a hint to do something else")
    if code == 1 and hints and all(hint.startswith("run the same command again") for hint in hints):
        found.append("1, and a hint to run again")
    for hint in hints:
        found += _names_that_are_not_there(hint, attempt.script)
    if code == 0 and "--json" in attempt.arguments and "--help" not in attempt.arguments:
        try:
            if json.loads(done.stdout)["schema_version"] != 1:
                found.append("JSON of another version")
        except (ValueError, KeyError, TypeError):
            found.append("no JSON object")
    return found


def _names_that_are_not_there(hint: str, own: str) -> Iterator[str]:
    """Scripts, commands and options that a hint names and that do not exist."""
    named = list(_COMMAND.finditer(hint))
    rest = hint
    for match in named:
        rest = rest.replace(match.group(), " ")
        name, words = match[1], shlex.split(match[2].replace("'", "").replace('"', ""))
        if not (ROOT / f"{name}.py").exists():
            yield f"the hint names {name}.py"
            continue
        if name not in SCRIPTS:
            continue
        command: click.Command = script(name)
        if isinstance(command, click.Group) and words and not words[0].startswith("-"):
            inner = command.commands.get(words[0])
            if inner is None:
                yield f"the hint names the command {words[0]} of {name}.py"
                continue
            command = inner
        yield from (f"the hint names {word} of {match.group()}" for word in words if _unknown(word, [command]))
    around = [script(match[1]) for match in named if match[1] in SCRIPTS] + [script(own)]
    every = [each for command in around for each in (command, *getattr(command, "commands", {}).values())]
    yield from (f"the hint names {option}" for option in _OPTION.findall(rest) if _unknown(option, every))


def _unknown(word: str, commands: list[click.Command]) -> bool:
    known = {option for command in commands for parameter in command.params for option in parameter.opts} | {"--help"}
    return word.startswith("--") and word.rstrip(".") not in known
