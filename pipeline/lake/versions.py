"""The numbers of a table's snapshots: which one is next, and which ones there can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import VersionsUsedUp, WrongUsage
from pipeline.lake.log import history
from pipeline.lake.table import LakeTable

MAX_VERSION = 2_000_000_000
"""The highest version that a person can give a table; the snapshots after it have numbers too."""
_LAST = 2**31 - 1  # of the column that holds it


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
    """The note of the commit that the current version was read by; empty where the log does not tell."""
    wanted = table.current_version
    if wanted is None:
        return {}
    for entry in history(table.store):  # not all of it: the newest entries tell
        note: Mapping[str, Any] = entry.get("pipeline") or {}
        if note.get("version") == wanted:
            if note.get("kind") == "snapshot":
                return note
            wanted = note.get("rollback_of")
    return {}


def check_version(table: LakeTable, wanted: int) -> int:
    """`wanted`, if the next snapshot can have it: the newest, which it then replaces, or a higher one.

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
