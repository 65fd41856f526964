"""What is known of the lake as text for people: it fits into 80 columns where names and paths do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.lake.retention import Due
from pipeline.lake.unexpire import Expired
from pipeline.lake.upkeep import Taken
from pipeline.report.model import History, LakeState
from pipeline.text import as_table, plural, size_text
from pipeline.verify.verdict import Verdict


def stats_text(lake: LakeState) -> str:
    """One line a feed."""
    rows = [
        [
            told["feed"],
            f"{told['totals']['rows']:,}",
            size_text(told["totals"]["bytes"]),
            str(told["totals"]["files"]),
            str(told.get("current_version") or ""),
            (told.get("last_commit_at") or "never")[:16],
        ]
        for told in lake.feeds
    ]
    return as_table(rows, ["feed", "rows", "size", "files", "version", "last commit"], right={1, 2, 3, 4})


def report_text(lake: LakeState) -> str:
    """One block a feed."""
    lines = [f"Data lake {lake.root}", ""]
    for told in lake.feeds:
        lines.append(f"{told['feed']}  ({told['type']}, source {told['source']})")
        if not told["exported"]:
            lines += ["  not exported yet", ""]
            continue
        totals = told["totals"]
        size = size_text(totals["bytes"])
        lines.append(f"  {plural(totals['rows'], 'row')} in {plural(totals['files'], 'file')}, {size}")
        lines.append(f"  last commit {told['last_commit_at']}, Delta version {told['delta_version']}")
        if told["type"] == "stream":
            lines.append(f"  bookmark  {_offsets(told['bookmark'])}")
        else:
            lines.append(f"  current version {told['current_version']}")
        lines += _partition_lines(told["partitions"])
        lines.append("")
    return "\n".join(lines)


def _offsets(bookmark: dict[str, int] | None) -> str:
    return ", ".join(f"partition {p}: {mark}" for p, mark in (bookmark or {}).items()) or "none"


def _partition_lines(partitions: Sequence[dict[str, Any]], most: int = 8) -> list[str]:
    shown = partitions[-most:]
    rows = [[f"  {p['partition']}", f"{p['rows']:,}", size_text(p["bytes"]), str(p["files"])] for p in shown]
    lines = as_table(rows, ["  partition", "rows", "size", "files"], right={1, 2, 3}).splitlines() if rows else []
    if len(partitions) > most:
        lines.append(f"  and {len(partitions) - most} older partitions")
    return lines


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
    """One line, and one more for each finding."""
    parts = ["; ".join(("ok", *verdict.compared)) if verdict.exported else "not exported yet"]
    if verdict.findings:
        parts = [plural(len(verdict.findings), "problem")]
    elif verdict.errors:
        parts = []
    parts += [f"not all could be verified: {error.message}" for error in verdict.errors]
    findings = [f"  {finding.what}: {finding.detail}" for finding in verdict.findings]
    return "\n".join([f"{verdict.feed.name}: {'; '.join(parts)}", *findings])


def would_expire_text(due: Due) -> str:
    rows = f" ({plural(due.row_count, 'row')})" if due.files else ""
    return f"{due.feed}: would expire {', '.join(due.partitions) or 'nothing'}{rows}"


def expired_text(feed: str, taken: Taken) -> str:
    deleted = plural(taken.deleted_files, "old file")
    return f"{feed}: expired {', '.join(taken.partitions) or 'nothing'}; {deleted} deleted"


def returned_text(feed: str, found: Expired, verb: str) -> str:
    """What came back, or would, as `verb` says, and why the rest cannot."""
    if not found.files and not found.lost:
        return f"{feed}: nothing expired that could come back"
    lines = [f"{feed}: {verb} {plural(found.row_count, 'row')}: {', '.join(found.partitions)}"]
    lines += [f"  {plural(rows, 'row')} cannot come back: {reason}" for reason, rows in found.lost.items()]
    return "\n".join(lines)
