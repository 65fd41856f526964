"""The hash of a row as docs/metadata.md defines it, value by value: what both ways of the toolkit are compared with."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import pyarrow as pa
import xxhash

MODULUS = 2**128
_NAN = struct.pack("<d", math.nan)

Hashes = Sequence[int | None]
"""The hash of each value of an array; None for NULL."""


def sum_of_rows(batch: pa.RecordBatch) -> int:
    """The sum of the hashes of a batch's rows, modulo 2 to the power of 128. Raises ValueError for other types."""
    rows = _sums(((field.name, batch.column(at)) for at, field in enumerate(batch.schema)), batch.num_rows)
    return sum(_hash_of(row, 0) for row in rows) % MODULUS


def _sums(parts: Iterable[tuple[str, pa.Array]], count: int) -> list[int]:
    """For each of `count` rows the sum of the hashes of its values, or of a STRUCT's fields."""
    sums = [0] * count
    for name, array in parts:
        for row, value in enumerate(_hashes(array, xxhash.xxh3_64_intdigest(name.encode()))):
            if value is not None:
                sums[row] += value
    return sums


def _hash_of(total: int, seed: int) -> int:
    return xxhash.xxh3_128_intdigest((total % MODULUS).to_bytes(16, "little"), seed)


def _hashes(array: pa.Array, seed: int) -> Hashes:
    kind = array.type
    if pa.types.is_struct(kind):
        sums = _sums(((field.name, array.field(at)) for at, field in enumerate(kind)), len(array))
        return [_hash_of(row, seed) if ok else None for row, ok in zip(sums, array.is_valid().to_pylist(), strict=True)]
    if pa.types.is_map(kind):
        pairs = [key + value for key, value in zip(_in_bytes(array.keys), _in_bytes(array.items), strict=True)]
        entries = [xxhash.xxh3_128_intdigest(pair, 0) for pair in pairs]
        return [None if at is None else _hash_of(sum(entries[at.start : at.stop]), seed) for at in _spans(array)]
    if pa.types.is_list(kind):
        items = _in_bytes(array.values)
        joined = [None if at is None else b"".join(items[at.start : at.stop]) for at in _spans(array)]
    else:
        joined = list(_bytes_of(array))
    return [None if value is None else xxhash.xxh3_128_intdigest(value, seed) for value in joined]


def _in_bytes(array: pa.Array) -> list[bytes]:
    """The hashes of items, keys or values; zero for NULL."""
    return [(value or 0).to_bytes(16, "little") for value in _hashes(array, 0)]


def _spans(array: pa.Array) -> Iterator[range | None]:
    """Where the items of each list are among all items; None for NULL."""
    spans = itertools.starmap(range, itertools.pairwise(array.offsets.to_pylist()))
    return (span if ok else None for span, ok in zip(spans, array.is_valid().to_pylist(), strict=True))


def _bytes_of(array: pa.Array) -> Iterator[bytes | None]:
    """The bytes of each value; None for NULL. Raises ValueError for other types than the lake's."""
    kind = array.type
    if pa.types.is_boolean(kind):
        return (None if value is None else bytes([value]) for value in array.to_pylist())
    if pa.types.is_date32(kind):
        return _bytes_of(array.view(pa.int32()))
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        return _bytes_of(array.view(pa.int64()))
    if pa.types.is_signed_integer(kind):
        return (None if value is None else struct.pack("<q", value) for value in array.to_pylist())
    if pa.types.is_float64(kind):
        return (None if value is None else _double(value) for value in array.to_pylist())
    if pa.types.is_decimal128(kind):
        return (None if value is None else _decimal(value) for value in array.to_pylist())
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return iter(array.cast(pa.binary()).to_pylist())
    raise ValueError(f"rows with values of type {kind} have no hash")


def _double(value: float) -> bytes:
    return _NAN if math.isnan(value) else struct.pack("<d", value)


def _decimal(value: Decimal) -> bytes:
    """The number without its point and without zeros at the end of its fraction, and how long that is."""
    sign, digits, exponent = value.as_tuple()
    number, scale = int("".join(map(str, digits))) * (-1 if sign else 1), -int(exponent)
    while scale > 0 and number % 10 == 0:
        number, scale = number // 10, scale - 1
    return number.to_bytes(16, "little", signed=True) + bytes([scale])
