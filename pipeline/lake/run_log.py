"""The logs of scripts: a file a month, `SCRIPT_YYYY-MM.log`, in the lake's `logs/` or another local folder."""

from __future__ import annotations

import datetime as dt
import logging
import re

from pipeline.lake.local_store import LocalStore, lake_folder
from pipeline.lake.store import Store, disk_errors

KEPT_MONTHS = 13


def open_run_log(store: Store, script: str, now: dt.datetime) -> logging.Handler:
    """Opens the script's log of this month for appending; deletes the oldest beyond KEPT_MONTHS files.

    Files are never renamed: runs at the same time write to the same file. Raises LakeNotWritable.
    """
    name = f"{script}_{now:%Y-%m}.log"
    with disk_errors(store.uri()):
        if store.size(name) is None:
            months = [old for old in store.names() if re.fullmatch(rf"{script}_\d{{4}}-\d\d\.log", old)]
            store.delete(*months[: -KEPT_MONTHS + 1])
        return store.open_log(name)


def open_local_run_log(folder: str, script: str, now: dt.datetime) -> logging.Handler:
    """As `open_run_log`, in a local folder."""
    return open_run_log(LocalStore(lake_folder(folder)), script, now)
