"""What a commit does, as a value, and as the actions of a Delta log entry."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import deltalake
import pyarrow as pa
from deltalake.transaction import AddAction, RemoveAction

from pipeline.fingerprint import total
from pipeline.lake.files import DataFile, committed_file
from pipeline.lake.rule import Rule
from pipeline.lake.writer import StagedFile
from pipeline.source import Bookmark

CURRENT = "current-version"
PARTITIONS = "topic-partitions"
TOPIC_NUMBER = "/id"
"""Identifiers of Delta transactions: the current version of a table, the number of known topic partitions, and (after
the topic's name) the id of that topic."""
_NO_ROW = -(2**63)
"""Stands for a ROWTIME that a bookmark no longer has: a Delta identifier cannot be removed."""


@dataclass(frozen=True)
class Change:
    """What one commit does. `bookmarks` are by topic partition, of the topic with `topic_id` where that is known.

    `schema` replaces the table's schema: then `adds` must have all rows, and all earlier files are removed. `rule` is
    the retention by which rows are kept from now on; by default the longer of the feed's and the table's. `returns` are
    files to be added again that an earlier commit removed. Without `data_change` the rows stay the same.
    """

    adds: Sequence[StagedFile] = ()
    removes: Sequence[DataFile] = ()
    bookmarks: Mapping[int, Bookmark] = field(default_factory=dict)
    partitions: int | None = None
    topic_id: str = ""
    current_version: int | None = None
    schema: pa.Schema | None = None
    rule: Rule | None = None
    returns: Sequence[DataFile] = ()
    data_change: bool = True
    note: Mapping[str, Any] = field(default_factory=dict)

    def fingerprint_after(self, before: str) -> str:
        """The fingerprint of all rows after this change; files without one do not count."""
        added = [file.fingerprint for file in self.adds] + [file.fingerprint for file in self.returns]
        if self.schema is not None:
            return total(added)
        return total([before, *added], (file.fingerprint for file in self.removes))


def file_actions(change: Change, paths: Sequence[str], column: str, now: dt.datetime) -> list[AddAction | RemoveAction]:
    """The add and remove actions of a change; `paths` are those of its staged files in the table, `column` is the
    partition column.
    """
    adds = [
        AddAction(
            path=path,
            size=staged.size_bytes,
            partition_values={column: staged.partition},
            modification_time=_ms(staged.written_at or now),
            data_change=change.data_change,
            stats=staged.stats,
        )
        for staged, path in zip(change.adds, paths, strict=True)
    ]
    adds += [
        AddAction(
            path=file.path,
            size=file.size_bytes,
            partition_values={column: file.partition},
            modification_time=_ms(file.added_at),
            data_change=change.data_change,
            stats=file.stats(),
        )
        for file in change.returns
    ]
    removes = [
        RemoveAction(file.path, change.data_change, _ms(now), file.size_bytes, {column: file.partition})
        for file in change.removes
    ]
    return [*adds, *removes]


def files_after(
    change: Change, files: Sequence[DataFile], paths: Sequence[str], now: dt.datetime
) -> tuple[DataFile, ...]:
    """The table's files after a change that was made at `now`; `paths` are those of its staged files in the table."""
    gone = {file.path for file in change.removes}
    kept = [file for file in files if file.path not in gone] if change.schema is None else []
    added = [committed_file(staged, path, now) for staged, path in zip(change.adds, paths, strict=True)]
    return (*change.returns, *added, *kept)


def transactions(
    change: Change, topic: str, before: Mapping[str, int], rule: Rule, now: dt.datetime
) -> list[deltalake.Transaction]:
    """All identifiers of the table after the change, unchanged ones included: each gets the time `now`.

    Engines that drop old identifiers drop one without a time, or with an old time. `before` are the identifiers until
    now, with their versions; `rule` is used where the change has none. A topic partition that was added since an
    earlier commit gets the bookmark 0 with the commit that counts it first: all of its rows are due.
    """
    known, counted, number = bookmarks_in(before.get, topic), before.get(PARTITIONS, 0), f"{topic}{TOPIC_NUMBER}"
    dated = {partition for partition, (_, rowtime_ms) in known.items() if rowtime_ms is not None}
    added = dict.fromkeys(range(counted, change.partitions or 0), Bookmark(0)) if known else {}
    marks = {**added, **known, **change.bookmarks}
    count = max(change.partitions or 0, counted, *(partition + 1 for partition in marks), 0)
    wanted: dict[str, int | None] = {CURRENT: change.current_version or before.get(CURRENT)}
    wanted |= {PARTITIONS: count or None, **(change.rule or rule).transactions()}
    wanted[number] = number_of(change.topic_id) if change.topic_id else before.get(number)
    for partition, (next_offset, rowtime_ms) in marks.items():
        wanted[f"{topic}/{partition}"] = next_offset
        wanted[f"{topic}/{partition}/rowtime"] = _NO_ROW if rowtime_ms is None and partition in dated else rowtime_ms
    return [
        deltalake.Transaction(app_id, version, _ms(now)) for app_id, version in wanted.items() if version is not None
    ]


def number_of(topic_id: str) -> int:
    """The id of a topic as the number that an application transaction can hold."""
    return int.from_bytes(hashlib.sha256(topic_id.encode()).digest()[:7], "big")


def bookmarks_in(transaction: Callable[[str], int | None], topic: str) -> dict[int, Bookmark]:
    """The bookmarks in a log; `transaction` returns the version of an application transaction."""
    found = {}
    for partition in range(transaction(PARTITIONS) or 0):
        next_offset = transaction(f"{topic}/{partition}")
        if next_offset is not None:
            rowtime_ms = transaction(f"{topic}/{partition}/rowtime")
            found[partition] = Bookmark(next_offset, None if rowtime_ms == _NO_ROW else rowtime_ms)
    return found


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)
