"""Checks what an export of a feed would find, without reading rows or changing anything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from pipeline.columns import Column
from pipeline.export.commit import ExportResult
from pipeline.export.plan import refuse_day_of_nothing, stream_of, table_of
from pipeline.lake.columns import annotated_schema
from pipeline.lake.table import LakeTable
from pipeline.lake.versions import check_version, next_version
from pipeline.source import Bookmark, Offsets, Sources


def preview(
    sources: Sources, table: LakeTable, version: int | None = None, full: bool = False, day: dt.date | None = None
) -> ExportResult:
    """What an export would do: of a stream, of all of it with `full`, or of one `day` of it again.

    Raises its errors for a source that is unknown, unreadable, or no longer fits.
    """
    done = ExportResult()
    if table.feed.type == "table":
        columns = _preview_table(sources, table, version, done)
    else:
        columns = _preview_stream(sources, table, done, full, day)
    if table.exists:
        table.compare_schema(annotated_schema(columns))
    done.notes.append(f"{len(columns)} columns")
    return done


def _preview_table(sources: Sources, table: LakeTable, version: int | None, done: ExportResult) -> tuple[Column, ...]:
    source = table_of(sources, table.feed)
    columns = source.columns()
    done.version = check_version(table, version) if version else next_version(table)
    done.lag = source.state().lag
    done.notes.append(f"read by {source.read_by}")
    return columns


def _preview_stream(
    sources: Sources, table: LakeTable, done: ExportResult, full: bool, day: dt.date | None
) -> tuple[Column, ...]:
    stream = stream_of(sources, table)
    if day is not None:
        refuse_day_of_nothing(table)
    columns, marks, ends = stream.columns(), table.bookmarks(), stream.ends()
    if ends is not None:
        done.notes.append(_due(marks, ends, full, day))
    elif day is not None:
        done.notes.append(f"what the source still has of {day} is due again")
    elif full:
        done.notes.append("all that the source still has is due again")
    done.notes.append(f"bookmark {', '.join(f'{p}: {mark.next_offset}' for p, mark in marks.items()) or 'none'}")
    return columns


def _due(marks: Mapping[int, Bookmark], ends: Mapping[int, Offsets], full: bool, day: dt.date | None) -> str:
    """How many offsets would be read at most: new ones, those before the bookmarks, or both."""
    reached = {p: max(at.start, marks.get(p, Bookmark(0)).next_offset) for p, at in ends.items()}
    new = sum(max(0, at.end - reached[p]) for p, at in ends.items())
    again = sum(max(0, min(at.end, reached[p]) - at.start) for p, at in ends.items())
    if day is not None:
        return f"at most {again} offsets are due again, for {day}"
    return f"at most {new + again} offsets are due, {again} of them again" if full else f"at most {new} offsets are due"
