"""A stream's new rows into the lake: staged task by task, committed with the bookmarks that they reach.

Runs under the feed's lock. Killed at any point it leaves the last commit standing; the next run goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.export.commit import ExportResult, Run, gaps_note, prepare_table
from pipeline.export.plan import plan_read, stream_of
from pipeline.export.stage import Place, Staged, discard, stage
from pipeline.export.witness import Witnesses
from pipeline.lake.change import Change
from pipeline.lake.table import LakeTable
from pipeline.source import Bookmark, Sources


def export_stream(sources: Sources, table: LakeTable, run: Run, done: ExportResult) -> None:
    """Appends the rows after the bookmarks, committing every `run.commit_rows` rows and at the end.

    `done` says at each moment what was committed. Raises PushStalled after committing what came; any other error
    leaves what was committed before it.
    """
    stream = stream_of(sources, table)
    plan = plan_read(stream, table, run.limits, accept_gap=run.accept_gap)
    prepare_table(run, table, plan.columns, stream.source.topic)
    witnesses, ended = Witnesses(table, stream.source), list[Staged]()
    for number, task in enumerate(plan.tasks):
        place = Place.in_table(table, f"{run.id}{number:04x}")
        for part in stage(task, stream, run.limits, place, run.commit_rows):
            try:
                witnesses.check(task, part)
            except BaseException:
                discard(part.files)
                raise
            if part.row_count or part.bookmarks:
                commit_part(table, part, stream.source.partitions, run, done)
                if part.goes_on:
                    run.tell(f"{table.feed.name}: {done.rows:,} rows committed, going on")
            done.describe([*ended, part])
        ended.append(part)


def commit_part(table: LakeTable, part: Staged, partitions: int, run: Run, done: ExportResult) -> None:
    """Commits the rows of a part and the bookmarks behind them, in one entry of the log."""
    note = _note(run, part, table.bookmarks())
    change = Change(adds=part.files, bookmarks=part.bookmarks, partitions=partitions, note=note)
    done.commit(table, f"{run.id}{done.commits:04x}", change, run.now)


def _note(run: Run, part: Staged, before: Mapping[int, Bookmark]) -> dict[str, Any]:
    return {
        "kind": "stream",
        "run": run.id,
        "rows": part.row_count,
        "outcome": part.outcome or "in progress",
        "from": {str(p): before.get(p, Bookmark(0)).next_offset for p in sorted(part.bookmarks)},
        "to": {str(p): mark.next_offset for p, mark in sorted(part.bookmarks.items())},
        "gaps": gaps_note(part.gaps),
    }
