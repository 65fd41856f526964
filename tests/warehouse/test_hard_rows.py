"""Rows that are hard on a server: long digits, long texts, many rejects, JSON, locks held by others."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import RowsDoNotFit
from pipeline.feeds import WarehouseMapping
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.load import load_star
from pipeline.warehouse.mapping import TableSnapshot
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import as_root
from tests.warehouse.samples import NOW, USERS, load, method, methods, rows_of, snapshot, user

pytestmark = pytest.mark.mysql
DAY_US = 86_400_000_000


def own_fact(server: Server, column: str, kind: pa.DataType, values: list[Any]) -> TableSnapshot:
    """A snapshot for a fact with the key `id` and one `column`, which is made first; ids count from 0."""
    with Connection(as_root(server)) as connection:
        connection.run(
            "CREATE TABLE fact_own (own_id BIGINT AUTO_INCREMENT PRIMARY KEY, snapshot_version INT NOT NULL,"
            f" snapshot_date DATE NOT NULL, id INT NOT NULL, {column}, UNIQUE (snapshot_version, id))"
            " DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin"
        )
    schema = pa.schema([("id", pa.int32()), ("value", kind)])
    table = pa.table([list(range(len(values))), pa.array(values, kind)], schema=schema)
    mapping = WarehouseMapping(fact="fact_own", keys=("id",), columns={"id": "id", "value": "value"})

    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.to_batches(max_chunksize=5000)

    return TableSnapshot("own", mapping, schema, batches, len(values), None, NOW)


def reasons(server: Server) -> list[str]:
    return [str(reason) for (reason,) in rows_of(server, "SELECT reason FROM etl_rejects ORDER BY reject_id")]


def test_decimals_of_38_digits_fit_or_are_rejected(warehouse: Server) -> None:
    long = Decimal("1234567890123456789012345678.1234567890")
    values = [long, Decimal("-9999999999999999999999999999.9900000000"), Decimal("0.0000000001")]

    load(warehouse, own_fact(warehouse, "value DECIMAL(30, 2)", pa.decimal128(38, 10), values))

    assert rows_of(warehouse, "SELECT id, value FROM fact_own") == [(1, Decimal("-9999999999999999999999999999.99"))]
    assert [reason.split(" ", 1)[1] for reason in reasons(warehouse)] == ["would be rounded to 2 places"] * 2


def test_nested_values_become_json_with_all_digits_or_are_rejected(warehouse: Server, is_mariadb: bool) -> None:
    kind = pa.struct(
        [("a", pa.decimal128(38, 10)), ("b", pa.list_(pa.int64())), ("c", pa.map_(pa.string(), pa.string()))]
    )
    short = {"a": Decimal("0.5"), "b": [2**63 - 1, None], "c": [("é", "x"), ("k", None)]}
    long = {"a": Decimal("1234567890123456789012345678.1234567891"), "b": None, "c": None}

    load(warehouse, own_fact(warehouse, "value JSON", kind, [short, None, long]))

    listed = "SELECT id, JSON_EXTRACT(value, '$.b[0]'), JSON_EXTRACT(value, '$.c.\"é\"') FROM fact_own ORDER BY id"
    (first, second, *third) = [tuple(_plain(v) for v in row) for row in rows_of(warehouse, listed)]
    assert first == ("0", str(2**63 - 1), '"x"')
    assert second == ("1", None, None)
    if is_mariadb:  # keeps JSON as text
        assert third
        (text,) = rows_of(warehouse, "SELECT value FROM fact_own WHERE id = 2")[0]
        assert '"a": 1234567890123456789012345678.1234567891' in text
    else:  # keeps JSON's fractions as DOUBLE
        assert reasons(warehouse) == [
            "1234567890123456789012345678.1234567891 would be rounded in MySQL's JSON; a LONGTEXT column keeps it"
        ]


def _plain(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes | bytearray) else None if value is None else str(value)


def test_text_for_a_json_column_is_kept_as_a_json_string(warehouse: Server) -> None:
    load(warehouse, own_fact(warehouse, "value JSON", pa.string(), ['not "json"', "{}"]))

    assert rows_of(warehouse, "SELECT JSON_UNQUOTE(JSON_EXTRACT(value, '$')) FROM fact_own ORDER BY id") == [
        ('not "json"',),
        ("{}",),
    ]


def test_text_that_is_no_time_of_day_is_rejected_and_the_rest_loads(warehouse: Server) -> None:
    values = ["23:59:59.999", "24:00:00", "12:00:00.0001", "later", "", "12:00:00\n", None]

    load(warehouse, own_fact(warehouse, "value TIME(3)", pa.string(), values))

    assert rows_of(warehouse, "SELECT id, CAST(value AS CHAR) FROM fact_own ORDER BY id") == [
        (0, "23:59:59.999"),
        (6, None),
    ]
    no_time = "is not a time of day, HH:MM:SS"
    assert reasons(warehouse) == [
        no_time, "12:00:00.0001 would be rounded to 3 places of a second", no_time, no_time, no_time
    ]  # fmt: skip


def test_long_rows_are_sent_in_packets_that_the_server_takes(warehouse: Server) -> None:
    values = [f"{n}" + "é\\\n\t'\"%s" * 3000 for n in range(1500)]

    loaded = load(warehouse, own_fact(warehouse, "value LONGTEXT", pa.string(), values))

    assert loaded.facts[0].rows == 1500
    found = {value for (value,) in rows_of(warehouse, "SELECT value FROM fact_own")}
    assert found == set(values)


def test_thousands_of_rejects_are_kept(warehouse: Server) -> None:
    loaded = load(warehouse, own_fact(warehouse, "value VARCHAR(10)", pa.string(), ["x" * 4000] * 6000))

    assert loaded.facts[0].rejected == 6000
    assert rows_of(warehouse, "SELECT COUNT(*), MIN(LENGTH(row_json)) > 4000 FROM etl_rejects") == [(6000, 1)]


@pytest.mark.parametrize(
    ("column", "kind", "value", "found"),
    [
        ("value FLOAT", pa.float64(), 0.5, 0.5),
        ("value DOUBLE", pa.float64(), -1.7976931348623157e308, -1.7976931348623157e308),
        ("value BOOLEAN", pa.bool_(), True, 1),
        ("value TINYTEXT", pa.string(), "é", "é"),
        ("value VARBINARY(4)", pa.binary(), b"\x00\xff\\\n", b"\x00\xff\\\n"),
        ("value TIME(3)", pa.string(), "23:59:59.999", dt.timedelta(days=1, milliseconds=-1)),
        ("value DATE", pa.date32(), dt.date(1000, 1, 1), dt.date(1000, 1, 1)),
        ("value TIMESTAMP(3) NULL", pa.timestamp("us", tz="UTC"), dt.datetime(2026, 3, 29, 1, 30, tzinfo=dt.UTC),
         dt.datetime(2026, 3, 29, 1, 30)),
    ],
)  # fmt: skip
def test_types_of_own_facts_arrive_value_by_value(
    warehouse: Server, column: str, kind: pa.DataType, value: Any, found: Any
) -> None:
    load(warehouse, own_fact(warehouse, column, kind, [value, None]))

    assert rows_of(warehouse, "SELECT value FROM fact_own ORDER BY id") == [(found,), (None,)]


@pytest.mark.parametrize(
    ("column", "kind", "held", "far"),
    [
        ("value DATE", pa.date32(), (-354_285, 2_932_896), (-354_286, 2_932_897, -719_529, 2**31 - 1)),
        ("value DATETIME(3)", pa.timestamp("us", tz="UTC"), (-354_285 * DAY_US, 2_932_897 * DAY_US - 1000),
         (-354_285 * DAY_US - 1000, 2_932_897 * DAY_US, -719_529 * DAY_US, 2**63 - 808)),
    ],
)  # fmt: skip
def test_dates_that_mysql_does_not_hold_are_rejected_and_kept_whole(
    warehouse: Server, column: str, kind: pa.DataType, held: tuple[int, ...], far: tuple[int, ...]
) -> None:
    loaded = load(warehouse, own_fact(warehouse, column, kind, [*held, *far]))

    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (len(held), len(far))
    assert all("is outside of the years 1000 to 9999" in reason for reason in reasons(warehouse))
    kept = rows_of(warehouse, "SELECT row_json FROM etl_rejects ORDER BY reject_id")
    assert [day.partition("T")[0] for (text,) in kept for day in [json.loads(text)["value"]]][:3] == [
        "0999-12-31", "+10000-01-01", "-0001-12-31",
    ]  # fmt: skip


def test_a_float_that_would_lose_digits_is_rejected(warehouse: Server) -> None:
    load(warehouse, own_fact(warehouse, "value FLOAT", pa.float64(), [0.1, float("nan")]))

    assert reasons(warehouse) == ["0.1 would be rounded by FLOAT", "nan is not a number that MySQL can hold"]


@pytest.mark.parametrize(
    ("column", "kind", "values", "reason"),
    [
        ("value CHAR(3)", pa.string(), ["a", "b ", None], "ends with a space, which MySQL does not keep in a CHAR"),
        ("value BINARY(2)", pa.binary(), [b"ab", b"a", None], "has 1 bytes, binary(2) would add zeros"),
    ],
)
def test_a_value_that_a_column_of_fixed_length_would_change_is_rejected(
    warehouse: Server, column: str, kind: pa.DataType, values: list[Any], reason: str
) -> None:
    load(warehouse, own_fact(warehouse, column, kind, values))

    assert rows_of(warehouse, "SELECT id, value FROM fact_own ORDER BY id") == [(0, values[0]), (2, None)]
    assert reasons(warehouse) == [reason]


def test_of_rows_that_mysql_cannot_tell_apart_the_first_stays_and_the_others_are_kept_whole(warehouse: Server) -> None:
    twice = [method("card", 1), method("card", 2), method("cash", 3)]

    loaded = load(warehouse, methods(*twice))

    assert loaded.facts[0].rows == 2
    ((key, text),) = rows_of(warehouse, "SELECT row_key, row_json FROM etl_rejects")
    assert key == '{"payment_method_id": "card"}'
    assert '"transaction_count": 2' in text


def test_a_lock_that_another_session_holds_for_a_while_is_waited_out(warehouse: Server) -> None:
    load(warehouse, snapshot("user_transaction_summary", USERS, [user("a")]))
    with Connection(warehouse) as other:
        other.rows("SELECT user_id FROM dim_users WHERE user_id = 'a' FOR UPDATE")
        release = threading.Timer(2.5, lambda: other.run("ROLLBACK"))
        release.start()
        with Connection(warehouse) as connection:
            connection.run("SET SESSION innodb_lock_wait_timeout = 1")
            again = load_star(
                connection, [snapshot("user_transaction_summary", USERS, [user("a", user_city="Rome")])], "ksqldb", NOW
            )
        release.join()

    assert again.version == 2
    assert rows_of(warehouse, "SELECT user_city FROM dim_users") == [("Rome",)]


def test_rows_that_the_table_itself_refuses_are_found_among_the_others(warehouse: Server) -> None:
    values = [Decimal(n) for n in range(300)]
    snapshot = own_fact(
        warehouse, "value DECIMAL(12, 2), CONSTRAINT odd_ones CHECK (value NOT IN (7, 150, 299))",
        pa.decimal128(12, 2), values,
    )  # fmt: skip

    loaded = load(warehouse, snapshot)

    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (297, 3)
    assert rows_of(warehouse, "SELECT COUNT(*), SUM(value) FROM fact_own") == [(297, sum(values) - 7 - 150 - 299)]
    kept = rows_of(warehouse, "SELECT row_key, reason, row_json FROM etl_rejects ORDER BY reject_id")
    assert [(key, text) for key, _, text in kept] == [
        (f'{{"id": {n}}}', f'{{"id": {n}, "value": {n}.00}}') for n in (7, 150, 299)
    ]
    assert all("odd_ones" in reason for _, reason, _ in kept)


def test_rows_are_staged_only_when_their_fact_refuses_some(warehouse: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    run = Connection.run

    def listen(connection: Connection, sql: str, values: Sequence[Any] = ()) -> int:
        said.append(sql)
        return run(connection, sql, values)

    monkeypatch.setattr(Connection, "run", listen)
    is_staged = "CREATE TEMPORARY TABLE `stg_fact_own`"
    snapshot = own_fact(warehouse, "value INT CHECK (value < 3)", pa.int32(), [1, 2])
    load(warehouse, snapshot)
    assert not any(sql.startswith(is_staged) for sql in said)

    other = pa.record_batch([[1, 2], [2, 3]], schema=snapshot.schema)
    loaded = load(warehouse, replace(snapshot, batches=lambda: iter([other])))

    assert any(sql.startswith(is_staged) for sql in said)
    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (1, 1)


def test_a_server_that_hides_warnings_loses_no_row_in_silence(warehouse: Server) -> None:
    with Connection(as_root(warehouse)) as connection:
        connection.run("SET @before = @@GLOBAL.max_error_count")
        connection.run("SET GLOBAL max_error_count = 0")
        try:
            snapshot = own_fact(warehouse, "value INT CHECK (value <> 2)", pa.int32(), [1, 2, 3])
            loaded = load(warehouse, snapshot)
        finally:
            connection.run("SET GLOBAL max_error_count = @before")

    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (2, 1)


def test_a_row_whose_parent_is_missing_is_rejected(warehouse: Server) -> None:
    with Connection(as_root(warehouse)) as connection:
        connection.run("CREATE TABLE parent (value INT PRIMARY KEY)")
        connection.run("INSERT INTO parent VALUES (1), (2)")
        connection.run("COMMIT")

    snapshot = own_fact(
        warehouse, "value INT, FOREIGN KEY (value) REFERENCES parent (value)", pa.int32(), [1, 3, 2, None]
    )
    loaded = load(warehouse, snapshot)

    assert (loaded.facts[0].rows, loaded.facts[0].rejected) == (3, 1)
    assert rows_of(warehouse, "SELECT row_key FROM etl_rejects") == [('{"id": 1}',)]


def test_a_strict_load_takes_all_rows_or_none(warehouse: Server) -> None:
    load(warehouse, methods(method("card")))

    with pytest.raises(RowsDoNotFit, match=r'1 of fact_payment_method_totals.*"payment_method_id": null.*is NULL'):
        load(warehouse, methods(method("card", 2), method(None)), strict=True)
    with pytest.raises(RowsDoNotFit, match="the key is there twice"):
        load(warehouse, methods(method("card", 2), method("card", 3)), strict=True)

    assert rows_of(warehouse, "SELECT transaction_count FROM current_payment_method_totals") == [(1,)]
    assert rows_of(warehouse, "SELECT COUNT(*) FROM etl_rejects") == [(0,)]
    assert load(warehouse, methods(method("card", 2)), strict=True).version == 2
