"""What `--help` shows: options in groups, examples, and commands with whole sentences, within 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

COMMON = frozenset({"--quiet", "--verbose", "--log-format", "--version", "--help"})
"""The options that all scripts and commands have, shown last."""


class Described(click.Command):
    """A command with `examples`, words behind `python`, and `groups`: the names of options by the title above them.

    Options of no group are shown under Options, and those of every command last.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples, self.groups = tuple(examples), dict(groups or {})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, options in self._sections(ctx):
            records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def _sections(self, ctx: click.Context) -> Iterator[tuple[str, list[click.Option]]]:
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        rest = [one for one in options if not one.expose_value and not COMMON.isdisjoint(one.opts)]
        own = [one for one in options if one not in rest]
        for title, names in self.groups.items():
            yield title, [one for name in names for one in own if name in one.opts]
        grouped = {name for names in self.groups.values() for name in names}
        yield "Options", [one for one in own if grouped.isdisjoint(one.opts)]
        yield "Common options", rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{' ' * formatter.current_indent}python {example}\n")
        super().format_epilog(ctx, formatter)


class DescribedGroup(Described, click.Group):
    """A group of commands, each of which is shown with the whole first sentence of its help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, _first_sentence(command)) for name in self.list_commands(ctx)
                if (command := self.get_command(ctx, name)) is not None]  # fmt: skip
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _first_sentence(command: click.Command) -> str:
    text = " ".join((command.help or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".")
