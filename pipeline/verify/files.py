"""Checks the log, that each committed file exists, and as far as asked its contents; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb

from pipeline.findings import Finding
from pipeline.lake.file_proof import file_problem, size_problem
from pipeline.lake.files import DataFile
from pipeline.lake.table import LakeTable
from pipeline.progress import Meter
from pipeline.text import plural
from pipeline.verify.log_sums import log_findings
from pipeline.verify.removed import bounds_of, overlap
from pipeline.verify.verdict import Verdict


def check_files(table: LakeTable, read_since: str | None = "", meter: Meter | None = None) -> Verdict:
    """Compares log and files. Without a finding the log fits together, and each file has the size that was written.

    `read_since` is the id of a run, empty for the first: only files that it or later runs wrote are looked at, and they
    are read; with None no file is. Files that were read have the rows and the checksum that were written, no (topic
    partition, offset) of them is there twice, in older files either, and none is at or after its bookmark. `meter`
    counts the files' rows and bytes.
    """
    name, files = table.feed.name, [file for file in table.files if file.commit >= (read_since or "")]
    damaged = damaged_files(table, files, meter, are_read=read_since is not None)
    findings = [Finding(name, problem, file.path) for file, problem in damaged]
    findings += row_findings(table, damaged, files) if read_since is not None else ()
    known = {finding.what for finding in findings}
    findings += [finding for finding in log_findings(table) if finding.what not in known]
    if is_current_lost(table):
        findings.append(Finding(name, "the current version has no files", f"version {table.current_version}"))
    # A run that was killed early leaves an empty table.
    exported = table.current_version is not None or bool(table.bookmarks())
    rows, said = sum(file.row_count for file in files), tuple(_said(files, read_since))
    return Verdict(table.feed, tuple(findings), said, (), exported, bool(findings), len(files), rows)


def _said(files: Sequence[DataFile], read_since: str | None) -> Iterator[str]:
    """What was compared."""
    rows = plural(sum(file.row_count for file in files), "row")
    if read_since is None:
        yield f"{plural(len(files), 'file')}, {rows} by the log, none read"
    else:
        yield f"{plural(len(files), 'new file' if read_since else 'file')} read, {rows}"
    older = sum(not file.fingerprint for file in files)
    if older:
        yield f"{plural(older, 'file')} not fingerprinted yet: only a checksum proves what is in them"


def damaged_files(
    table: LakeTable, files: Sequence[DataFile], meter: Meter | None = None, are_read: bool = True
) -> list[tuple[DataFile, str]]:
    """The missing and damaged ones of these files, each with its problem; those that show without reading them unless
    they `are_read`.
    """
    problem_of = file_problem if are_read else size_problem
    found, meter = list[tuple[DataFile, str]](), meter or Meter(table.feed.name)
    meter.begin("verifying", sum(file.row_count for file in files), sum(file.size_bytes for file in files))
    for file in files:
        if (problem := problem_of(table.store, file)) is not None:
            found.append((file, problem))
        meter.add(file.row_count, file.size_bytes)
    return found


def is_current_lost(table: LakeTable) -> bool:
    """Whether a table's log has no files for its current version."""
    return table.feed.type == "table" and table.exists and table.current_version not in (None, *table.versions())


def row_findings(table: LakeTable, damaged: Sequence[tuple[DataFile, str]], files: Sequence[DataFile]) -> list[Finding]:
    """What is wrong with a stream's rows in these files; damaged files are left out.

    Other files that may have rows with the same offsets are read too, if they can be read.
    """
    if table.feed.type != "stream":
        return []
    bad = {file.path for file, _ in damaged}
    sound = [file for file in files if file.path not in bad]
    known = bad | {file.path for file in sound}
    others = [file for file in table.files if file.path not in known and _may_repeat(file, sound)]
    there = [file for file in others if table.store.size(file.path) == file.size_bytes]
    return _offset_findings(table, sound, there) if sound else []


def _may_repeat(file: DataFile, others: Sequence[DataFile]) -> bool:
    return any(overlap(bounds_of(file), bounds_of(other)) for other in others)


_TWICE = """
SELECT rowpartition, rowoffset, count(*) FROM {rows} GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL LIMIT 20
"""
_ENDS = """
SELECT rowpartition, min(rowoffset) AS low, max(rowoffset) AS high
FROM read_parquet($paths, hive_partitioning = false) GROUP BY ALL
"""
_NEW = "read_parquet($paths, hive_partitioning = false)"
_WITH_OTHERS = f"""(
    SELECT rowpartition, rowoffset FROM {_NEW}
    UNION ALL
    SELECT rowpartition, rowoffset FROM read_parquet($others, hive_partitioning = false) AS other
    JOIN ({_ENDS}) AS ends USING (rowpartition) WHERE other.rowoffset BETWEEN ends.low AND ends.high
)"""


def _offset_findings(table: LakeTable, files: Sequence[DataFile], others: Sequence[DataFile]) -> list[Finding]:
    name, found, twice = table.feed.name, list[Finding](), list[tuple[int, int, int]]()
    paths = {"paths": [table.uri(file.path) for file in files]}
    with duckdb.connect() as connection:
        if (filesystem := table.store.filesystem()) is not None:
            connection.register_filesystem(filesystem)
        highest = [(partition, high) for partition, _, high in connection.execute(_ENDS, paths).fetchall()]
        if not others:
            twice = connection.execute(_TWICE.format(rows=_NEW), paths).fetchall()
        else:
            both = paths | {"others": [table.uri(file.path) for file in others]}
            try:
                twice = connection.execute(_TWICE.format(rows=_WITH_OTHERS), both).fetchall()
            except duckdb.Error as error:
                detail = f"verify {name} as a whole: {str(error).splitlines()[0]}"
                found.append(Finding(name, "an older file cannot be read", detail))
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
