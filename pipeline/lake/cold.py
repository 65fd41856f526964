"""Older dates of a feed in a colder storage class of the bucket: the same keys, the same bytes, the same log.

A feed's `hot_days` says how long a date stays in the bucket's usual class. A file that is due is read, compared with
its checksum, and written again under its own key with the colder class, in one request; so the log does not change, and
no reader sees a difference. Which files are cold is kept in `_cold.json`; a crash, or losing it, makes the next run
write files again, which changes nothing. A disk has no classes: there nothing is done.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

from pipeline.feeds import Feed
from pipeline.lake.files import DataFile, stage_copy
from pipeline.lake.store import json_bytes, parse_json
from pipeline.lake.table import LakeTable

COLD = "_cold.json"


def cool(table: LakeTable, now: dt.datetime, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Gives the files of dates that are over for `hot_days` the colder class, while `goes_on`; returns how many.

    Once a day, so that other runs need not look at the files. Only under the feed's lock. Raises LakeDamaged for a file
    that is not what was written, which is left as it is.
    """
    kind, days = table.store.cold_class, table.feed.hot_days
    if not kind or days is None or not table.exists:
        return 0
    before = table.guarded(now).date() - dt.timedelta(days=days)
    reached, known = _known(table, kind)
    if reached == str(before):
        return 0
    due = sorted(file.path for file in table.files if _day(table.feed, file) < before and file.path not in known)
    files, done = {file.path: file for file in table.files}, list[str]()
    try:
        with table.store.scratch() as folder:
            for path in due:
                if not goes_on():
                    break
                staged = stage_copy(table.store, table.feed.name, files[path], folder / "file", files[path].partition)
                table.store.put_cold(path, Path(staged.path))
                done.append(path)
    finally:
        state = {
            "class": kind,
            "before": str(before) if done == due else "",
            "files": sorted(known & {*files} | {*done}),
        }
        if done or done == due:
            table.store.replace(COLD, json_bytes({"schema_version": 1} | state))
    return len(done)


def _day(feed: Feed, file: DataFile) -> dt.date:
    """Of a stream the date of the partition, of a table the day on which the version was exported."""
    dated = feed.type == "stream" and file.partition is not None
    return dt.date.fromisoformat(file.partition or "") if dated else file.added_at.date()


def _known(table: LakeTable, kind: str) -> tuple[str, set[str]]:
    """The date before which all was put into this class, and the files that were."""
    try:
        there = parse_json(table.store.read(COLD), table.uri(COLD))
    except FileNotFoundError:
        return "", set()
    if not isinstance(there, dict) or there.get("class") != kind:
        return "", set()
    return str(there.get("before", "")), set(there.get("files", ()))
