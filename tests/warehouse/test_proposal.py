"""A fact table proposed from ksqlDB's DESCRIBE: its types, names and limits, and that the servers take it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipeline.columns import Column, arrow_type
from pipeline.errors import NoProposal, SourceNotReadable
from pipeline.feeds import Feed, WarehouseMapping, parse_feed
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection as KsqldbConnection
from pipeline.ksqldb.describe import Description
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.ksqldb.sqltypes import parse_schema
from pipeline.ksqldb.stream import KsqldbStream
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.migrations import statements
from pipeline.warehouse.proposal import columns_of_table, fact_sql, propose_mapping
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import as_maker
from tests.warehouse.samples import FEEDS, NOW, load, rows_of, user


def feed(name: str = "rates", **fields: Any) -> Feed:
    return parse_feed({"name": name, "type": "table", "source": "RATES"} | fields, name)


def columns(schema: str, window: str | None = None, kind: str = "table") -> tuple[Column, ...]:
    client = Client(KsqldbConnection("http://localhost"))
    described = Description("RATES", kind, "rates", 1, parse_schema(schema), window, True, (), value_format="JSON")
    return columns_of_table((KsqldbTable if kind == "table" else KsqldbStream)(client, described))


def sql_for(schema: str, window: str | None = None, name: str = "rates") -> str:
    found = columns(schema, window)
    return fact_sql(feed(name), propose_mapping(feed(name), found), found)


def declared(sql: str) -> dict[str, str]:
    """The declarations of the columns of a feed, by name."""
    lines = [line.strip().removesuffix(",") for line in sql.splitlines() if line.startswith("  `")]
    return {line.split("`")[1]: line.split("`")[2].strip() for line in lines}


def test_types_are_those_of_the_design() -> None:
    sql = sql_for(
        "`K` STRING KEY, `B` BOOLEAN, `I` INTEGER, `L` BIGINT, `D` DOUBLE, `N` DECIMAL(38, 10), `S` STRING, `Y` BYTES, "
        "`DAY` DATE, `T` TIME, `AT` TIMESTAMP, `A` ARRAY<INTEGER>, `M` MAP<STRING, DECIMAL(15, 2)>, "
        "`R` STRUCT<`X` DECIMAL(16, 2)>, `F` DECIMAL(38, 31)"
    )

    assert declared(sql) == {
        "rates_id": "BIGINT NOT NULL AUTO_INCREMENT",
        "k": "VARCHAR(255) NOT NULL",
        "b": "BOOLEAN NULL",
        "i": "INT NULL",
        "l": "BIGINT NULL",
        "d": "DOUBLE NULL",
        "n": "DECIMAL(38, 10) NULL",
        "s": "TEXT NULL",
        "y": "BLOB NULL",
        "day": "DATE NULL",
        "t": "TIME(3) NULL",
        "at": "DATETIME(3) NULL COMMENT 'UTC'",
        "a": "JSON NULL",
        "m": "JSON NULL",
        "r": "LONGTEXT NULL COMMENT 'JSON; as text, because the JSON of MySQL keeps decimals as DOUBLE'",
        "f": "VARCHAR(41) NULL COMMENT 'decimal number'",
    }


def test_the_bounds_of_a_window_belong_to_the_grain() -> None:
    sql = sql_for("`CITY` STRING KEY, `N` BIGINT", window="TUMBLING")

    assert "(snapshot_version, `city`, `windowstart`, `windowend`)" in sql
    assert "`windowstart` BIGINT NOT NULL COMMENT 'epoch ms, inclusive'" in sql
    assert "COMMENT = 'Grain: city x windowstart x windowend x snapshot.'" in sql


def test_names_that_mysql_or_the_sync_cannot_take_are_changed_in_the_mapping() -> None:
    found = columns(
        "`K` STRING KEY, `SNAPSHOT_DATE` DATE, `STAGING_ID` INTEGER, `RATES_ID` INTEGER, `Été à Paris` STRING, "
        f"`a-b` INTEGER, `a+b` INTEGER, `{'X' * 80}` INTEGER, `ORDER` INTEGER, `Total` INTEGER"
    )

    mapping = propose_mapping(feed(), found)

    long = next(name for name in mapping.columns if name.startswith("xxx"))
    assert mapping.columns == {
        "k": "k", "snapshot_date_2": "snapshot_date", "staging_id_2": "staging_id", "rates_id": "rates_id",
        "_t____Paris": "Été à Paris", "a_b": "a-b", "a_b_2": "a+b", long: "x" * 80, "order": "order", "Total": "Total",
    }  # fmt: skip
    assert len(long) == 64
    assert "`rates_id_2` BIGINT NOT NULL AUTO_INCREMENT" in fact_sql(feed(), mapping, found)


def test_a_long_feed_name_gives_names_that_fit() -> None:
    names = [f"{'n' * 98}{end}" for end in "ab"]
    found = columns(f"`{'K' * 64}` STRING KEY")

    mappings = [propose_mapping(feed(name), found) for name in names]

    assert len({mapping.fact for mapping in mappings}) == 2
    quoted = fact_sql(feed(names[0]), mappings[0], found).partition("CREATE TABLE")[2].split("`")[1::2]
    assert max(map(len, quoted)) == 64


def test_an_index_is_never_longer_than_the_server_takes() -> None:
    three = declared(sql_for("`A` STRING KEY, `B` STRING KEY, `C` STRING KEY"))
    six = declared(sql_for(", ".join(f"`{c}` STRING KEY" for c in "ABCD") + ", `E` BYTES KEY, `F` DECIMAL(38, 10) KEY"))

    assert {three["a"], three["b"], three["c"]} == {"VARCHAR(255) NOT NULL"}
    assert (six["a"], six["e"]) == ("VARCHAR(151) NOT NULL", "VARBINARY(151) NOT NULL")


def test_a_mapping_of_ones_own_decides_names_and_the_dimension() -> None:
    mapping = WarehouseMapping.model_validate({
        "fact": "sales", "keys": ["client"], "columns": {"client": "user_id", "total": "sum"},
        "dimension": {"table": "dim_users", "key": "user_id", "columns": {"user_id": "user_id"}},
    })  # fmt: skip

    sql = fact_sql(feed(), mapping, columns("`USER_ID` STRING KEY, `SUM` BIGINT, `OTHER` BIGINT"))

    assert "CREATE TABLE IF NOT EXISTS `sales`" in sql
    assert "CREATE OR REPLACE VIEW `current_sales`" in sql
    assert "FOREIGN KEY (`client`)\n    REFERENCES `dim_users` (`user_id`)" in sql
    assert "other" not in sql


@pytest.mark.parametrize(
    ("schema", "window", "kind", "error", "said"),
    [
        ("`K` STRING KEY", None, "stream", NoProposal, "RATES is a stream"),
        ("`V` STRING", None, "table", NoProposal, "no key"),
        (", ".join(f"`K{n}` INTEGER KEY" for n in range(16)), None, "table", NoProposal, "16 columns.* takes 15"),
        ("`K` STRING KEY", "SESSION", "table", SourceNotReadable, "session windows"),
    ],
)
def test_what_has_no_fact_is_refused_with_the_reason(
    schema: str, window: str | None, kind: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        found = columns(schema, window, kind)
        fact_sql(feed(), propose_mapping(feed(), found), found)


def test_a_fact_of_another_feed_is_not_proposed_again() -> None:
    found = columns("`K` STRING KEY")
    other = feed("a-b").model_copy(update={"warehouse": propose_mapping(feed("a-b"), found)})

    with pytest.raises(NoProposal, match="fact_a_b is that of the feed a-b already"):
        propose_mapping(feed("a_b"), found, [other])
    assert propose_mapping(feed("a-b"), found, [other]) == other.warehouse


def test_a_mapping_with_a_column_that_the_source_lost_is_refused() -> None:
    mapping = WarehouseMapping(fact="f", keys=("k",), columns={"k": "k", "v": "gone"})

    with pytest.raises(NoProposal, match="gone"):
        fact_sql(feed(), mapping, columns("`K` STRING KEY"))


def apply(server: Server, sql: str) -> None:
    """Runs the file twice, as two people would."""
    with Connection(as_maker(server)) as connection:
        for statement in [*statements(sql, server.database)] * 2:
            connection.run(statement)


def snapshot(mapping: WarehouseMapping, found: Sequence[Column], rows: list[dict[str, Any]]) -> TableSnapshot:
    schema = pa.schema([(column.lake_name, arrow_type(column.type)) for column in found])

    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist(rows, schema=schema)

    return TableSnapshot("rates", mapping, schema, batches, len(rows), None, NOW)


KEYS = (
    "`ORDER` STRING KEY, `C` STRUCT<`a` INTEGER, `b` STRING> KEY, `D` DATE KEY, `N` DECIMAL(38, 10) KEY, "
    "`Y` BYTES KEY, `AT` TIMESTAMP KEY"
)


@pytest.mark.mysql
def test_hard_keys_and_names_load_as_proposed(warehouse: Server) -> None:
    found = columns(f"{KEYS}, `F` DECIMAL(38, 31), `select` TIME, `Été` STRUCT<`x` DECIMAL(38, 10)>")
    mapping = propose_mapping(feed(), found)
    row: dict[str, Any] = {
        "order": "é" * 151, "c": {"a": 1, "b": "x"}, "d": dt.date(2026, 11, 20), "n": Decimal("-1.5000000000"),
        "y": b"\xff\x00", "at": NOW, "f": Decimal("-1234567.1234567890123456789012345678901"), "select": "23:59:59.999",
        "Été": {"x": Decimal("1234567890123456789012345678.1234567891")},
    }  # fmt: skip
    rows = [row, row | {"c": {"a": 1, "b": "X"}, "f": None}, row | {"c": {"a": 2, "b": None}, "y": b""}]
    apply(warehouse, fact_sql(feed(), mapping, found))

    loaded = load(warehouse, snapshot(mapping, found, rows))

    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (3, 0)
    ((c, n, y, at, f, time, nested),) = rows_of(
        warehouse,
        "SELECT c, n, HEX(y), `at`, f, CAST(`select` AS CHAR), `_t_` FROM current_rates WHERE f < 0 AND y <> ''",
    )
    assert (json.loads(c), n, y, at) == (row["c"], row["n"], "FF00", NOW.replace(tzinfo=None))
    assert (f, time) == ("-1234567.1234567890123456789012345678901", "23:59:59.999")
    assert nested == '{"x": 1234567890123456789012345678.1234567891}'
    assert load(warehouse, snapshot(mapping, found, rows[:1])).version == 2
    assert rows_of(warehouse, "SELECT COUNT(*) FROM current_rates") == [(1,)]


@pytest.mark.mysql
@pytest.mark.parametrize("types", [["STRING"] * 15, ["STRING", "BYTES", "DECIMAL(38, 31)"] * 5, ["TIMESTAMP"] * 15])
def test_the_widest_keys_are_taken(warehouse: Server, types: list[str]) -> None:
    apply(warehouse, sql_for(", ".join(f"`K{n}` {type_} KEY" for n, type_ in enumerate(types)), name="n" * 100))


@pytest.mark.mysql
def test_a_fact_with_a_dimension_is_made_by_its_mapping(warehouse: Server) -> None:
    default = FEEDS["user_transaction_summary"].warehouse
    assert default is not None
    mapping = default.model_copy(update={"fact": "fact_own"})
    texts = ["USER_NAME", "USER_EMAIL", "USER_COUNTRY", "USER_CITY"]
    decimals = ["TOTAL_AMOUNT", "AVG_AMOUNT", "MIN_AMOUNT", "MAX_AMOUNT"]
    found = columns(
        "`USER_ID` STRING KEY, `TRANSACTION_TYPE` STRING KEY, `TRANSACTION_COUNT` BIGINT, "
        + "".join(f"`{name}` STRING, " for name in texts)
        + "".join(f"`{name}` DECIMAL(18, 4), " for name in decimals)
        + "`LAST_TRANSACTION_DATE` TIMESTAMP"
    )
    apply(warehouse, fact_sql(feed(), mapping, found))

    load(warehouse, snapshot(mapping, found, [user("a"), user("b")]))
    with Connection(warehouse) as connection, connection.transaction():
        connection.run("DELETE FROM dim_users WHERE user_id = 'a'")

    assert rows_of(warehouse, "SELECT user_id FROM current_own") == [("b",)]
