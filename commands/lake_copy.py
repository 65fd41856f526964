"""The command that copies a lake to another place: to another disk, into a bucket, or out of one.

A kill leaves what was copied; the same command goes on from there, and the lake that is copied is only read.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

import click

from pipeline import cli, options, scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.lake.copy import CopiedFeed, LakeCopy


@scripts.command(
    "copy-lake",
    examples=[
        "metadata_utils.py copy-lake data_lake s3://company/lake --dry-run",
        "metadata_utils.py copy-lake data_lake s3://company/lake",
    ],
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--dry-run", is_flag=True, help="Say how much would be copied.")
@options.json_output
def copy_lake(source: str, target: str, dry_run: bool, json_output: bool) -> None:
    """Copy a whole lake to an empty place, or what is new to an earlier copy, and prove that both are the same.

    FROM and TO are folders, or s3://, gs:// or az://bucket/prefix. FROM is only read.
    """
    from data_lake_config import load_settings
    from pipeline.lake.copy import LakeCopy
    from pipeline.lake.lake import Lake
    from pipeline.lake.stores import open_store

    settings, now = load_settings(), cli.utc_now()
    with _hints_of_places():
        old, new = (open_store(url, settings.store_access()) for url in (source, target))
        copy = LakeCopy(old, new, cli.holder("metadata_utils.py copy-lake", now), cli.tell)
        copy.refuse_other()
        if dry_run:
            _show_missing(copy, json_output)
        lake = Lake(target, cli.tell, settings.expire_grace_hours, store=new)
        scripts.keep_record(lake, "metadata_utils", now, settings.lake_log_format)
        with lake.hold_run(copy.holder):
            lake.make_folders()
            _copy_feeds(copy, json_output)


@contextlib.contextmanager
def _hints_of_places() -> Iterator[None]:
    """Has hints speak of FROM and TO: LAKE_ROOT plays no part for them."""
    from pipeline.errors import LakeMissing, PipelineError

    try:
        yield
    except LakeMissing as error:
        raise LakeMissing(error.message, "give as FROM the place of a lake") from None
    except PipelineError as error:
        error.hint = error.hint.replace("set LAKE_ROOT to", "give")
        raise


def _show_missing(copy: LakeCopy, json_output: bool) -> NoReturn:
    from pipeline.display import working
    from pipeline.faults import collected
    from pipeline.report import json_forms, text
    from pipeline.text import UNCHANGED

    feeds, unreadable = copy.feeds()
    done: list[CopiedFeed] = []
    errors = [*unreadable]
    for feed in feeds:
        with working(feed.name, "comparing"), collected(feed.name, errors), _hints_of_places():
            done.append(copy.missing(feed))
    lines = [text.would_copy_text(one) for one in done]
    cli.show(json_output, json_forms.copy_json(copy, done, errors, [], dry_run=True), [*lines, UNCHANGED])
    cli.end_with(errors)


def _copy_feeds(copy: LakeCopy, json_output: bool) -> NoReturn:
    from pipeline.display import working
    from pipeline.faults import collected
    from pipeline.report import json_forms, text

    feeds, unreadable = copy.feeds()
    done: list[CopiedFeed] = []
    errors = [*unreadable]
    for feed in feeds:
        with working(feed.name, "copying") as meter, collected(feed.name, errors), _hints_of_places():
            done.append(copy.copy_feed(feed, meter))
    copy.finish()
    behind = [one.feed for one in done if copy.is_behind(one)]
    if behind:
        cli.warn(f"exported since they were copied: {', '.join(behind)}; run the same command again for what is new")
    form = json_forms.copy_json(copy, done, errors, behind, dry_run=False)
    cli.show(json_output, form, [text.copied_text(one) for one in done])
    cli.end_with(errors)


COMMANDS = (copy_lake,)
