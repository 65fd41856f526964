"""What a column is, and one table of what each ksqlDB type becomes: in Arrow (so in Parquet and Delta), DuckDB, MySQL.

A new type is one row of `SCALARS`, and one form in `pipeline.decode` where its values come in a form of their own.
Nested types are put together from the rows, by one function for each place. Columns are named here, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import ColumnNamesCollide, TypeNotSupported

KSQLDB_NAME, KSQLDB_TYPE, KSQLDB_ROLE = b"ksqldb.name", b"ksqldb.type", b"ksqldb.role"
"""What the lake keeps of a column's declaration, in the metadata of its field."""

POSITION_COLUMNS = ("rowtime", "rowpartition", "rowoffset")
RESERVED_COLUMNS = ("date", "version", *POSITION_COLUMNS)
"""Columns that the lake itself adds; a source that has one of them is refused."""

EXACT_DOUBLE_DIGITS = 15
"""A decimal of up to this many digits survives the server's turning it into a double inside a STRUCT."""

WRAPPED = "STRUCT(V := {})"
"""The SQL for a column whose values the server sends exactly only inside a STRUCT."""

_MYSQL_MOST_SCALE = 30  # ksqlDB allows 38


@dataclass(frozen=True)
class SqlType:
    """A type of ksqlDB: `base` is the SQL word; the rest is filled as the base needs."""

    base: str
    precision: int = 0
    scale: int = 0
    key: SqlType | None = None
    element: SqlType | None = None
    fields: tuple[tuple[str, SqlType], ...] = ()

    def __str__(self) -> str:
        if self.base == "DECIMAL":
            return f"DECIMAL({self.precision}, {self.scale})"
        if self.base == "ARRAY":
            return f"ARRAY<{self.element}>"
        if self.base == "MAP":
            return f"MAP<{self.key}, {self.element}>"
        if self.base == "STRUCT":
            inner = ", ".join(f"`{name}` {type_}" for name, type_ in self.fields)
            return f"STRUCT<{inner}>" if inner else "STRUCT< >"
        return self.base


@dataclass(frozen=True)
class Column:
    """A column as the source declares it; `role` is KEY, HEADER or VALUE."""

    name: str
    type: SqlType
    role: str = "VALUE"

    @property
    def lake_name(self) -> str:
        return lake_name(self.name)


@dataclass(frozen=True)
class Scalar:
    """A row of the table: what one type is in each place."""

    arrow: pa.DataType
    sent_as: str
    """The form of its values in JSON, by the names of `pipeline.decode`."""
    duckdb: str
    mysql: str
    """The column that is proposed for it, with a DECIMAL's `precision` and `scale`."""
    mysql_key: str = ""
    """The same in a key, where its `length` must be limited so that the index is not too long."""
    mysql_comment: str = ""
    mysql_families: tuple[str, ...] = ()
    """The families of MySQL's types that can hold its values."""
    can_be_map_key: bool = False
    """Whether the server sends all of its digits when it is the key of a MAP."""
    asked_as: str = "{}"
    """The SQL in which the server sends a column of it exactly."""
    asked_as_in_lists: str = "{}"
    """The same for an ARRAY or a MAP of it."""
    widens_to: tuple[str, ...] = ()
    """The wider types that hold all of its values: a source's column may change to one of them."""


