"""The command that makes few large files of many small ones.

It makes several commits a feed: a kill leaves the last one, and the next run rewrites `_metadata.json` and `views.sql`.
"""

from __future__ import annotations

import datetime as dt

import click

from commands.completion import feed_names
from commands.lake_upkeep import open_lake, upkeep_of
from pipeline import cli, options, scripts


@scripts.command(
    examples=["metadata_utils.py compact --dry-run", "metadata_utils.py compact rates --target-size 256MB"]
)
@click.argument("feeds", nargs=-1, shell_complete=feed_names())
@click.option("--before", type=options.Day(), help="The first day that is left alone; without it that is today.")
@click.option("--target-size", type=options.Size(), help="What a file should have: 128MB. Default: COMPACT_TARGET_MB.")
@click.option("--dry-run", is_flag=True, help="Say what would become of how many files.")
@options.json_output
def compact(
    feeds: tuple[str, ...], before: dt.date | None, target_size: int | None, dry_run: bool, json_output: bool
) -> None:
    """Make few large files of many small ones: the same rows, of days that are over; of archived feeds too."""
    from pipeline.display import working
    from pipeline.faults import collected
    from pipeline.lake.compaction import Compacted, Goal, compact_feed, would_compact
    from pipeline.report import json_forms, text
    from pipeline.text import UNCHANGED

    opened = settings, lake = open_lake()
    goal = Goal(target_size or settings.compact_target_bytes, before)
    chosen, unreadable = lake.feeds.choose(feeds, archived=True)
    errors, upkeep, forms, lines = [*unreadable], upkeep_of(opened, "compact", dry_run), [], []
    for index, feed in enumerate(chosen):
        done, before_it = Compacted(feed.name), len(errors)
        with working(feed.name, "compacting") as meter, collected(feed.name, errors):
            if dry_run:
                groups = would_compact(upkeep, feed, goal)
                forms.append(json_forms.would_compact_json(feed.name, groups))
                lines.append(text.would_compact_text(feed.name, groups))
            else:
                compact_feed(upkeep.numbered(index), feed, goal, done, meter)
        if not dry_run:
            forms.append(json_forms.compacted_json(done))
            errors += done.refused.values()
            lines += [text.compacted_text(done)] if done.taken or len(errors) == before_it else []
    cli.show(json_output, json_forms.compaction_json(forms, errors, dry_run), lines + [UNCHANGED] * dry_run)
    cli.end_with(errors)


COMMANDS = (compact,)
