"""Counts, sizes, moments and rows as text that a person reads."""

from __future__ import annotations

import datetime as dt
import textwrap

UNCHANGED = "Nothing was changed."
"""The last line of every dry run."""
TERMINAL = 80
"""Columns that every terminal has."""


def size_text(size_bytes: int) -> str:
    """`1.4 MB`: decimal units."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def wrapped(text: str, indent: str = "") -> str:
    """The text in lines that fit a terminal, all but the first indented; no word is cut, so a path can be copied."""
    lines = textwrap.wrap(
        text,
        TERMINAL,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


def rfc3339(moment: dt.datetime) -> str:
    """`2026-11-23T08:00:00.000Z`, to the millisecond; a moment without a time zone is in UTC already."""
    in_utc = moment.astimezone(dt.UTC) if moment.tzinfo else moment
    return in_utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def moment_of(epoch_ms: int) -> dt.datetime | None:
    """The moment in UTC; None where Python's dates do not reach it: a ROWTIME may be any number."""
    try:
        return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def as_table(
    rows: list[list[str]],
    head: list[str],
    right: frozenset[int] | set[int] = frozenset(),
    foot: list[str] | None = None,
) -> str:
    """Aligned text columns; those in `right` are aligned to the right. A `foot` is a row below a line, for totals.

    Where a row would not fit a terminal, a long first or last cell has a line of its own: no name is cut.
    """
    below = [foot] if foot else []
    widths = [max(len(row[i]) for row in (head, *rows, *below)) for i in range(len(head))]
    for column in (len(head) - 1, 0):
        over = sum(widths) + 2 * (len(head) - 1) - TERMINAL
        if over > 0 and column not in right:
            widths[column] = max(len(head[column]), widths[column] - over)
    lines = [line for row in (head, *rows) for line in _lines_of(row, widths, right)]
    last = [line for row in below for line in _lines_of(row, widths, right)]
    rule = "-" * min(TERMINAL, max(map(len, [*lines, *last])))
    return "\n".join([lines[0], rule, *lines[1:], *([rule, *last] if last else [])])


def _lines_of(row: list[str], widths: list[int], right: frozenset[int] | set[int]) -> list[str]:
    cells = [cell if len(cell) <= width else "" for cell, width in zip(row, widths, strict=True)]
    line = "  ".join(
        cell.rjust(width) if i in right else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()
    before = [row[0]] if row[0] != cells[0] else []
    after = [wrapped(row[-1], indent="  ")] if row[-1] != cells[-1] else []
    return [*before, line, *after]