SCALARS: dict[str, Scalar] = {
    "BOOLEAN": Scalar(
        pa.bool_(), "boolean", "BOOLEAN", "BOOLEAN",
        mysql_families=("integer", "decimal", "text"), can_be_map_key=True,
    ),
    "INTEGER": Scalar(
        pa.int32(), "integer", "INTEGER", "INT",
        mysql_families=("integer", "decimal", "double", "text"), can_be_map_key=True, widens_to=("BIGINT",),
    ),
    "BIGINT": Scalar(
        pa.int64(), "integer", "BIGINT", "BIGINT",
        mysql_families=("integer", "decimal", "double", "text"), can_be_map_key=True,
    ),
    "DOUBLE": Scalar(
        pa.float64(), "double", "DOUBLE", "DOUBLE",
        mysql_families=("decimal", "double", "text"), can_be_map_key=True,
    ),
    "DECIMAL": Scalar(  # each has its own precision and scale
        pa.decimal128(38, 0), "decimal", "DECIMAL({precision}, {scale})", "DECIMAL({precision}, {scale})",
        mysql_families=("decimal", "text"), can_be_map_key=True,
    ),
    "STRING": Scalar(
        pa.string(), "text", "VARCHAR", "TEXT",
        mysql_key="VARCHAR({length})", mysql_families=("text", "time"), can_be_map_key=True,
    ),
    "BYTES": Scalar(
        pa.binary(), "base64", "BLOB", "BLOB",
        mysql_key="VARBINARY({length})", mysql_families=("binary",),
    ),
    "DATE": Scalar(
        pa.date32(), "date", "DATE", "DATE",
        mysql_families=("date", "text"),
    ),
    "TIME": Scalar(  # kept as HH:MM:SS.mmm: Delta has no time type
        pa.string(), "time", "VARCHAR", "TIME(3)",
        mysql_families=("text", "time"), asked_as=WRAPPED, asked_as_in_lists=WRAPPED, widens_to=("STRING",),
    ),
    "TIMESTAMP": Scalar(
        pa.timestamp("us", tz="UTC"), "timestamp", "TIMESTAMPTZ", "DATETIME(3)", mysql_comment="UTC",
        mysql_families=("datetime", "text"), asked_as="UNIX_TIMESTAMP({})", asked_as_in_lists=WRAPPED,
    ),
}  # fmt: skip


def lake_name(name: str) -> str:
    """All-capital names, which are unquoted in ksqlDB, become lower-case; others keep their spelling."""
    return name.lower() if name == name.upper() else name


def check_names(source: str, columns: Iterable[Column]) -> None:
    """Raises ColumnNamesCollide when two lake columns would differ in case only, or one is reserved."""
    seen: dict[str, str] = dict.fromkeys(RESERVED_COLUMNS, "a column of the lake itself")
    for column in columns:
        name = column.lake_name
        if name.lower() in seen:
            raise ColumnNamesCollide(
                f"{source}: the column {column.name!r} would be called {name!r} in the lake, like {seen[name.lower()]}",
                "rename the column in a derived stream (CREATE STREAM ... AS SELECT ... AS other_name) and export that",
            )
        seen[name.lower()] = f"the column {column.name!r}"


def arrow_type(type_: SqlType) -> pa.DataType:
    """The Arrow type of the lake that carries every value exactly; fields inside STRUCTs are named as columns are.

    Raises TypeNotSupported for what Arrow, Parquet or Delta cannot hold, ColumnNamesCollide for a STRUCT.
    """
    if type_.base == "DECIMAL" and 0 < type_.precision <= 38 and type_.scale <= type_.precision:
        return pa.decimal128(type_.precision, type_.scale)
    if type_.base in SCALARS and type_.base != "DECIMAL":
        return SCALARS[type_.base].arrow
    if type_.base == "ARRAY" and type_.element:
        return pa.list_(pa.field("element", arrow_type(type_.element)))
    if type_.base == "MAP" and type_.key and type_.element:
        return pa.map_(_arrow_map_key(type_.key), arrow_type(type_.element))
    if type_.base == "STRUCT" and type_.fields:
        return _arrow_struct(type_)
    raise TypeNotSupported(f"columns of type {type_} are not supported", "leave the column out in a derived stream")


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """The columns as they are in the lake's files."""
    return pa.schema([(column.lake_name, arrow_type(column.type)) for column in columns])


