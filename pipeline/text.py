"""Counts, sizes and rows as text that a person reads."""

from __future__ import annotations


def size_text(size_bytes: int) -> str:
    """`1.4 MB`: decimal units."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def as_table(rows: list[list[str]], head: list[str], right: set[int] = frozenset()) -> str:  # type: ignore[assignment] # an empty set
    """Aligned text columns; those in `right` are aligned to the right. Fits 80 columns if its cells do."""
    grid = [head, *rows]
    widths = [max(len(row[i]) for row in grid) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in grid
    ]
    return "\n".join([lines[0], "-" * min(80, max(map(len, lines))), *lines[1:]])
