"""The values of F7 in MySQL and MariaDB: each as it was, or rejected with its reason."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from pathlib import Path

from data_lake_config import PROJECT_ROOT
from ksqldb_emulator.sqltypes import Type
from pipeline.feeds import Feed, WarehouseMapping
from pipeline.verify.warehouse import check_warehouse as compare_with_lake
from pipeline.warehouse.connection import Connection, text_of
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from pipeline.warehouse.sources import lake_snapshots, mapping_of
from pipeline.warehouse.sync import SyncRequest, load_one
from tests.expected import (
    Token,
    json_shows,
    mysql_holds,
    mysql_shows,
    mysql_type,
)
from tests.support import lake_at
from tests.torture.drawn import Generated
from tests.torture.figures import Figure

_KEY_LENGTH = 700  # of texts in a key: an index takes 3,072 bytes


_IN_FULL = {"DOUBLE": "value", "BYTES": "HEX(value)"}


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
