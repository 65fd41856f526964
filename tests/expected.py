"""What the values and rows of an emulated source have to be in the lake and in MySQL, by no code of the pipeline's.

Lake forms: numbers as they are, DOUBLE as its 64 bits (any NaN is one), DECIMAL as text with all places, DATE as epoch
days, TIMESTAMP as epoch microseconds, TIME as HH:MM:SS.mmm, MAP as sorted pairs, STRUCT by the lake's field names.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, Inexact
from pathlib import Path
from typing import Any

import pyarrow as pa

from ksqldb_emulator.dataset import Record, Source
from ksqldb_emulator.sqltypes import Type
from pipeline.feeds import Feed
from pipeline.lake.files import DataFile
from tests.support import lake_at
from tests.torture.generated import DAY_MS

_ARROW = {
    "BOOLEAN": "bool", "INTEGER": "int32", "BIGINT": "int64", "DOUBLE": "double", "STRING": "string", "BYTES": "binary",
    "DATE": "date32[day]", "TIME": "string", "TIMESTAMP": "timestamp[us, tz=UTC]",
}  # fmt: skip
_MYSQL = {
    "BOOLEAN": "BOOLEAN", "INTEGER": "INT", "BIGINT": "BIGINT", "DOUBLE": "DOUBLE", "STRING": "LONGTEXT",
    "BYTES": "LONGBLOB", "DATE": "DATE", "TIME": "TIME(3)", "TIMESTAMP": "DATETIME(3)",
}  # fmt: skip
_FIRST_DAY, _LAST_DAY = -354_285, 2_932_896  # 1000-01-01 and 9999-12-31, what MySQL's DATE and DATETIME hold
_MYSQL_SCALE = 30
_EXACT = Context(prec=76, traps=[Inexact])
_NUMBER_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_INSTANT = re.compile(r"([+-]?\d{4,})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?Z)?")


class Token(str):
    """A number of a JSON text, as it is written there."""


def lake_name(name: str) -> str:
    return name.lower() if name.upper() == name else name


def expected_rows(source: Source, records: Iterable[Record] | None = None) -> Counter[str]:
    """The multiset of rows that the lake should hold of a source, or of these records of it."""
    records = source.records if records is None else records
    if source.kind == "STREAM":
        return Counter(
            _row_text(
                _row(source, record)
                | {"rowtime": record.rowtime, "rowpartition": record.partition, "rowoffset": record.offset}
            )
            for record in records
            if record.values is not None
        )
    newest: dict[str, Record] = {}
    for record in records:
        key = repr([(record.values or record.key or {})[name] for name in source.keys] + [record.window])
        newest.pop(key, None)
        if record.values is not None:
            newest[key] = record
    return Counter(_row_text(_row(source, record)) for record in newest.values())


def _row(source: Source, record: Record) -> dict[str, Any]:
    assert record.values is not None
    row = {lake_name(column.name): lake_form(record.values[column.name], column.type) for column in source.columns}
    if record.window is not None:
        row |= {"windowstart": record.window[0], "windowend": record.window[1]}
    return row


def lake_rows(root: Path, feed: Feed, files: Iterable[DataFile] | None = None) -> Counter[str]:
    """The multiset of committed rows of a feed (of a table: of its current version), in the form of `expected_rows`."""
    table = lake_at(root).table(feed)
    if not table.exists:
        return Counter()
    if files is None:
        files = table.files if feed.type == "stream" else table.versions().get(table.current_version or 0, [])
    return sum((rows_of(batch) for batch in table.read_batches(list(files))), Counter())


def rows_of(batch: pa.RecordBatch) -> Counter[str]:
    """The multiset of a batch's rows, in the form of `expected_rows`."""
    columns = [seen_forms(column) for column in batch.columns]
    names = batch.schema.names
    return Counter(_row_text(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True))


def _row_text(row: Mapping[str, Any]) -> str:
    """A row as text in which equal rows, and only they, are equal, whatever the order of columns."""
    return repr(sorted(row.items()))


