"""Retention: the partitions that a feed's rule no longer keeps are removed from the log in one commit.

Expired rows are removed from the log first and from the disk after a grace period, so a running query keeps its files,
and `pipeline.lake.unexpire` can bring them back.

A brake: in a normal night rows expire because newer rows came, because days have passed since the last run, or because
of a new version. When more than a set share of the feed's rows would expire without such a reason, the rule was
shortened or a clock is wrong: nothing expires until a person confirms it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import PipelineError, RetentionHeld
from pipeline.faults import contained
from pipeline.feeds import Feed
from pipeline.lake.change import Change
from pipeline.lake.files import DataFile
from pipeline.lake.lake import Upkeep
from pipeline.lake.metadata import described_partitions
from pipeline.lake.rule import Rule
from pipeline.lake.table import LakeTable
from pipeline.progress import Progress

_PAUSE_DAYS = 10
"""After a pause of so many days without a run, the rows of all these days may expire at once."""


@dataclass(frozen=True)
class Due:
    """The files that a feed's rule no longer keeps, and those of them whose expiry has no normal reason.

    `title` is what the data is called to people.
    """

    feed: str
    title: str
    kept_by: Rule
    rule: Rule
    files: Sequence[DataFile]
    unexplained: Sequence[DataFile]
    total_rows: int

    @property
    def partitions(self) -> list[str]:
        return partition_names(self.files)

    @property
    def row_count(self) -> int:
        return _rows(self.files)

    @property
    def share(self) -> float:
        """The unexplained share of the feed's rows."""
        return _rows(self.unexplained) / self.total_rows if self.total_rows else 0.0

    def check(self, max_share: float) -> None:
        """Raises RetentionHeld when more than `max_share` of the rows would expire without a normal reason."""
        if self.share <= max_share:
            return
        reason = "the newest rows and the last run are not that much younger: is the clock of this machine right?"
        if self.rule.longer(self.kept_by) != self.rule:
            reason = f"the rows were kept by the rule {self.kept_by}, which is {self.rule} now"
        raise RetentionHeld(
            f"nothing of {self.title} expired: {self.row_count:,} of its {self.total_rows:,} rows would go at once, in "
            f"{len(self.partitions)} partitions ({self.partitions[0]} to {self.partitions[-1]}), more than "
            f"EXPIRE_MAX_SHARE ({max_share:.0%}) allows; {reason}",
            f"if they are to go: python metadata_utils.py expire {self.feed} --yes",
        )

    def outlook(self, max_share: float) -> str:
        """One sentence on what the rule will expire, for the person who sets it; empty where that is nothing."""
        if not self.files:
            return ""
        taken = (
            f"{self.row_count:,} rows in {len(self.partitions)} partitions are past the retention of {self.feed} now"
        )
        if self.share > max_share:
            return f"{taken}; exports keep them until: python metadata_utils.py expire {self.feed} --yes"
        return f"{taken}: the next export expires them"


def due(
    table: LakeTable, now: dt.datetime, among: Sequence[DataFile] | None = None, beside: LakeTable | None = None
) -> Due:
    """What expires by the feed's rule at `now`, of the table's files or `among` others; never the current version.

    Rows that are kept `beside` those of another table expire because newer rows came to either.
    """
    all_files = table.files if among is None else among
    rule = Rule.of(table.feed)
    kept_by = (table.rule or rule).longer(rule)
    files = _due_files(table, all_files, rule, now.date())
    unexplained: Sequence[DataFile] = ()
    if files:
        newer = beside.files if beside and beside.exists else ()
        usual = {file.path for file in _usual_files(table, all_files, kept_by, now.date(), newer)}
        unexplained = [file for file in files if file.path not in usual]
    return Due(table.feed.name, table.feed.title, kept_by, rule, files, unexplained, _rows(all_files))


def expire(
    table: LakeTable, commit_id: str, now: dt.datetime, max_share: float, beside: LakeTable | None = None
) -> list[str]:
    """Removes expired partitions from the table; returns their names. Without any it commits only a rule that became
    shorter.

    See `due` for `beside`. Raises RetentionHeld.
    """  # fmt: skip
    if not table.exists or _is_nothing_due(table, now):
        return []
    if table.rule_in_log is None:
        # The rule goes into the log before `_metadata.json` is rewritten, perhaps with a shorter one.
        table.commit(commit_id, Change(note=_rule_note(table.rule or Rule.of(table.feed))), now)
    found = due(table, now, beside=beside)
    found.check(max_share)
    if found.files:
        note = {"kind": "expire", "partitions": found.partitions, "rows": found.row_count}
        table.commit(commit_id, Change(removes=found.files, rule=found.rule, note=note), now)
    elif found.kept_by != found.rule:
        table.commit(commit_id, Change(rule=found.rule, note=_rule_note(found.rule)), now)
    return found.partitions


def _is_nothing_due(table: LakeTable, now: dt.datetime) -> bool:
    """Whether the days of a stream's partitions alone show that nothing expires, so that its files need not be read."""
    rule = Rule.of(table.feed)
    if table.feed.type != "stream" or table.rule_in_log != rule:
        return False
    partitions = described_partitions(table)
    first = rule.first_day(now.date()).isoformat()
    return partitions is not None and all(day is None or day >= first for day in partitions)


