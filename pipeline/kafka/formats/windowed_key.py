"""Keys of windowed tables: the key itself, and behind it when its window begins, and when that of a session ends.

Facts: Kafka Streams' WindowKeySchema (8 bytes behind the key: the start) and SessionKeySchema (16: the end, then the
start), milliseconds since 1970, the highest byte first. Where a TUMBLING or HOPPING window ends is not in the key: its
start and the window's size say so. A key that is missing or empty is none (TimeWindowedDeserializer).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_START, _END_AND_START = struct.Struct(">q"), struct.Struct(">qq")


@dataclass(frozen=True)
class WindowedKeys:
    """Keys without their windows, for the deserializer of the key, and the windows; None where there is no key.

    `starts` and `ends` are milliseconds since 1970; `ends` are those of sessions, else empty. `unreadable` has the
    reason for each place whose bytes are too few for a window.
    """

    keys: tuple[bytes | None, ...]
    starts: tuple[int | None, ...]
    ends: tuple[int | None, ...] = ()
    unreadable: Mapping[int, str] = field(default_factory=dict)


def split_windowed(keys: Sequence[bytes | None], window: str) -> WindowedKeys:
    """The keys of records taken apart; `window` is TUMBLING, HOPPING or SESSION, as DESCRIBE says it."""
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
