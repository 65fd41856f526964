"""What is wrong with one feed's table, and what a repair would do about each thing. Changes nothing."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pipeline.errors import ClockWentBack, LogDamaged
from pipeline.feeds import Feed
from pipeline.lake.files import DataFile
from pipeline.lake.lake import Lake
from pipeline.lake.table import LakeTable
from pipeline.progress import Meter
from pipeline.verify.files import damaged_files, is_current_lost, row_findings
from pipeline.verify.removed import bounds_of


@dataclass(frozen=True)
class Damage:
    """What is wrong with a feed's table, each with what a repair would do; empty lists for a sound one.

    `files` are damaged or missing, each with its problem; `torn` is a log entry that another program did not finish,
    `clock` is set when the newest commit is dated in the future, `current_lost` when the log has no files of the
    current version, and `other` is what no repair mends.
    """

    feed: Feed
    files: tuple[tuple[DataFile, str], ...] = ()
    torn: str | None = None
    clock: ClockWentBack | None = None
    current_lost: bool = False
    other: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        return bool(self.files or self.torn or self.clock or self.current_lost or self.other)

    @property
    def beyond_repair(self) -> Damage:
        """What a repair leaves as it is."""
        return Damage(self.feed, other=self.other)

    @property
    def row_count(self) -> int:
        return sum(file.row_count for file, _ in self.files)

    def lines(self, give_up: bool = False) -> list[str]:
        """For people: each problem, and what would be done; with `give_up` no lost row would be read again."""
        lines = []
        if self.torn is not None:
            lines += [f"{self.torn} is not whole: another program began it and did not end it", "  would be removed"]
        if self.clock is not None:
            lines += [self.clock.message, "  would go on from this machine's clock; only if it is right"]
        lines += [f"{file.path}: {problem} ({place_of_rows(self.feed, file)})" for file, problem in self.files]
        if self.files and self.feed.type == "stream" and give_up:
            lines.append("  would be given up: their rows are not read again, and are recorded as lost")
        elif self.files and self.feed.type == "stream":
            lines.append(f"  would be read from {self.feed.source} again; what is no longer there is recorded as lost")
        if self.current_lost:
            lines.append("the log has no files of the current version")
        if self.feed.type == "table" and (self.files or self.current_lost):
            lines.append("  would be given up; in the place of a current version the newest sound one is published")
        if self.other:
            again = f"python export_to_data_lake.py --stream {self.feed.name} --full"
            lines += [*self.other, f"  no repair for that; this reads all rows again: {again}"]
        return lines


def place_of_rows(feed: Feed, file: DataFile) -> str:
    """Which rows were in a file, by its statistics in the log; other files may have rows within the same bounds."""
    if feed.type == "table":
        return f"version {file.partition}, {file.row_count:,} rows"
    first, last, first_offset, last_offset = bounds_of(file)
    of = f"partition {first}" if first == last else f"partitions {first} to {last}"
    return f"{file.row_count:,} rows of {of}, offsets {first_offset} to {last_offset}"


def find_damage(lake: Lake, feed: Feed, now: dt.datetime, meter: Meter | None = None) -> Damage:
    """Checks everything that `verify` checks, and the log of the records that are kept beside a stream's rows; `meter`
    counts the files.

    Raises LogDamaged for a log that only a backup can restore.
    """
    table, beside = _opened(lake, feed, _without_log(feed)), lake.kept_beside(feed)
    if isinstance(table, str):
        return Damage(feed, torn=table)
    kept = None if beside is None else _opened(lake, beside, _without_records(lake, beside))
    torn = kept if isinstance(kept, str) else None
    clock = next(filter(None, (_ahead(own, now) for own in (table, kept) if isinstance(own, LakeTable))), None)
    files = tuple(damaged_files(table, table.files, meter))
    other = tuple(f"{finding.what}: {finding.detail}" for finding in row_findings(table, files, table.files))
    return Damage(feed, files, torn, clock, is_current_lost(table), other)


def _opened(lake: Lake, feed: Feed, hint: str) -> LakeTable | str:
    """The feed's table, or the entry of its log that is not whole. Raises LogDamaged, with this hint."""
    try:
        return lake.table(feed)
    except LogDamaged as error:
        torn = lake.torn_entry(feed)
        if torn is None:
            raise LogDamaged(error.message, hint) from None
        return torn


def _ahead(table: LakeTable, now: dt.datetime) -> ClockWentBack | None:
    try:
        table.guarded(now)
    except ClockWentBack as error:
        return error
    return None


def _without_log(feed: Feed) -> str:
    return (
        f"restore its Delta log from a backup; without one: python manage_feeds.py delete {feed.name} --confirm (its "
        "files stay), then add a feed of another name for that source, which reads again what the source still has"
    )


def _without_records(lake: Lake, beside: Feed) -> str:
    return (
        f"restore that Delta log from a backup; without one move {lake.place_of(beside)} to another place: the records "
        "that come from then on are kept in a new one"
    )
