"""The version numbers of a table's snapshots: which is next, and which are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import VersionsUsedUp, WrongUsage
from pipeline.lake.log import history
from pipeline.lake.table import LakeTable

MAX_VERSION = 2_000_000_000
"""The highest version that a person can give; it leaves numbers for the snapshots after it."""
_LAST = 2**31 - 1  # the highest number that the version column can hold


def next_version(table: LakeTable) -> int:
    """The number of the next snapshot. Raises VersionsUsedUp."""
    newest = _newest(table)
    if newest >= _LAST:
        raise VersionsUsedUp(
            f"{table.feed.name} has version {newest:,}, and no higher one can be stored",
            f"keep it under its feed (python manage_feeds.py archive {table.feed.name}) and add a new feed",
        )
    return newest + 1


def current_snapshot(table: LakeTable) -> Mapping[str, Any]:
    """The note of the commit that exported the current version; empty where the log does not have it."""
    wanted = table.current_version
    if wanted is None:
        return {}
    for entry in history(table.store):  # reads only the newest entries
        note: Mapping[str, Any] = entry.get("pipeline") or {}
        if note.get("version") == wanted:
            if note.get("kind") == "snapshot":
                return note
            wanted = note.get("rollback_of")
    return {}


def check_version(table: LakeTable, wanted: int) -> int:
    """`wanted`, if the next snapshot can have that number: the newest, which it then replaces, or a higher one.

    Raises WrongUsage.
    """
    newest = _newest(table)
    if wanted > MAX_VERSION:
        raise WrongUsage(f"{wanted} is no version: {MAX_VERSION:,} is the highest", "use a lower --version, or none")
    if wanted < max(newest, 1):
        raise WrongUsage(
            f"version {wanted} of {table.feed.name} is history: {newest} is the newest",
            f"use --version {newest} to replace the newest, or a higher number",
        )
    return wanted


def _newest(table: LakeTable) -> int:
    return max(table.current_version or 0, *table.versions(), 0)
