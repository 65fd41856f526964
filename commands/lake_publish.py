"""The command that lets other engines read the lake's files as tables of their own format.

Each feed is published by itself: a kill leaves what was published before.
"""

from __future__ import annotations

import click

from commands.completion import feed_names
from commands.lake_upkeep import open_lake, upkeep_of
from pipeline import cli, options, scripts
from pipeline.errors import PipelineError, SettingsInvalid


@scripts.command(examples=["metadata_utils.py publish --iceberg", "metadata_utils.py publish rates --iceberg"])
@click.argument("feeds", nargs=-1, shell_complete=feed_names())
@click.option("--iceberg", is_flag=True, required=True, help="As Iceberg: metadata only, over the same data files.")
@click.option("--catalog", metavar="NAME", help="Register the tables in a catalog of pyiceberg's configuration.")
@click.option("--namespace", default="lake", show_default=True, help="The namespace of the tables in the catalog.")
@options.json_output
def publish(feeds: tuple[str, ...], iceberg: bool, catalog: str | None, namespace: str, json_output: bool) -> None:
    """Let other engines read the feeds as Iceberg tables; what is new since the last time is added."""
    from importlib.util import find_spec

    if iceberg and find_spec("pyiceberg") is None:
        raise SettingsInvalid(
            "the package pyiceberg is not installed", "python -m pip install -c requirements.lock '.[iceberg]'"
        )
    from pipeline.faults import collected
    from pipeline.lake.iceberg import publish_feed
    from pipeline.lake.iceberg_catalog import open_catalog, register
    from pipeline.lake.published import Published
    from pipeline.report import json_forms, text

    opened = _, lake = open_lake()
    chosen, unreadable = lake.feeds.choose(feeds)
    errors: list[PipelineError] = [*unreadable]
    upkeep, done = upkeep_of(opened, "publish"), list[Published]()
    there = open_catalog(catalog, namespace) if catalog else None
    for index, feed in enumerate(chosen):
        with collected(feed.name, errors):
            done.append(publish_feed(upkeep.numbered(index), feed))
            if there is not None:
                register(there, namespace, done[-1])
    cli.show(json_output, json_forms.published_json(done, errors), [text.published_text(one) for one in done])
    cli.end_with(errors)


COMMANDS = (publish,)
