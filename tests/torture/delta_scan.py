"""DuckDB's `delta_scan` as a reader of the lake, in a Python environment of its own: build/delta_scan.

The delta extension is packed for an older DuckDB than the one that the toolkit uses, and one process holds one DuckDB.
The environment is built at the first use, and again when the extra `delta-scan` of pyproject.toml changes.
"""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

_one_at_a_time = threading.Lock()


class ScanFailed(RuntimeError):
    """DuckDB could not read the table; the message is its own."""


def scan_rows(table: Path, columns: Sequence[str]) -> list[tuple[int, ...]]:
    """The rows of a Delta table, the given integer columns of them."""
    with _one_at_a_time:
        worker = _worker()
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(json.dumps([str(table), *columns]) + "\n")
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline())
    if isinstance(answer, str):
        raise ScanFailed(answer)
    return [tuple(row) for row in answer]


@functools.cache
def _worker() -> subprocess.Popen[str]:
    """The process that reads, until this one ends."""
    from demo.environment import python_of  # this file runs in that environment too, which has packages alone

    worker = subprocess.Popen(
        [str(python_of("delta-scan")), "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(worker.communicate)
    return worker


def _answer() -> None:
    """Runs in that environment: reads what is asked line by line, and answers with rows or an error's text."""
    import duckdb
    import duckdb_extension_delta  # type: ignore[import-not-found]  # only there

    (extension,) = Path(duckdb_extension_delta.__file__).parent.glob("extensions/*/delta.duckdb_extension")
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension}'")
        for line in sys.stdin:
            table, *columns = json.loads(line)
            try:
                rows = connection.execute(f"SELECT {', '.join(columns)} FROM delta_scan(?)", [table]).fetchall()
                answer = json.dumps(rows)
            except duckdb.Error as error:
                answer = json.dumps(str(error))
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _answer()
