"""One table of types: a type is a row of it, and each row is one that tests take through the whole house."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.columns import SCALARS, Scalar, SqlType, arrow_type, duckdb_type, ksqldb_words, mysql_families, mysql_type
from pipeline.decode.layout import Layout
from pipeline.decode.reference import FORMS
from pipeline.errors import TypeNotSupported
from pipeline.ksqldb.describe import Description
from pipeline.ksqldb.framing import AnswerParser, Ending, Framing
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.sqltypes import parse_schema, parse_type
from pipeline.lake.columns import annotated_schema, compare_columns
from pipeline.lake.table import Change
from pipeline.lake.writer import StagedWriter
from pipeline.warehouse.fitting import MappedColumn, split_rejects, texts_to_send
from pipeline.warehouse.proposal import fact_sql, propose_mapping
from tests.lake.small_tables import NOW, commit_id, table_feed
from tests.own_recording import own_dataset
from tests.support import lake_at
from tests.torture.values import generate
from tests.warehouse import test_own_table as own_table
from tests.warehouse.test_mapping_rules import column, fact, problems

SMALLINT = Scalar(
    pa.int16(), "integer", "SMALLINT", "SMALLINT",
    mysql_families=("integer", "text"), can_be_map_key=True, widens_to=("INTEGER",),
)  # fmt: skip


@pytest.fixture
def smallint(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type that ksqlDB does not have, by one row."""
    monkeypatch.setitem(SCALARS, "SMALLINT", SMALLINT)


def read_table(schema: str, *rows: str) -> tuple[Layout, pa.RecordBatch]:
    """The layout and the batch of a table with these columns, from the bytes of an answer."""
    source = Description("TOTALS", "table", "totals", 1, parse_schema(schema), None, True, ())
    parser = AnswerParser(Framing.PLAIN_ARRAY, Ending.BRACKET, project(source, positions=False).layout)
    types = [str(declared.type) for declared in source.columns]
    head = {"queryId": None, "columnNames": [declared.name for declared in source.columns], "columnTypes": types}
    found = [*parser.feed(f"[{json.dumps(head)},{','.join(rows)}]".encode()), *parser.finish()]
    assert parser.layout is not None
    (rows,) = found
    return parser.layout, rows.batch


@pytest.mark.usefixtures("smallint")
def test_a_type_that_is_added_by_one_row_goes_from_the_answer_into_the_lake_and_to_duckdb(tmp_path: Path) -> None:
    nested = "`S` STRUCT<`N` SMALLINT>, `A` ARRAY<SMALLINT>, `M` MAP<SMALLINT, SMALLINT>"
    layout, batch = read_table(
        f"`K` STRING KEY, `N` SMALLINT, {nested}",
        '["a",-32768,{"N":1},[2,null],{"3":4}]',
        '["b",null,null,null,null]',
    )
    lake_at(tmp_path).feeds.add(table_feed())
    table = lake_at(tmp_path).table(table_feed())
    table.create(annotated_schema(layout.columns), "")
    writer = StagedWriter(table.staging_folder(commit_id(1)), layout.schema, partition="1")
    writer.add(batch)
    table.commit(commit_id(1), Change(adds=writer.finish(), current_version=1), NOW)

    assert table.schema.types[1:] == [
        pa.int16(), pa.struct([("n", pa.int16())]), pa.list_(pa.field("element", pa.int16())),
        pa.map_(pa.int16(), pa.int16()),
    ]  # fmt: skip
    with duckdb.connect() as connection:
        connection.execute(lake_at(tmp_path).write_views())
        view = connection.sql("SELECT * EXCLUDE version FROM totals_current ORDER BY k")
        small = ["SMALLINT", "STRUCT(n SMALLINT)", "SMALLINT[]", "MAP(SMALLINT, SMALLINT)"]
        assert [str(type_) for type_ in view.types[1:]] == small
        assert view.fetchall() == [("a", -32768, {"n": 1}, [2, None], {3: 4}), ("b", None, None, None, None)]


