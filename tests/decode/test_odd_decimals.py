"""Decimals that no server sends: with exponents at which Arrow crashes, and numbers that are none."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipeline.decode.layout import AnswerColumn, Engine, Layout
from pipeline.errors import ValueNotRepresentable
from pipeline.ksqldb.sqltypes import parse_schema
from tests.decode.engines import engine as engine

FORMS = {
    "`D` DECIMAL(5, 2)": "[{}]",
    "`D` ARRAY<DECIMAL(5, 2)>": "[[{}]]",
    "`D` STRUCT<`A` MAP<STRING, DECIMAL(5, 2)>>": '[{{"A":{{"x":{}}}}}]',
    "`D` MAP<DECIMAL(5, 2), STRING>": '[{{"{}":"x"}}]',
}


def decode(engine: Engine, schema: str, sent: str) -> str:
    layout = Layout([AnswerColumn.as_declared(column) for column in parse_schema(schema)])
    return str(engine.decoder(False, layout).decode(FORMS[schema].format(sent).encode()).batch.to_pylist())


@pytest.mark.parametrize("schema", FORMS)
@pytest.mark.parametrize("sent", ["1e999999999", "1234.5", "12345678901234567890123456789012345678901"])
def test_those_too_large_are_refused(engine: Engine, schema: str, sent: str) -> None:
    with pytest.raises(ValueNotRepresentable, match="does not fit its declared type"):
        decode(engine, schema, sent)


@pytest.mark.parametrize("schema", [schema for schema in FORMS if "STRUCT" not in schema])
@pytest.mark.parametrize("sent", ["1e-999999999", "-7e-400", "1.505"])
def test_those_too_fine_are_refused_where_they_are_exact(engine: Engine, schema: str, sent: str) -> None:
    with pytest.raises(ValueNotRepresentable, match="does not fit its declared type"):
        decode(engine, schema, sent)


@pytest.mark.parametrize("schema", FORMS)
@pytest.mark.parametrize(("sent", "read"), [("0e-999999999", "0.00"), ("0e999999999", "0.00"), ("1.500", "1.50")])
def test_others_come_with_their_scale(engine: Engine, schema: str, sent: str, read: str) -> None:
    assert repr(Decimal(read)) in decode(engine, schema, sent)


@pytest.mark.parametrize("sent", ["NaN", "Infinity", "-sNaN"])
def test_keys_that_are_no_numbers_are_refused(engine: Engine, sent: str) -> None:
    with pytest.raises(ValueNotRepresentable, match="does not fit its declared type"):
        decode(engine, "`D` MAP<DECIMAL(5, 2), STRING>", sent)