def _rule_note(rule: Rule) -> dict[str, str]:
    return {"kind": "retention", "rule": str(rule)}


def partition_names(files: Sequence[DataFile]) -> list[str]:
    """The names of the files' partitions, the oldest first."""
    return sorted({file.partition or "" for file in files}, key=_by_name)


def _by_name(name: str) -> tuple[int, str]:
    return len(name), name


def still_expired(notes: Iterable[Mapping[str, Any]]) -> set[str]:
    """The partitions of which rows expired that have not all come back, by the notes of a feed's commits, the oldest
    first.
    """
    expired = set[str]()
    for note in notes:
        if note.get("kind") == "expire":
            expired |= {*note["partitions"]}
        if note.get("kind") == "unexpire":
            expired -= {*note.get("whole", ())}
    return expired


def _due_files(table: LakeTable, files: Sequence[DataFile], rule: Rule, today: dt.date) -> list[DataFile]:
    first = rule.first_day(today)
    if table.feed.type == "stream":
        return [file for file in files if (day := _day(file)) is not None and day < first]
    newest = _newest_versions(files, rule)
    return [
        file
        for file in files
        if file.partition != str(table.current_version)
        and (file.partition not in newest or file.added_at.date() < first)
    ]


def _usual_files(
    table: LakeTable, files: Sequence[DataFile], rule: Rule, today: dt.date, newer: Sequence[DataFile]
) -> list[DataFile]:
    """The files that expire by the rule for a normal reason: newer rows, in `newer` files too, passed days or a new
    version.
    """
    first, paused = rule.first_day(today), rule.first_day(today - dt.timedelta(days=_PAUSE_DAYS))
    if table.feed.type == "table":
        newest = _newest_versions(files, rule)
        return [f for f in files if f.partition not in newest or paused <= f.added_at.date() < first]
    dated = [(file, day) for file in files if (day := _day(file)) is not None]
    days = [*(day for _, day in dated), *filter(None, map(_day, newer))]
    # Rows of the future say nothing about today.
    by_rows = rule.first_day(max((day for day in days if day <= today), default=dt.date.min))
    return [file for file, day in dated if day < by_rows or paused <= day < first]


def _newest_versions(files: Sequence[DataFile], rule: Rule) -> set[str]:
    versions = {int(file.partition or 0) for file in files}
    return {str(version) for version in sorted(versions)[-rule.versions :]}


def _day(file: DataFile) -> dt.date | None:
    return None if file.partition is None else dt.date.fromisoformat(file.partition)


def _rows(files: Sequence[DataFile]) -> int:
    return sum(file.row_count for file in files)


@dataclass(frozen=True)
class Taken:
    """The partitions that were removed from the log, and how many older files were deleted from disk.

    `of_unreadable` are the partitions of the unreadable records beside a stream's rows, for a feed that keeps them.
    """

    partitions: list[str]
    deleted_files: int
    of_unreadable: list[str] = field(default_factory=list)


def would_expire(upkeep: Upkeep, feed: Feed) -> list[Due]:
    """What `expire_feed` would remove: of its rows, and of the unreadable records it keeps. Raises RetentionHeld."""
    table = upkeep.lake.table(feed)
    found = [due(table, upkeep.now)]
    if beside := upkeep.lake.kept_beside(feed):
        kept = upkeep.lake.table(beside)
        found += [due(kept, upkeep.now, beside=table)] if kept.exists else []
    for each in found:
        each.check(upkeep.max_share)
    return found


def expire_feed(upkeep: Upkeep, feed: Feed) -> Taken:
    """Removes what the feed's rule no longer keeps from the log, and deletes files past their grace period from disk.

    Raises RetentionHeld, before anything of the unreadable records expires where too many rows would.
    """
    lake = upkeep.lake
    with lake.writing(feed, upkeep.holder) as table:
        partitions = expire(table, upkeep.run_id, upkeep.now, upkeep.max_share)
        deleted, beside = table.remove_orphans(lake.grace_hours), lake.kept_beside(feed)
        if beside is None:
            return Taken(partitions, deleted)
        with lake.writing(beside, upkeep.holder) as kept:
            of_unreadable = expire(kept, upkeep.run_id, upkeep.now, upkeep.max_share, beside=table)
            return Taken(partitions, deleted + kept.remove_orphans(lake.grace_hours), of_unreadable)


@dataclass(frozen=True)
class ArchivedExpiry:
    """An archived feed of which partitions expired, or whose expiry failed."""

    feed: str
    partitions: list[str] = field(default_factory=list)
    error: PipelineError | None = None


def expire_archived(upkeep: Upkeep, feeds: Iterable[Feed], progress: Progress) -> list[ArchivedExpiry]:
    """Expires archived feeds, which no export does; the failure of one does not stop the others."""
    done = []
    for index, feed in enumerate(feeds):
        try:
            with progress.at(feed.name, "expiring"), contained(feed.name):
                taken = expire_feed(upkeep.numbered(index), feed)
                if partitions := sorted({*taken.partitions, *taken.of_unreadable}, key=_by_name):
                    done.append(ArchivedExpiry(feed.name, partitions))
        except PipelineError as error:
            done.append(ArchivedExpiry(feed.name, error=error))
    return done
