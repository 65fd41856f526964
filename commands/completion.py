"""What a shell completes beside options: the names of the lake's feeds; see `samples/completion.sh`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_C = TypeVar("_C", bound=Callable[..., Any])
Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def feed_names(kind: str | None = None, archived: bool = True) -> Completion:
    """Completes the names of feeds, of one kind or of all; a lake that cannot be read has none to offer."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
        from data_lake_config import load_settings
        from pipeline.errors import PipelineError

        try:
            feeds = load_settings().lake(lambda _: None).feeds
            found = feeds.readable() if archived else feeds.list().feeds
        except PipelineError:
            return []
        names = [feed.name for feed in found if kind in (None, feed.type)]
        return sorted(name for name in names if name.startswith(incomplete))

    return complete


def feed_option(kind: str, help_text: str) -> Callable[[_C], _C]:
    """The option --stream or --table, for feeds of that kind."""
    complete = feed_names(kind, archived=False)
    return click.option(f"--{kind}", f"{kind}s", multiple=True, metavar="FEED", help=help_text, shell_complete=complete)
