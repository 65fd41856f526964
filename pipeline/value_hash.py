"""XXH3 of many values at once, 128 bits, with numpy; xxhash hashes those of more than 128 bytes, one by one.

What is done to a value depends on its length, as in https://github.com/Cyan4973/xxHash; the secret is the default one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

Words = Any  # arrays of uint64, which its types take for signed ones after a shift; one number may stand for all
Pair = tuple[Words, Words]
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_SECRET = struct.unpack("<16Q", bytes.fromhex("""
    b8fe6c3923a44bbe 7c01812cf721ad1c ded46de9839097db 7240a4a4b7b3671f
    cb79e64eccc0e578 825ad07dccff7221 b8084674f743248e e03590e6813a264c
    3c2852bb91c300cb 88d0658b1b532ea3 71644897a20df94e 3819ef46a9deacd8
    a8fa763fe39c343f f9dcbbc7c70b4f1d 8a51e04bcdb45931 c89f7ec9d9787364
"""))  # fmt: skip
_HALF, WORD = 2**32 - 1, 2**64 - 1
_PRIME32_2 = 0x85EBCA77
_PRIME_1, _PRIME_2, _PRIME_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_PRIME_4, _PRIME_MX1, _PRIME_MX2 = 0x85EBCA77C2B2AE63, 0x165667919E3779F9, 0x9FB21C651E98DF25
_CLASSES = ((0, 0), (1, 3), (4, 8), (9, 16), (17, 32), (33, 64), (65, 96), (97, 128), (129, 2**63 - 1))
"""The shortest and the longest values that are hashed in the same way."""


_SIZES = {size: np.array([size], np.uint64) for size in (8, 16, 17, 32)}


class Hashes(NamedTuple):
    """The lower and the upper halves of numbers of 128 bits."""

    low: Words
    high: Words

    @property
    def as_bytes(self) -> Bytes:
        """The numbers as 16 bytes each, the lowest first."""
        return np.stack(self, axis=1).astype("<u8", copy=False).view(np.uint8).reshape(-1)


def hashes_of_8(words: Words, seed: int) -> Hashes:
    """The hashes of values of 8 bytes, each of which is a number, its lowest byte first."""
    return _of_halves(words, _SIZES[8], seed)


def hashes_of_16(words: Pair, seed: int) -> Hashes:
    """The hashes of values of 16 bytes: the numbers that are their first and their last 8, the lowest byte first."""
    return _of_ends(*words, _SIZES[16], seed)


def hashes_of_17(words: Pair, last: Words, seed: int) -> Hashes:
    """As `hashes_of_16`, for values with one more byte, the `last`."""
    first, second = words
    return _of_pieces([(words, (first >> 8 | second << 56, second >> 8 | last << 56))], _SIZES[17], seed)


def hashes_of_32(words: tuple[Words, Words, Words, Words], seed: int) -> Hashes:
    """The hashes of values of 32 bytes, which are four numbers each."""
    return _of_pieces([(words[:2], words[2:])], _SIZES[32], seed)


def hashes(data: Bytes, starts: Places, sizes: Places, seed: int) -> Hashes:
    """The hashes of the values that start at these places of `data` and have these sizes."""
    found = Hashes(np.empty(len(starts), np.uint64), np.empty(len(starts), np.uint64))
    least, most = (int(sizes.min()), int(sizes.max())) if len(sizes) else (0, -1)
    for shortest, longest in _CLASSES:
        if shortest <= least and most <= longest:
            return _of_class(longest, data, starts, sizes, seed)
        if shortest <= most and least <= longest:
            chosen = np.flatnonzero((sizes >= shortest) & (sizes <= longest))
            found.low[chosen], found.high[chosen] = _of_class(longest, data, starts[chosen], sizes[chosen], seed)
    return found


def _of_class(longest: int, data: Bytes, starts: Places, sizes: Places, seed: int) -> Hashes:
    if longest <= 3:
        return _up_to_3(data, starts, sizes, seed)
    if longest == 8:
        return _up_to_8(_at_each_byte(data, "<u4"), starts, sizes, seed)
    words = _at_each_byte(data, "<u8")
    if longest == 16:
        return _up_to_16(words, starts, sizes, seed)
    if longest <= 128:
        return _up_to_128(words, starts, sizes, seed, (longest - 1) // 32)
    view = data.data
    places = zip(starts.tolist(), sizes.tolist(), strict=True)
    each = b"".join(xxhash.xxh3_128_digest(view[start : start + size], seed) for start, size in places)
    high, low = np.frombuffer(each, ">u8").reshape(-1, 2).T
    return Hashes(low.astype(np.uint64), high.astype(np.uint64))


def _at_each_byte(data: Bytes, kind: str) -> Any:
    """The numbers that start at each byte."""
    return np.ndarray(
        (max(0, len(data) - np.dtype(kind).itemsize + 1),), kind, np.ascontiguousarray(data), strides=(1,)
    )


def _up_to_3(data: Bytes, starts: Places, sizes: Places, seed: int) -> Hashes:
    if not sizes.any():
        ends = (_SECRET[8] ^ _SECRET[9] ^ seed, _SECRET[10] ^ _SECRET[11] ^ seed)
        return Hashes(*(_stirred_64(np.full(len(sizes), end, np.uint64)) for end in ends))
    first, middle, last = (data[starts + at].astype(np.uint32) for at in (0, sizes >> 1, sizes - 1))
    joined = first << 16 | middle << 24 | last | sizes.astype(np.uint32) << 8
    swapped = joined.byteswap()
    turned = swapped << 13 | swapped >> 19
    flips = [(word & _HALF) ^ (word >> 32) for word in _SECRET[:2]]
    low, high = joined ^ _word(flips[0] + seed), turned ^ _word(flips[1] - seed)
    return Hashes(_stirred_64(low), _stirred_64(high))


def _up_to_8(halves: Any, starts: Places, sizes: Places, seed: int) -> Hashes:
    words = halves[starts] + (halves[starts + sizes - 4].astype(np.uint64) << 32)
    return _of_halves(words, sizes.astype(np.uint64), seed)


def _of_halves(words: Words, sizes: Words, seed: int) -> Hashes:
    """Of values whose first and last 4 bytes are `words`."""
    seed ^= int.from_bytes((seed & _HALF).to_bytes(4, "little"), "big") << 32
    low, high = _product(words ^ _word((_SECRET[2] ^ _SECRET[3]) + seed), _PRIME_1 + (sizes << 2))
    high += low << 1
    low ^= high >> 3
    low = (low ^ low >> 35) * _PRIME_MX2
    return Hashes(low ^ low >> 28, _stirred(high))


def _up_to_16(words: Any, starts: Places, sizes: Places, seed: int) -> Hashes:
    return _of_ends(words[starts], words[starts + sizes - 8], sizes.astype(np.uint64), seed)


def _of_ends(first: Words, last: Words, sizes: Words, seed: int) -> Hashes:
    low, high = _product(first ^ last ^ _word((_SECRET[4] ^ _SECRET[5]) - seed), _PRIME_1)
    low += (sizes - 1) << 54
    last = last ^ _word((_SECRET[6] ^ _SECRET[7]) + seed)
    high += last + (last & _HALF) * (_PRIME32_2 - 1)
    low, upper = _product(low ^ high.byteswap(), _PRIME_2)
    return Hashes(_stirred(low), _stirred(upper + high * _PRIME_2))


def _up_to_128(words: Any, starts: Places, sizes: Places, seed: int, most: int) -> Hashes:
    ends, pieces = starts + sizes, []
    for number in range(most + 1):
        left, right = starts + 16 * number, ends - 16 * (number + 1)
        pieces.append(((words[left], words[left + 8]), (words[right], words[right + 8])))
    return _of_pieces(pieces, sizes.astype(np.uint64), seed)


def _of_pieces(pieces: Sequence[tuple[Pair, Pair]], sizes: Words, seed: int) -> Hashes:
    """Of values of which these are the pieces from both ends, the outermost first."""
    low, high = sizes * _PRIME_1, np.zeros(1, np.uint64)
    for number in range(len(pieces) - 1, -1, -1):
        left, right = pieces[number]
        secret = _SECRET[4 * number : 4 * number + 4]
        low = (low + _folded(left, secret[:2], seed)) ^ (right[0] + right[1])
        high = (high + _folded(right, secret[2:], seed)) ^ (left[0] + left[1])
    upper = low * _PRIME_1 + high * _PRIME_4 + (sizes - seed) * _PRIME_2
    return Hashes(_stirred(low + high), -_stirred(upper))


def _folded(words: Pair, secret: tuple[int, ...], seed: int) -> Words:
    lower, upper = _product(words[0] ^ _word(secret[0] + seed), words[1] ^ _word(secret[1] - seed))
    return lower ^ upper


def _product(one: Words, other: Words) -> tuple[Words, Words]:
    """The lower and the upper half of the product."""
    one_low, one_high, other_low, other_high = one & _HALF, one >> 32, other & _HALF, other >> 32
    crossed = one_high * other_low
    middle = (one_low * other_low >> 32) + (crossed & _HALF) + one_low * other_high
    return one * other, (crossed >> 32) + (middle >> 32) + one_high * other_high


def _stirred(word: Words) -> Words:
    word = (word ^ word >> 37) * _PRIME_MX1
    return word ^ word >> 32


def _stirred_64(word: Words) -> Words:
    """As in XXH64."""
    word = (word ^ word >> 33) * _PRIME_2
    word = (word ^ word >> 29) * _PRIME_3
    return word ^ word >> 32


def _word(number: int) -> np.uint64:
    return np.uint64(number & WORD)
