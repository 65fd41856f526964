"""A DuckLake catalog as DuckDB's own extension reads it, in a Python environment of its own: build/delta_scan.

The extension is packed for an older DuckDB than the one that the toolkit uses, and one process holds one DuckDB.
"""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def read_by_ducklake(catalog: str, *queries: str, secret: str = "") -> list[pa.Table]:
    """The answers to queries of the catalog, which is attached as `lake`, read-only; in a bucket by a `secret`.

    Raises RuntimeError.
    """
    import pyarrow.parquet as pq

    worker = _worker()
    assert worker.stdin is not None and worker.stdout is not None
    with tempfile.TemporaryDirectory() as scratch:
        worker.stdin.write(json.dumps([catalog, scratch, secret, *queries]) + "\n")
        worker.stdin.flush()
        problem = json.loads(worker.stdout.readline())
        if problem:
            raise RuntimeError(problem)
        return [pq.read_table(f"{scratch}/{n}.parquet") for n in range(len(queries))]


@functools.cache
def _worker() -> subprocess.Popen[str]:
    """The process that reads, until this one ends."""
    from demo.environment import python_of  # this file runs in that environment too, which has packages alone

    words = [str(python_of("delta-scan")), "-I", __file__]
    worker = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(worker.communicate)
    return worker


def _answer() -> None:
    """Runs in that environment: writes the answers to files, and says what went wrong or nothing."""
    import duckdb
    import duckdb_extension_ducklake  # type: ignore[import-not-found]  # only there
    import duckdb_extension_httpfs  # type: ignore[import-not-found]  # only there

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for package in (duckdb_extension_httpfs, duckdb_extension_ducklake):
            (extension,) = Path(package.__file__).parent.glob("extensions/*/*.duckdb_extension")
            connection.execute(f"LOAD '{extension}'")
        for line in sys.stdin:
            catalog, scratch, secret, *queries = json.loads(line)
            problem = ""
            try:
                if secret:
                    connection.execute(f"CREATE OR REPLACE SECRET (TYPE s3, {secret})")
                connection.execute(f"ATTACH 'ducklake:{catalog}' AS lake (READ_ONLY)")
                for n, query in enumerate(queries):
                    connection.execute(f"COPY ({query}) TO '{scratch}/{n}.parquet' (FORMAT parquet)")
            except duckdb.Error as error:
                problem = str(error)
            connection.execute("DETACH DATABASE IF EXISTS lake")
            sys.stdout.write(json.dumps(problem) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _answer()
