"""XXH3 with numpy is that of xxhash, for values of each length, alone and among others."""

from __future__ import annotations

import random

import numpy as np
import pytest
import xxhash

from pipeline.value_hash import hashes

SEEDS = [0, 1, 2**63, 2**64 - 1, 0x9E3779B185EBCA87]


@pytest.mark.parametrize("seed", SEEDS)
def test_values_of_each_length_have_the_hashes_of_xxhash(seed: int) -> None:
    chance = random.Random(seed)
    values = [chance.randbytes(size) for size in range(300)] + [bytes(size) for size in (0, 5, 16, 32, 129)]
    for some in ([], values, *([value, value[::-1]] for value in values)):
        sizes = np.array([len(value) for value in some], np.int64)
        data = np.frombuffer(b"before" + b"".join(some), np.uint8)

        found = hashes(data, 6 + np.cumsum(sizes) - sizes, sizes, seed)

        numbers = [low | high << 64 for low, high in zip(found.low.tolist(), found.high.tolist(), strict=True)]
        assert numbers == [xxhash.xxh3_128_intdigest(value, seed) for value in some]
