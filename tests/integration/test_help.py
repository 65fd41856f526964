"""Help that a person can read: whole sentences, options in groups, and examples that the command line takes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click
import pytest
from click.testing import CliRunner

from pipeline.usage import COMMON, Described
from tests.integration.test_group_options import entry
from tests.integration.test_records import every_command


def help_of(main: click.Command, words: list[str]) -> str:
    done = CliRunner().invoke(main, [*words, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return done.stdout


def words_of(options: Sequence[click.Option]) -> set[str]:
    return {name for option in options for name in option.opts if name.startswith("--")}


@pytest.mark.parametrize(("script", "words", "found"), list(every_command()))
def test_help_fits_into_80_columns_and_cuts_nothing(script: str, words: list[str], found: click.Command) -> None:
    shown = help_of(entry(script), words)

    assert max(map(len, shown.splitlines())) <= 80
    assert not [line for line in shown.splitlines()[1:] if line.endswith("...")]
    for below in found.commands.values() if isinstance(found, click.Group) else ():
        sentence = " ".join((below.help or "").split()).partition(". ")[0].rstrip(".")
        assert sentence in " ".join(shown.split()), below.name


@pytest.mark.parametrize("found", [one.values[2] for one in every_command()])
def test_every_option_is_shown_once_in_its_group(found: click.Command) -> None:
    assert isinstance(found, Described)
    with click.Context(found, help_option_names=["-h", "--help"]) as context:
        sections = dict(found._sections(context))
        there = [one for one in found.get_params(context) if isinstance(one, click.Option)]
    shown = [option for options in sections.values() for option in options]

    assert sorted(one.name or "" for one in shown) == sorted(one.name or "" for one in there)
    named = {name for names in found.groups.values() for name in names}
    assert named - words_of(there) <= {"--name", "--type", "--source"}, "no option has such a name"
    assert words_of(sections["Common options"]) <= COMMON


@pytest.mark.parametrize(("script", "words", "found"), list(every_command()))
def test_the_examples_of_a_command_are_taken_by_it(script: str, words: list[str], found: click.Command) -> None:
    assert isinstance(found, Described) and found.examples
    for example in found.examples:
        assert f"  python {example}\n" in help_of(entry(script), words)
        name, *rest = shlex.split(example.partition(" > ")[0])
        assert (name, rest[: len(words)]) == (f"{script}.py", words)
        if not isinstance(found, click.Group):
            found.make_context(name, rest[len(words) :])
        elif rest and rest[0] in found.commands:
            found.commands[rest[0]].make_context(rest[0], rest[1:])
        else:
            found.make_context(name, rest)
