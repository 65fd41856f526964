"""Two versions of a table, compared: as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.printable import printable
from pipeline.text import plural, wrapped
from pipeline.verify.versions import Differences, RowChange

_SIGNS = {"new": "+", "gone": "-", "changed": "~"}


def differences_json(found: Differences) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "feed": found.feed,
        "from_version": found.old,
        "to_version": found.new,
        **found.counts,
        "unchanged": found.unchanged,
        "rows": [
            {
                "change": row.kind,
                "key": dict(row.key),
                "values": {name: {"from": old, "to": new} for name, (old, new) in row.values.items()},
            }
            for row in found.rows
        ],
    }


def differences_lines(found: Differences) -> list[str]:
    """A line a row that differs (+ new, - gone, ~ changed), and how many there are."""
    lines = [wrapped(_line(row), indent="  ") for row in found.rows]
    differing = sum(found.counts.values())
    if differing > len(found.rows):
        lines.append(f"  and {plural(differing - len(found.rows), 'row')} more: --limit")
    counts = ", ".join(f"{count:,} {kind}" for kind, count in found.counts.items())
    return [f"{found.feed}: version {found.old} to {found.new}: {counts}, {found.unchanged:,} unchanged", *lines]


def _line(row: RowChange) -> str:
    key = ", ".join(f"{name}={_shown(value)}" for name, value in row.key.items())
    return f"{_SIGNS[row.kind]} {key}: {', '.join(_values(row.kind, row.values))}"


def _values(kind: str, values: Mapping[str, tuple[str | None, str | None]]) -> list[str]:
    if kind == "changed":
        return [f"{name} {_shown(old)} -> {_shown(new)}" for name, (old, new) in values.items()]
    return [f"{name}={_shown(old if kind == 'gone' else new)}" for name, (old, new) in values.items()]


def _shown(value: str | None) -> str:
    return "NULL" if value is None else printable(value, 60)
