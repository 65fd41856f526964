"""Files of Delta logs that were read from an object store once in this process.

Entries and checkpoints are never written over, so what was read is what is there, until another process deletes the
feed or restores its log: then files of the same names have other bytes. So each list of a log's names is compared with
what was read, by the tags of the objects, and what differs or is gone is forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from pipeline.lake.bucket import Found

_NUMBERED = re.compile(r"(?P<folder>(.*/)?_delta_log)/(?P<name>\d{20}\.[^/]*)")
_MOST_BYTES = 64 * 2**20


class LogCache:
    """The bytes of such files, by their keys; a process forgets all of them when they are too many."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, tuple[bytes, str]]] = {}
        self._bytes = 0

    def get(self, key: str, read: Callable[[str], tuple[bytes, Found]]) -> bytes:
        """The file's bytes; other files than those of logs are always read."""
        match = _NUMBERED.fullmatch(key)
        if match is None:
            return read(key)[0]
        known = self._known.get(match["folder"], {}).get(match["name"])
        if known is not None:
            return known[0]
        data, found = read(key)
        if self._bytes + len(data) > _MOST_BYTES:
            self._known.clear()
            self._bytes = 0
        self._known.setdefault(match["folder"], {})[match["name"]] = data, found.e_tag
        self._bytes += len(data)
        return data

    def compare(self, folder: str, there: Mapping[str, str]) -> None:
        """Forgets what was read of a folder and is not there now with the same e_tag; in a store without, all of it."""
        known = self._known.get(folder, {})
        for name, (_, tag) in list(known.items()):
            if not tag or there.get(name) != tag:
                known.pop(name, None)

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            folder, _, name = key.rpartition("/")
            self._known.get(folder, {}).pop(name, None)
