"""The newest files of a table, without the list of all its files: those that a session added, and those that have a
stream's newest rows, by the log's newest entries.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pipeline.lake.change import Change, files_after
from pipeline.lake.files import DataFile, integer_bounds
from pipeline.lake.log import actions_in, entry_name
from pipeline.lake.store import Store

_MOST_ENTRIES = 40
"""The list of all files is sooner read than more entries."""


@dataclass(frozen=True)
class Growth:
    """What was done to a table since the log entry with the checksum `since`: `files` were added, and nothing else."""

    since: str
    files: tuple[DataFile, ...] = ()

    def after(self, change: Change, paths: Sequence[str], now: dt.datetime, checksum: str) -> Growth:
        """The growth after one more change, whose entry has that checksum: none yet where it did something else."""
        if change.removes or change.returns or change.schema is not None:
            return Growth(checksum)
        return Growth(self.since, files_after(change, self.files, paths, now))


def newest_files(store: Store, version: int, column: str, topic_partition: int, offset: int) -> list[DataFile] | None:
    """The files at `version` that have all rows of a topic partition from `offset` on, and others; None where the
    newest entries do not show which.

    A row is committed by the entry that moves the bookmark over it, and only later entries can put it into other files.
    So the search ends at an export that began at that offset or before it. `column` is the partition column.
    """
    found, gone = dict[str, DataFile](), set[str]()
    for number in range(version, max(version - _MOST_ENTRIES, -1), -1):
        note: dict[str, Any] = {}
        try:
            for action in actions_in(store, [entry_name(number)]):
                note = action.get("commitInfo", {}).get("pipeline") or note
                if "remove" in action:
                    gone.add(unquote(action["remove"]["path"]))
                elif "add" in action and (path := unquote(action["add"]["path"])) not in found.keys() | gone:
                    found[path] = _file(path, action["add"], column)
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # dropped, or not as ours: it has no statistics
            return None
        if note.get("kind") == "stream" and note.get("from", {}).get(str(topic_partition), offset + 1) <= offset:
            return list(found.values())
    return None


def _file(path: str, add: dict[str, Any], column: str) -> DataFile:
    stats, added_at = json.loads(add["stats"]), dt.datetime.fromtimestamp(add["modificationTime"] / 1000, dt.UTC)
    partition = add["partitionValues"][column]
    return DataFile(path, partition, stats["numRecords"], add["size"], added_at, integer_bounds(stats))
