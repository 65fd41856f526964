"""Readers in a Python environment of their own, build/readers: Daft, and extensions that are packed for older DuckDBs.

Run there as `python apart.py ENGINE FOLDER VERSION SNAPSHOT OUT`: writes Arrow to OUT.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa

NAMES = ("DuckDB, delta_scan", "DuckDB, iceberg_scan", "DuckDB, ducklake", "Daft, read_deltalake", "Daft, read_iceberg")


class NotRead(RuntimeError):
    """The engine refused; the message is its own."""


def read_apart(engine: str, folder: Path, version: int, snapshot: int) -> pa.Table:
    """What an engine of that environment reads. Raises NotRead."""
    from demo.environment import python_of  # this file runs in that environment too, which has packages alone

    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "rows"
        words = [str(python_of("readers")), "-I", __file__, engine, str(folder), str(version), str(snapshot), str(out)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotRead(done.stderr.strip().splitlines()[-1])
        with pa.OSFile(str(out)) as file, pa.ipc.open_stream(file) as rows:
            return rows.read_all()


def _read(engine: str, folder: str, version: int, snapshot: int) -> pa.Table:
    iceberg = f"{folder}/_iceberg"
    if engine == "DuckDB, delta_scan":
        return _by_duckdb(f"delta_scan('{folder}', version = {version})", "delta")
    if engine == "DuckDB, iceberg_scan":
        return _by_duckdb(f"iceberg_scan('{iceberg}', snapshot_from_id = {snapshot})", "avro", "iceberg")
    if engine == "DuckDB, ducklake":
        attached = f"ATTACH 'ducklake:{folder}/_ducklake/catalog.duckdb' AS lake (READ_ONLY)"
        return _by_duckdb(f"lake.{Path(folder).name} AT (VERSION => {version})", "ducklake", first=attached)
    import daft  # type: ignore[import-not-found]  # only there

    if engine == "Daft, read_deltalake":
        return daft.read_deltalake(folder, version=version).to_arrow()
    from pyiceberg.table import StaticTable

    return daft.read_iceberg(StaticTable.from_metadata(f"file://{iceberg}"), snapshot_id=snapshot).to_arrow()


def _by_duckdb(scan: str, *extensions: str, first: str = "") -> pa.Table:
    import importlib

    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in extensions:
            there = Path(str(importlib.import_module(f"duckdb_extension_{name}").__file__)).parent
            (extension,) = there.glob(f"extensions/*/{name}.duckdb_extension")
            connection.execute(f"LOAD '{extension}'")
        connection.execute(first)
        return connection.sql(f"SELECT * FROM {scan}").to_arrow_table()


if __name__ == "__main__":
    _, engine, folder, version, snapshot, out = sys.argv
    rows = _read(engine, folder, int(version), int(snapshot))
    with pa.OSFile(out, "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
        writer.write_table(rows)
