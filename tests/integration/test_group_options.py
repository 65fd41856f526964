"""An option given before a subcommand counts for it or is refused, in every script: found by click's own lists."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from pipeline.options import Day, Moment
from tests.support import ROOT

SCRIPTS = ["manage_feeds", "export_to_data_lake", "metadata_utils", "sync_to_mysql", "test_setup", "data_lake_config"]
SHARED = {"quiet", "verbose", "log_format", "version"}
Case = tuple[click.Group, click.Option, str]


def entry(script: str) -> click.Command:
    main = importlib.import_module(script).main
    assert isinstance(main, click.Command)
    return main


def groups(command: click.Command) -> Iterator[click.Group]:
    """A script's group, and any below it."""
    if isinstance(command, click.Group):
        yield command
        for below in command.commands.values():
            yield from groups(below)


def cases() -> Iterator[Any]:
    for script in SCRIPTS:
        for group in groups(entry(script)):
            for option in group.params:
                assert isinstance(option, click.Option), f"{script} takes an argument before its commands"
                if option.name in SHARED:  # each command has them itself: test_records.py
                    continue
                for name in group.commands:
                    yield pytest.param(group, option, name, id=f"{script} {option.opts[-1]} {name}")


def words(parameter: click.Parameter) -> list[str]:
    """What a person types for it: a value that its type takes, other than the default."""
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [parameter.opts[-1]]
    if isinstance(parameter.type, click.Choice):
        value = next(str(choice) for choice in parameter.type.choices if choice != parameter.default)
    elif isinstance(parameter.type, click.IntRange | click.types.IntParamType):
        value = "7"
    elif isinstance(parameter.type, click.FloatRange | click.types.FloatParamType):
        value = "7.5"
    elif isinstance(parameter.type, Day | Moment):
        value = "2026-11-20"
    else:
        value = "given"
    return [parameter.opts[-1], value] if isinstance(parameter, click.Option) else [value]


def what_it_gets(monkeypatch: pytest.MonkeyPatch, case: Case, before: list[str]) -> tuple[int, str, Any]:
    """How `<before> <subcommand>` ends, what it says, and what reaches the subcommand, which is not carried out."""
    group, _, name = case
    command, got = group.commands[name], list[Any]()

    @click.pass_context
    def record(context: click.Context, /, *_: Any, **__: Any) -> None:
        got.append((dict(context.params), repr(context.obj), getattr(context.obj, "password", "")))

    monkeypatch.setattr(command, "callback", record)
    needed = [word for parameter in command.params if parameter.required for word in words(parameter)]
    done = CliRunner().invoke(group, [*before, name, *needed])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stderr, got


@pytest.mark.parametrize(("group", "option", "name"), list(cases()))
def test_an_option_before_a_subcommand_counts_for_it_or_is_refused(
    group: click.Group, option: click.Option, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    case = (group, option, name)
    plain_code, plain_told, plain = what_it_gets(monkeypatch, case, [])
    assert (plain_code, len(plain)) == (0, 1), plain_told

    code, message, got = what_it_gets(monkeypatch, case, words(option))

    if code == 2:
        assert option.opts[-1] in message
        assert got == []
    else:
        assert code == 0, message
        assert got != plain, f"{option.opts[-1]} is ignored by {name}"


def test_the_walk_sees_every_script_of_the_project() -> None:
    there = {path.stem for path in ROOT.glob("*.py") if "def main" in path.read_text(encoding="utf-8")}

    assert there == set(SCRIPTS)
