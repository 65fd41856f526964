"""The data of the emulated server: streams and tables, their columns, and the records of their topics.

Values are exact Python values by the column's declared type: BOOLEAN bool, INTEGER and BIGINT int, DOUBLE float,
DECIMAL Decimal, STRING str, BYTES bytes, TIMESTAMP int (epoch ms), DATE int (epoch days), TIME int (ms of the day),
ARRAY list, MAP and STRUCT dict, NULL None. The JSON form is the same with BYTES as base64, DECIMAL as a number with
all its digits, and "NaN", "Infinity", "-Infinity" as text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

from ksqldb_emulator.sqltypes import Type, parse_type

WIDE = Context(prec=76)


@dataclass(frozen=True)
class Column:
    """`role` is VALUE, KEY or HEADER; `header_key` names the header of a HEADER column with a single one."""

    name: str
    type: Type
    role: str = "VALUE"
    header_key: str = ""


@dataclass(frozen=True)
class Record:
    """One record of a topic. Without `values` it is a delete in a table (of `key`), and unreadable in a stream.

    `at_s` is when it becomes visible, in seconds after the server's start; `window` are the bounds in epoch ms.
    """

    partition: int
    offset: int
    rowtime: int
    values: Mapping[str, Any] | None
    key: Mapping[str, Any] | None = None
    window: tuple[int, int] | None = None
    at_s: float = 0.0


@dataclass(frozen=True)
class Query:
    """A persistent query that reads `topics` and writes `sinks`.

    `repartition` ends the name of the internal topic of one that groups by another column.
    """

    id: str
    text: str
    sinks: tuple[str, ...]
    sink_topics: tuple[str, ...]
    topics: tuple[str, ...] = ()
    repartition: str = ""


@dataclass
class Source:
    """A stream or table. A table's records are its changes; its rows are the newest of each key."""

    name: str
    kind: str
    columns: tuple[Column, ...]
    topic: str
    partitions: int
    records: list[Record] = field(default_factory=list)
    write_query: Query | None = None
    read_queries: tuple[Query, ...] = ()
    window_type: str | None = None
    statement: str = ""
    timestamp: str = ""
    key_format: str = "KAFKA"
    value_format: str = "JSON"
    log_start: dict[int, int] = field(default_factory=dict)
    lag: int = 0
    topic_deleted: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.role == "KEY")


