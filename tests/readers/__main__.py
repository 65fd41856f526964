"""`python -m tests.readers`: every reader at every state of a lake; writes the table of docs/readers.md.

Installs DuckDB's extensions and Daft into build/readers, and PySpark into build/spark, at the first use.
Exits 1 when a reader sees other rows.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from tests.readers import apart
from tests.readers.by_spark import read_by_spark
from tests.readers.engines import ENGINES
from tests.readers.lake import State, hash_of, made
from tests.support import ROOT

PAGE = ROOT / "docs" / "readers.md"
_START, _END = "<!-- figures: written by the command -->", "<!-- end of figures -->"
_PACKAGES = ("deltalake", "duckdb", "polars", "pandas", "pyiceberg")
_REFUSED = "refuses"


def read(engine: str, state: State) -> pa.Table | apart.NotRead | None:
    try:
        if engine in ENGINES:
            return ENGINES[engine](state)
        return apart.read_apart(engine, state.folder, state.delta_version, state.snapshot)
    except apart.NotRead as error:
        return error


def seen_by(engine: str, state: State, found: pa.Table | apart.NotRead | None) -> str:
    """The hash of what the engine read, in short; why there is none."""
    if isinstance(found, apart.NotRead):
        print(f"{engine}, {state.name}: {found}", file=sys.stderr)  # noqa: T201 # a command
        return _REFUSED
    return "-" if found is None else hash_of(found, state.schema)[1][:8]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="readers-") as folder:
        states = made(Path(folder) / "lake")
        found = {engine: [read(engine, state) for state in states] for engine in (*ENGINES, *apart.NAMES)}
        found |= read_by_spark(states)
        seen = {name: [seen_by(name, *one) for one in zip(states, rows, strict=True)] for name, rows in found.items()}
    wanted = [state.hash[:8] for state in states]
    names = [f"{state.feed.name} {state.delta_version}" for state in states]
    lines = [
        f"{dt.datetime.now(dt.UTC).date()}, " + ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "",
        "| | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
        *("| " + " | ".join([engine, *hashes]) + " |" for engine, hashes in seen.items()),
    ]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_START)
    text = "\n".join([f"{before}{_START}", "", *lines, "", f"{_END}{rest.partition(_END)[2]}"])
    PAGE.write_text(text, encoding="utf-8")
    columns = zip(*seen.values(), strict=True)
    right = all(set(column) <= {"-", _REFUSED, one} for column, one in zip(columns, wanted, strict=True))
    print("\n".join(lines))  # noqa: T201
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
