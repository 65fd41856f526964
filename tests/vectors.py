"""Recorded answers: those of a real server, read beside the project and never copied into it, and our own.

Tests marked `vectors` need those of the real server. Without them they are left out, which the summary says in one
line. What they prove is proved on our own recording too: `tests/data/exchanges.jsonl` is what the emulator answered
while it was compared with the real server's recording.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"
OWN = Path(__file__).resolve().parent / "data" / "exchanges.jsonl"

needs_vectors = pytest.mark.vectors


def load_lines(name: str) -> list[dict[str, Any]]:
    """A `.jsonl` file of the vectors; empty where they are not, so that tests are collected everywhere."""
    path = VECTORS / name
    return read_lines(path) if path.exists() else []


def read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def load_json(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def exchanges() -> dict[str, dict[str, Any]]:
    """The exchanges recorded with a 7.6.13 server, by name."""
    return _by_name(VECTORS / "recorded" / "exchanges.jsonl")


def own_exchanges() -> dict[str, dict[str, Any]]:
    """The exchanges recorded with the emulator, by name; each begins with `own: `."""
    return _by_name(OWN)


@cache
def _by_name(path: Path) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in read_lines(path)} if path.exists() else {}


def recorded(name: str) -> dict[str, Any]:
    """One exchange of either recording."""
    return own_exchanges()[name] if name.startswith("own: ") else exchanges()[name]


def in_both(names: Iterable[str]) -> list[Any]:
    """Names as parameters of a test, where those of the real server's recording may not be there."""
    return [name if name.startswith("own: ") else pytest.param(name, marks=needs_vectors) for name in names]
