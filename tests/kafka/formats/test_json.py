"""JSON as ksqlDB reads it: each rule with values on both sides of it, and generated records among broken ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.sqltypes import Type
from pipeline.errors import TypeNotSupported
from pipeline.kafka.formats.json_names import Spellings
from tests.examples import examples
from tests.kafka.formats.encoding import as_json_shows, kafka_json
from tests.kafka.formats.reading import lake_row, reader_of, rows_read
from tests.torture.generated import nested, or_null, scalars, values

READ = [
    ("BOOLEAN", "true", True), ("BOOLEAN", "false", False), ("BOOLEAN", "null", None),
    ("INTEGER", "-0", 0), ("INTEGER", "41.999", 41), ("INTEGER", "-41.999", -41), ("INTEGER", '"41"', 41),
    ("INTEGER", '"+41"', 41), ("INTEGER", "2147483648", -(2**31)), ("INTEGER", "4294967297", 1),
    ("INTEGER", "1e2", 100), ("INTEGER", "1e64", 0), ("INTEGER", "1e-999999999", 0), ("INTEGER", "1e308", 0),
    ("BIGINT", "9223372036854775808", -(2**63)), ("BIGINT", "9007199254740993.0", 9007199254740993),
    ("BIGINT", '"-9223372036854775808"', -(2**63)), ("BIGINT", "1.8446744073709551617e19", 1),
    ("DOUBLE", "1", 1.0), ("DOUBLE", "-0.0", 0.0), ("DOUBLE", "-0", 0.0), ("DOUBLE", '"-0.0"', -0.0),
    ("DOUBLE", "1e400", math.inf), ("DOUBLE", "-1e400", -math.inf), ("DOUBLE", "-1e-400", -0.0),
    ("DOUBLE", f"-0.{'0' * 400}1", -0.0), ("DOUBLE", f"{'9' * 400}", math.inf), ("DOUBLE", '"NaN"', math.nan),
    ("DOUBLE", '"-Infinity"', -math.inf), ("DOUBLE", '" 1.5d "', 1.5), ("DOUBLE", '".5"', 0.5), ("DOUBLE", '"5."', 5.0),
    ("DOUBLE", '"0x1.8p1"', 3.0), ("DOUBLE", "123456789012345678901234567890123", 1.2345678901234568e32),
    ("DECIMAL(5, 2)", "1.1", Decimal("1.10")), ("DECIMAL(5, 2)", "5", Decimal(5)),
    ("DECIMAL(5, 2)", "1e2", Decimal(100)), ("DECIMAL(5, 2)", "999.99", Decimal("999.99")),
    ("DECIMAL(5, 2)", '"1.1"', Decimal("1.10")), ("DECIMAL(5, 2)", "1.1000", Decimal("1.10")),
    ("DECIMAL(5, 2)", "-0.00", Decimal(0)), ("DECIMAL(5, 2)", "0e-999999999", Decimal(0)),
    ("DECIMAL(5, 2)", f"1.{'0' * 60}", Decimal(1)), ("DECIMAL(38, 10)", '"+.5"', Decimal("0.5")),
    ("STRING", '"text"', "text"), ("STRING", "1.10", "1.10"), ("STRING", "1e5", "1E+5"), ("STRING", "-0.0", "0.0"),
    ("STRING", "true", "true"), ("STRING", "12345678901234567890", "12345678901234567890"), ("STRING", "-0", "0"),
    ("STRING", "0.0000001", "1E-7"), ("STRING", '["a", 1, null, [true], {"b": 1}]', '[a, 1, null, [true], {"b":1}]'),
    ("STRING", r'{"B": 1.50, "a": ["x", null], "q": "\"\\\u001f\n/é😀", "B": 2e1}',
     r'{"B":2E+1,"a":["x",null],"q":"\"\\\u001F\n/é😀"}'),
    ("STRING", r'"\ud83d\ude80\u0000"', "🚀\0"),
    ("BYTES", '"AAEC/w=="', b"\0\1\2\xff"), ("BYTES", '""', b""), ("BYTES", '" AAEC /w== "', b"\0\1\2\xff"),
    ("BYTES", '"AB=="', b"\0"),
    ("DATE", "20000", 20000), ("DATE", '"-1"', -1), ("DATE", "1.5", 1),
    ("TIME", "86399999", 86399999), ("TIME", '"0"', 0),
    ("TIMESTAMP", "-62135596800000", -62135596800000), ("TIMESTAMP", '"1"', 1),
    ("ARRAY<INTEGER>", "[1, null, \"2\", 3.9]", [1, None, 2, 3]), ("ARRAY<INTEGER>", "[]", []),
    ("MAP<STRING, BIGINT>", '{"a": 1, "A": "2", "": null, "a": 3}', {"a": 3, "A": 2, "": None}),
    ("STRUCT<`X` INTEGER, `Y` ARRAY<STRING>>", '{"x": 1, "y": [1.0], "z": {}}', {"X": 1, "Y": ["1.0"]}),
    ("STRUCT<`X` INTEGER>", "{}", {"X": None}),
]  # fmt: skip

REFUSED = [
    ("BOOLEAN", "0"), ("BOOLEAN", '"true"'), ("BOOLEAN", "[]"),
    ("INTEGER", "true"), ("INTEGER", '""'), ("INTEGER", '" 1"'), ("INTEGER", '"1.0"'), ("INTEGER", '"2147483648"'),
    ("INTEGER", "{}"), ("INTEGER", "1e400"), ("STRING", "1e400"), ("STRING", "[-1e400]"),
    ("BIGINT", '"9223372036854775808"'), ("BIGINT", '"1_0"'), ("BIGINT", "[1]"),
    ("DOUBLE", "true"), ("DOUBLE", '"nan"'), ("DOUBLE", '"1_0"'), ("DOUBLE", '""'), ("DOUBLE", '"0x1"'),
    ("DECIMAL(5, 2)", "1.001"), ("DECIMAL(5, 2)", "1e-999999999"), ("DECIMAL(5, 2)", "1e999999999"),
    ("DECIMAL(5, 2)", "1000"), ("DECIMAL(5, 2)", '" 1"'), ("DECIMAL(5, 2)", '"1_0"'),
    ("DECIMAL(5, 2)", '"NaN"'), ("DECIMAL(5, 2)", "true"), ("DECIMAL(5, 2)", "[1]"), ("DECIMAL(5, 2)", "1e40"),
    ("DECIMAL(38, 0)", "99999999999999999999999999999999999999999"),
    ("STRING", r'"\ud800"'),
    ("BYTES", '"AA"'), ("BYTES", '"A A="'), ("BYTES", '"_-=="'), ("BYTES", "1"),
    ("DATE", '"2020-01-01"'), ("DATE", "2147483648"), ("TIME", "86400000"), ("TIME", "-1"), ("TIMESTAMP", "true"),
    ("TIMESTAMP", "9223372036854776"), ("TIMESTAMP", '"1.0"'),
    ("ARRAY<INTEGER>", "1"), ("ARRAY<INTEGER>", "{}"), ("ARRAY<INTEGER>", '["x"]'),
    ("MAP<STRING, BIGINT>", "[]"), ("MAP<STRING, BIGINT>", '{"a": true}'), ("MAP<STRING, BIGINT>", '"{}"'),
    ("STRUCT<`X` INTEGER>", "[]"), ("STRUCT<`X` INTEGER>", '{"X": {}}'),
]  # fmt: skip

BROKEN = (
    b"", b" ", b"nil", b"{", b'{"A":1', b'{"A":1,}', b"{'A':1}", b'{"A":01}', b'{"A":NaN}', b'{"A":Infinity}',
    b'{"A":"\x01"}', b'{"A":"\xff"}', b'{"A":"\\x"}', b'{"OTHER":"\xff"}', b'{"OTHER":[1,]}', b"[1]", b"1", b'"A"',
    b"\x00\x00\x00\x00\x01{}", "{}".encode("utf-16"), b'{"OTHER":' + b"[" * 100_000, b"true", b'{"A":1e99999999999}',
    b'{"D":1e99999999999999999999}', b'{"D":0e2147483648}', b'{"OTHER":1e-99999999999999999999}',
    b'{"D":%s}' % (b"9" * 1001),
    b"\xef\xbb\xbf", b'{"A":--1}', b'{"A":+1}', b'{"A":.5}', b'{"A":1.}',
)  # fmt: skip
"""None of them is an object of JSON."""


@pytest.mark.parametrize(("type_", "text", "value"), READ)
def test_a_value_is_read_as_the_server_reads_it(type_: str, text: str, value: Any) -> None:
    types = {"A": type_}
    wanted = [lake_row([value], types)]

    assert rows_read(reader_of("JSON", types), types, [f'{{"A": {text}}}'.encode()]) == wanted
    assert rows_read(reader_of("JSON", types, wrapped=False), types, [text.encode()]) == wanted


@pytest.mark.parametrize(("type_", "text"), REFUSED)
def test_a_value_that_the_server_cannot_read_is_unreadable_and_its_neighbours_are_read(type_: str, text: str) -> None:
    types = {"B": "INTEGER", "A": type_}
    payloads = [b'{"B": 1}', f'{{"A": {text}, "B": 2}}'.encode(), b'{"A": null, "B": 3}']

    before, reason, after = rows_read(reader_of("JSON", types), types, payloads)

    assert (before, after) == ((1, None), (3, None))
    assert isinstance(reason, str)
    assert reason.startswith("A")


def test_a_reason_names_the_place_and_holds_no_data() -> None:
    types = {"S": "STRUCT<`X` ARRAY<MAP<STRING, DECIMAL(5, 2)>>>"}

    (reason,) = rows_read(reader_of("JSON", types), types, [b'{"S": {"x": [{}, {"secret": 123456789}]}}'])

    assert reason == "S.X[]{}: a number with more than 3 digits before the point"


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_object_is_unreadable_and_its_neighbours_are_read(broken: bytes) -> None:
    types = {"A": "DOUBLE", "D": "DECIMAL(5, 2)", "S": "STRUCT<`X` BIGINT>"}
    payloads = [b'{"A":1,"S":{"X":1}}', broken, None, b'{"A":2}']

    before, reason, missing, after = rows_read(reader_of("JSON", types), types, payloads)

    assert (before, missing, after) == (
        lake_row([1.0, None, {"X": 1}], types),
        None,
        lake_row([2.0, None, None], types),
    )
    assert isinstance(reason, str)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"A": 1, "a": 2}', 1), ('{"a": 2, "A": 1}', 1), ('{"a": 2, "A": null}', None), ('{"a": 1}', 1),
        ('{"A": 1, "A": 2}', 2), ('{"B": {"deep": [1, "x"]}, "a": 1, "é": null}', 1), ("{}", None),
    ],
)  # fmt: skip
def test_a_field_is_found_by_its_name_or_else_in_any_case(text: str, value: Any) -> None:
    types = {"A": "INTEGER"}

    assert rows_read(reader_of("JSON", types), types, [text.encode()] * 3) == [(value,)] * 3


def test_a_quoted_name_is_found_as_it_is_only() -> None:
    types = {"mixed": "INTEGER", "dotted.name": "STRING", 'q"uo': "INTEGER", "größe": "DOUBLE"}
    payloads = [b'{"MIXED": 1, "DOTTED.NAME": "a"}', '{"mixed": 1, "dotted.name": "a", "größe": 1}'.encode()]

    assert rows_read(reader_of("JSON", types), types, payloads) == [
        (None, None, None, None),
        lake_row([1, "a", None, 1.0], types),
    ]


def test_the_last_of_two_names_in_other_cases_counts() -> None:
    types = {"AB": "INTEGER", "S": "STRUCT<`CD` INTEGER>"}
    payloads = [b'{"aB": 1, "Ab": 2, "s": {"cd": 1, "cD": 2}}', b'{"Ab": 2, "aB": 1}', b'{"ab": 3}']

    assert rows_read(reader_of("JSON", types), types, payloads) == [(2, {"cd": 2}), (1, None), (3, None)]


@pytest.mark.parametrize("rest", [" ", "{", " garbage", "}", '{"A":2}', "\n\n", "\0"])
def test_what_follows_an_object_is_passed_over(rest: str) -> None:
    types = {"A": "INTEGER"}

    assert rows_read(reader_of("JSON", types), types, [f'{{"A":1}}{rest}'.encode()]) == [(1,)]


def test_a_mark_of_byte_order_and_white_space_are_passed_over() -> None:
    types = {"A": "INTEGER"}

    assert rows_read(reader_of("JSON", types), types, [b'\xef\xbb\xbf\n\t {"A" : 1}']) == [(1,)]


def test_a_bare_null_is_unreadable_and_unwrapped_a_row_with_a_null() -> None:
    types = {"A": "STRING"}
    payloads = [b"null", None, b" null "]

    reason = "a bare null where STRUCT is declared"
    assert rows_read(reader_of("JSON", types), types, payloads) == [reason, None, reason]
    assert rows_read(reader_of("JSON", types, wrapped=False), types, [*payloads, b""]) == [
        (None,),
        None,
        (None,),
        ("",),
    ]


@pytest.mark.parametrize("text", ["1x", "1,", "truex", "null,", "1.", "nullx"])
def test_a_bare_value_with_something_close_behind_it_is_unreadable(text: str) -> None:
    types = {"A": "STRING"}

    assert isinstance(rows_read(reader_of("JSON", types, wrapped=False), types, [text.encode()])[0], str)


def test_json_of_the_registry_has_five_bytes_before_it() -> None:
    types = {"A": "INTEGER"}
    payloads = [b'\0\0\0\0\1{"A":1}', b'{"A":1}', b"\0\0\0\0\1", b"", b"\0", None, b"\0\0\0\0\1null"]

    first, *others = rows_read(reader_of("JSON_SR", types), types, payloads)

    assert first == (1,)
    assert [isinstance(other, str) for other in others] == [True, True, True, True, False, True]


@pytest.mark.parametrize(
    "taught",
    [
        '{"i": 1, "s": "x", "n": {"d": 1.5}}', '{"I": 1, "S": 7, "N": {"D": "1.5"}}',
        '{"I": "1", "S": true, "X": [{}]}',
        '{"I": 1.5, "S": {"a": [1]}, "N": {"d": 1, "other": null}}', '{"S": [1, "a"]}', '{"é": 1, "I": 1}',
    ],
)  # fmt: skip
def test_what_one_record_has_taught_the_next_is_decoded_at_once(taught: str) -> None:
    types = {"I": "INTEGER", "S": "STRING", "N": "STRUCT<`D` DOUBLE>"}
    reader, payloads = reader_of("JSON", types), [taught.encode()] * 3
    first = rows_read(reader, types, payloads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.kafka.formats.json_payloads.parse", lambda _: pytest.fail("it was read exactly again"))
        assert rows_read(reader, types, payloads) == first

    assert not any(isinstance(row, str) for row in first)


def test_producers_that_write_names_in_different_ways_are_read_beside_each_other() -> None:
    types = {"A": "INTEGER", "B": "INTEGER"}
    payloads = [f'{{"{a}": 1, "{b}": 2}}'.encode() for a in ("A", "a") for b in ("B", "b", "x")] * 50
    reader = reader_of("JSON", types)

    for _ in range(2):
        assert rows_read(reader, types, payloads) == [(1, 2), (1, 2), (1, None)] * 100


def test_names_without_end_are_read_too() -> None:
    types = {"A": "INTEGER"}
    payloads = [f'{{"A": {n}, "name {n}": {n}}}'.encode() for n in range(1500)]

    assert rows_read(reader_of("JSON", types), types, payloads) == [(n,) for n in range(1500)]


def test_a_map_whose_keys_are_no_text_is_not_supported() -> None:
    with pytest.raises(TypeNotSupported, match="column M: JSON cannot hold a map with INTEGER keys"):
        reader_of("JSON", {"M": "MAP<INTEGER, STRING>"})


def _has_names(type_: Type) -> bool:
    inner = [type_.element] if type_.base in ("ARRAY", "MAP") else [field for _, field in type_.fields]
    return (type_.base != "MAP" or type_.key.base == "STRING") and all(map(_has_names, inner))


TYPES = (scalars() | nested(2) | nested(3)).filter(_has_names)
SPELLED: tuple[Callable[[str], str], ...] = (str, str.lower, str.title)


@examples(25)
@given(st.data())
def test_generated_records_come_back_bit_by_bit_among_broken_ones(data: st.DataObject) -> None:
    generated = data.draw(st.lists(TYPES, min_size=1, max_size=4))
    types = {f"COLUMN {n}": str(type_) for n, type_ in enumerate(generated)}
    rows = data.draw(st.lists(st.tuples(*[or_null(values(type_)) for type_ in generated]), max_size=8))
    payloads: list[bytes | None] = []
    wanted: list[Any] = []
    for row in rows:
        spelled = data.draw(st.sampled_from(SPELLED))
        fields = {spelled(name): field for name, field in zip(types, zip(row, generated, strict=True), strict=True)}
        payloads.append(kafka_json(fields).encode())
        wanted.append(lake_row(list(map(as_json_shows, row, generated)), types))
        if data.draw(st.booleans()):
            payloads.append(data.draw(st.sampled_from((*BROKEN, None))))
            wanted.append(str if payloads[-1] is not None else None)

    seen = rows_read(reader_of("JSON", types), types, payloads)

    assert repr([str if isinstance(row, str) else row for row in seen]) == repr(wanted)


_TOKENS = sorted({text for _, text, *_ in (*READ, *REFUSED)}, key=lambda text: (len(text), text))
_KINDS = sorted({type_ for type_, *_ in READ})


@examples(60)
@given(st.data())
def test_the_fast_way_reads_what_the_exact_one_does(data: st.DataObject) -> None:
    """Tokens of every kind under every type, in names of several cases: with the decoders and without them."""
    types = {
        f"C{n}": kind for n, kind in enumerate(data.draw(st.lists(st.sampled_from(_KINDS), min_size=1, max_size=4)))
    }
    name = st.sampled_from([*types, *map(str.lower, types), "OTHER", "other"])
    record = st.lists(st.tuples(name, st.sampled_from(_TOKENS)), max_size=5)
    payloads: list[bytes | None] = [
        ("{" + ",".join(f'"{name}":{token}' for name, token in fields) + "}").encode()
        for fields in data.draw(st.lists(record, max_size=12))
    ]
    fast = reader_of("JSON", types)

    first, second = rows_read(fast, types, payloads), rows_read(fast, types, payloads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spellings, "decoders", lambda _: [])
        exact = rows_read(reader_of("JSON", types), types, payloads)

    assert repr(first) == repr(second) == repr(exact)
