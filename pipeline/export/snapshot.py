"""A table's snapshot from ksqlDB into the lake, and what an export of any feed would meet.

Runs under the feed's lock. The snapshot is staged, and committed as a version once it is believed; killed at any point
before that the last good version stays the current one, and the next run removes what was staged.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.columns import Column
from pipeline.export.stream import Exported, Run, prepare_table, source_of
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.describe import lag, state_note, table_offsets, true_ends
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.pull import TableRead, read_believed, refuse_unreadable
from pipeline.lake.change import Change
from pipeline.lake.columns import annotated_schema
from pipeline.lake.table import LakeTable
from pipeline.lake.versions import check_version, next_version
from pipeline.lake.writer import StagedFile, StagedWriter


def export_table(client: Client, table: LakeTable, run: Run, done: Exported, version: int | None = None) -> None:
    """Publishes a complete snapshot as the next version, or as `version` (the current one is then replaced).

    Raises what `read_believed` raises; the last good snapshot then stays the current one.
    """
    source = source_of(client, table)
    versions, current = table.versions(), table.current_version
    number = check_version(table, version) if version else next_version(table)
    offsets = table_offsets(client, source)
    behind = lag(offsets) if source.pullable else None
    reads = 0

    def stage(read: TableRead, number_of_read: int) -> _Staged:
        nonlocal reads
        reads = number_of_read
        writer = StagedWriter(table.staging_folder(f"{run.id}{reads:04x}"), read.schema, partition=str(number))
        try:
            for batch in read.batches:
                writer.add(batch)
            return _Staged(writer, writer.finish(), read.columns)
        except BaseException:
            writer.discard()
            raise

    previous = sum(file.row_count for file in versions[current]) if current in versions else None
    snapshot = read_believed(client, source, run.limits, run.policy, previous, offsets, stage)
    prepare_table(run, table, snapshot.columns, topic="")
    note = {"kind": "snapshot", "run": run.id, "version": number, "rows": snapshot.row_count, "lag": behind}
    # Of a table that moved while it was read no state can be named: nothing is compared with that one later.
    state = state_note(offsets)
    note["state"] = state if state == state_note(table_offsets(client, source)) else None
    replaced = table.versions().get(number, [])  # not those from before columns were widened
    change = Change(adds=snapshot.files, removes=replaced, current_version=number, note=note | {"reads": reads})
    done.lag = behind
    done.commit(table, run.id, change, run.now)
    if reads > 2 or (reads > 1 and not source.pullable):
        done.notes.append(f"read {reads} times before it was believed")


@dataclass
class _Staged:
    """A table read that is staged; see `pipeline.believed`."""

    writer: StagedWriter
    files: list[StagedFile]
    columns: tuple[Column, ...]

    @property
    def row_count(self) -> int:
        return self.writer.row_count

    def discard(self) -> None:
        self.writer.discard()


def preview(client: Client, table: LakeTable, version: int | None = None) -> Exported:
    """What an export would meet, without reading rows or changing anything.

    Raises what the export would raise for a source that is unknown, unreadable, or no longer fits.
    """
    source = source_of(client, table)
    reader = project(source, positions=table.feed.type == "stream").describe()
    done = Exported()
    if table.exists:
        table.compare_schema(annotated_schema(reader.columns))
    if table.feed.type == "table":
        refuse_unreadable(source)
        offsets = table_offsets(client, source) if source.pullable else {}
        done.version, done.lag = check_version(table, version) if version else next_version(table), lag(offsets)
        done.notes.append("read by a pull query" if source.pullable else "read by a push query, folded by key")
    else:
        marks, ends = table.bookmarks(), true_ends(client, source)
        if ends is not None:
            due = sum(max(0, end.end - max(end.start, marks.get(p, (0, None))[0])) for p, end in ends.items())
            done.notes.append(f"at most {due} offsets are due")
        done.notes.append(f"bookmark {', '.join(f'{p}: {mark}' for p, (mark, _) in marks.items()) or 'none'}")
    done.notes.append(f"{len(reader.columns)} columns")
    return done
