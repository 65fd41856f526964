"""Keys of windowed tables: the key, followed by the start of its window, and for a session also its end.

Facts: Kafka Streams' WindowKeySchema (8 bytes after the key: the start) and SessionKeySchema (16 bytes: the end, then
the start), milliseconds since 1970, big-endian. The end of a TUMBLING or HOPPING window is not in the key: it is the
start plus the window's size. A missing or empty key counts as no key (TimeWindowedDeserializer).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_START, _END_AND_START = struct.Struct(">q"), struct.Struct(">qq")


@dataclass(frozen=True)
class WindowedKeys:
    """Keys without their windows, for the key's deserializer, and the windows; None where there is no key.

    `starts` and `ends` are milliseconds since 1970; `ends` are set for sessions only. `unreadable` has the reason for
    each place with too few bytes for a window.
    """

    keys: tuple[bytes | None, ...]
    starts: tuple[int | None, ...]
    ends: tuple[int | None, ...] = ()
    unreadable: Mapping[int, str] = field(default_factory=dict)


def split_windowed(keys: Sequence[bytes | None], window: str) -> WindowedKeys:
    """Splits the keys of records; `window` is TUMBLING, HOPPING or SESSION, as in DESCRIBE."""
    suffix = _END_AND_START if window == "SESSION" else _START
    split: list[tuple[bytes | None, tuple[int, ...] | None]] = []
    unreadable = {}
    for at, key in enumerate(keys):
        if key and len(key) >= suffix.size:
            split.append((key[: -suffix.size], suffix.unpack(key[-suffix.size :])))
        else:
            split.append((None, None))
            if key:
                unreadable[at] = "a key that is too short for a window behind it"
    starts = tuple(times[-1] if times else None for _, times in split)
    ends = tuple(times[0] if times else None for _, times in split) if window == "SESSION" else ()
    return WindowedKeys(tuple(key for key, _ in split), starts, ends, unreadable)
