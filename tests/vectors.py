"""The recorded answers of a real server, read where they stand: a folder beside the project, never copied into it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"

needs_vectors = pytest.mark.skipif(
    not VECTORS.is_dir(),
    reason=f"the recorded answers are not there: put them into {VECTORS.parent.name}/{VECTORS.name}",
)


def load_lines(name: str) -> list[dict[str, Any]]:
    """A `.jsonl` file of the vectors; empty where they are not, so that tests are collected everywhere."""
    path = VECTORS / name
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def load_json(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


@cache
def exchanges() -> dict[str, dict[str, Any]]:
    """The exchanges recorded with a 7.6.13 server, by name."""
    return {entry["name"]: entry for entry in load_lines("recorded/exchanges.jsonl")}
