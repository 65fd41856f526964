"""The engines: each reads a state of a feed, and returns its rows as Arrow; None for a state that it cannot read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import deltalake
import duckdb
import pandas
import polars
import pyarrow as pa
from pyiceberg.table import StaticTable

from tests.readers.lake import State

Read = Callable[[State], pa.Table | None]


def by_deltalake(state: State) -> pa.Table:
    return pa.table(deltalake.DeltaTable(state.folder, version=state.delta_version).to_pyarrow_table())


def by_datafusion(state: State) -> pa.Table:
    delta = deltalake.DeltaTable(state.folder, version=state.delta_version)
    return pa.table(deltalake.QueryBuilder().register("feed", delta).execute("SELECT * FROM feed").read_all())


def by_polars(state: State) -> pa.Table:
    return polars.scan_delta(str(state.folder), version=state.delta_version).collect().to_arrow()


def by_polars_of_iceberg(state: State) -> pa.Table:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", polars.exceptions.PerformanceWarning)  # its planner is a package of its own
        return polars.scan_iceberg(_iceberg(state), snapshot_id=state.snapshot).collect().to_arrow()


def by_pyiceberg(state: State) -> pa.Table:
    return _iceberg(state).scan(snapshot_id=state.snapshot).to_arrow()


def by_pandas(state: State) -> pa.Table:
    """The files of the Delta log, one by one, as docs/quickstart-lake.md has it."""
    frames = [pandas.read_parquet(path, dtype_backend="pyarrow", partitioning=None) for path in state.paths]
    return pa.Table.from_pandas(pandas.concat(frames), preserve_index=False)


def by_views(state: State) -> pa.Table | None:
    """The views show what is committed, so the newest state only."""
    if not state.newest:
        return None
    name = state.feed.name if state.feed.type == "stream" else f"{state.feed.name}_history"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute((state.folder.parent.parent / "views.sql").read_text(encoding="utf-8"))
        return connection.sql(f"SELECT * FROM {name}").to_arrow_table()


def by_glob(state: State) -> pa.Table | None:
    """A bare glob of the data files: right where all files on disk are the newest state's."""
    there = sorted(str(path) for path in Path(state.folder).glob("*/*.parquet"))
    if there != sorted(state.paths):
        return None
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        files = f"read_parquet('{state.folder}/*/*.parquet', hive_partitioning = true)"
        return connection.sql(f"SELECT * FROM {files}").to_arrow_table()


def _iceberg(state: State) -> StaticTable:
    return StaticTable.from_metadata(f"file://{state.iceberg}")


ENGINES: dict[str, Read] = {
    "deltalake": by_deltalake,
    "DataFusion (in deltalake)": by_datafusion,
    "Polars, scan_delta": by_polars,
    "DuckDB, views.sql": by_views,
    "DuckDB, a bare glob": by_glob,
    "pandas": by_pandas,
    "pyiceberg": by_pyiceberg,
    "Polars, scan_iceberg": by_polars_of_iceberg,
}
