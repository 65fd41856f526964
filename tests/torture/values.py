"""F7: generated values of every ksqlDB type, from the server's answers to each reader of the lake and of the warehouse.

Each set of columns is served as a stream and as a table, and exported by the script; then the streams are read again
by `--full` and by `--date`, and by a run for what is new. After each of these, what Parquet, DuckDB and pandas
show is compared with the generated values; so is each column in a fact of its own in MariaDB and in MySQL, where a
value that its column cannot hold has to be among the rejects, whole, and no other.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from data_lake_config import PROJECT_ROOT
from demo.private_mysql import PrivateServer, running_mariadb
from demo.unpacked_mysql import running_mysql
from ksqldb_emulator.dataset import Column, Dataset, Query, Record, Source
from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.testing import running
from pipeline.feeds import Feed, WarehouseMapping, parse_feed
from pipeline.verify.warehouse import check_warehouse as compare_with_lake
from pipeline.warehouse.connection import Connection, text_of
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_snapshots, mapping_of
from pipeline.warehouse.sync import SyncRequest, load_one
from tests.expected import (
    Token,
    arrow_text,
    json_shows,
    lake_form,
    lake_name,
    mysql_holds,
    mysql_shows,
    mysql_type,
    seen_forms,
)
from tests.support import lake_at
from tests.torture.figures import Figure
from tests.torture.generated import draw, inexact, rows, schemas
from tests.torture.victim import DAY_MS, Scene, stopwatch

_READERS = ("Parquet", "DuckDB", "pandas")
Servers = Mapping[str, Callable[[Path], AbstractContextManager[PrivateServer]]]
_NOW_MS = 1_790_000_000_000
_COLUMNS = 18
_FIRST_INEXACT = 1001  # number of a set
_KEY_LENGTH = 700  # of texts in a key: an index takes 3,072 bytes
_MAP_NAMES = re.compile(r" \('.*?'\)(?=>)")  # Arrow shows a map's type with a name that means nothing
_IN_FULL = {"DOUBLE": "value", "BYTES": "HEX(value)"}


@dataclass(frozen=True)
class Generated:
    """A set of typed columns with its rows; the column N before them numbers the rows."""

    number: int
    types: tuple[Type, ...]
    rows: list[tuple[Any, ...]]

    @property
    def columns(self) -> list[tuple[str, Type, list[Any]]]:
        """The lake's name, the type and the values of each column."""
        cells = list(zip(*self.rows, strict=True))
        return [(lake_name(_name(place)), type_, list(cells[place - 1])) for place, type_ in enumerate(self.types, 1)]

    def is_key(self, type_: Type) -> bool:
        """Whether a column is part of its fact's key: texts of every other set."""
        return type_.base == "STRING" and self.number % 2 == 1

    def sources(self) -> Iterator[Source]:
        """The rows as a stream over three partitions, and as the table that a query makes of it."""
        names = [_name(place) for place in range(1, len(self.types) + 1)]
        columns = (Column("N", Type("BIGINT"), "KEY"), *map(Column, names, self.types))
        records = [
            Record(n % 3, n // 3, _NOW_MS + n * DAY_MS // 40, {"N": n, **dict(zip(names, row, strict=True))})
            for n, row in enumerate(self.rows)
        ]
        stream, table = f"S{self.number}", f"T{self.number}"
        query = Query(f"CTAS_{table}", "CREATE TABLE ...", (table,), (table.lower(),), (stream.lower(),))
        yield Source(stream, "STREAM", columns, stream.lower(), 3, records, read_queries=(query,), value_format="AVRO")
        yield Source(table, "TABLE", columns, table.lower(), 1, list(records), write_query=query, value_format="AVRO")

    def feeds(self) -> Iterator[Feed]:
        for kind in ("stream", "table"):
            name = f"{kind[0]}{self.number}"
            yield parse_feed({"name": name, "type": kind, "source": name.upper()}, name)


def _name(place: int) -> str:
    return f"Größe {place}" if place % 4 == 0 else f"C{place}"


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
        verifying = scene.start("verify", "--source", script="metadata_utils", output=folder / "verify")
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


def check_warehouse(figure: Figure, product: str, server: Server, root: Path, sets: Sequence[Generated]) -> int:
    """Loads each column into a fact of its own, and compares; returns how many values were rejected, and had to be."""
    init_schema(server, PROJECT_ROOT / "sql")
    rejected = 0
    for drawn in sets:
        feeds = _facts(drawn)
        with Connection(server) as connection:
            for feed, type_ in zip(feeds, drawn.types, strict=True):
                connection.run(_declaration(mapping_of(feed), type_, connection.is_mariadb))
        load_one(server, lake_snapshots(lake_at(root), feeds, None), SyncRequest("lake"), dt.datetime.now(dt.UTC))
        with Connection(server) as connection:
            rejected += _check_facts(figure, product, connection, drawn)
            for feed in feeds:
                verified = compare_with_lake(connection, lake_at(root).table(feed))
                if verified.findings or verified.compared != ("in the warehouse 1 snapshot as in the lake",):
                    figure.count(f"differences in {product}", f"verify --warehouse reports {verified}")
    return rejected


def _facts(drawn: Generated) -> list[Feed]:
    """The table's feed once for each column: its fact holds the row's number and that column."""
    feed, found = list(drawn.feeds())[1], []
    for place, (name, type_, _) in enumerate(drawn.columns):
        keys = ("n", "value") if drawn.is_key(type_) else ("n",)
        mapping = WarehouseMapping(fact=f"f{drawn.number}_{place}", keys=keys, columns={"n": "n", "value": name})
        found.append(feed.model_copy(update={"warehouse": mapping}))
    return found


def _declaration(mapping: WarehouseMapping, type_: Type, is_mariadb: bool) -> str:
    declared = f"VARCHAR({_KEY_LENGTH})" if "value" in mapping.keys else mysql_type(type_, is_mariadb)
    return (
        f"CREATE TABLE {mapping.fact} (id BIGINT AUTO_INCREMENT PRIMARY KEY, snapshot_version INT NOT NULL,"
        f" snapshot_date DATE NOT NULL, n INT NOT NULL, value {declared} NULL,"
        f" UNIQUE (snapshot_version, {', '.join(mapping.keys)}),"
        " FOREIGN KEY (snapshot_version) REFERENCES etl_snapshots (snapshot_version) ON DELETE CASCADE)"
        " DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
    )


def _check_facts(figure: Figure, product: str, connection: Connection, drawn: Generated) -> int:
    wrong, rejected = f"differences in {product}", 0
    listed = "SELECT fact_table, column_name, reason, row_json FROM etl_rejects WHERE fact_table LIKE %s"
    rejects: dict[tuple[str, int], str] = {}
    for fact, column, reason, text in connection.rows(listed, (f"f{drawn.number}\\_%",)):
        row = json.loads(text, parse_float=Token, parse_int=Token)
        n = int(row["n"])
        rejects[text_of(fact), n] = f"{text_of(column)} {text_of(reason)}"
        for (name, type_, _), value in zip(drawn.columns, drawn.rows[n], strict=True):
            if not json_shows(row[name], value, type_):
                figure.count(wrong, f"reject of {fact}, {name} {type_}: {value!r}, not {row[name]!r}")
    for place, (_, type_, values) in enumerate(drawn.columns):
        fact = f"f{drawn.number}_{place}"
        shown = _IN_FULL.get(type_.base, "CAST(value AS CHAR)")
        found = dict(connection.rows(f"SELECT n, {shown} FROM {fact}"))
        for n, value in enumerate(values):
            reason = rejects.pop((fact, n), None)
            fits = mysql_holds(value, type_, connection.is_mariadb)
            if drawn.is_key(type_):
                fits = value is not None and not value.endswith(" ") and len(value) <= _KEY_LENGTH
            rejected += not fits
            seen = found.pop(n) if n in found else "no row"
            seen = text_of(seen) if isinstance(seen, bytes | bytearray) else seen
            if fits == (reason is not None) or (not fits and seen != "no row"):
                figure.count(wrong, f"{fact} {type_}: {value!r} is {seen!r}, rejected: {reason}")
            elif not fits and not re.match(r"value .{3}", str(reason)):
                figure.count(wrong, f"{fact} {type_}: {value!r} is rejected as {reason!r}")
            elif fits and not mysql_shows(seen, value, type_, connection.is_mariadb):
                figure.count(wrong, f"{fact} {type_}: {value!r}, not {seen!r}")
        figure.count(wrong, f"{fact}: rows from nowhere", len(found))
    figure.count(wrong, f"rejects from nowhere {rejects}", len(rejects))
    return rejected
