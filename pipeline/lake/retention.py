"""Retention: partitions that a feed's rule lets go of leave the log in one commit.

Expired rows leave the log first and the disk after a grace period, so a reader that is under way keeps its files.
"""

from __future__ import annotations

import datetime as dt

from pipeline.lake.change import Change
from pipeline.lake.files import DataFile
from pipeline.lake.table import LakeTable


def expired_files(table: LakeTable, now: dt.datetime) -> list[DataFile]:
    """The files that the feed's retention rule lets go of at `now`; never those of the current version."""
    feed = table.feed
    oldest = now.date() - dt.timedelta(days=feed.retention_days) if feed.retention_days else None
    if feed.type == "stream":
        return [
            file
            for file in table.files
            if oldest and file.partition is not None and dt.date.fromisoformat(file.partition) < oldest
        ]
    versions = table.versions()
    newest = sorted(versions)[-feed.retention_versions :] if feed.retention_versions else list(versions)
    return [
        file
        for version, files in versions.items()
        for file in files
        if version != table.current_version
        and (version not in newest or (oldest is not None and file.added_at.date() < oldest))
    ]


def expire(table: LakeTable, commit_id: str, now: dt.datetime) -> list[str]:
    """Takes expired partitions out of the table; returns their names. Nothing expired, nothing committed."""
    files = expired_files(table, now)
    partitions = sorted({file.partition or "" for file in files}, key=lambda name: (len(name), name))
    if files:
        note = {"kind": "expire", "partitions": partitions, "rows": sum(file.row_count for file in files)}
        table.commit(commit_id, Change(removes=files, note=note), now)
    return partitions
