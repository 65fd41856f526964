"""What becomes of a row on its way into the lake, for generated types and values: all of it, once, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.expressions import bind
from ksqldb_emulator.sql import Select, parse
from ksqldb_emulator.sqltypes import Type
from ksqldb_emulator.values import encode
from pipeline.columns import Column
from pipeline.decode.layout import Engine, Layout
from pipeline.ksqldb.describe import Description
from pipeline.ksqldb.framing import Header
from pipeline.ksqldb.projection import project
from pipeline.ksqldb.sqltypes import parse_type
from tests.decode.engines import engine as engine
from tests.expected import lake_form, seen_forms
from tests.torture.generated import is_exact, nested, or_null, scalars, values

TYPES = (scalars() | nested(2) | nested(3)).filter(is_exact)


def answered(types: list[Type], rows: list[tuple[Any, ...]]) -> tuple[Layout, bytes]:
    """How columns of these types are read, and the rows as the server sends them."""
    described = tuple(Column(f"C{n}", parse_type(str(type_))) for n, type_ in enumerate(types))
    projection = project(Description("S", "stream", "s", 1, described, None, False, ()), positions=False)
    select = parse(f"SELECT {projection.select_list} FROM S EMIT CHANGES;")
    assert isinstance(select, Select)
    scope = {column.name: type_ for column, type_ in zip(described, types, strict=True)}
    expressions = [bind(tree, scope) for tree, _ in select.items]
    aliases = [part.alias for plan in projection.plans for part in plan.parts]
    columns = [Column(alias, parse_type(str(each.type))) for alias, each in zip(aliases, expressions, strict=True)]
    elements = []
    for row in rows:
        by_name = {column.name: value for column, value in zip(described, row, strict=True)}
        texts = (encode(each.evaluate(by_name), each.type) for each in expressions)
        elements.append("[" + ",".join(texts) + "]")
    return projection.layout(Header("q", tuple(columns))), ",".join(elements).encode()


@given(st.data())
def test_each_row_becomes_what_the_lake_keeps(engine: Engine, data: st.DataObject) -> None:
    types = data.draw(st.lists(TYPES, min_size=1, max_size=3))
    row = st.tuples(*[or_null(values(type_)) for type_ in types])
    made = data.draw(st.lists(row, min_size=1, max_size=3))
    layout, elements = answered(types, made)

    decoder = engine.decoder(False, layout)
    batch = decoder.decode(elements).batch

    columns = zip(types, zip(*made, strict=True), strict=True)
    wanted = [[lake_form(value, type_) for value in column] for type_, column in columns]
    assert repr([seen_forms(column) for column in batch.columns]) == repr(wanted)
