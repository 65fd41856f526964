"""Whether a table's log still has what was published of it.

A log that was restored from a backup lacks its newest entries, and goes on with others of the same versions.
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.lake.log import commit_checksum, info_of, oldest_version
from pipeline.lake.store import LOG
from pipeline.lake.table import LakeTable


def still_has(table: LakeTable, version: int, checksum: str, paths: Collection[str]) -> bool:
    """Whether `version` of the log is the commit with that checksum (see `log.commit_checksum`).

    Where either is not known, as of what earlier releases of this toolkit have published, it is whether the version has
    the files `paths`: no two commits give one name to their files.
    """
    if version > table.delta_version:
        return False
    there = commit_checksum(info_of(table.store, version))
    if checksum and there:
        return checksum == there
    is_readable = version >= oldest_version(table.store.names(LOG))
    return is_readable and {file.path for file in table.files_at(version)} == set(paths)
