"""PROTOBUF as ksqlDB reads it through Kafka Connect, with a registered schema and without one."""

from __future__ import annotations

import base64
import struct
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from ksqldb_emulator.sqltypes import Type
from pipeline.errors import KafkaSettingsInvalid, TypeNotSupported
from pipeline.kafka.registry import Reference, RegisteredSchema
from tests.examples import examples
from tests.kafka.formats.reading import Schemas, lake_row, reader_of, rows_read
from tests.kafka.formats.wire import as_protobuf_shows, message, number, piece, varint
from tests.torture.generated import or_null, scalars, values

F: Any = descriptor_pb2.FieldDescriptorProto
FIRST_DAY, LAST_DAY = -141_348, 2_932_896  # from 1583 to 9999
HEAD = b"\0\0\0\0\1\0"


def is_sure(value: Any, type_: Type) -> bool:
    """Whether Protobuf has the value, and its calendar is certain."""
    if type_.base == "DATE":
        return value is None or bool(FIRST_DAY <= value <= LAST_DAY)
    if type_.base == "TIMESTAMP":
        return value is None or -62_135_596_800_000 <= value <= 253_402_300_799_999
    return True


def some(type_: Type) -> st.SearchStrategy[Any]:
    return values(type_).filter(lambda value: is_sure(value, type_))


def made(type_: Type) -> st.SearchStrategy[Any]:
    """Values of a type without NULLs among the items of lists and maps, which Protobuf has not."""
    if type_.base == "ARRAY":
        return st.lists(made(type_.element), max_size=3)
    if type_.base == "MAP":
        return st.dictionaries(values(type_.key), made(type_.element), max_size=3)
    if type_.base == "STRUCT":
        return st.fixed_dictionaries({name: or_null(made(inner)) for name, inner in type_.fields})
    return some(type_)


def types(depth: int) -> st.SearchStrategy[Type]:
    if depth == 0:
        return scalars()
    inner = types(depth - 1)
    bare = inner.filter(lambda type_: type_.base not in ("ARRAY", "MAP"))
    structs = st.lists(inner, min_size=1, max_size=3).map(
        lambda found: Type("STRUCT", fields=tuple((f"F{n}", type_) for n, type_ in enumerate(found)))
    )
    return st.one_of(
        inner,
        bare.map(lambda element: Type("ARRAY", element_type=element)),
        bare.map(lambda element: Type("MAP", key_type=Type("STRING"), element_type=element)),
        structs,
    )


@examples(40)
@given(st.data())
def test_messages_of_columns_come_back_bit_by_bit(data: st.DataObject) -> None:
    generated = data.draw(st.lists(types(2), min_size=1, max_size=4))
    fields = {f"C{n}": type_ for n, type_ in enumerate(generated)}
    declared = {name: str(type_) for name, type_ in fields.items()}
    rows = data.draw(st.lists(st.tuples(*[or_null(made(type_)) for type_ in generated]), max_size=6))
    payloads = [message(fields, dict(zip(fields, row, strict=True))) for row in rows]

    seen = rows_read(reader_of("PROTOBUF_NOSR", declared), declared, [*payloads, None])

    shown = [[as_protobuf_shows(value, type_) for value, type_ in zip(row, generated, strict=True)] for row in rows]
    assert repr(seen) == repr([*(lake_row(row, declared) for row in shown), None])


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff",
        b"\x0a\x05ab",
        b"\x0a\x01\xff",
        b"\x12\x02\x08",
        b"\x12\x04\x08\xe7\x07\x10",
        b"\x1a\x00",
        b"{}",
        b"\x0b",
    ],
)
def test_what_is_no_message_is_unreadable_and_its_neighbours_are_read(broken: bytes) -> None:
    declared = {"A": "STRING", "B": "DATE", "C": "DECIMAL(5, 2)"}
    good = piece(1, b"x")

    before, reason, after = rows_read(reader_of("PROTOBUF_NOSR", declared), declared, [good, broken, good])

    assert before == after == ("x", None, None)
    assert isinstance(reason, str)


