"""Whether the lake is well: in a command of its own, and at a glance. Nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import click

from commands.lake_upkeep import open_lake
from pipeline import cli, options, scripts


@scripts.command(examples=["metadata_utils.py health", "metadata_utils.py health --source --prometheus lake.prom"])
@click.option("--source", "with_source", is_flag=True, help="Also ask the server how far the lake is behind it.")
@click.option(
    "--prometheus", "metrics_file", type=click.Path(path_type=Path), metavar="FILE", help="Also write metrics: x.prom."
)
@options.json_output
def health(with_source: bool, metrics_file: Path | None, json_output: bool) -> None:
    """Say whether each feed is fresh and large enough by its own limits, and the lake sound. Exits 1 when not."""
    from pipeline.health import look_at
    from pipeline.report import health as report

    settings, lake = open_lake()
    source, min_free_bytes = settings.sources if with_source else None, settings.health_min_free_mb * 10**6
    found = look_at(lake, *lake.feeds.choose(), cli.utc_now(), min_free_bytes, source)
    if metrics_file is not None:
        from pipeline.report.metrics import metrics_text

        with cli.output_file(metrics_file) as file:
            file.write(metrics_text(found))
    cli.show(json_output, report.health_json(found), report.health_lines(found))
    cli.end_with(found.errors, wrong=bool(found.problems))


def show_glance() -> NoReturn:
    """Shows the lake at a glance and ends the command; problems are shown, and are no failure of it."""
    from pipeline.health import look_at
    from pipeline.report.glance import glance_lines

    settings, lake = open_lake()
    found = look_at(lake, *lake.feeds.choose(), cli.utc_now(), settings.health_min_free_mb * 10**6)
    cli.show(False, None, glance_lines(found))
    cli.end_with(found.errors)


COMMANDS = (health,)
