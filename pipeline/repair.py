"""Repair of one feed: each repair is one commit that records what it did.

Rows of a stream's lost file are read from the source again, each once as in an export; rows that the source no longer
has are lost, and the commit says so. A damaged version of a table is given up; when it is the current one, the newest
sound version is published again in its place. A kill before the commit leaves the lake as it was.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.damage import Damage, find_damage, place_of_rows
from pipeline.errors import NothingSound, ReadInPart, TimeIsOver
from pipeline.export.plan import due_rows, plan_read, stream_of
from pipeline.feeds import Feed
from pipeline.lake.change import Change
from pipeline.lake.columns import annotated_schema
from pipeline.lake.files import DataFile
from pipeline.lake.lake import Upkeep
from pipeline.lake.names import name_of_act
from pipeline.lake.rewrite import copy_version, place_keys
from pipeline.lake.rule import Rule
from pipeline.lake.staging import Staging
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import Partition, StagedFile, date_columns, partition_dates
from pipeline.limits import Limits
from pipeline.once import read_once
from pipeline.progress import Meter
from pipeline.source import OLD_ROWS, OpenSources, Sources
from pipeline.text import plural
from pipeline.verify.removed import bounds_of, within

_ANY_TIME = (-(2**63), 2**63 - 1)


def repair_feed(
    upkeep: Upkeep, feed: Feed, source: OpenSources | None, limits: Limits, meter: Meter | None = None
) -> list[str]:
    """Repairs what `find_damage` finds; returns what was done, as lines. Without `source` lost rows are given up.

    `meter` counts what is read. Raises what reading the source raises, and NothingSound; the files are then as they
    were.
    """
    meter = meter or Meter(feed.name)
    done, found = [], find_damage(upkeep.lake, feed, upkeep.now, meter)
    if found.clock is not None:
        upkeep.lake.accept_clock(feed, upkeep.holder, name_of_act(upkeep.run_id, "accept clock"), upkeep.now)
        done.append("goes on from this machine's clock")
    with upkeep.lake.writing(feed, upkeep.holder) as table:
        if (beside := upkeep.lake.kept_beside(feed)) is not None:
            with upkeep.lake.writing(beside, upkeep.holder):
                pass  # it removes what keeps readers from the records
        if found.torn is not None:
            done.append(f"removed {found.torn}")
        damage = find_damage(upkeep.lake, feed, upkeep.now, meter)
        if feed.type == "table" and (damage.files or damage.current_lost):
            done.append(repair_table(table, damage, upkeep.run_id, upkeep.now).text())
        elif damage.files and source is None:
            done.append(repair_stream(None, table, damage, limits, upkeep.run_id, upkeep.now, meter).text())
        elif damage.files and source is not None:
            with source() as sources:
                done.append(repair_stream(sources, table, damage, limits, upkeep.run_id, upkeep.now, meter).text())
    return done


@dataclass(frozen=True)
class Repaired:
    """What a repair of files did. `published` is the version that became the current one, and its new number."""

    removed_files: int
    rows_back: int = 0
    lost_rows: int = 0
    published: tuple[int, int] | None = None
    given_up: bool = False

    def text(self) -> str:
        """For people."""
        parts = [f"took {plural(self.removed_files, 'file')} out of the log"]
        if self.rows_back:
            parts.append(f"{plural(self.rows_back, 'row')} were read again")
        if self.published is not None:
            old, new = self.published
            parts.append(f"version {old} is published again as version {new}, the current one")
        if self.lost_rows:
            parts.append(f"{plural(self.lost_rows, 'row')} are {'given up' if self.given_up else 'lost'}")
        return ", ".join(parts)


def repair_stream(
    sources: Sources | None,
    table: LakeTable,
    damage: Damage,
    limits: Limits,
    commit_id: str,
    now: dt.datetime,
    meter: Meter,
) -> Repaired:
    """Removes the files from the log and adds their rows as the source has them now; without `sources` adds none.

    Raises what reading the source raises, and ReadInPart where rows are missing and may still be there; then nothing
    was changed.
    """
    lost = [file for file, _ in damage.files]
    staged, missing = list[StagedFile](), damage.row_count
    if sources is not None:
        staged, missing = _read_again(sources, table, lost, limits, commit_id, now, meter)
    back = sum(file.row_count for file in staged)
    note = {
        "kind": "repair",
        "files": [file.path for file in lost],
        "places": [place_of_rows(table.feed, file) for file in lost],
        "bounds": [bounds_of(file) for file in lost],
        "rows": back,
        "lost_rows": missing,
    }
    table.commit(commit_id, Change(adds=staged, removes=lost, note=note), now)
    return Repaired(len(lost), back, missing, given_up=sources is None)


def _read_again(
    sources: Sources,
    table: LakeTable,
    lost: Sequence[DataFile],
    limits: Limits,
    name: str,
    now: dt.datetime,
    meter: Meter,
) -> tuple[list[StagedFile], int]:
    """Stages the lost rows that the source still has, without those in sound files or past the feed's retention; and
    how many it has no longer.
    """
    stream, feed = stream_of(sources, table), table.feed
    plan, name_there = plan_read(stream, table, limits, OLD_ROWS), stream.source.name
    _, wider = table.compare_schema(annotated_schema(plan.columns))
    if wider:
        raise NothingSound(
            f"columns of {name_there} have become wider ({', '.join(wider)}), so its rows do not fit the lake's now",
            f"to give the rows up: python metadata_utils.py repair {feed.name} --give-up --yes",
        )
    known, first_day = _known_keys(table, lost), Rule.of(feed).first_day(now.date())
    staging, read = Staging.of(table), read_once(stream, plan.tasks, limits)
    writer, due = staging.writer(name), _DueRows(lost, feed.partition_column)
    meter.begin("reading", due_rows(plan.tasks))
    try:
        for batch in meter.counted(read.batches):
            rest = batch.filter(pc.invert(pc.is_in(place_keys(batch), value_set=known)))
            dates = partition_dates([rest], feed.partition_column)[0]
            kept = rest.filter(pc.fill_null(pc.greater_equal(dates, first_day), True))
            writer.add(staging.fit(due.take(kept)))
        if read.outcome == "time limit":
            raise TimeIsOver(feed.name)
        if due.missing and not (read.outcome == "exact" and read.proved):
            raise _read_in_part(name_there, due.missing, feed)
        return writer.finish(), due.missing
    except BaseException:
        writer.discard()
        raise


class _DueRows:
    """The rows of a stream's lost files, by the date that these lay under: one day's surplus fills no other's gap.

    Between the offsets of a lost file there may be rows of other days, which expired. The date that a file lies under
    is that of the column by which the feed was partitioned when it was written, which may be another one by now.
    """

    def __init__(self, lost: Sequence[DataFile], partition_column: str) -> None:
        self._files: dict[Partition, list[DataFile]] = {}
        for file in lost:
            self._files.setdefault(file.partition, []).append(file)
        self._due = {day: sum(file.row_count for file in files) for day, files in self._files.items()}
        self._column = partition_column

    @property
    def missing(self) -> int:
        """How many rows have not been taken yet."""
        return sum(max(0, count) for count in self._due.values())

    def take(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a batch that may have been in one of the files."""
        taken = pa.array([False] * batch.num_rows, pa.bool_())
        bounded = {day: _within(batch, files) for day, files in self._files.items()}
        for column in dict.fromkeys([self._column, "rowtime", *date_columns(batch.schema)]):
            dates = partition_dates([batch], column)[0]
            for day, may_be in bounded.items():
                of_day = pc.is_null(dates) if day is None else pc.equal(dates, dt.date.fromisoformat(day))
                found = pc.and_not(pc.and_(may_be, pc.fill_null(of_day, False)), taken)
                self._due[day] -= pc.sum(found).as_py() or 0
                taken = pc.or_(taken, found)
        return batch.filter(taken)


