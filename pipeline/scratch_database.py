"""A DuckDB database for rows on their way: in memory up to a limit, beyond it in a temporary folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

import duckdb

from pipeline.scratch import scratch_errors

MEMORY = "256MB"
"""What DuckDB keeps in memory."""


def scratch_database(folder: Path, memory: str = MEMORY) -> duckdb.DuckDBPyConnection:
    """A new, empty database that spills into `folder`, a scratch folder. `memory` is in DuckDB's words."""
    return duckdb.connect(
        config={
            "memory_limit": memory,
            "temp_directory": str(folder),
            "preserve_insertion_order": False,
            "checkpoint_threshold": "1TB",  # else DuckDB (2.0) repacks its tables every 16 MB
        }
    )


def database_errors(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Turns DuckDB's errors of a full disk or too little memory into ScratchUnusable."""
    return scratch_errors(folder, (duckdb.IOException, duckdb.OutOfMemoryException))
