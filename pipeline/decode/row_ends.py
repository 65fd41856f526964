"""Finds where the elements of an answer end, many bytes at once, with numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.decode.layout import Ends, Scan

_QUOTE, _BACKSLASH, _BLANK = b'"\\ '
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1
_IS_MARK = _STEP != 0
_IS_MARK[_QUOTE] = True


def scan(data: bytes, state: Scan) -> Ends:
    """See `layout.Engine`."""
    if not data:
        return Ends(np.empty(0, np.int64), -1, state)
    text = np.frombuffer(data, np.uint8)
    escaped = False
    if state.escaped or _BACKSLASH in data:
        text, escaped = _without_escaped(text, state.escaped)
    marks = np.flatnonzero(_IS_MARK[text])
    kinds = text[marks]
    quoted = (np.cumsum(kinds == _QUOTE) + state.quoted) & 1
    steps = np.where(quoted, 0, _STEP[kinds])
    depths = np.cumsum(steps, dtype=np.int64) + state.depth
    closing = steps < 0
    closed_at, last = -1, Scan(state.depth, state.quoted, escaped)
    if len(marks):
        last = Scan(int(depths[-1]), bool(quoted[-1]), escaped)
    if len(closed := np.flatnonzero(closing & (depths == 0))):
        first = closed[0]
        closed_at, last = int(marks[first]), Scan(0)
        marks, depths, closing = marks[:first], depths[:first], closing[:first]
    return Ends(marks[closing & (depths == 1)] + 1, closed_at, last)


def _without_escaped(text: npt.NDArray[np.uint8], escaped: bool) -> tuple[npt.NDArray[np.uint8], bool]:
    """Blanks out escaped bytes; returns also whether the next byte is escaped.

    In a run of backslashes each second one is itself escaped.
    """
    text = text.copy()
    if escaped:
        text[0] = _BLANK
    at = np.flatnonzero(text == _BACKSLASH)
    if not len(at):
        return text, False
    starts = np.flatnonzero(np.diff(at, prepend=at[0] - 2) != 1)
    lengths = np.diff(starts, append=len(at))
    behind = (at[starts] + lengths)[lengths % 2 == 1]
    text[behind[behind < len(text)]] = _BLANK
    return text, bool(len(behind) and behind[-1] == len(text))
