"""Every kind of reader of the lake, and what none of them may see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas
import polars
import pyarrow.parquet as pq

from tests.torture.delta_scan import ScanFailed, scan_rows
from tests.torture.figures import Figure
from tests.torture.victim import COLUMNS, Scene

_UNREADABLE = (
    OSError, duckdb.Error, ScanFailed, deltalake.exceptions.DeltaError, polars.exceptions.PolarsError,
)  # fmt: skip


def read_stream(root: Path, reader: str) -> Counter[tuple[int, int, int]]:
    """(partition, offset, n) of the stream's rows as a reader sees them: one of COMMIT_READERS, or `glob`."""
    folder = root / "streams" / "events"
    if reader == "views":
        views = root / "views.sql"
        return rows_of_views(views.read_text(encoding="utf-8")) if views.exists() else Counter()
    if reader == "glob":
        return _rows_of(sorted(folder.glob("date=*/*.parquet")))
    if not deltalake.DeltaTable.is_deltatable(str(folder)):
        return Counter()
    if reader == "delta_scan":
        return Counter((partition, offset, n) for partition, offset, n in scan_rows(folder, COLUMNS))
    if reader == "polars":
        return Counter(polars.scan_delta(str(folder)).select(COLUMNS).collect().iter_rows())
    paths = [Path(uri) for uri in deltalake.DeltaTable(folder).file_uris()]
    if reader == "pandas":
        frames = [pandas.read_parquet(path, columns=COLUMNS) for path in paths]
        return Counter(row for frame in frames for row in frame.itertuples(index=False, name=None))
    return _rows_of(paths)


def rows_of_views(text: str, filesystem: Any = None) -> Counter[tuple[int, int, int]]:
    """The rows of the view of the stream, if there is one; see `Lake.filesystem`."""
    with duckdb.connect() as connection:
        if filesystem is not None:
            connection.register_filesystem(filesystem)
        connection.execute(text)
        exists = connection.sql("SELECT 1 FROM duckdb_views() WHERE view_name = 'events'").fetchall()
        return Counter(connection.sql(f"SELECT {', '.join(COLUMNS)} FROM events").fetchall()) if exists else Counter()


def _rows_of(paths: Sequence[Path]) -> Counter[tuple[int, int, int]]:
    rows: Counter[tuple[int, int, int]] = Counter()
    for path in paths:
        batch = pq.read_table(path, columns=COLUMNS).to_pydict()
        rows.update(zip(*(batch[name] for name in COLUMNS), strict=True))
    return rows


def check_readers(
    scene: Scene,
    figure: Figure,
    source: Counter[tuple[int, int, int]],
    when: str,
    optional: Collection[tuple[int, int]] = (),
) -> None:
    """Counts what a reader of the commit must never see: rows twice, rows from nowhere, holes, or nothing readable.

    A reader sees all rows of a topic partition up to its last one, but those at the places that are `optional`.
    """
    for reader in scene.readers:
        try:
            seen = scene.seen_by(reader)
        except _UNREADABLE as error:
            figure.count("unreadable", f"{when}, {reader}: {error}")
            continue
        figure.count("duplicated rows", f"{when}, {reader}", sum(n - 1 for n in seen.values() if n > 1))
        figure.count("rows from nowhere", f"{when}, {reader}", len(set(seen) - set(source)))
        last = dict[int, int]()
        for partition, offset, _ in seen:
            last[partition] = max(offset, last.get(partition, -1))
        due = {row for row in source if row[1] < last.get(row[0], -1) and row[:2] not in optional}
        figure.count("holes", f"{when}, {reader}", len(due - set(seen)))


def check_complete(
    scene: Scene,
    figure: Figure,
    source: Counter[tuple[int, int, int]],
    when: str,
    optional: Collection[tuple[int, int]] = (),
) -> None:
    """After a run that ended well every kind of reader sees every row once, a bare glob too.

    Those at the places that are `optional` may be missing.
    """
    for reader in scene.readers_at_rest:
        seen = scene.seen_by(reader)
        lost = {row: count for row, count in (source - seen).items() if row[:2] not in optional}
        figure.count("lost rows", f"{when}, {reader}", sum(lost.values()))
        figure.count("duplicated rows", f"{when}, {reader}", sum((seen - source).values()))
