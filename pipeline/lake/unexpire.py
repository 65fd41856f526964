"""Expired files are added to the log again, in one commit, while they are still on disk.

They come back as they were: same names, statistics and times. Of a stream's file of which the lake has some rows again,
the others come back in a new file. History is not rewritten: it keeps the expiry, and the return follows it. A kill
before the commit changes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import NothingReturns
from pipeline.feeds import Feed
from pipeline.lake.change import Change
from pipeline.lake.file_proof import file_problem
from pipeline.lake.files import DataFile, file_errors, read_columns, stored_schema
from pipeline.lake.head import entry_time
from pipeline.lake.lake import Upkeep
from pipeline.lake.log import oldest_version, removed_by
from pipeline.lake.names import name_of_part
from pipeline.lake.retention import due, partition_names, still_expired
from pipeline.lake.rewrite import place_keys
from pipeline.lake.rule import Rule
from pipeline.lake.store import LOG
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import Partition, StagedFile, StagedWriter, discard
from pipeline.text import plural

_AGAIN = "the lake has them again"
_PLACE = ("rowpartition", "rowoffset")
_NO_KEYS = pa.array([], pa.int64())


@dataclass(frozen=True)
class Part:
    """A stream's file of which some rows come back; `there` are the keys of the others, which the lake has again."""

    file: DataFile
    there: pa.Array

    @property
    def row_count(self) -> int:
        return self.file.row_count - len(self.there)


@dataclass
class Expired:
    """What expiries removed: the files that can come back, whole or in part, and in `lost` why others cannot, with row
    counts.

    `needs` is the shortest rule that does not expire any of the files again at once. `whole` are the partitions of
    which, with the files, all is back that ever expired. `beside` is the same of the unreadable records that a stream
    keeps beside its rows.
    """

    files: list[DataFile] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    needs: Rule | None = None
    whole: list[str] = field(default_factory=list)
    beside: Expired | None = None

    @property
    def partitions(self) -> list[str]:
        return partition_names([*self.files, *(part.file for part in self.parts)])

    @property
    def row_count(self) -> int:
        return sum(file.row_count for file in self.files) + sum(part.row_count for part in self.parts)


def find_expired(table: LakeTable, now: dt.datetime, grace_hours: int) -> Expired:
    """What the expiries of this feed removed within the grace period."""
    found, back, history = Expired(), list[Part](), table.history()
    expiries = _expiries(table, history, now - dt.timedelta(hours=grace_hours))
    away = still_expired(_note(entry) for entry in reversed(history) if entry["version"] not in expiries)
    for files in _expired_partitions(table, history, expiries):
        there = [*table.files, *(part.file for part in back)]
        reasons = [_hindrance(table, file, there) for file in files]
        if table.feed.type == "table" and any(reasons):  # a version in part would be taken for all of it
            reasons = [reason or "other files of their version cannot come back" for reason in reasons]
        for file, reason in zip(files, reasons, strict=True):
            if reason is not None:
                found.lost[reason] += file.row_count
                away.add(file.partition or "")
                continue
            part = Part(file, _rows_there(table, file, there))
            if len(part.there):
                found.lost[_AGAIN] += len(part.there)
            if part.row_count or not len(part.there):
                back.append(part)
    all_files = [*table.files, *(part.file for part in back)]
    again = {file.path for file in due(table, now, all_files).files}
    found.files = [part.file for part in back if part.file.path not in again and not len(part.there)]
    found.parts = [part for part in back if part.file.path not in again and len(part.there)]
    taken = [part for part in back if part.file.path in again]
    if taken:
        found.lost["the feed's rule would expire them again"] += sum(part.row_count for part in taken)
        found.needs = _needed(table, all_files, [part.file for part in taken], now.date())
        away.update(part.file.partition or "" for part in taken)
    found.whole = [name for name in found.partitions if name not in away]
    return found


def unexpire(table: LakeTable, found: Expired, commit_id: str, now: dt.datetime) -> None:
    """Adds what can come back; without that nothing is committed. Raises LakeDamaged, DiskFull, LakeNotWritable; the
    staged files are then removed, and the lake is as it was.
    """  # fmt: skip
    if not found.files and not found.parts:
        return
    staged = list[StagedFile]()
    try:
        for number, part in enumerate(found.parts):
            staged += _stage(table, part, table.staging_folder(name_of_part(commit_id, number)))
    except BaseException:
        discard(staged)
        raise
    note = {"kind": "unexpire", "partitions": found.partitions, "whole": found.whole, "rows": found.row_count}
    table.commit(commit_id, Change(adds=staged, returns=found.files, note=note), now)


def _stage(table: LakeTable, part: Part, folder: Path) -> list[StagedFile]:
    """The rows of the file that come back, as a file of the same partition and time."""
    schema = table.schema.remove_metadata()
    writer = StagedWriter(folder, schema, partition=part.file.partition, compression=table.compression)
    try:
        for batch in table.read_batches([part.file]):
            writer.add(batch.filter(pc.invert(pc.is_in(place_keys(batch), value_set=part.there))))
        return [dataclasses.replace(file, written_at=part.file.added_at) for file in writer.finish()]
    except BaseException:
        writer.discard()
        raise


def _expiries(table: LakeTable, history: Sequence[Mapping[str, Any]], since: dt.datetime) -> set[int]:
    """The Delta versions of the expiries of which the log still has the files."""
    oldest = oldest_version(table.store.names(LOG))
    expiries = [entry for entry in history if _note(entry).get("kind") == "expire" and entry["version"] > oldest]
    return {entry["version"] for entry in expiries if (entry_time(entry) or since) >= since}


