"""The page of the lake for people who would rather look: one HTML file that needs no other.

It is written whole beside its place and then moved there, so whoever opens it sees the old page or the new one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

import click

from commands.lake_upkeep import open_lake
from pipeline import cli
from pipeline.errors import WrongUsage

_C = TypeVar("_C", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a page to FILE (- is stdout)."),
    click.option("--lang", type=click.Choice(["en", "fr"]), help="Language of the page; default: en."),
    click.option("--source", "with_source", is_flag=True, help="The page shows how far each stream is behind."),
    click.option("--warehouse", "with_warehouse", is_flag=True, help="The page shows the warehouse's snapshots too."),
)


def page_options(command: _C) -> _C:
    """Options of the page, in the order of the help."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def is_asked_for(html_file: Path | None, lang: str | None, with_source: bool, with_warehouse: bool) -> bool:
    """Raises WrongUsage for options of a page where none is asked for."""
    if html_file is None and (lang is not None or with_source or with_warehouse):
        raise WrongUsage("--lang, --source and --warehouse are options of the page", "add --html FILE")
    return html_file is not None


def write_page(html_file: Path, lang: Literal["en", "fr"] | None, with_source: bool, with_warehouse: bool) -> NoReturn:
    """Writes the page and ends the command. A warehouse that is away is said on the page, and is no failure."""
    from pipeline.display import showing
    from pipeline.health import look_at
    from pipeline.progress import Progress
    from pipeline.report.page.facts import page_facts
    from pipeline.report.page.page import page_html
    from pipeline.text import plural, size_text
    from pipeline.warehouse.connection import Connection

    settings, lake = open_lake()
    warehouse = (lambda: Connection(settings.mysql_server())) if with_warehouse else None
    source, min_free_bytes = settings.sources if with_source else None, settings.health_min_free_mb * 10**6
    progress = Progress()
    with showing(progress):
        health = look_at(lake, *lake.feeds.choose(), cli.utc_now(), min_free_bytes, source, progress)
        facts = page_facts(lake, health, settings.compact_target_bytes, warehouse, progress)
    page = page_html(facts, lang or "en")
    with cli.output_file(html_file) as file:
        file.write(page)
    if html_file != Path("-"):
        cli.tell(f"wrote a page of {plural(len(facts.feeds), 'feed')} to {html_file} ({size_text(len(page.encode()))})")
    cli.end_with(facts.lake.errors)
