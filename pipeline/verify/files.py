"""Is each committed file there, with the bytes that were written, and is each row there once? Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from pipeline.findings import Finding
from pipeline.lake.files import DataFile, file_problem
from pipeline.lake.table import LakeTable
from pipeline.verify.verdict import Verdict


def check_files(table: LakeTable) -> Verdict:
    """Everything that is wrong between the log and the files; no finding is the proof that nothing is.

    Each committed file exists with the size, row count and checksum of what was written; no (topic partition,
    offset) is there twice; no offset is at or after its bookmark.
    """
    damaged = damaged_files(table)
    findings = [Finding(table.feed.name, problem, file.path) for file, problem in damaged]
    findings += row_findings(table, damaged)
    if is_current_lost(table):
        findings.append(
            Finding(table.feed.name, "the current version has no files", f"version {table.current_version}")
        )
    # A run that was killed early leaves an empty table.
    exported = table.current_version is not None or bool(table.bookmarks())
    return Verdict(table.feed, tuple(findings), exported=exported, damaged=bool(findings))


def damaged_files(table: LakeTable) -> list[tuple[DataFile, str]]:
    """The files that are not what was written, each with what is wrong."""
    looked_at = ((file, file_problem(table.store, file)) for file in table.files)
    return [(file, problem) for file, problem in looked_at if problem is not None]


def is_current_lost(table: LakeTable) -> bool:
    """Whether the log of a table has no files of its current version."""
    return table.feed.type == "table" and table.exists and table.current_version not in (None, *table.versions())


def row_findings(table: LakeTable, damaged: Sequence[tuple[DataFile, str]]) -> list[Finding]:
    """What is wrong with the rows of a stream, as far as its files are not damaged."""
    bad = {file.path for file, _ in damaged}
    sound = [file for file in table.files if file.path not in bad]
    return _offset_findings(table, sound) if table.feed.type == "stream" and sound else []


def _offset_findings(table: LakeTable, files: Sequence[DataFile]) -> list[Finding]:
    name, found = table.feed.name, []
    paths = [table.uri(file.path) for file in files]
    with duckdb.connect() as connection:
        twice = connection.execute(
            "SELECT rowpartition, rowoffset, count(*) FROM read_parquet($paths, hive_partitioning = false)"
            " GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 20",
            {"paths": paths},
        ).fetchall()
        highest = connection.execute(
            "SELECT rowpartition, max(rowoffset) FROM read_parquet($paths, hive_partitioning = false) GROUP BY ALL",
            {"paths": paths},
        ).fetchall()
    for partition, offset, count in twice:
        found.append(Finding(name, "row is there more than once", f"partition {partition} offset {offset}: {count}"))
    bookmarks = table.bookmarks()
    for partition, offset in sorted(highest):
        due = bookmarks.get(partition, (0, None))[0]
        if offset >= due:
            found.append(
                Finding(name, "offset is not before the bookmark", f"partition {partition}: {offset}, bookmark {due}")
            )
    return found