def arrow_text(type_: Type) -> str:
    """The Arrow type of the design, as Arrow writes it."""
    if type_.base == "DECIMAL":
        return f"decimal128({type_.precision}, {type_.scale})"
    if type_.base == "ARRAY":
        return f"list<element: {arrow_text(type_.element)}>"
    if type_.base == "MAP":
        return f"map<{arrow_text(type_.key)}, {arrow_text(type_.element)}>"
    if type_.base == "STRUCT":
        return f"struct<{', '.join(f'{lake_name(name)}: {arrow_text(field)}' for name, field in type_.fields)}>"
    return _ARROW[type_.base]


def lake_form(value: Any, type_: Type) -> Any:
    if value is None:
        return None
    if type_.base == "DOUBLE":
        return _bits(value)
    if type_.base == "DECIMAL":
        return _digits(value, type_.scale)
    if type_.base == "TIME":
        return _clock(value)
    if type_.base == "TIMESTAMP":
        return value * 1000
    if type_.base == "ARRAY":
        return [lake_form(item, type_.element) for item in value]
    if type_.base == "MAP":
        pairs = [(lake_form(key, type_.key), lake_form(item, type_.element)) for key, item in value.items()]
        return sorted(pairs, key=repr)
    if type_.base == "STRUCT":
        return {lake_name(name): lake_form(value[name], field) for name, field in type_.fields}
    return value


def seen_forms(array: pa.Array) -> list[Any]:
    """The lake forms of what a reader has found."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return seen_forms(array.dictionary_decode())
    valid = array.is_valid().to_pylist()
    if pa.types.is_date32(kind):
        return list(array.view(pa.int32()).to_pylist())
    if pa.types.is_timestamp(kind):
        assert kind.unit == "us" and kind.tz, kind
        return list(array.view(pa.int64()).to_pylist())
    if pa.types.is_floating(kind):
        return [None if value is None else _bits(value) for value in array.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in array.to_pylist()]
    if pa.types.is_struct(kind):
        parts = {field.name: seen_forms(array.field(place)) for place, field in enumerate(kind)}
        return [{name: part[row] for name, part in parts.items()} if ok else None for row, ok in enumerate(valid)]
    if pa.types.is_map(kind):
        pairs = list(zip(seen_forms(array.keys), seen_forms(array.items), strict=True))
        return [sorted(part, key=repr) if ok else None for part, ok in _slices(array, pairs, valid)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [part if ok else None for part, ok in _slices(array, seen_forms(array.values), valid)]
    return list(array.to_pylist())


def _slices(array: pa.Array, items: list[Any], valid: list[bool]) -> list[tuple[list[Any], bool]]:
    ends = array.offsets.to_pylist()
    return [(items[start:end] if ok else [], ok) for start, end, ok in zip(ends, ends[1:], valid, strict=False)]


def _bits(value: float) -> str:
    return "nan" if math.isnan(value) else struct.pack(">d", value).hex()


def _digits(value: Decimal, scale: int) -> str:
    return f"{value.quantize(Decimal(1).scaleb(-scale), context=_EXACT):f}"


def _clock(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def mysql_type(type_: Type, is_mariadb: bool) -> str:
    """The column that the design, or the server's limit, gives a type."""
    if type_.base == "DECIMAL":
        scale = type_.scale if is_mariadb else min(type_.scale, _MYSQL_SCALE)
        return f"DECIMAL({max(1, type_.precision - type_.scale + scale)}, {scale})"
    return _MYSQL.get(type_.base, "JSON")


def mysql_holds(value: Any, type_: Type, is_mariadb: bool) -> bool:
    """Whether the column can hold the value as it is."""
    if value is None:
        return True
    if type_.base == "DOUBLE":
        return math.isfinite(value)
    if type_.base == "DECIMAL" and not is_mariadb:
        return not any(_digits(value, type_.scale).partition(".")[2][_MYSQL_SCALE:].strip("0"))
    if type_.base == "DATE":
        return bool(_FIRST_DAY <= value <= _LAST_DAY)
    if type_.base == "TIMESTAMP":
        return bool(_FIRST_DAY * DAY_MS <= value < (_LAST_DAY + 1) * DAY_MS)
    return is_mariadb or all(Decimal(repr(float(number))) == number for number in _inner_decimals(value, type_))


