"""A mapping that cannot work is refused in one sentence, before anything is read, staged or written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import FeedInvalid, MappingDoesNotFit
from pipeline.feeds import DimensionMapping, WarehouseMapping, parse_feed
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.mapping import TableSnapshot, resolve_mapping
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import NOW, load, rows_of

pytestmark = pytest.mark.mysql

UNIQUE = "UNIQUE (snapshot_version, id)"
OWN = "own_id BIGINT AUTO_INCREMENT PRIMARY KEY, snapshot_version INT NOT NULL, snapshot_date DATE NOT NULL"
KINDS = {
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DECIMAL": pa.decimal128(10, 2),
    "STRING or TIME": pa.string(),
    "BYTES": pa.binary(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "ARRAY": pa.list_(pa.int32()),
    "MAP": pa.map_(pa.string(), pa.int32()),
    "STRUCT": pa.struct([("a", pa.int32())]),
}
_NUMBERS = {"BOOLEAN", "INTEGER", "BIGINT"}
HELD = {
    "INT": _NUMBERS,
    "DECIMAL(10, 2)": {*_NUMBERS, "DOUBLE", "DECIMAL"},
    "DOUBLE": {"INTEGER", "BIGINT", "DOUBLE"},
    "DOUBLE(10, 2)": set(),
    "FLOAT(10, 2)": set(),
    "VARCHAR(10)": {*KINDS} - {"BYTES"},
    "TEXT": {*KINDS} - {"BYTES"},
    "VARBINARY(10)": {"BYTES"},
    "BLOB": {"BYTES"},
    "DATE": {"DATE"},
    "DATETIME(3)": {"TIMESTAMP"},
    "TIMESTAMP(3) NULL": {"TIMESTAMP"},
    "TIME(3)": {"STRING or TIME"},
    "JSON": {*KINDS},
}


def make(server: Server, *definitions: str) -> None:
    with Connection(as_root(server)) as connection:
        connection.run(f"CREATE TABLE fact_own ({', '.join([OWN, *definitions])})")


def own(schema: pa.Schema, columns: dict[str, str] | None = None, **mapping: Any) -> TableSnapshot:
    """An empty snapshot with the grain `id` for fact_own."""
    columns = columns or {name: name for name in schema.names}
    target = WarehouseMapping(**{"fact": "fact_own", "keys": ("id",), "columns": columns} | mapping)

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([], schema=schema)

    return TableSnapshot("own", target, schema, batches, 0, None, NOW)


ID = pa.schema([("id", pa.int32())])


def refusal(server: Server, snapshot: TableSnapshot) -> str:
    with pytest.raises(MappingDoesNotFit) as refused:
        load(server, snapshot)
    assert rows_of(server, "SELECT COUNT(*) FROM etl_snapshots") == [(0,)]
    assert "manage_feeds.py ddl own" in refused.value.hint
    return refused.value.message


def test_each_type_goes_only_where_its_values_can_be_held(warehouse: Server) -> None:
    make(warehouse, "id INT NOT NULL", UNIQUE, *(f"c{place} {type_}" for place, type_ in enumerate(HELD)))
    held: dict[str, set[str]] = {type_: set() for type_ in HELD}

    with Connection(warehouse) as connection:
        for name, kind in KINDS.items():
            for place, target in enumerate(HELD):
                snapshot = own(pa.schema([*ID, ("v", kind)]), {"id": "id", f"c{place}": "v"})
                try:
                    resolve_mapping(connection, snapshot)
                except MappingDoesNotFit as refused:
                    assert (
                        f"which cannot hold v, {'an' if name in ('ARRAY', 'INTEGER') else 'a'} {name}"
                        in refused.message
                    )
                else:
                    held[target].add(name)

    assert held == HELD


def test_the_refusal_names_both_types(warehouse: Server) -> None:
    make(warehouse, "id INT NOT NULL", "amount DECIMAL(18, 2)", UNIQUE)

    message = refusal(warehouse, own(pa.schema([*ID, ("total", pa.string())]), {"id": "id", "amount": "total"}))

    assert "fact_own.amount is DECIMAL(18,2), which cannot hold total, a STRING or TIME" in message


@pytest.mark.parametrize(
    "definition",
    [
        "KEY (snapshot_version, id)",
        "UNIQUE (id, snapshot_version, other)",
        "UNIQUE (snapshot_version)",
        "UNIQUE (snapshot_version, name(5))",
    ],
)
def test_a_fact_without_a_unique_key_of_the_grain_is_refused(warehouse: Server, definition: str) -> None:
    make(warehouse, "id INT NOT NULL", "other INT NULL", "name TEXT", definition)

    assert "no unique key of snapshot_version, id" in refusal(warehouse, own(ID))


@pytest.mark.parametrize(
    "definition", ["UNIQUE (id, snapshot_version)", "UNIQUE (snapshot_date, snapshot_version, id)"]
)
def test_the_order_of_the_unique_key_and_the_date_in_it_do_not_matter(warehouse: Server, definition: str) -> None:
    make(warehouse, "id INT NOT NULL", definition)

    assert load(warehouse, own(ID)).version == 1


def test_a_unique_key_that_the_next_snapshot_would_break_is_refused(warehouse: Server) -> None:
    make(warehouse, "id INT NOT NULL", UNIQUE, "UNIQUE (id)")

    assert "unique key of id without snapshot_version" in refusal(warehouse, own(ID))


def test_columns_that_nobody_fills_are_named(warehouse: Server) -> None:
    make(
        warehouse, "id INT NOT NULL", UNIQUE, "lacking INT NOT NULL", "at DATETIME(3) NOT NULL DEFAULT NOW(3)",
        "fine INT NOT NULL DEFAULT 0", "also_fine INT NULL", "twice INT AS (id * 2) STORED",
    )  # fmt: skip

    message = refusal(warehouse, own(ID))

    assert message.endswith("fact_own.lacking is NOT NULL without a default, and the mapping does not fill it")
    assert message.count("NOT NULL") == 1


@pytest.mark.parametrize("kind", ["VIRTUAL", "STORED"])
def test_a_generated_column_cannot_be_filled(warehouse: Server, kind: str) -> None:
    make(warehouse, "id INT NOT NULL", UNIQUE, f"twice INT AS (id * 2) {kind}")

    assert "fact_own.twice is generated by the server" in refusal(warehouse, own(ID, {"id": "id", "twice": "id"}))


def test_a_fact_that_knows_no_transactions_is_refused(warehouse: Server) -> None:
    make(warehouse, "id INT NOT NULL", UNIQUE)
    with Connection(as_root(warehouse)) as connection:
        connection.run("ALTER TABLE fact_own ENGINE = MyISAM")

    assert "fact_own is kept by MyISAM, not by InnoDB" in refusal(warehouse, own(ID))


def test_two_feeds_in_one_fact_are_refused(warehouse: Server) -> None:
    make(warehouse, "id INT NOT NULL", UNIQUE)

    with pytest.raises(MappingDoesNotFit, match="own and other are mapped to one table, fact_own"):
        load(warehouse, own(ID), replace(own(ID), feed="other"))


def test_a_fact_needs_the_columns_of_its_snapshot(warehouse: Server) -> None:
    with Connection(as_root(warehouse)) as connection:
        connection.run("CREATE TABLE fact_own (id INT NOT NULL PRIMARY KEY)")

    message = refusal(warehouse, own(ID))

    assert "no column snapshot_version; fact_own has no column snapshot_date" in message


def test_a_dimension_is_checked_like_its_fact(warehouse: Server) -> None:
    make(warehouse, "id INT NOT NULL", UNIQUE)
    with Connection(as_root(warehouse)) as connection:
        connection.run("CREATE TABLE dim_own (id INT NOT NULL, name INT, lacking INT NOT NULL)")
    schema = pa.schema([*ID, ("name", pa.string())])
    dimension = DimensionMapping(table="dim_own", key="id", columns={"id": "id", "name": "name"}, latest_by="at")

    message = refusal(warehouse, own(schema, {"id": "id"}, dimension=dimension))

    assert "dim_own.name is INT" in message
    assert "dim_own.lacking is NOT NULL" in message
    assert "dim_own has no unique key of id" in message
    assert "the source has no column at" in message


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"columns": {"id": "id", "Snapshot_Version": "v"}}, "the sync itself fills 'Snapshot_Version'"),
        ({"columns": {"id": "id", "staging_id": "v"}}, "the sync itself fills 'staging_id'"),
        ({"columns": {"id": "id", "ID": "v"}}, "differs only in case"),
        ({"columns": {"id": "id"}, "fact": "f" * 53}, "not a valid name of a fact table"),
        ({"columns": {"id": "id"}, "dimension": {"table": "d", "key": "k", "columns": {"k": "k", "K": "k"}}}, "case"),
    ],
)  # fmt: skip
def test_a_mapping_that_no_table_could_satisfy_is_no_valid_feed(mapping: dict[str, Any], said: str) -> None:
    feed = {
        "name": "own",
        "type": "table",
        "source": "OWN",
        "warehouse": {"fact": "fact_own", "keys": ["id"]} | mapping,
    }

    with pytest.raises(FeedInvalid, match=said):
        parse_feed(feed, "own")