@pytest.mark.parametrize(
    ("type_", "content"),
    [
        ("DATE", number(1, 1582) + number(2, 1) + number(3, 1)),
        ("DATE", number(1, 2023) + number(2, 2) + number(3, 29)),
        ("DATE", number(2, 1) + number(3, 1)), ("DATE", number(1, 10_000) + number(2, 1) + number(3, 1)),
        ("TIME", number(1, 24)), ("TIME", number(4, 10**9)), ("TIME", number(1, -1)),
        ("TIMESTAMP", number(1, 253_402_300_800)), ("TIMESTAMP", number(2, -1)),
        ("DECIMAL(5, 2)", number(2, 3)), ("DECIMAL(5, 2)", piece(1, b"\x01") + number(3, 3)),
        ("DECIMAL(5, 2)", piece(1, b"\x27\x10") + number(2, 2)), ("DECIMAL(5, 2)", piece(1, b"\x27\x10")),
    ],
)  # fmt: skip
def test_a_value_that_is_none_or_does_not_fit_is_unreadable(type_: str, content: bytes) -> None:
    (reason,) = rows_read(reader_of("PROTOBUF_NOSR", {"A": type_}), {"A": type_}, [piece(1, content)])

    assert isinstance(reason, str)
    assert reason.startswith("A: ")


def test_a_time_is_cut_to_milliseconds_and_a_decimal_may_have_another_scale() -> None:
    declared = {"A": "TIME", "B": "DECIMAL(5, 2)", "C": "TIMESTAMP"}
    payload = piece(1, number(4, 1_999_999)) + piece(2, piece(1, b"\x0f") + number(3, 1)) + piece(3, number(2, 5))

    assert rows_read(reader_of("PROTOBUF_NOSR", declared), declared, [payload]) == [
        lake_row([1, Decimal("1.50"), 0], declared)
    ]


@pytest.mark.parametrize(
    "declared",
    [{"A": "ARRAY<ARRAY<INTEGER>>"}, {"A": "MAP<STRING, ARRAY<INTEGER>>"}, {"A": "MAP<INTEGER, STRING>"},
     {"with space": "STRING"}],
)  # fmt: skip
def test_columns_of_which_no_message_can_be_made_are_not_supported(declared: dict[str, str]) -> None:
    with pytest.raises(TypeNotSupported):
        reader_of("PROTOBUF_NOSR", declared)


def schema_of(
    *messages: Any, enums: tuple[Any, ...] = (), syntax: str = "proto3", imports: tuple[str, ...] = ()
) -> str:
    file = descriptor_pb2.FileDescriptorProto(
        name="any.proto", package="p", syntax=syntax, message_type=messages, enum_type=enums, dependency=imports
    )
    return base64.b64encode(file.SerializeToString()).decode()


def type_of(name: str, *fields: Any, **others: Any) -> Any:
    return descriptor_pb2.DescriptorProto(name=name, field=fields, **others)


def plain(name: str, tag: int, type_: int, **others: Any) -> Any:
    return F(name=name, number=tag, type=type_, label=others.pop("label", F.LABEL_OPTIONAL), **others)


def registered(declared: dict[str, str], schema: str, *payloads: bytes, references: Any = ()) -> list[Any]:
    registry = Schemas({1: RegisteredSchema(schema, references)})
    return rows_read(reader_of("PROTOBUF", declared, registry=registry), declared, payloads)


@pytest.mark.parametrize(
    ("kind", "encoded", "declared", "value"),
    [
        (F.TYPE_SINT32, number(1, 3), "INTEGER", -2), (F.TYPE_UINT32, number(1, 2**32 - 1), "BIGINT", 2**32 - 1),
        (F.TYPE_UINT64, number(1, -1), "BIGINT", -1), (F.TYPE_INT32, number(1, 7), "STRING", "7"),
        (F.TYPE_BOOL, number(1, 1), "STRING", "true"), (F.TYPE_INT32, b"", "BIGINT", 0),
        (F.TYPE_STRING, b"", "STRING", ""),
        (F.TYPE_INT32, number(1, 3), "DATE", 3), (F.TYPE_SFIXED32, b"\x0d" + struct.pack("<i", -5), "INTEGER", -5),
        (F.TYPE_FIXED64, b"\x09" + struct.pack("<Q", 2**64 - 2), "BIGINT", -2),
        (F.TYPE_FLOAT, b"\x0d" + struct.pack("<f", 0.1), "DOUBLE", struct.unpack("<f", struct.pack("<f", 0.1))[0]),
    ],
)  # fmt: skip
def test_each_kind_of_number_is_taken_as_connect_has_it(kind: int, encoded: bytes, declared: str, value: Any) -> None:
    columns = {"A": declared}

    assert registered(columns, schema_of(type_of("M", plain("a", 1, kind))), HEAD + encoded) == [
        lake_row([value], columns)
    ]