def _expired_partitions(
    table: LakeTable, history: Sequence[Mapping[str, Any]], expiries: Collection[int]
) -> Iterator[list[DataFile]]:
    """The files of each partition that one of these expiries removed, those of the newest first.

    A file that is in the table, or that a later commit removed, is not among them: any commit but an expiry that
    removes files has written their rows again, or given them up.
    """
    seen = {file.path for file in table.files}
    for version in [entry["version"] for entry in history if entry["version"] >= min(expiries, default=math.inf)]:
        removed = removed_by(table.store, version) - seen
        seen |= removed
        if version not in expiries or not removed:
            continue
        partitions: dict[Partition, list[DataFile]] = {}
        for file in table.files_at(version - 1):
            if file.path in removed:
                partitions.setdefault(file.partition, []).append(file)
        yield from partitions.values()


def _note(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    note: Mapping[str, Any] = entry.get("pipeline") or {}
    return note


def _hindrance(table: LakeTable, file: DataFile, there: list[DataFile]) -> str | None:
    """Why the file cannot come back beside those that are there or come back; None where it can."""
    if table.store.size(file.path) is None:
        return "their files were deleted"
    if (problem := file_problem(table.store, file)) is not None:
        return f"their files are damaged: {problem}"
    if table.feed.type == "table" and int(file.partition or 0) in table.versions():
        return "the lake has another version of that number now"
    if table.feed.type == "table" and any(other.partition == file.partition for other in there):
        return "a later version of that number comes back"
    if _is_narrower(table, file):
        return "columns have become wider since, and their files have the old types"
    return None


def _is_narrower(table: LakeTable, file: DataFile) -> bool:
    types = {column.name: column.type for column in table.schema}
    return any(types.get(column.name) != column.type for column in stored_schema(table.store, file))


def _rows_there(table: LakeTable, file: DataFile, files: Sequence[DataFile]) -> pa.Array:
    """The keys of a stream's rows in the file that one of `files` has too: `--full` reads expired rows again, and puts
    them under other dates if the feed's partitioning was changed.
    """
    if table.feed.type == "table":
        return _NO_KEYS
    within = {name: file.bounds[name] for name in ("rowtime", *_PLACE) if name in file.bounds}
    others = [other for other in files if other.partition == file.partition or other.meets(within)]
    keys = _keys(table, file) if others else _NO_KEYS
    is_there = pa.array([False] * len(keys), pa.bool_())
    for other in others:
        is_there = pc.or_(is_there, pc.is_in(keys, value_set=_keys(table, other)))
    return keys.filter(is_there)


def _keys(table: LakeTable, file: DataFile) -> pa.Array:
    with file_errors(table.uri(file.path), table.feed.name):
        return place_keys(read_columns(table.store, file, _PLACE)).combine_chunks()


def _needed(table: LakeTable, files: list[DataFile], taken: list[DataFile], today: dt.date) -> Rule:
    """The shortest rule by which none of the `taken` files among all `files` expires."""
    if table.feed.type == "stream":
        oldest = min(dt.date.fromisoformat(file.partition) for file in taken if file.partition is not None)
        return Rule((today - oldest).days, 1)
    first = min(int(file.partition or 0) for file in taken)
    later = {file.partition for file in files if int(file.partition or 0) >= first}
    return Rule((today - min(file.added_at.date() for file in taken)).days, len(later))


def unexpire_feed(upkeep: Upkeep, feed: Feed) -> Expired:
    """Brings back the expired files that the feed's rule keeps. Raises NothingReturns."""
    lake = upkeep.lake
    with lake.writing(feed, upkeep.holder) as table, contextlib.ExitStack() as more:
        beside = lake.kept_beside(feed)
        kept = more.enter_context(lake.writing(beside, upkeep.holder)) if beside else None
        found = returning(table, upkeep, kept)
        unexpire(table, found, upkeep.run_id, upkeep.now)
        if kept is not None and found.beside is not None:
            unexpire(kept, found.beside, upkeep.run_id, upkeep.now)
        return found


def would_return(upkeep: Upkeep, feed: Feed) -> Expired:
    """What `unexpire_feed` would bring back. Raises NothingReturns."""
    beside = upkeep.lake.kept_beside(feed)
    return returning(upkeep.lake.table(feed), upkeep, upkeep.lake.table(beside) if beside else None)


def returning(table: LakeTable, upkeep: Upkeep, kept: LakeTable | None = None) -> Expired:
    """The expired files that can come back, and of the unreadable records in `kept`. Raises NothingReturns where none
    can.
    """
    feed, found = table.feed, find_expired(table, upkeep.now, upkeep.lake.grace_hours)
    if kept is not None and kept.exists:
        found.beside = find_expired(kept, upkeep.now, upkeep.lake.grace_hours)
    both = [found, *filter(None, [found.beside])]
    lost = sum((each.lost for each in both), Counter[str]())
    if any(each.files or each.parts for each in both) or not lost:
        return found
    reasons = "; ".join(f"{plural(rows, 'row')}: {reason}" for reason, rows in lost.items())
    hint = "nothing needs to be done" if set(lost) == {_AGAIN} else "restore the lake from a backup"
    if needed := [each.needs for each in both if each.needs is not None]:
        rule, needs = Rule.of(feed), functools.reduce(Rule.longer, needed)
        longer = f" --retention-days {needs.days}" if needs.days > rule.days else ""
        longer += f" --retention-versions {needs.versions}" if needs.versions > rule.versions else ""
        hint = f"python manage_feeds.py update {feed.name}{longer}"
    raise NothingReturns(f"no expired row of {feed.name} can come back: {reasons}", hint)
