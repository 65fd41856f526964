"""The emulator writes values as the server's library does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ksqldb_emulator.sqltypes import parse_type
from ksqldb_emulator.values import encode, to_json
from tests.vectors import load_json, needs_vectors


@needs_vectors
def test_values_are_encoded_as_the_servers_library_does() -> None:
    cases: dict[str, tuple[Any, str, bool]] = {
        "BIGINT max": (2**63 - 1, "BIGINT", False),
        "DOUBLE 1": (1.0, "DOUBLE", False),
        "DOUBLE 1e10": (1e10, "DOUBLE", False),
        "DOUBLE 1e-7": (1e-7, "DOUBLE", False),
        "DOUBLE 1234567": (1234567.0, "DOUBLE", False),
        "DOUBLE 12345678": (12345678.0, "DOUBLE", False),
        "DOUBLE 0.1": (0.1, "DOUBLE", False),
        "DOUBLE max": (1.7976931348623157e308, "DOUBLE", False),
        "DOUBLE min": (5e-324, "DOUBLE", False),
        "-0.0": (-0.0, "DOUBLE", False),
        "NaN": (float("nan"), "DOUBLE", False),
        "Inf": (float("inf"), "DOUBLE", False),
        "-Inf": (float("-inf"), "DOUBLE", False),
        "DEC 10.10": (Decimal("10.10"), "DECIMAL(9, 2)", False),
        "DEC 1E+3": (Decimal("1E+3"), "DECIMAL(9, 0)", False),
        "DEC 0.0000000001": (Decimal("1E-10"), "DECIMAL(20, 10)", False),
        "DEC big": (Decimal("12345678901234567890123456789.1234567890"), "DECIMAL(38, 10)", False),
        "BYTES": (bytes([0, 1, 255, 254]), "BYTES", False),
        "TS 1591361945123": (1591361945123, "TIMESTAMP", False),
        "TS neg": (-1, "TIMESTAMP", False),
        "TS 1500-01-01 prolept": (-14831769600000, "TIMESTAMP", False),
        "DATE 1500": (-171664, "DATE", False),
        "TIME 10:15:00.000": (36900000, "TIME", False),
        "TIME 10:15:30.123": (36930123, "TIME", False),
        "TIME 0": (0, "TIME", False),
        "STRUCT decimal 10.10": ({"D": Decimal("10.10")}, "STRUCT<`D` DECIMAL(9, 2)>", False),
        "STRUCT decimal 5": ({"D": Decimal(5)}, "STRUCT<`D` DECIMAL(9, 0)>", False),
        "STRUCT decimal 12345678901234567890123456789.1234567890": (
            {"D": Decimal("12345678901234567890123456789.1234567890")}, "STRUCT<`D` DECIMAL(38, 10)>", False,
        ),
        "BIGINT min": (-(2**63), "BIGINT", False),
        "DEC scale0": (Decimal(5), "DECIMAL(5, 0)", False),
        "DEC neg": (Decimal("-0.10"), "DECIMAL(5, 2)", False),
        "BYTES empty": (b"", "BYTES", False),
        "BYTES80": (bytes(80), "BYTES", False),
        "TS 0": (0, "TIMESTAMP", False),
        "TS yr12000": (316516204800000, "TIMESTAMP", False),
        "TS BC": (-62324985600000, "TIMESTAMP", False),
        "DATE": (18000, "DATE", False),
        "DATE -1d": (-1, "DATE", False),
        "DATE 12000": (3663382, "DATE", False),
        "MAP str": ({"B": 2, "a": 1}, "MAP<STRING, INTEGER>", False),
        "MAP double keys": ({1e10: "x"}, "MAP<DOUBLE, STRING>", False),
        "STRUCT decimal 0.1000000000000000055511151231257827": (
            {"D": Decimal("0.1000000000000000055511151231257827")}, "STRUCT<`D` DECIMAL(38, 34)>", False,
        ),
        "STRUCT decimal 9223372036854775807": ({"D": Decimal(2**63 - 1)}, "STRUCT<`D` DECIMAL(19, 0)>", False),
        "STRUCT decimal 1.0E10": ({"D": Decimal("1E10")}, "STRUCT<`D` DECIMAL(12, 1)>", False),
        "MAP null val": ({"k": None}, "MAP<STRING, STRING>", False),
        "MAP int keys": ({1: "x", 2: "y"}, "MAP<INTEGER, STRING>", False),
        "MAP dec keys": ({Decimal("1.10"): "x"}, "MAP<DECIMAL(3, 2), STRING>", False),
        "MAP bool keys": ({True: "x"}, "MAP<BOOLEAN, STRING>", False),
        "ARRAY": ([Decimal("1"), None, Decimal("1.10")], "ARRAY<DECIMAL(3, 2)>", False),
    }  # fmt: skip
    vectors = {vector["value"]: vector["json"] for vector in load_json("type_encoding_vectors.json")["vectors"]}

    left_out = {
        "STR",  # below: the library writes raw what the server escapes
        "DATE -1ms",  # a Java date of 23:59:59.999 the day before, which no DATE of ksqlDB is
        "JsonConverter BigDecimal text",  # a step inside the server
        'FORWARDED [1.0E10,1.0,10.10,"NaN",9223372036854775807,1.0E-7]',  # rows relayed by another node
        "Null map key error",  # an error's text
    }
    assert set(vectors) - set(cases) == left_out
    for name, (value, type_, in_struct) in cases.items():
        assert encode(value, parse_type(type_), in_struct) == vectors[name], name
    assert to_json('a"b\\c/\n\t\u0001\u007f€\u2028😀') == vectors["STR"].replace("😀", "\\uD83D\\uDE00")


@pytest.mark.parametrize(
    ("epoch_days", "text"), [(-719_529, "-0001-12-31"), (-719_528, "0000-01-01"), (-(2**31), "-5877641-06-23")]
)
def test_dates_before_christ_have_a_sign_and_four_digits_as_in_java(epoch_days: int, text: str) -> None:
    assert encode(epoch_days, parse_type("DATE")) == f'"{text}"'