def test_optional_fields_enums_and_choices() -> None:
    enum = descriptor_pb2.EnumDescriptorProto(
        name="E", value=[descriptor_pb2.EnumValueDescriptorProto(name=name, number=n) for n, name in enumerate("XY")]
    )
    schema = schema_of(
        type_of(
            "M",
            plain("o", 1, F.TYPE_INT32, proto3_optional=True, oneof_index=1),
            plain("e", 2, F.TYPE_ENUM, type_name=".p.E"),
            plain("left", 3, F.TYPE_STRING, oneof_index=0),
            plain("right", 4, F.TYPE_INT64, oneof_index=0),
            oneof_decl=[{"name": "choice"}, {"name": "_o"}],
        ),
        enums=(enum,),
    )
    declared = {
        "O": "INTEGER",
        "E": "STRING",
        "CHOICE_0": "STRUCT<`LEFT` STRING, `RIGHT` BIGINT>",
        "NOT_THERE": "STRING",
    }
    payloads = [HEAD, HEAD + number(1, 0) + number(2, 1) + number(4, 5), HEAD + piece(3, b""), HEAD + number(2, 2)]

    *read, reason = registered(declared, schema, *payloads)

    assert read == [
        (None, "X", None, None),
        (0, "Y", {"left": None, "right": 5}, None),
        (None, "X", {"left": "", "right": None}, None),
    ]
    assert reason == "E: a number that its enum does not have"


def test_the_type_of_a_message_is_found_by_its_places() -> None:
    inner = type_of("Inner", plain("a", 1, F.TYPE_STRING))
    schema = schema_of(type_of("First"), type_of("Second", plain("a", 1, F.TYPE_INT64), nested_type=[inner]))
    head, declared = b"\0\0\0\0\1", {"A": "STRING"}
    payloads = [
        head + b"\x02\x02" + number(1, 5), head + b"\x04\x02\x00" + piece(1, b"x"), head + b"\x00", head + b"\x02\x04",
        head + b"\x02", head, head + b"\x01", head + b"\x02\x01",
    ]  # fmt: skip

    first, second, third, *reasons = registered(declared, schema, *payloads)

    assert (first, second, third) == (("5",), ("x",), (None,))
    assert [type(reason) for reason in reasons] == [str] * 5


def test_a_wrapper_is_a_struct_and_an_import_is_found() -> None:
    other = schema_of(type_of("Other", plain("x", 1, F.TYPE_INT32)))
    schema = schema_of(
        type_of(
            "M",
            plain("w", 1, F.TYPE_MESSAGE, type_name=".google.protobuf.StringValue"),
            plain("o", 2, F.TYPE_MESSAGE, type_name=".p.Other"),
            plain("m", 3, F.TYPE_MESSAGE, type_name=".p.M"),
        ),
        imports=("google/protobuf/wrappers.proto", "other.proto"),
    )
    declared = {"W": "STRUCT<`VALUE` STRING>", "O": "STRUCT<`X` BIGINT>", "M": "STRUCT<`O` STRUCT<`X` INTEGER>>"}
    payload = HEAD + piece(1, piece(1, b"s")) + piece(2, number(1, 1)) + piece(3, piece(2, number(1, 2)))

    read = registered(declared, schema, payload, references=(Reference("other.proto", RegisteredSchema(other)),))

    assert read == [({"value": "s"}, {"x": 1}, {"o": {"x": 2}})]
    assert isinstance(
        registered({"W": "STRING"}, schema, HEAD, references=(Reference("other.proto", RegisteredSchema(other)),))[0],
        str,
    )


def test_a_bare_value_is_not_taken_for_a_record_without_its_columns() -> None:
    wrappers = base64.b64encode(wrappers_pb2.DESCRIPTOR.serialized_pb).decode()
    place = list(wrappers_pb2.DESCRIPTOR.message_types_by_name).index("StringValue")
    payload = b"\0\0\0\0\1\x02" + varint(2 * place) + piece(1, b"x")

    assert registered({"V": "STRING"}, wrappers, payload) == [
        "a schema that is none of Protobuf, or that of a bare value"
    ]


def test_an_unset_field_of_proto2_is_refused_and_a_set_one_read() -> None:
    schema = schema_of(type_of("M", plain("a", 1, F.TYPE_INT32)), syntax="proto2")

    assert registered({"A": "INTEGER"}, schema, HEAD + number(1, 3), HEAD) == [
        (3,),
        "A: a field of proto2 that is not set",
    ]


@pytest.mark.parametrize("schema", ["", "no base64!", base64.b64encode(b"\xff\xff").decode(), schema_of()])
def test_a_schema_that_is_none_is_unreadable(schema: str) -> None:
    (reason,) = registered({"A": "STRING"}, schema, HEAD)

    assert isinstance(reason, str)


def test_single_values_and_a_missing_registry_are_refused() -> None:
    with pytest.raises(KafkaSettingsInvalid):
        reader_of("PROTOBUF", {"A": "STRING"})
    with pytest.raises(TypeNotSupported):
        reader_of("PROTOBUF", {"A": "STRING"}, wrapped=False, registry=Schemas({}))
