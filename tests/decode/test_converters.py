"""What becomes of a row on its way into the lake, for generated types and values: all of it, once, and nothing else."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.expressions import bind
from ksqldb_emulator.sql import Select, parse
from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.values import encode
from pipeline.columns import Column
from pipeline.decode.reference import json_type
from pipeline.ksqldb.describe import Description
from pipeline.ksqldb.framing import Header
from pipeline.ksqldb.projection import RowReader, project
from pipeline.ksqldb.sqltypes import parse_type
from tests.expected import lake_form, seen_forms
from tests.torture.generated import is_exact, nested, or_null, scalars, values

TYPES = (scalars() | nested(2) | nested(3)).filter(is_exact)


def answered(types: list[Type], rows: list[tuple[Any, ...]]) -> tuple[RowReader, list[tuple[Any, ...]]]:
    """The reader for columns of these types, and the rows as they are decoded from what the server sends of them."""
    described = tuple(Column(f"C{n}", parse_type(str(type_))) for n, type_ in enumerate(types))
    projection = project(Description("S", "stream", "s", 1, described, None, False, ()), positions=False)
    select = parse(f"SELECT {projection.select_list} FROM S EMIT CHANGES;")
    assert isinstance(select, Select)
    scope = {column.name: type_ for column, type_ in zip(described, types, strict=True)}
    expressions = [bind(tree, scope) for tree, _ in select.items]
    aliases = [part.alias for plan in projection.plans for part in plan.parts]
    columns = [Column(alias, parse_type(str(each.type))) for alias, each in zip(aliases, expressions, strict=True)]
    decoders = [msgspec.json.Decoder(json_type(column.type)) for column in columns]
    decoded = []
    for row in rows:
        by_name = {column.name: value for column, value in zip(described, row, strict=True)}
        texts = (encode(each.evaluate(by_name), each.type) for each in expressions)
        decoded.append(tuple(decoder.decode(text) for decoder, text in zip(decoders, texts, strict=True)))
    return projection.reader(Header("q", tuple(columns))), decoded


@given(st.data())
def test_rows_may_be_read_again_and_are_as_they_were(data: st.DataObject) -> None:
    """A row may be a witness and a row of a batch at once, so reading it must leave it alone."""
    types = data.draw(st.lists(TYPES, min_size=1, max_size=3))
    row = st.tuples(*[or_null(values(type_)) for type_ in types])
    made = data.draw(st.lists(row, min_size=1, max_size=3))
    reader, rows = answered(types, made)
    before = copy.deepcopy(rows)

    first, second = reader.batch(rows), reader.batch(rows)

    columns = zip(types, zip(*made, strict=True), strict=True)
    wanted = [[lake_form(value, type_) for value in column] for type_, column in columns]
    for batch in (first, second):
        assert repr([seen_forms(column) for column in batch.columns]) == repr(wanted)
    assert repr(rows) == repr(before)
