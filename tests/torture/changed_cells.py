"""F16: one cell of one row is changed in a data file, with the checksum and the size in the log made right.

Only the fingerprint of the rows can notice it. Each try writes a file again with one other value, and puts it in the
place of the old one, in the log too; `verify --deep` must name that file, and no other. Then the old file comes back.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import struct
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.exact_text import texts_of
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.change import Change
from pipeline.lake.disk import checksum
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter
from pipeline.source import Bookmark
from pipeline.verify.files import check_files
from tests.support import folder_of, lake_at
from tests.torture.figures import Figure
from tests.torture.victim import stopwatch

NOW = dt.datetime(2026, 11, 20, 6, 0, tzinfo=dt.UTC)
FEED: Feed = parse_feed({"name": "cells", "type": "stream", "source": "CELLS"}, "cells")
_COMMITS, _ROWS = 4, 30
_FOUND = "rows are not those that were written (fingerprint differs)"
_LINE = pa.struct([("x", pa.float64()), ("Y", pa.decimal128(9, 3)), ("z", pa.list_(pa.field("element", pa.string())))])
TYPES = {
    "flag": pa.bool_(), "small": pa.int32(), "large": pa.int64(), "ratio": pa.float64(), "money": pa.decimal128(12, 2),
    "long": pa.decimal128(38, 10), "text": pa.string(), "data": pa.binary(), "day": pa.date32(),
    "at": pa.timestamp("us", tz="UTC"), "tags": pa.list_(pa.field("element", pa.string())),
    "numbers": pa.map_(pa.string(), pa.float64()), "line": _LINE, "lines": pa.list_(pa.field("element", _LINE)),
    "by_name": pa.map_(pa.int64(), _LINE),
}  # fmt: skip
SCHEMA = pa.schema([("rowtime", pa.int64()), ("rowpartition", pa.int32()), ("rowoffset", pa.int64()), *TYPES.items()])


def changed_cells(folder: Path, cells: int, seed: int) -> Figure:
    """So many changed cells, each in a column that is drawn: types in turn."""
    figure = Figure(
        "F16",
        "one cell of one row of a data file changed, checksum and size in the log made right",
        ("changed cells that verify --deep does not find", "sound files that it names"),
        unit="cells",
    )
    started, chance, seen = time.monotonic(), random.Random(seed), Counter[str]()
    table = _made(folder / "lake", chance)
    names = list(TYPES)
    while figure.tried < cells:
        name = names[figure.tried % len(names)]
        figure.tried += 1
        _try_one(figure, table, name, chance, seen)
    figure.details = (
        f"{len(names)} columns, {seen['became NULL']} values became NULL and {seen['was NULL']} NULLs a value, "
        f"{seen['sign']} zeros changed their sign, {seen['NaN']} NaN came or went"
    )
    figure.seconds = stopwatch(started)
    return figure


def _made(root: Path, chance: random.Random) -> LakeTable:
    table = lake_at(root).table(FEED)
    table.create(SCHEMA, "topic")
    for number in range(_COMMITS):
        rows = []
        for place in range(_ROWS):
            values = {name: _value(kind, chance) for name, kind in TYPES.items()}
            rows.append({"rowtime": 0, "rowpartition": 0, "rowoffset": number * _ROWS + place, **values})
        commit = f"20261120T060000Z-{number:08x}"
        writer = StagedWriter(table.staging_folder(commit), SCHEMA, date_column="rowtime")
        writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
        marks = {0: Bookmark((number + 1) * _ROWS, 0)}
        table.commit(commit, Change(adds=writer.finish(), bookmarks=marks, partitions=1), NOW)
    return table


def _try_one(figure: Figure, table: LakeTable, name: str, chance: random.Random, seen: Counter[str]) -> None:
    number = chance.randrange(_COMMITS)
    file = sorted(table.files, key=lambda file: file.commit)[number]
    path, entry = folder_of(table) / file.path, folder_of(table) / "_delta_log" / f"{number + 1:020}.json"
    sound, log = path.read_bytes(), entry.read_bytes()
    what = _change(path, name, chance, seen)
    other = path.with_name(path.name.replace(file.checksum, checksum(path)))
    path.rename(other)
    entry.write_bytes(_with_file(log, path.name, other.name, other.stat().st_size))
    try:
        findings = check_files(lake_at(folder_of(table).parent.parent).table(FEED)).findings
    finally:
        other.unlink()
        path.write_bytes(sound)
        entry.write_bytes(log)
    named = [(one.what, Path(one.detail).name) for one in findings]
    if (_FOUND, other.name) not in named:
        figure.count("changed cells that verify --deep does not find", f"{name}: {what}")
    if len(named) > 1:
        figure.count("sound files that it names", str(named))


def _change(path: Path, name: str, chance: random.Random, seen: Counter[str]) -> str:
    """Writes the file again with another value in one row of the column."""
    (batch,) = pq.read_table(path, partitioning=None).combine_chunks().to_batches()
    row, column = chance.randrange(batch.num_rows), batch.schema.get_field_index(name)
    whole = batch.column(column)
    before, text = whole[row].as_py(), texts_of(whole.slice(row, 1)).to_pylist()
    while True:  # until the drawn value is another one
        after = _other(before, TYPES[name], chance)
        changed = pa.array([after], TYPES[name])
        if texts_of(changed).to_pylist() != text:
            break
    there = pa.concat_arrays([whole.slice(0, row), changed, whole.slice(row + 1)])
    pq.write_table(pa.Table.from_batches([batch.set_column(column, batch.schema.field(column), there)]), path)
    seen["became NULL"] += after is None
    seen["was NULL"] += before is None
    seen["sign"] += before == 0 and after == 0
    seen["NaN"] += (before != before) != (after != after)  # only NaN differs from itself
    return f"{before!r} to {after!r}"


def _with_file(log: bytes, old: str, new: str, size: int) -> bytes:
    """A log entry that names another file, of that size."""
    lines = []
    for line in log.splitlines():
        action = json.loads(line)
        if old in action.get("add", {}).get("path", ""):
            action["add"] |= {"path": action["add"]["path"].replace(old, new), "size": size}
        lines.append(json.dumps(action, separators=(",", ":")))
    return "\n".join(lines).encode()


def _value(kind: pa.DataType, chance: random.Random) -> Any:
    """A value of the type, or NULL."""
    if chance.random() < 0.15:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _value(field.type, chance) for field in kind}
    if pa.types.is_list(kind):
        return [_value(kind.value_type, chance) for _ in range(chance.randrange(4))]
    if pa.types.is_map(kind):
        keys = ["a", "b", "Größe"] if pa.types.is_string(kind.key_type) else [-1, 0, 2**62]
        return [(key, _value(kind.item_type, chance)) for key in chance.sample(keys, chance.randrange(4))]
    if pa.types.is_decimal(kind):
        most = 10**kind.precision - 1
        number = chance.choice([0, 1, -most, most, chance.randint(-most, most), 10 ** chance.randrange(kind.precision)])
        return Decimal((number < 0, tuple(map(int, str(abs(number)))), -kind.scale))
    made: dict[pa.DataType, Any] = {
        pa.bool_(): chance.random() < 0.5,
        pa.int32(): chance.choice([0, 1, -1, 2**31 - 1, chance.randint(-(2**31), 2**31 - 1)]),
        pa.int64(): chance.choice([0, 1, -1, 2**63 - 1, chance.randint(-(2**63), 2**63 - 1)]),
        pa.float64(): chance.choice([0.0, -0.0, float("nan"), float("inf"), 5e-324, chance.uniform(-1e9, 1e9)]),
        pa.string(): chance.choice(["", " ", "\0", "a", "é", "e\u0301", f"text {chance.random()}"]),
        pa.binary(): chance.choice([b"", b"\0", chance.randbytes(12)]),
        pa.date32(): dt.date(2026, 11, 20) + dt.timedelta(days=chance.randint(-9999, 9999)),
        pa.timestamp("us", tz="UTC"): NOW + dt.timedelta(microseconds=chance.randint(-(10**15), 10**15)),
    }
    return made[kind]


def _other(value: Any, kind: pa.DataType, chance: random.Random) -> Any:
    """NULL, a value as near as can be, or one that has nothing to do with it; of a nested value in one of its parts."""
    if value is None or chance.random() < 0.1:
        return _value(kind, chance)
    if chance.random() < 0.1:
        return None
    if pa.types.is_struct(kind):
        field = kind.field(chance.randrange(kind.num_fields))
        return value | {field.name: _other(value[field.name], field.type, chance)}
    if pa.types.is_list(kind):
        return _other_list(value, kind.value_type, chance)
    if pa.types.is_map(kind):
        at = chance.randrange(len(value) or 1)
        entries = [
            (key, _other(item, kind.item_type, chance) if n == at else item) for n, (key, item) in enumerate(value)
        ]
        return entries if chance.random() < 0.7 else value[:-1]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return (value ^ (1 << chance.randrange(31))) if kind == pa.int32() else value ^ (1 << chance.randrange(62))
    if isinstance(value, float):
        bits = struct.unpack("<q", struct.pack("<d", value))[0] ^ (1 << chance.randrange(63))
        return -value if value == 0 and chance.random() < 0.5 else struct.unpack("<d", struct.pack("<q", bits))[0]
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        number = [*digits[:-1], digits[-1] ^ 1] if digits[-1] < 8 else digits[::-1]
        return Decimal((chance.choice([sign, 1 - sign]), tuple(number), int(exponent)))
    if isinstance(value, str):
        at = chance.randrange(len(value) or 1)
        near = value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :] if value else " "
        return near if chance.random() < 0.8 else value + "\0"
    if isinstance(value, bytes):
        at = chance.randrange(len(value) or 1)
        return value[:at] + bytes([value[at] ^ (1 << chance.randrange(8))]) + value[at + 1 :] if value else b"\0"
    return value + (dt.timedelta(microseconds=1) if isinstance(value, dt.datetime) else dt.timedelta(days=1))


def _other_list(value: list[Any], kind: pa.DataType, chance: random.Random) -> list[Any]:
    """With one item less, one more, in another order, or with another item."""
    at = chance.randrange(len(value) or 1)
    item = [_other(one, kind, chance) for one in value[at : at + 1]]
    return chance.choice([value[:-1], [*value, None], value[::-1], [*value[:at], *item, *value[at + 1 :]]])