@pytest.mark.usefixtures("smallint")
def test_a_type_that_is_added_by_one_row_is_proposed_checked_and_sent_to_mysql() -> None:
    schema = "`K` SMALLINT KEY, `N` SMALLINT"
    source = Description("TOTALS", "table", "totals", 1, parse_schema(schema), None, True, ())
    columns = project(source, positions=False).describe().columns
    mapping = propose_mapping(table_feed(), columns)
    _, batch = read_table(schema, "[1,7]", "[2,300]")

    assert "`k` SMALLINT NOT NULL,\n  `n` SMALLINT NULL" in fact_sql(table_feed(), mapping, columns)

    held = [pa.schema([("id", pa.int64()), ("value", pa.int16())])]
    assert problems(fact(column("value", "smallint")), *held, value="value") == ""
    refused = "fact_own.value is DATE, which cannot hold value, a SMALLINT"
    assert problems(fact(column("value", "date")), *held, value="value") == refused

    targets = tuple(MappedColumn(name, name, column(name, "tinyint"), name == "k") for name in ("k", "n"))
    fitting, rejects = split_rejects(batch, targets, mapping)
    assert [text.to_pylist() for text in texts_to_send(fitting, targets)] == [["1"], ["7"]]
    assert [(reject.column, reject.reason) for reject in rejects] == [("n", "300 is out of the range of tinyint")]


@pytest.mark.usefixtures("smallint")
def test_a_type_that_is_added_by_one_row_may_become_wider_as_its_row_says() -> None:
    narrow, wide = ([*parse_schema(f"`N` ARRAY<{type_}>")] for type_ in ("SMALLINT", "INTEGER"))

    assert compare_columns(table_feed(), annotated_schema(narrow), annotated_schema(wide)) == ([], ["n"])


def test_every_type_is_one_that_goes_from_a_server_to_each_reader_and_back() -> None:
    every_type = own_dataset().source("EVERY_TYPE")
    own_words = {word for _, type_, *_ in own_table.COLUMNS for word in re.findall("[A-Z]+", type_)}
    (generated,) = generate(288, 1)

    assert {each.type.base for each in every_type.columns} >= {*SCALARS}  # exported by the tests of the main job
    assert own_words >= {*SCALARS}  # proposed, loaded, and verified against the lake
    assert {type_.base for type_ in generated.types} >= {*SCALARS}  # read by Parquet, DuckDB, pandas and MySQL


@pytest.mark.parametrize("base", SCALARS)
def test_every_type_has_a_form_and_its_place_everywhere(base: str) -> None:
    row, type_ = SCALARS[base], parse_type("DECIMAL(9, 2)" if base == "DECIMAL" else base)
    kind = arrow_type(type_)

    assert row.can_be_map_key == (FORMS[row.sent_as].read_key is not None)
    assert base in ksqldb_words(kind)
    assert duckdb_type(kind) == str(type_ if base == "DECIMAL" else row.duckdb)
    assert mysql_families(kind) >= {*row.mysql_families}
    assert {*row.widens_to} <= {*SCALARS}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert connection.sql(f"SELECT NULL::{duckdb_type(kind)}").to_arrow_table().schema.types == [kind]


@pytest.mark.parametrize(
    ("type_", "key_length", "wanted"),
    [
        ("DECIMAL(38, 30)", None, ("DECIMAL(38, 30)", "")),
        ("DECIMAL(38, 31)", None, ("VARCHAR(41)", "decimal number")),
        ("DECIMAL(38, 31)", 9, ("VARCHAR(41)", "decimal number")),
        ("STRING", None, ("TEXT", "")),
        ("STRING", 9, ("VARCHAR(9)", "")),
        ("BYTES", 9, ("VARBINARY(9)", "")),
        ("TIMESTAMP", 9, ("DATETIME(3)", "UTC")),
        ("ARRAY<DECIMAL(15, 2)>", None, ("JSON", "")),
        ("ARRAY<DECIMAL(16, 2)>", None,
         ("LONGTEXT", "JSON; as text, because the JSON of MySQL keeps decimals as DOUBLE")),
        ("ARRAY<INTEGER>", 9, ("VARCHAR(9)", "JSON")),
    ],
)  # fmt: skip
def test_a_mysql_column_is_proposed_that_holds_the_type(
    type_: str, key_length: int | None, wanted: tuple[str, str]
) -> None:
    assert mysql_type(parse_type(type_), key_length) == wanted


@pytest.mark.parametrize("base", ["ARRAY", "MAP", "STRUCT", "INTERVAL"])
def test_a_type_that_is_not_whole_or_not_known_is_refused(base: str) -> None:
    with pytest.raises(TypeNotSupported, match="are not supported"):
        arrow_type(SqlType(base))
