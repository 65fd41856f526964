"""F7: generated values of every ksqlDB type, from the server's answers to each reader of the lake and of the warehouse.

Each set of columns is served as a stream and as a table, and exported by the script; then the streams are read again
by `--full` and by `--date`, and by a run for what is new. After each of these, what Parquet, DuckDB and pandas
show is compared with the generated values; so is each column in a fact of its own in MariaDB and in MySQL, where a
value that its column cannot hold has to be among the rejects, whole, and no other.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import deltalake
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from demo.private_mysql import PrivateServer, running_mariadb
from demo.unpacked_mysql import running_mysql
from ksqldb_emulator.dataset import Dataset, Record
from ksqldb_emulator.testing import running
from pipeline.feeds import Feed
from pipeline.warehouse.server import Server
from tests.expected import (
    arrow_text,
    lake_form,
    seen_forms,
)
from tests.support import lake_at
from tests.torture.drawn import Generated
from tests.torture.figures import Figure
from tests.torture.generated import draw, inexact, rows, schemas
from tests.torture.victim import Scene, stopwatch
from tests.torture.warehouse_values import check_warehouse

_READERS = ("Parquet", "DuckDB", "pandas")
Servers = Mapping[str, Callable[[Path], AbstractContextManager[PrivateServer]]]
_COLUMNS = 18
_FIRST_INEXACT = 1001  # number of a set
_MAP_NAMES = re.compile(r" \('.*?'\)(?=>)")  # Arrow shows a map's type with a name that means nothing


def generated_values(folder: Path, cells: int, seed: int, servers: Servers | None = None) -> Figure:
    """At least `cells` values, each in a stream and a table, to be seen by every reader.

    `servers` are started in turn; without them a private MariaDB and a private MySQL.
    """
    servers = servers or {"MariaDB": running_mariadb, "MySQL": running_mysql}
    places = (*_READERS, *servers)
    what = f"generated values of all types, nested too, from the wire to {', '.join(places)}; --full and --date besides"
    promises = (*(f"differences in {place}" for place in places), "differences in verify --source")
    figure, started = Figure("F7", what, promises, unit="values"), time.monotonic()
    sets, root = generate(cells, seed), folder / "lake"
    if failed := export(sets, folder):
        figure.count("exports that failed", failed)
        return figure
    for drawn in sets:
        figure.tried += len(drawn.rows) * len(drawn.types)
        check_lake(figure, root, drawn)
    read_again(figure, sets, folder)
    inexact_sets = min(20, max(2, cells // 1000))
    refused = check_refusals(figure, folder, inexact_sets, seed)
    different = len(
        {(str(type_), repr(value)) for drawn in sets for _, type_, column in drawn.columns for value in column}
    )
    figure.details = (
        f"{different:,} different ones, in {len(sets)} sets of {_COLUMNS} columns, each as a stream and as a table; "
        f"{refused} of {2 * inexact_sets} sources that cannot be sent exactly were refused, the others lost nothing"
    )
    for product, start in servers.items():
        (folder / product).mkdir()
        with start(folder / product) as database:
            server = Server(host=database.host, port=database.port, user=database.user, database="generated_values")
            rejected = check_warehouse(figure, product, server, root, sets)
        figure.details += f"; {product} cannot hold {rejected:,}, which were rejected"
    figure.seconds = stopwatch(started)
    return figure


@contextmanager
def serving(sets: Sequence[Generated], folder: Path) -> Iterator[Scene]:
    """A server with the sources of all sets, and the lake of that folder."""
    with running(Dataset([source for drawn in sets for source in drawn.sources()])) as emulator:
        yield Scene(folder / "lake", emulator, *list(sets[0].feeds())[:2])


def export(sets: Sequence[Generated], folder: Path, *way: str, feeds: Sequence[Feed] | None = None) -> str:
    """Exports the sets, or these feeds of theirs, by the script; returns its errors if it failed."""
    if feeds is None:
        feeds = [feed for drawn in sets for feed in drawn.feeds()]
        for feed in feeds:
            lake_at(folder / "lake").feeds.add(feed)
    names = [word for feed in feeds for word in (f"--{feed.type}", feed.name)]
    with serving(sets, folder) as scene:
        process = scene.start(*names, *way, output=folder / "export")
        process.join()
    return (folder / "export.err").read_text(encoding="utf-8") if process.exitcode else ""


def read_again(figure: Figure, sets: Sequence[Generated], folder: Path) -> None:
    """Reads the streams of all sets again in each way that there is, and lets `verify --source` compare all feeds."""
    streams = [feed for drawn in sets for feed in drawn.feeds() if feed.type == "stream"]
    days = sorted({_day(record) for source in sets[0].sources() for record in source.records})
    for way in (("--full",), *(("--date", day) for day in days), ()):
        if failed := export(sets, folder, *way, feeds=streams):
            figure.count("exports that failed", f"{' '.join(way)}: {failed}")
        for drawn in sets:
            check_lake(figure, folder / "lake", drawn, [feed for feed in drawn.feeds() if feed.type == "stream"])
    with serving(sets, folder) as scene:
        verifying = scene.start("verify", "--deep", "--source", script="metadata_utils", output=folder / "verify")
        verifying.join()
    if verifying.exitcode:
        figure.count("differences in verify --source", (folder / "verify.out").read_text(encoding="utf-8"))


def _day(record: Record) -> str:
    return dt.datetime.fromtimestamp(record.rowtime / 1000, dt.UTC).date().isoformat()


def generate(cells: int, seed: int) -> list[Generated]:
    count = min(100, max(16, 2 * math.isqrt(cells // _COLUMNS)))
    drawn = draw(schemas(), math.ceil(cells / _COLUMNS / count), seed)
    return [Generated(n, types, draw(rows(types), count, seed + n)) for n, types in enumerate(drawn, 1)]


def check_lake(figure: Figure, root: Path, drawn: Generated, feeds: Sequence[Feed] | None = None) -> None:
    """Compares what each reader of the lake finds in these feeds; without them in the stream and in the table."""
    for feed in drawn.feeds() if feeds is None else feeds:
        for reader, table in zip(_READERS, _read(root, feed), strict=True):
            places = {n: row for row, n in enumerate(table["n"].to_pylist())}
            if sorted(places) != list(range(len(drawn.rows))) or table.num_rows != len(places):
                figure.count(f"differences in {reader}", f"{feed.name}: rows {sorted(places)}", len(drawn.rows))
                continue
            for name, type_, values in drawn.columns:
                column = table[name]
                if reader == "Parquet" and _MAP_NAMES.sub("", str(column.type)) != arrow_text(type_):
                    figure.count("differences in Parquet", f"{type_} is {column.type}", len(values))
                forms = seen_forms(column.combine_chunks())
                for n, value in enumerate(values):
                    wanted, seen = lake_form(value, type_), forms[places[n]]
                    if repr(wanted) != repr(seen):
                        figure.count(
                            f"differences in {reader}", f"{feed.name}.{name} {type_}: {wanted!r}, not {seen!r}"
                        )


def _read(root: Path, feed: Feed) -> Iterator[pa.Table]:
    """The feed's committed rows by Parquet's own reader, by DuckDB and by pandas."""
    delta = deltalake.DeltaTable(str(root / feed.kind_folder / feed.name))
    yield pa.concat_tables(pq.ParquetFile(uri).read() for uri in delta.file_uris())
    with duckdb.connect() as connection:
        connection.execute((root / "views.sql").read_text(encoding="utf-8"))
        view = feed.name if feed.type == "stream" else f"{feed.name}_current"
        yield connection.sql(f'SELECT * FROM "{view}"').to_arrow_table()
    frame = delta.to_pandas(types_mapper=pd.ArrowDtype)
    yield pa.table({name: pa.chunked_array(frame[name].array.__arrow_array__()) for name in frame.columns})


def check_refusals(figure: Figure, folder: Path, count: int, seed: int) -> int:
    """Exports `count` sets of one type that is not exact each; returns how many streams and tables were refused.

    One that is not refused has to have right values.
    """
    drawn = draw(st.tuples(inexact()), count, seed)
    sets = [Generated(n, types, draw(rows(types), 5, seed + n)) for n, types in enumerate(drawn, _FIRST_INEXACT)]
    export(sets, folder)
    refused = 0
    for one in sets:
        tables = [lake_at(folder / "lake").table(feed) for feed in one.feeds()]
        taken = [table.feed for table in tables if table.exists and table.files]
        refused += 2 - len(taken)
        check_lake(figure, folder / "lake", one, taken)
    return refused
