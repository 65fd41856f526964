"""The hash of a row, as docs/metadata.md defines it, with numpy; `native/src/row_hash.rs` gives the same, faster.

A value's hash is the XXH3 of its bytes, 128 bits, with the name of its column as the seed; a row's hash is that of the
sum of its values' hashes. NULL adds nothing, so neither the order of columns counts nor a column without values; a
number has the same bytes in a wider type. The hashes of an array's values have zero for NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.value_hash import (
    WORD,
    Hashes,
    Places,
    Words,
    hashes,
    hashes_of_8,
    hashes_of_16,
    hashes_of_17,
    hashes_of_32,
)

MODULUS = 2**128
_NAN = 0x7FF8000000000000
_AT_ONCE, _AT_ONCE_BYTES = 16_384, 16 * 2**20
"""So many rows are hashed together: numpy's intermediate results stay in the processor's cache. Batches are joined up
to so many rows and bytes.
"""


def sum_of_rows(batch: pa.RecordBatch) -> int:
    """The sum of the hashes of a batch's rows, modulo 2 to the power of 128. Raises ValueError for other types."""
    total = 0
    for start in range(0, max(batch.num_rows, 1), _AT_ONCE):
        rows = batch.slice(start, _AT_ONCE)
        columns = ((field.name, rows.column(at)) for at, field in enumerate(rows.schema))
        each = hashes_of_16(_sums(columns, rows.num_rows), 0)
        total += sum(_between(each, np.array([0, rows.num_rows]))[half].item() << 64 * half for half in (0, 1))
    return total % MODULUS


def joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of many batches in fewer ones: a batch that is hashed has a cost of its own."""
    waiting, rows, size_bytes = list[pa.RecordBatch](), 0, 0
    for batch in batches:
        if rows + batch.num_rows > _AT_ONCE or size_bytes + batch.nbytes > _AT_ONCE_BYTES:
            if waiting:
                yield pa.concat_batches(waiting)
            waiting, rows, size_bytes = [], 0, 0
        waiting.append(batch)
        rows, size_bytes = rows + batch.num_rows, size_bytes + batch.nbytes
    if waiting:
        yield pa.concat_batches(waiting)


def _sums(parts: Iterable[tuple[str, pa.Array]], count: int) -> Hashes:
    """For each of `count` rows the sum of the hashes of its values, or of a STRUCT's fields."""
    low, high = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    for name, array in parts:
        added = _hashes(array, xxhash.xxh3_64_intdigest(name.encode()))
        low = low + added.low
        high = high + added.high + (low < added.low)
    return Hashes(low, high)


def _between(added: Hashes, ends: Places) -> Hashes:
    """The sums of the hashes between each two places that follow each other."""
    limbs = (added.low & 0xFFFFFFFF, added.low >> 32, added.high & 0xFFFFFFFF, added.high >> 32)
    sums, carried = [], np.zeros(len(ends) - 1, np.uint64)
    for limb in limbs:
        carried = np.diff(np.concatenate(([np.uint64(0)], np.cumsum(limb)))[ends]) + carried
        sums.append(carried & 0xFFFFFFFF)
        carried >>= 32
    return Hashes(sums[0] | sums[1] << 32, sums[2] | sums[3] << 32)


def _hashes(array: pa.Array, seed: int) -> Hashes:
    kind = array.type
    if pa.types.is_struct(kind):
        parts = ((field.name, array.field(at)) for at, field in enumerate(kind))
        found = hashes_of_16(_sums(parts, len(array)), seed)
    elif pa.types.is_map(kind) or pa.types.is_list(kind):
        found = _hashes_of_lists(array, seed)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        ends = _stored(array, "<i4", more=1).astype(np.int64)
        found = hashes(np.frombuffer(array.buffers()[2] or b"", np.uint8), ends[:-1], np.diff(ends), seed)
    else:
        found = _hashes_of_fixed(array, seed)
    if array.null_count:
        is_null = array.is_null().to_numpy(zero_copy_only=False)
        found.low[is_null] = found.high[is_null] = 0
    return found


def _hashes_of_lists(array: pa.Array, seed: int) -> Hashes:
    """Of a list the hash of its items' hashes, of a MAP that of the sum of its entries' hashes."""
    ends = _stored(array, "<i4", more=1).astype(np.int64)
    first, count = ends[0], ends[-1] - ends[0]
    ends -= first
    if pa.types.is_list(array.type):
        items = _hashes(array.values.slice(first, count), 0)
        return hashes(items.as_bytes, 16 * ends[:-1], 16 * np.diff(ends), seed)
    keys, items = (_hashes(part.slice(first, count), 0) for part in (array.keys, array.items))
    return hashes_of_16(_between(hashes_of_32((*keys, *items), 0), ends), seed)


def _hashes_of_fixed(array: pa.Array, seed: int) -> Hashes:
    """Of values of the same size. Raises ValueError for other types than the lake's."""
    kind = array.type
    if pa.types.is_decimal128(kind):
        *words, scales = _decimals(array)
        return hashes_of_17((words[0], words[1]), scales, seed)
    if pa.types.is_boolean(kind):
        either = hashes(np.array([0, 1], np.uint8), np.arange(2), np.ones(2, np.int64), seed)
        is_true = array.fill_null(False).cast(pa.uint8()).to_numpy()
        return Hashes(*(part[is_true] for part in either))
    if pa.types.is_float64(kind):
        numbers = _stored(array, "<i8")
        numbers = np.where(np.isnan(numbers.view("<f8")), _NAN, numbers)
    elif pa.types.is_date32(kind) or pa.types.is_signed_integer(kind):
        numbers = _stored(array, f"<i{kind.bit_width // 8}").astype("<i8", copy=False)
    elif pa.types.is_timestamp(kind) and kind.unit == "us":
        numbers = _stored(array, "<i8")
    else:
        raise ValueError(f"rows with values of type {kind} have no hash")
    return hashes_of_8(numbers.view("<u8"), seed)


def _stored(array: pa.Array, kind: str, more: int = 0) -> npt.NDArray[Any]:
    """The numbers in the array's own buffer, whatever they are for NULL, and so many `more`."""
    held, count = array.buffers()[1], len(array) + more
    if not len(array) or held is None:
        return np.zeros(count, kind)
    return np.frombuffer(held, kind, count, array.offset * np.dtype(kind).itemsize)


def _decimals(array: pa.Array) -> tuple[Words, Words, Words]:
    """The lower and the upper halves of the numbers without their points and without zeros at the end of their
    fractions, and how long these are.
    """
    halves = _stored(array, "<i8,<i8")
    lows, scales = halves["f0"].copy(), np.full(len(array), array.type.scale, np.uint64)
    is_short = lows >> 63 == halves["f1"]  # so most are, and numpy can divide them
    left = np.flatnonzero(is_short & (scales > 0))
    while len(left):
        left = left[(scales[left] > 0) & (lows[left] % 10 == 0)]
        lows[left] //= 10
        scales[left] -= np.uint64(1)
    found = lows.view("<u8"), (lows >> 63).view("<u8"), scales
    for at in np.flatnonzero(~is_short).tolist():
        number, scale = int.from_bytes(halves[at].tobytes(), "little", signed=True), array.type.scale
        while scale > 0 and number % 10 == 0:
            number, scale = number // 10, scale - 1
        for part, value in zip(found, (number & WORD, number >> 64 & WORD, scale), strict=True):
            part[at] = value
    return found
