"""What a log shows without any file being read: whether its files' fingerprints, rows and offsets fit together.

The commits' notes carry the fingerprint of all rows from one commit to the next, so a file that came into the log or
left it beside them does not add up. Changes nothing.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

from pipeline.findings import Finding
from pipeline.fingerprint import total
from pipeline.lake.files import DataFile
from pipeline.lake.table import LakeTable
from pipeline.verify.removed import Bounds, bounds_of


def log_findings(table: LakeTable) -> list[Finding]:
    """What does not fit together in a table's log."""
    found, name = list[Finding](), table.feed.name
    noted = table.head.fingerprint if table.exists else None
    if noted is not None and (summed := total(file.fingerprint for file in table.files)) != noted:
        detail = f"{summed} by the files in the log, {noted} by its newest commit"
        found.append(Finding(name, "rows are not those that were committed (fingerprint differs)", detail))
    if table.feed.type == "stream":
        found += [Finding(name, what, detail) for what, detail in _offset_findings(table)]
    return found


def _offset_findings(table: LakeTable) -> Iterator[tuple[str, str]]:
    bookmarks, places = table.bookmarks(), dict[int, list[tuple[DataFile, Bounds]]]()
    for file in table.files:
        if not file.row_count or "rowoffset" not in file.bounds or "rowpartition" not in file.bounds:
            continue
        first, last, low, high = bounds = bounds_of(file)
        if file.row_count > (last - first + 1) * (high - low + 1):
            yield "more rows than offsets", f"{file.path}: {file.row_count:,} rows, offsets {low} to {high}"
        due = max((mark.next_offset for p, mark in bookmarks.items() if first <= p <= last), default=0)
        if high >= due:
            yield "offset is not before the bookmark", f"{file.path}: {high}, bookmark {due}"
        if first == last:
            places.setdefault(first, []).append((file, bounds))
    for partition, files in sorted(places.items()):
        yield from _repeated(partition, files)


def _repeated(partition: int, files: Sequence[tuple[DataFile, Bounds]]) -> Iterator[tuple[str, str]]:
    """Files that have every offset of their range, while another one has its first or last row there."""
    ends = sorted(end for _, (_, _, low, high) in files for end in {low, high})
    for file, (_, _, low, high) in files:
        own = len({low, high})
        is_whole = file.row_count == high - low + 1
        if is_whole and bisect.bisect_right(ends, high) - bisect.bisect_left(ends, low) > own:
            yield "row is there more than once", f"partition {partition} offsets {low} to {high}: {file.path}"
