"""Checks what an export of a feed would find, without reading rows or changing anything."""

from __future__ import annotations

from pipeline.columns import Column
from pipeline.export.commit import ExportResult
from pipeline.export.plan import stream_of, table_of
from pipeline.lake.columns import annotated_schema
from pipeline.lake.table import LakeTable
from pipeline.lake.versions import check_version, next_version
from pipeline.source import Bookmark, Sources


def preview(sources: Sources, table: LakeTable, version: int | None = None) -> ExportResult:
    """What an export would do. Raises its errors for a source that is unknown, unreadable, or no longer fits."""
    done = ExportResult()
    of_table = table.feed.type == "table"
    columns = _preview_table(sources, table, version, done) if of_table else _preview_stream(sources, table, done)
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


def _preview_stream(sources: Sources, table: LakeTable, done: ExportResult) -> tuple[Column, ...]:
    stream = stream_of(sources, table)
    columns, marks, ends = stream.columns(), table.bookmarks(), stream.ends()
    if ends is not None:
        starts = {p: max(at.start, marks.get(p, Bookmark(0)).next_offset) for p, at in ends.items()}
        done.notes.append(f"at most {sum(max(0, at.end - starts[p]) for p, at in ends.items())} offsets are due")
    done.notes.append(f"bookmark {', '.join(f'{p}: {mark.next_offset}' for p, mark in marks.items()) or 'none'}")
    return columns