@dataclass
class Dataset:
    sources: list[Source]
    version: str = "7.6.13"
    cluster_id: str = "emulated-cluster"
    service_id: str = "demo_"

    def source(self, name: str) -> Source:
        return next(source for source in self.sources if source.name == name)

    def save(self, path: Path) -> None:
        head = {"schema_version": 1, "version": self.version, "cluster_id": self.cluster_id}
        head["service_id"] = self.service_id
        sources = ",\n".join(_source_text(source) for source in self.sources)
        path.write_text(f'{json.dumps(head)[:-1]}, "sources": [\n{sources}\n]}}\n', encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Dataset:
        data = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        if data.pop("schema_version") != 1:
            raise ValueError(f"{path} is of a newer form than this server reads")
        sources = [_source(entry) for entry in data.pop("sources")]
        return cls(sources, **data)


def _source_text(source: Source) -> str:
    types = {column.name: column.type for column in source.columns}
    plain = {
        name: value
        for name, value in vars(source).items()
        if name not in ("columns", "records", "write_query", "read_queries")
    }
    plain["columns"] = [_column_entry(column) for column in source.columns]
    plain["write_query"] = source.write_query and vars(source.write_query)
    plain["read_queries"] = [vars(query) for query in source.read_queries]
    rows = ",\n".join(_record_text(record, types) for record in source.records)
    return f'{json.dumps(plain, ensure_ascii=False)[:-1]}, "records": [\n{rows}\n]}}'


def _column_entry(column: Column) -> list[str]:
    return [column.name, str(column.type), column.role, *([column.header_key] if column.header_key else [])]


def _record_text(record: Record, types: Mapping[str, Type]) -> str:
    parts = [str(record.partition), str(record.offset), str(record.rowtime), _values_text(record.values, types)]
    extra = {}
    if record.window:
        extra["window"] = json.dumps(record.window)
    if record.at_s:
        extra["at_s"] = json.dumps(record.at_s)
    if record.key is not None:
        extra["key"] = _values_text(record.key, types)
    if extra:
        parts.append("{" + ", ".join(f'"{name}": {text}' for name, text in extra.items()) + "}")
    return f"[{', '.join(parts)}]"


def _values_text(values: Mapping[str, Any] | None, types: Mapping[str, Type]) -> str:
    if values is None:
        return "null"
    return (
        "{" + ", ".join(f"{json.dumps(name)}: {_to_json(value, types[name])}" for name, value in values.items()) + "}"
    )


def _to_json(value: Any, type_: Type) -> str:
    if value is None:
        return "null"
    if type_.base == "DECIMAL":
        return f"{value:f}"
    if type_.base == "BYTES":
        return json.dumps(base64.b64encode(value).decode())
    if type_.base == "DOUBLE":
        words = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
        return words.get(str(value), repr(value))
    if type_.base == "ARRAY":
        return "[" + ", ".join(_to_json(item, type_.element) for item in value) + "]"
    if type_.base == "MAP":
        return "{" + ", ".join(f"{json.dumps(str(k))}: {_to_json(v, type_.element)}" for k, v in value.items()) + "}"
    if type_.base == "STRUCT":
        return "{" + ", ".join(f"{json.dumps(n)}: {_to_json(value.get(n), t)}" for n, t in type_.fields) + "}"
    return json.dumps(value, ensure_ascii=False)


def _source(entry: dict[str, Any]) -> Source:
    columns = tuple(Column(name, parse_type(type_), *more) for name, type_, *more in entry.pop("columns"))
    types = {column.name: column.type for column in columns}
    records = [_record(raw, types) for raw in entry.pop("records")]
    write_query, read_queries = entry.pop("write_query"), entry.pop("read_queries")
    log_start = {int(partition): offset for partition, offset in entry.pop("log_start").items()}
    return Source(
        **entry,
        columns=columns,
        records=records,
        write_query=write_query and _query(write_query),
        read_queries=tuple(_query(query) for query in read_queries),
        log_start=log_start,
    )


def _query(entry: dict[str, Any]) -> Query:
    lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Query(**lists)


def _record(raw: list[Any], types: Mapping[str, Type]) -> Record:
    partition, offset, rowtime, values = raw[:4]
    extra = raw[4] if len(raw) > 4 else {}
    window = tuple(extra["window"]) if "window" in extra else None
    at_s = float(extra.get("at_s", 0))
    return Record(partition, offset, rowtime, typed(values, types), typed(extra.get("key"), types), window, at_s)


def typed(values: Mapping[str, Any] | None, types: Mapping[str, Type]) -> dict[str, Any] | None:
    """JSON values (decimals parsed as Decimal) as exact values of the declared types; unknown names are dropped."""
    if values is None:
        return None
    return {name: from_json(values.get(name), type_) for name, type_ in types.items() if name in values}


def from_json(value: Any, type_: Type) -> Any:
    """One JSON value as the exact value of its type; what a topic's JSON or the file form holds."""
    if value is None:
        return None
    if type_.base == "DECIMAL":
        return Decimal(value).quantize(Decimal(1).scaleb(-type_.scale), context=WIDE)
    if type_.base == "DOUBLE":
        return float(value)
    if type_.base == "BYTES":
        return base64.b64decode(value)
    if type_.base == "ARRAY":
        return [from_json(item, type_.element) for item in value]
    if type_.base == "MAP":
        return {str(key): from_json(item, type_.element) for key, item in value.items()}
    if type_.base == "STRUCT":
        return {name: from_json(value.get(name), field_type) for name, field_type in type_.fields}
    return value