def _arrow_map_key(key: SqlType) -> pa.DataType:
    if key.base not in SCALARS or not SCALARS[key.base].can_be_map_key:
        raise TypeNotSupported(
            f"a map with {key} keys cannot be read exactly: the server sends such keys as shortened text",
            "derive a stream that casts the keys to STRING and export that one",
        )
    return arrow_type(key)


def _arrow_struct(type_: SqlType) -> pa.DataType:
    fields = [pa.field(lake_name(name), arrow_type(field)) for name, field in type_.fields]
    if len({field.name.lower() for field in fields}) < len(fields):
        raise ColumnNamesCollide(
            f"the fields {[name for name, _ in type_.fields]} of a STRUCT differ only in case",
            "rename one in a derived stream",
        )
    return pa.struct(fields)


def scalars_in(kind: pa.DataType) -> list[str]:
    """The ksqlDB types that the lake keeps as this Arrow type; none for nested types."""
    return [name for name, row in SCALARS.items() if row.arrow.id == kind.id]


def ksqldb_words(kind: pa.DataType) -> str:
    """An Arrow type of the lake in the words of ksqlDB, with an article."""
    if pa.types.is_struct(kind):
        return "a STRUCT"
    if pa.types.is_map(kind):
        return "a MAP"
    if pa.types.is_list(kind):
        return "an ARRAY"
    names = " or ".join(scalars_in(kind)) or str(kind)
    size = f"({kind.precision}, {kind.scale})" if pa.types.is_decimal(kind) else ""
    return f"{'an' if names[0] in 'AEIOU' else 'a'} {names}{size}"


def duckdb_type(kind: pa.DataType) -> str:
    """What DuckDB calls an Arrow type of the lake."""
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{duckdb_name(part.name)} {duckdb_type(part.type)}' for part in kind)})"
    if pa.types.is_list(kind):
        return f"{duckdb_type(kind.value_type)}[]"
    if pa.types.is_map(kind):
        return f"MAP({duckdb_type(kind.key_type)}, {duckdb_type(kind.item_type)})"
    sizes = {"precision": kind.precision, "scale": kind.scale} if pa.types.is_decimal(kind) else {}
    return SCALARS[scalars_in(kind)[0]].duckdb.format(**sizes)


def duckdb_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def mysql_families(kind: pa.DataType) -> set[str]:
    """The families of MySQL's types that can hold an Arrow type of the lake; nested values are text."""
    return {family for name in scalars_in(kind) for family in SCALARS[name].mysql_families} or {"text"}


def mysql_type(type_: SqlType, key_length: int | None = None) -> tuple[str, str]:
    """The MySQL type that is proposed for it, and the column's comment; `key_length` limits it in a key."""
    row = SCALARS.get(type_.base)
    if row is None and key_length is not None:
        return f"VARCHAR({key_length})", "JSON"
    if row is None and has_long_decimal(type_):
        return "LONGTEXT", "JSON; as text, because the JSON of MySQL keeps decimals as DOUBLE"
    if row is None:
        return "JSON", ""
    if type_.scale > _MYSQL_MOST_SCALE:
        return f"VARCHAR({type_.precision + 3})", "decimal number"  # a sign, a zero and the point
    if row.mysql_key and key_length is not None:
        return row.mysql_key.format(length=key_length), row.mysql_comment
    return row.mysql.format(precision=type_.precision, scale=type_.scale), row.mysql_comment


def is_long_in_mysql_key(type_: SqlType) -> bool:
    """Whether its column has no fixed size in an index, as text has none."""
    return mysql_type(type_, 1)[0].startswith("VAR")


def has_long_decimal(type_: SqlType) -> bool:
    """Whether a double, somewhere in the type, could not hold its decimals."""
    if type_.base == "DECIMAL":
        return type_.precision > EXACT_DOUBLE_DIGITS
    inner = [type_.element] if type_.element else [field for _, field in type_.fields]
    return any(has_long_decimal(part) for part in inner)
