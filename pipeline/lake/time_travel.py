"""What a feed's views showed at an earlier version or time: files, one sequence for each of the feed's `view_names`.

Nothing is changed. A table's version can be shown as long as the feed's retention keeps it, all versions of a time as
long as it keeps all of them, everything else as far back as the log goes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any

from pipeline.errors import VersionUnknown, WrongUsage
from pipeline.lake.files import DataFile
from pipeline.lake.log import oldest_version
from pipeline.lake.store import LOG
from pipeline.lake.table import LakeTable
from pipeline.text import rfc3339

_REMOVES_VERSIONS = ("expire", "unexpire", "repair")
"""The kinds of commits after which a table may have other versions from before than it had then."""
Shown = list[Sequence[DataFile]]


def shown_now(table: LakeTable) -> Shown:
    """All files; of a table first those of its current version."""
    if table.feed.type == "stream":
        return [table.files]
    return [table.versions().get(table.current_version or 0, ()), table.files]


def shown_at_version(table: LakeTable, version: int) -> Shown:
    """A table's version as the current one, and the versions up to it. Raises VersionUnknown, WrongUsage."""
    if table.feed.type == "stream":
        raise WrongUsage(f"{table.feed.name} is a stream: it has no versions", "--as-of shows a stream at a time")
    return [files_of_version(table, version), [file for file in table.files if int(file.partition or 0) <= version]]


def shown_as_of(table: LakeTable, moment: dt.datetime, views: Collection[str]) -> Shown:
    """What was committed at that time, for a question about some of these `views` of the feed.

    Raises VersionUnknown where the lake does not have that any more, or not yet.
    """
    name = table.feed.name
    entries = [entry for entry in table.history() if entry["timestamp"]]  # 0: a damaged entry
    # A clock that was ahead, and was put right, leaves later times in older entries.
    newer = next((n for n, entry in enumerate(entries) if _at(entry["timestamp"]) <= moment), len(entries))
    since, reached = entries[:newer], entries[newer:]
    if not reached:
        first = f"its first commit is of {rfc3339(_at(entries[-1]['timestamp']))}" if entries else "it has no commit"
        raise VersionUnknown(f"{name} had no data at {rfc3339(moment)}: {first}", "give a later --as-of")
    number, newest = reached[0]["version"], _newest_version(reached)
    if number >= oldest_version(table.store.names(LOG)):
        files = table.files_at(number)
        if all(table.store.size(file.path) is not None for file in files):
            current = [file for file in files if int(file.partition or 0) == newest] if newest is not None else files
            return [files] if table.feed.type == "stream" else [current, files]
    later = f"give a later --as-of: python metadata_utils.py history {name} lists the commits"
    was_replaced = any(_note(entry).get("version") == newest for entry in since)
    if newest is None or newest not in table.versions() or was_replaced:
        raise VersionUnknown(f"the lake does not have {name} as of {rfc3339(moment)} any more", later)
    of_current, of_all = table.feed.view_names
    if of_all in views and any(_note(entry).get("kind") in _REMOVES_VERSIONS for entry in since):
        raise VersionUnknown(
            f"the lake does not have all versions of {name} as of {rfc3339(moment)} any more",
            f"ask {of_current}, or {later}",
        )
    return shown_at_version(table, newest)


def files_of_version(table: LakeTable, version: int) -> list[DataFile]:
    """The files of a version that the lake retains. Raises VersionUnknown."""
    retained = table.versions()
    if version not in retained:
        raise VersionUnknown(
            f"the lake has no version {version} of {table.feed.name}",
            f"retained versions: {', '.join(map(str, retained)) or 'none'}",
        )
    return retained[version]


def _newest_version(entries: Sequence[dict[str, object]]) -> int | None:
    """The version that the newest of these log entries (newest first) made current; None for streams."""
    versions = (_note(entry).get("version") for entry in entries)
    return next((int(version) for version in versions if version is not None), None)


def _note(entry: dict[str, object]) -> dict[str, Any]:
    note = entry.get("pipeline")
    return note if isinstance(note, dict) else {}


def _at(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC)
