"""The state of the lake as text for people, within 80 columns if names and paths allow it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.lake.metadata import FeedState, PartitionState
from pipeline.printable import printable
from pipeline.report.feeds import retention_text
from pipeline.report.model import History, LakeState
from pipeline.text import as_table, plural, rfc3339, size_text, wrapped

if TYPE_CHECKING:  # what only their own commands import
    from pipeline.feeds import Feed
    from pipeline.lake.compaction import Compacted, Group
    from pipeline.lake.copy import CopiedFeed
    from pipeline.lake.published import Published
    from pipeline.lake.retention import Due, Taken
    from pipeline.lake.unexpire import Expired
    from pipeline.verify.verdict import Verdict


def lake_lines(lake: LakeState, report: bool) -> list[str]:
    """The `report`, or the statistics where there is a feed."""
    return [report_text(lake)] if report else [stats_text(lake)] if lake.feeds else []


def stats_text(lake: LakeState) -> str:
    """One line a feed, the totals, and then how each feed is kept and what it is."""
    rows = [
        [
            state.feed.name,
            f"{state.totals.row_count:,}",
            size_text(state.totals.size_bytes),
            str(state.table.current_version or "") if state.table else "",
            f"{state.table.last_commit_at:%Y-%m-%d %H:%M}" if state.table else "never",
        ]
        for state in lake.feeds
    ]
    totals = [f"{lake.totals.row_count:,}", size_text(lake.totals.size_bytes)]
    head, foot = ["feed", "rows", "size", "version", "last commit (UTC)"], [kinds_text(lake), *totals, "", ""]
    kept = [[state.feed.name, state.feed.partitioning, state.feed.storage_mode, retention_text(state.feed)]
            for state in lake.feeds]  # fmt: skip
    parts = [as_table(rows, head, {1, 2, 3}, foot), as_table(kept, ["feed", "partitioned by", "mode", "kept"])]
    described = [state.feed for state in lake.feeds if state.feed.description]
    if described:
        parts.append("\n".join(wrapped(f"{feed.name}: {printable(feed.description)}") for feed in described))
    return "\n\n".join(parts)


def kinds_text(lake: LakeState) -> str:
    """`4 streams, 4 tables`."""
    return f"{plural(lake.stream_count, 'stream')}, {plural(lake.table_count, 'table')}"


def report_text(lake: LakeState) -> str:
    """One block a feed, and the totals."""
    totals = lake.totals
    files = f"{plural(totals.row_count, 'row')} in {plural(totals.file_count, 'file')}, {size_text(totals.size_bytes)}"
    blocks = ["\n  ".join(_feed_lines(state)) for state in lake.feeds]
    return "\n\n".join([f"Data lake {lake.root}", *blocks, f"{kinds_text(lake)}: {files}"])


def _feed_lines(state: FeedState) -> Iterator[str]:
    feed, table, totals = state.feed, state.table, state.totals
    yield f"{feed.name}  ({feed.type}, source {feed.source})"
    if feed.description:
        yield wrapped(printable(feed.description), indent="  ").lstrip()
    yield f"{feed.partitioning} / {feed.storage_mode}, kept {retention_text(feed)}"
    if table is None:
        yield "not exported yet"
        return
    files = f"{plural(totals.row_count, 'row')} in {plural(totals.file_count, 'file')}"
    yield f"{files}, {size_text(totals.size_bytes)}"
    yield f"last commit {rfc3339(table.last_commit_at)}, Delta version {table.delta_version}"
    if feed.type == "table":
        yield f"current version {table.current_version}"
    elif table.bookmark:
        offsets = [f"partition {partition}: {offset}" for partition, offset in table.bookmark.items()]
        yield from textwrap.wrap(f"bookmark  {', '.join(offsets)}", 78, subsequent_indent=" " * 10)
    yield from _partition_lines(table.partitions)


def _partition_lines(partitions: Sequence[PartitionState], most: int = 8) -> Iterator[str]:
    if not partitions:
        return
    rows = [
        [
            str(shown.partition),
            f"{shown.totals.row_count:,}",
            size_text(shown.totals.size_bytes),
            str(shown.totals.file_count),
        ]
        for shown in partitions[-most:]
    ]
    yield from as_table(rows, ["partition", "rows", "size", "files"], right={1, 2, 3}).splitlines()
    if len(partitions) > most:
        yield f"and {plural(len(partitions) - most, 'older partition')}"


def history_text(history: History) -> str:
    """One line a commit, newest first."""
    if not history.exported:
        return f"{history.feed} is not exported yet"
    rows = [
        [
            str(commit.delta_version),
            f"{commit.at:%Y-%m-%dT%H:%M:%SZ}",
            commit.kind,
            str(commit.version or ""),
            "" if commit.row_count is None else f"{commit.row_count:,}",
            commit.outcome or "",
        ]
        for commit in history.commits
    ]
    return as_table(rows, ["delta", "at", "what", "version", "rows", "end"], right={0, 3, 4})


def verdict_text(verdict: Verdict) -> str:
    """One line, and one more for each finding, or without findings for each further comparison."""
    lines = [f"{finding.what}: {finding.detail}" for finding in verdict.findings]
    unverified = [f"not all could be verified: {error.message}" for error in verdict.errors]
    if lines:
        said = [plural(len(lines), "problem"), *unverified]
    elif unverified:
        said = unverified
    elif verdict.exported:
        said, lines = ["ok", *verdict.compared[:1]], list(verdict.compared[1:])
    else:
        said = ["not exported yet"]
    head = wrapped(f"{verdict.feed.name}: {'; '.join(said)}")
    return "\n".join([head, *(wrapped(line, indent="  ") for line in lines)])


def would_expire_text(due: Due) -> str:
    rows = f" ({plural(due.row_count, 'row')})" if due.files else ""
    return f"{due.title}: would expire {', '.join(due.partitions) or 'nothing'}{rows}"


def expired_text(feed: Feed, taken: Taken) -> str:
    deleted = plural(taken.deleted_files, "old file")
    rows = f"{feed.title}: expired {', '.join(taken.partitions) or 'nothing'}; {deleted} deleted"
    beside = f"\n{feed.of_unreadable().title}: expired {', '.join(taken.of_unreadable)}"
    return rows + beside if taken.of_unreadable else rows


def returned_text(feed: Feed, found: Expired, verb: str) -> str:
    """The rows that came back, or would (see `verb`), and the reasons why others cannot."""
    tables = [(feed, found), *([(feed.of_unreadable(), found.beside)] if found.beside else [])]
    lines = []
    for own, part in tables:
        if part.files or part.lost:
            lines.append(f"{own.title}: {verb} {plural(part.row_count, 'row')}: {', '.join(part.partitions)}")
        lines += [f"  {plural(rows, 'row')} cannot come back: {reason}" for reason, rows in part.lost.items()]
    return "\n".join(lines) or f"{feed.title}: nothing expired that could come back"


def would_compact_text(feed: str, groups: Sequence[Group]) -> str:
    if not groups:
        return f"{feed}: nothing to compact"
    files = [file for group in groups for file in group]
    size, partitions = sum(file.size_bytes for file in files), {file.partition for file in files}
    of = f"{plural(len(files), 'file')} ({size_text(size)}) in {plural(len(partitions), 'partition')}"
    return f"{feed}: would make {plural(len(groups), 'file')} of {of}"


def would_copy_text(found: CopiedFeed) -> str:
    if found.delta_version is None:
        return f"{found.feed}: no data yet"
    return f"{found.feed}: would copy {_copied_of(found)}"


def copied_text(done: CopiedFeed) -> str:
    if done.delta_version is None:
        return f"{done.feed}: no data yet"
    rows = f"Delta version {done.delta_version}, {plural(done.totals.row_count, 'row')}, the same on both sides"
    return f"{done.feed}: copied {_copied_of(done)}; {rows}"


def _copied_of(feed: CopiedFeed) -> str:
    return (
        f"{feed.copied.file_count:,} of {plural(feed.totals.file_count, 'file')} ({size_text(feed.copied.size_bytes)})"
    )


def published_text(done: Published) -> str:
    new = f"{plural(done.new_snapshots, 'new snapshot')} of {done.snapshots}" if done.new_snapshots else "nothing new"
    return f"{done.feed}: Delta version {done.delta_version}, {new}; {done.location}"


def compacted_text(done: Compacted) -> str:
    if not done.taken:
        return f"{done.feed}: nothing to compact"
    before, after = (
        f"{plural(len(files), 'file')} ({size_text(sum(file.size_bytes for file in files))})"
        for files in (done.taken, done.made)
    )
    return f"{done.feed}: {before} in {plural(len(done.partitions), 'partition')} became {after}"
