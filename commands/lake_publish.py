"""The command that lets other engines read the lake's files as tables of their own format.

Each feed is published by itself: a kill leaves what was published before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from commands.completion import feed_names
from commands.lake_upkeep import open_lake, upkeep_of
from pipeline import cli, options, scripts
from pipeline.errors import PipelineError, SettingsInvalid

if TYPE_CHECKING:
    from pipeline.feeds import Feed
    from pipeline.lake.lake import Upkeep
    from pipeline.lake.published import Published


@scripts.command(examples=["metadata_utils.py publish --iceberg", "metadata_utils.py publish rates --ducklake"])
@click.argument("feeds", nargs=-1, shell_complete=feed_names())
@click.option("--iceberg", is_flag=True, help="As Iceberg: metadata only, over the same data files.")
@click.option("--ducklake", is_flag=True, help="As DuckLake: a catalog only, over the same data files.")
@click.option(
    "--catalog", metavar="NAME", help="Register the Iceberg tables in a catalog of pyiceberg's configuration."
)
@click.option("--namespace", default="lake", show_default=True, help="The namespace of the tables in the catalog.")
@options.json_output
def publish(
    feeds: tuple[str, ...], iceberg: bool, ducklake: bool, catalog: str | None, namespace: str, json_output: bool
) -> None:
    """Let other engines read the feeds as Iceberg or DuckLake tables; what is new since the last time is added."""
    from pipeline.display import working
    from pipeline.faults import collected
    from pipeline.lake.published import Published
    from pipeline.report import json_forms, text

    if not iceberg and (catalog or not ducklake):
        raise click.UsageError("--catalog needs --iceberg" if catalog else "give --iceberg or --ducklake")
    opened = _, lake = open_lake()
    chosen, unreadable = lake.feeds.choose(feeds)
    errors: list[PipelineError] = [*unreadable]
    upkeep, done = upkeep_of(opened, "publish"), list[Published]()
    ways = _ways(iceberg, ducklake, catalog, namespace)
    for index, feed in enumerate(chosen):
        for way in ways:
            with working(feed.name, "publishing"), collected(feed.name, errors):
                done.append(way(upkeep.numbered(index), feed))
    cli.show(json_output, json_forms.published_json(done, errors), [text.published_text(one) for one in done])
    cli.end_with(errors)


def _ways(
    iceberg: bool, ducklake: bool, catalog: str | None, namespace: str
) -> list[Callable[[Upkeep, Feed], Published]]:
    """What is done with each feed."""
    return [*([_as_iceberg(catalog, namespace)] if iceberg else []), *([_as_ducklake()] if ducklake else [])]


def _as_iceberg(catalog: str | None, namespace: str) -> Callable[[Upkeep, Feed], Published]:
    from importlib.util import find_spec

    if find_spec("pyiceberg") is None:
        raise SettingsInvalid(
            "the package pyiceberg is not installed", "python -m pip install -c requirements.lock '.[iceberg]'"
        )
    from pipeline.lake.iceberg import publish_feed
    from pipeline.lake.iceberg_catalog import open_catalog, register

    there = open_catalog(catalog, namespace) if catalog else None

    def publish_and_register(upkeep: Upkeep, feed: Feed) -> Published:
        done = publish_feed(upkeep, feed)
        if there is not None:
            register(there, namespace, done)
        return done

    return publish_and_register


def _as_ducklake() -> Callable[[Upkeep, Feed], Published]:
    from pipeline.lake.ducklake import publish_feed_ducklake

    return publish_feed_ducklake


COMMANDS = (publish,)
