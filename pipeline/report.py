"""What is in the lake, for people: feeds, partitions, commits and verdicts as lines of text and rows of a table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.lake.catalog import describe_table
from pipeline.lake.table import LakeTable
from pipeline.text import as_table, plural, size_text
from pipeline.verify.verdict import Verdict

CSV_COLUMNS = ("feed", "type", "source", "rows", "bytes", "files", "partitions", "current_version", "last_commit_at")


def describe_lake(root: Path, feeds: Iterable[Feed]) -> tuple[list[dict[str, Any]], list[PipelineError]]:
    """What the log of each feed tells, by name, and the errors of those whose log cannot be read."""
    told, errors = list[dict[str, Any]](), list[PipelineError]()
    for feed in feeds:
        try:
            with contained(feed.name):
                told.append(describe_table(LakeTable(root, feed)))
        except PipelineError as error:
            errors.append(error)
    return told, errors


def flat(told: dict[str, Any]) -> dict[str, Any]:
    """One feed's description as a row of the CSV."""
    return {
        "feed": told["feed"],
        "type": told["type"],
        "source": told["source"],
        **told["totals"],
        "partitions": len(told.get("partitions", ())),
        "current_version": told.get("current_version"),
        "last_commit_at": told.get("last_commit_at"),
    }


def stats_table(lake: Sequence[dict[str, Any]]) -> str:
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
        for told in lake
    ]
    return as_table(rows, ["feed", "rows", "size", "files", "version", "last commit"], right={1, 2, 3, 4})


def report_lines(lake: Sequence[dict[str, Any]], root: Path) -> list[str]:
    """The report for people: one block a feed, at most 80 columns unless a path is longer."""
    lines = [f"Data lake {root}", ""]
    for told in lake:
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
    return lines


def _offsets(bookmark: dict[str, int] | None) -> str:
    return ", ".join(f"partition {p}: {mark}" for p, mark in (bookmark or {}).items()) or "none"


def _partition_lines(partitions: Sequence[dict[str, Any]], most: int = 8) -> list[str]:
    shown = partitions[-most:]
    rows = [[f"  {p['partition']}", f"{p['rows']:,}", size_text(p["bytes"]), str(p["files"])] for p in shown]
    lines = as_table(rows, ["  partition", "rows", "size", "files"], right={1, 2, 3}).splitlines() if rows else []
    if len(partitions) > most:
        lines.append(f"  and {len(partitions) - most} older partitions")
    return lines


def commits_of(table: LakeTable) -> list[dict[str, Any]]:
    """Each commit of a feed, newest first: Delta version, time, what it did and how many rows."""
    rows = []
    for entry in table.history():
        note = dict(entry.get("pipeline") or {"kind": str(entry.get("operation", "")).lower()})
        when = dt.datetime.fromtimestamp(entry["timestamp"] / 1000, dt.UTC)
        rows.append({"delta_version": entry["version"], "at": f"{when:%Y-%m-%dT%H:%M:%SZ}", **note})
    return rows


def commits_table(commits: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            str(commit["delta_version"]),
            commit["at"],
            str(commit.get("kind", "")),
            str(commit.get("version") or ""),
            f"{commit['rows']:,}" if "rows" in commit else "",
            str(commit.get("outcome") or ""),
        ]
        for commit in commits
    ]
    return as_table(rows, ["delta", "at", "what", "version", "rows", "end"], right={0, 3, 4})


def verdict_lines(verdict: Verdict) -> list[str]:
    """The verdict for people: one line, and one more for each finding."""
    parts = ["".join(verdict.compared)] if not verdict.errors else []
    if verdict.findings:
        parts = [plural(len(verdict.findings), "problem")]
    parts += [f"not all could be verified: {error.message}" for error in verdict.errors]
    findings = [f"  {finding.what}: {finding.detail}" for finding in verdict.findings]
    return [f"{verdict.feed.name}: {'; '.join(parts)}", *findings]