def _within(batch: pa.RecordBatch, files: Sequence[DataFile]) -> pa.Array:
    """Which rows are within the bounds of one of the files, those of ROWTIME too."""
    times, found = batch.column("rowtime"), pa.array([False] * batch.num_rows, pa.bool_())
    for file in files:
        first, last = file.bounds.get("rowtime", _ANY_TIME)
        in_time = pc.and_(pc.greater_equal(times, first), pc.less_equal(times, last))
        found = pc.or_(found, pc.and_(in_time, within(batch, [bounds_of(file)])))
    return found


def _read_in_part(source: str, missing: int, feed: Feed) -> ReadInPart:
    return ReadInPart(
        f"reading {source} again broke off before {plural(missing, 'row')} had come; nothing was changed",
        "run the same command again; where it stays so, give all rows of the lost files up: "
        f"python metadata_utils.py repair {feed.name} --give-up --yes, and then have what the source still has read "
        f"again: python export_to_data_lake.py --stream {feed.name} --full",
    )


def _known_keys(table: LakeTable, lost: Sequence[DataFile]) -> pa.Array:
    """The keys of all rows in sound files, so that none is added a second time; 8 bytes each."""
    paths = {file.path for file in lost}
    sound = [file for file in table.files if file.path not in paths]
    return pa.concat_arrays([place_keys(batch) for batch in table.read_batches(sound)] or [pa.array([], pa.int64())])


def repair_table(table: LakeTable, damage: Damage, commit_id: str, now: dt.datetime) -> Repaired:
    """Gives up the damaged versions; when the current one is among them, publishes the newest sound one as a new one.

    Raises NothingSound when there is none.
    """
    lost = [file for file, _ in damage.files]
    versions = table.versions()
    bad = {int(file.partition or 0) for file in lost}
    removes = [file for version in bad for file in versions[version]]
    if damage.current_lost and table.current_version is not None:
        bad.add(table.current_version)
    note = {"kind": "repair", "given_up": sorted(bad), "lost_rows": damage.row_count}
    if table.current_version not in bad:
        table.commit(commit_id, Change(removes=removes, note=note), now)
        return Repaired(len(removes), lost_rows=damage.row_count)
    sound = [version for version in versions if version not in bad]
    if not sound:
        raise NothingSound(
            f"no version of {table.feed.name} is sound: nothing can take the place of the current one",
            f"python export_to_data_lake.py --table {table.feed.name}, then repair it again",
        )
    new, newest = max(*versions, *bad) + 1, max(sound)
    copies = copy_version(table, newest, new, commit_id)
    note |= {"version": new, "rollback_of": newest, "rows": sum(copy.row_count for copy in copies)}
    table.commit(commit_id, Change(adds=copies, removes=removes, current_version=new, note=note), now)
    return Repaired(len(removes), lost_rows=damage.row_count, published=(newest, new))
