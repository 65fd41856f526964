"""Files of Delta logs that were read from an object store once in this process.

Entries and checkpoints are never written over, so what was read is what is there, until they are deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_NUMBERED = re.compile(r"/_delta_log/\d{20}\.[^/]*$")
_MOST_BYTES = 64 * 2**20


class LogCache:
    """The bytes of such files, by their keys; a process forgets all of them when they are too many."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}
        self._bytes = 0

    def get(self, key: str, read: Callable[[], bytes]) -> bytes:
        """The file's bytes; other files than those of logs are always read."""
        data = self._known.get(key)
        if data is None:
            data = read()
            self.put(key, data)
        return data

    def put(self, key: str, data: bytes) -> None:
        if _NUMBERED.search(f"/{key}") is None:
            return
        if self._bytes + len(data) > _MOST_BYTES:
            self._known.clear()
            self._bytes = 0
        self._known[key] = data
        self._bytes += len(data)

    def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._known.pop(key, None)
