"""Exports a table's snapshot.

Runs under the feed's lock. The snapshot is staged, and committed as a version once it is accepted as complete; after a
kill before that the last good version stays the current one, and the next run removes the staged files.
"""

from __future__ import annotations

from pipeline.export.believed import read_believed
from pipeline.export.commit import ExportResult, Run, prepare_table, unreadable_note
from pipeline.export.plan import table_of
from pipeline.export.stage import StagedTable
from pipeline.lake.change import Change
from pipeline.lake.names import name_of_part
from pipeline.lake.table import LakeTable
from pipeline.lake.versions import check_version, next_version
from pipeline.source import Sources, TableRead, TableSource, TableState


def export_table(sources: Sources, table: LakeTable, run: Run, done: ExportResult, version: int | None = None) -> None:
    """Publishes a complete snapshot as the next version, or as `version`; the current version's number replaces it.

    Raises what `read_believed` raises; the last good snapshot then stays the current one.
    """
    source = table_of(sources, table.feed)
    versions, current = table.versions(), table.current_version
    number = check_version(table, version) if version else next_version(table)
    state = source.state()

    def store(read: TableRead, count: int) -> StagedTable:
        folder = table.staging_folder(name_of_part(run.id, count))
        meter = run.progress.of(table.feed.name)
        meter.begin("reading" if count == 1 else "reading again")
        return StagedTable.of(read, folder, str(number), count, table.compression, meter)

    previous = sum(file.row_count for file in versions[current]) if current in versions else None
    snapshot = read_believed(source, state, run.limits, run.policy, previous, store)
    prepare_table(run, table, snapshot.read.columns, topic="")
    note = {"kind": "snapshot", "run": run.id, "version": number, "rows": snapshot.row_count, "lag": state.lag}
    read_state = snapshot.read.state
    note |= {"state": read_state.note if read_state else _same_state(source, state), "reads": snapshot.number}
    note |= {"topic_id": source.source.topic_id} if source.source.topic_id else {}
    note |= {"unreadable": unreadable_note(snapshot.read.unreadable)} if snapshot.read.unreadable else {}
    replaced = table.versions().get(number, [])  # not those from before columns were widened
    done.lag = state.lag
    change = Change(adds=snapshot.files, removes=replaced, current_version=number, note=note)
    done.commit(table, run.id, change, run.now)
    done.describe_unreadable()
    if snapshot.number > (2 if source.is_watched else 1):
        done.notes.append(f"read {snapshot.number} times before it was believed")


def _same_state(source: TableSource, before: TableState) -> object:
    """The state of the table, or None if it changed during the read: no later state must be compared with that."""
    return before.note if before.note == source.state().note else None
