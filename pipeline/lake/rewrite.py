"""Rows of the lake written again: an old version as the new one, a wider type in all rows, many files as one.

Each is one commit; a crash before it changes nothing. Rolling back publishes old rows as a new version: history is
never rewritten.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import LakeDamaged, VersionUnknown, WrongUsage
from pipeline.feeds import Feed
from pipeline.fingerprint import total
from pipeline.lake.change import Change
from pipeline.lake.files import DataFile, read_staged, stage_copy
from pipeline.lake.lake import Upkeep
from pipeline.lake.names import name_of_part
from pipeline.lake.table import LakeTable
from pipeline.lake.versions import next_version
from pipeline.lake.writer import Partition, StagedFile, StagedWriter, discard
from pipeline.source import MOST_RECORDS

RowsOf = Callable[[Sequence[DataFile]], Iterable[pa.RecordBatch]]


def roll_back(table: LakeTable, to_version: int, commit_id: str, now: dt.datetime) -> int:
    """Publishes the rows of a retained version as a new, current one; returns its number.

    Raises VersionUnknown naming the retained versions.
    """
    versions = table.versions()
    if table.feed.type != "table" or to_version not in versions:
        retained = ", ".join(str(version) for version in versions) or "none"
        raise VersionUnknown(
            f"{table.feed.name} has no version {to_version}", f"retained versions: {retained} (only tables have any)"
        )
    new = next_version(table)
    copies = copy_version(table, to_version, new, commit_id)
    rows = sum(copy.row_count for copy in copies)
    note = {"kind": "rollback", "version": new, "rollback_of": to_version, "rows": rows}
    table.commit(commit_id, Change(adds=copies, current_version=new, note=note), now)
    return new


def roll_back_feed(upkeep: Upkeep, feed: Feed, to_version: int) -> int:
    """As `roll_back`, with the feed's lock. Raises WrongUsage for a stream."""
    if feed.type != "table":
        raise WrongUsage(f"{feed.name} is a stream: only tables have versions", "python manage_feeds.py list")
    with upkeep.lake.writing(feed, upkeep.holder) as table:
        return roll_back(table, to_version, upkeep.run_id, upkeep.now)


def copy_version(table: LakeTable, version: int, new: int, commit_id: str) -> list[StagedFile]:
    """Stages the files of a retained version as those of a `new` one. Raises LakeDamaged for a damaged file."""
    staging, files = table.staging_folder(commit_id), table.versions()[version]
    return [
        stage_copy(table.store, table.feed.name, file, staging / f"{index:05}.staged", str(new))
        for index, file in enumerate(files)
    ]


def widen(table: LakeTable, columns: Sequence[str], schema: pa.Schema, commit_id: str, now: dt.datetime) -> None:
    """Writes all rows again with the wider types that `schema` has for `columns`."""
    wanted = {name: schema.field(name) for name in columns}
    wide = pa.schema([wanted.get(column.name, column) for column in table.schema])

    def cast(files: Sequence[DataFile]) -> Iterator[pa.RecordBatch]:
        return (batch.cast(wide.remove_metadata()) for batch in table.read_batches(files))

    groups: dict[Partition, list[DataFile]] = {}
    for file in table.files:
        groups.setdefault(file.partition, []).append(file)
    change = Change(schema=wide, note={"kind": "widen", "columns": list(columns)})
    rewrite(table, list(groups.values()), cast, change, commit_id, now)


def rewrite(
    table: LakeTable,
    groups: Sequence[Sequence[DataFile]],
    rows_of: RowsOf,
    change: Change,
    commit_id: str,
    now: dt.datetime,
) -> list[StagedFile]:
    """Replaces each group of files by the rows that `rows_of` makes of it, in one commit that also does `change`.

    The files of a group are of one partition; their rows stay in it and keep their times. Where `change` has a schema,
    the groups must have all files. Returns the new files. Raises LakeDamaged where a row would be lost or changed; the
    staged files are then removed, and the lake is as it was.
    """
    schema, staged = (change.schema or table.schema).remove_metadata(), list[StagedFile]()
    try:
        for number, members in enumerate(groups):
            folder = table.staging_folder(name_of_part(commit_id, number))
            staged += _staged_again(table, folder, schema, members, rows_of)
    except BaseException:
        discard(staged)
        raise
    note = {**change.note, "rows": sum(file.row_count for file in staged)}
    removes = [file for members in groups for file in members] if change.schema is None else ()
    table.commit(commit_id, dataclasses.replace(change, adds=staged, removes=removes, note=note), now)
    return staged


def _staged_again(
    table: LakeTable, folder: Path, schema: pa.Schema, members: Sequence[DataFile], rows_of: RowsOf
) -> list[StagedFile]:
    writer = StagedWriter(folder, schema, partition=members[0].partition, compression=table.compression)
    try:
        for batch in rows_of(members):
            writer.add(batch)
        due = sum(file.row_count for file in members)
        if writer.row_count != due:
            raise LakeDamaged(
                f"{members[0].path} and files beside it have {writer.row_count:,} rows, {due:,} were written",
                f"see what can be done: python metadata_utils.py repair {table.feed.name}",
            )
        written_at = max(file.added_at for file in members)
        staged = [dataclasses.replace(file, written_at=written_at) for file in writer.finish()]
        if all(file.fingerprint for file in members) and _total(staged) != _total(members):
            raise LakeDamaged(
                f"the rows of {members[0].path} and files beside it are not those that were written",
                f"see what can be done: python metadata_utils.py repair {table.feed.name}",
            )
        return staged
    except BaseException:
        writer.discard()
        raise


def _total(files: Iterable[DataFile | StagedFile]) -> str:
    return total(file.fingerprint for file in files)


def rows_not_in(table: LakeTable, files: Sequence[DataFile], staged: Sequence[StagedFile]) -> Iterator[pa.RecordBatch]:
    """The rows of a stream's committed files whose (topic partition, offset) none of the staged files has.

    Holds the keys of the staged rows in memory, 8 bytes each.
    """
    places = [read_staged(table.store, file, ["rowpartition", "rowoffset"]) for file in staged]
    known = pa.concat_arrays([place_keys(batch) for place in places for batch in place.to_batches()] or [_NO_KEYS])
    for batch in table.read_batches(files):
        rest = batch.filter(pc.invert(pc.is_in(place_keys(batch), value_set=known)))
        if rest.num_rows:
            yield rest


_NO_KEYS = pa.array([], pa.int64())


def place_keys(batch: pa.RecordBatch | pa.Table) -> pa.Array:
    """One number for each row's (topic partition, offset)."""
    partitions = pc.multiply(batch.column("rowpartition").cast(pa.int64()), MOST_RECORDS)
    return pc.add_checked(partitions, batch.column("rowoffset"))
