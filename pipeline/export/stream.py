"""Exports a stream's new rows: staged task by task, committed together with their bookmarks.

Runs under the feed's lock. A kill at any point leaves the last commit; the next run goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.export.commit import (
    ExportResult,
    Run,
    commit_unreadable,
    gaps_note,
    prepare_table,
    unreadable_note,
)
from pipeline.export.plan import cut, due_rows, plan_read, stream_of
from pipeline.export.pool import Work
from pipeline.export.stage import Staged
from pipeline.export.witness import Witnesses
from pipeline.lake.change import Change
from pipeline.lake.names import name_of_part
from pipeline.lake.staging import Staging
from pipeline.lake.table import LakeTable
from pipeline.source import Bookmark, Source, Sources, Task


def export_stream(
    sources: Sources, table: LakeTable, run: Run, done: ExportResult, kept: LakeTable | None = None
) -> None:
    """Appends the rows after the bookmarks, committing every `run.commit_rows` rows and at the end.

    Records that are no rows are committed to the table `kept`, if it is given, always before the rows around them.

    `done` has at each moment what was committed. Raises ReadStalled after committing the rows that came; any other
    error leaves what was committed before it.
    """
    stream = stream_of(sources, table)
    plan = plan_read(stream, table, run.limits, accept_gap=run.accept_gap)
    prepare_table(run, table, plan.columns, stream.source.topic)
    tasks = cut(plan, run.commit_rows, run.engine)
    run.progress.of(table.feed.name).begin("reading", due_rows(tasks))
    commits = StreamCommits(table, stream.source, run, done, tasks, kept)
    work = Work(tasks, stream, run.limits, Staging.of(table, kept), run.id, run.commit_rows,
                run.progress.of(table.feed.name))  # fmt: skip
    with work.parts(run.engine) as parts:
        for number, part in parts:
            commits.commit(number, part)
    commits.end()


class StreamCommits:
    """Commits the staged parts of a stream's tasks; the parts of a topic partition come in the order of its offsets."""

    def __init__(
        self,
        table: LakeTable,
        source: Source,
        run: Run,
        done: ExportResult,
        tasks: Sequence[Task],
        kept: LakeTable | None = None,
    ) -> None:
        self._table, self._source, self._run, self._done, self._tasks = table, source, run, done, tasks
        self._kept = kept
        self._witnesses = Witnesses(table, source)
        self._last_parts: dict[int, Staged] = {}

    def commit(self, number: int, part: Staged) -> None:
        """Commits a part of the task `number`: its rows and the bookmarks after them, in one log entry.

        Raises TopicChanged when the witnesses show another topic than the lake's; the part is then discarded.
        """
        try:
            self._witnesses.check(self._tasks[number], part)
            if self._kept is not None:
                name = name_of_part(self._run.id, self._done.commits)
                commit_unreadable(self._kept, self._run, self._source, part.unreadable_files, part.bookmarks, name)
        except BaseException:
            part.discard()
            raise
        self._last_parts[number] = part
        more = part.goes_on or (part.outcome == "exact" and self._ended < len(self._tasks))
        run, done = self._run, self._done
        if part.row_count or part.bookmarks:
            note = _note(run, part, more, self._table.bookmarks())
            source = self._source
            change = Change(part.files, (), part.bookmarks, source.partitions, source.topic_id, note=note)
            done.commit(self._table, name_of_part(run.id, done.commits), change, run.now)
            if more:
                run.tell(f"{self._table.feed.name}: {done.rows:,} rows committed, going on")
        done.describe(list(self._last_parts.values()))

    def end(self) -> None:
        """Marks tasks that did not end as stopped by the time limit."""
        if self._ended < len(self._tasks):
            self._done.outcome = "time limit"

    @property
    def _ended(self) -> int:
        return sum(not part.goes_on for part in self._last_parts.values())


def _note(run: Run, part: Staged, more: bool, before: Mapping[int, Bookmark]) -> dict[str, Any]:
    return {
        "kind": "stream",
        "run": run.id,
        "rows": part.row_count,
        "outcome": "in progress" if more else part.outcome or "in progress",
        "from": {str(p): before.get(p, Bookmark(0)).next_offset for p in sorted(part.bookmarks)},
        "to": {str(p): mark.next_offset for p, mark in sorted(part.bookmarks.items())},
        "gaps": gaps_note(part.gaps),
        "unreadable": unreadable_note(part.unreadable),
    }