def _inner_decimals(value: Any, type_: Type) -> list[Decimal]:
    """The decimals among a nested value's items, which are numbers in JSON; those of a map's keys are text there."""
    if value is None:
        return []
    if type_.base == "ARRAY":
        parts = [(item, type_.element) for item in value]
    elif type_.base == "MAP":
        parts = [(item, type_.element) for item in value.values()]
    elif type_.base == "STRUCT":
        parts = [(value[name], field) for name, field in type_.fields]
    else:
        return []
    return [
        number
        for item, inner in parts
        for number in ([item] if inner.base == "DECIMAL" and item is not None else _inner_decimals(item, inner))
    ]


def mysql_shows(seen: Any, value: Any, type_: Type, is_mariadb: bool) -> bool:
    """Whether what a query found is the value; dates and decimals are asked as text, bytes as hexadecimal."""
    if value is None or seen is None:
        return seen is None and value is None
    if type_.base in ("ARRAY", "MAP", "STRUCT"):
        return json_shows(json.loads(seen, parse_float=Token, parse_int=Token), value, type_)
    if type_.base == "BOOLEAN":
        return bool(seen == str(int(value)))
    if type_.base == "DOUBLE":
        wanted = value + 0.0 if is_mariadb else value  # MariaDB's DOUBLE has no negative zero
        return isinstance(seen, float) and _bits(seen) == _bits(wanted)
    if type_.base == "DECIMAL":
        return bool(Decimal(seen) == value and "E" not in seen.upper())
    if type_.base == "BYTES":
        return bool(bytes.fromhex(seen) == value)
    if type_.base == "DATE":
        return bool(_epoch_us(seen) == value * DAY_MS * 1000)
    if type_.base == "TIMESTAMP":
        return bool(_epoch_us(seen.replace(" ", "T") + "Z") == value * 1000)
    return bool(seen == (_clock(value) if type_.base == "TIME" else str(value)))


def json_shows(seen: Any, value: Any, type_: Type) -> bool:
    """Whether parsed JSON, its numbers as Tokens, is the value."""
    if value is None or seen is None:
        return seen is None and value is None
    if type_.base == "ARRAY":
        return len(seen) == len(value) and all(map(json_shows, seen, value, [type_.element] * len(value)))
    if type_.base == "STRUCT":
        wanted = {lake_name(name): (value[name], field) for name, field in type_.fields}
        return set(seen) == set(wanted) and all(json_shows(seen[name], *wanted[name]) for name in wanted)
    if type_.base == "MAP":
        wanted = {_key_text(key, type_.key): item for key, item in value.items()}
        found = {_key_text(float(key), type_.key) if type_.key.base == "DOUBLE" else key: seen[key] for key in seen}
        return set(found) == set(wanted) and all(json_shows(found[key], wanted[key], type_.element) for key in wanted)
    if type_.base == "BOOLEAN":
        return seen is value
    if type_.base in ("INTEGER", "BIGINT"):
        return isinstance(seen, Token) and str(seen) == str(value)
    if type_.base == "DECIMAL":
        return isinstance(seen, Token) and Decimal(seen) == value
    if type_.base == "DOUBLE":
        if isinstance(seen, Token):
            return _bits(float(seen)) == _bits(value)
        return _bits(_NUMBER_WORDS[seen]) == _bits(value)
    if type_.base == "DATE":
        return "T" not in seen and _epoch_us(seen) == value * DAY_MS * 1000
    if type_.base == "TIMESTAMP":
        return "T" in seen and _epoch_us(seen) == value * 1000
    text = value.hex() if type_.base == "BYTES" else _clock(value) if type_.base == "TIME" else value
    return bool(seen == text) and not isinstance(seen, Token)


def _key_text(key: Any, type_: Type) -> str:
    if type_.base == "BOOLEAN":
        return str(key).lower()
    if type_.base == "DECIMAL":
        return _digits(key, type_.scale)
    return _bits(key) if type_.base == "DOUBLE" else str(key)


def _epoch_us(text: str) -> int:
    match = _INSTANT.fullmatch(text)
    assert match, text
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    hour, minute, second = (int(part or 0) for part in match.group(4, 5, 6))
    # Days of whole years, by a March-based year: the leap day is the last of it.
    shifted = year - (month < 3)
    days = (
        365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    )
    seconds = ((days - 719_468) * 24 + hour) * 3600 + minute * 60 + second
    return seconds * 1_000_000 + int(f"{match[7] or '':0<6}")
