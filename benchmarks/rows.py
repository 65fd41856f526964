"""The rows for every way of loading: users by ten transaction types, derived from a seed and the row's number.

The lake's file has them in a shuffled order, as ksqlDB returns a table; the files for plain LOAD DATA have them sorted
by the fact's unique key. Making them is not measured.
"""

from __future__ import annotations

import datetime as dt
import random
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NOW = dt.datetime(2026, 11, 20, 6, 0, tzinfo=dt.UTC)
TYPES = ("cashback", "chargeback", "deposit", "fee", "gift", "payment", "purchase", "refund", "transfer", "withdrawal")
"""In the order of the unique key."""
CHANGED = 20
"""One row in so many differs in the changed file: 5 %."""
_COUNTRIES = ("AT", "BE", "CH", "DE", "DK", "ES", "FR", "IE", "IT", "NL", "PL", "PT", "SE")
_CITIES = ("Århus", "Bruxelles", "Dublin", "Genève", "Köln", "Łódź", "Lyon", "Málaga", "Napoli", "Porto", None)
_ROW_GROUP_ROWS = 131_072
USER_COLUMNS = ("user_id", "user_name", "user_email", "user_country", "user_city")
SUMMED = ("total_amount", "transaction_count", "avg_amount", "min_amount", "max_amount")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in USER_COLUMNS),
        ("transaction_type", pa.string()),
        ("total_amount", pa.decimal128(18, 2)),
        ("transaction_count", pa.int64()),
        ("avg_amount", pa.decimal128(18, 4)),
        ("min_amount", pa.decimal128(12, 2)),
        ("max_amount", pa.decimal128(12, 2)),
        ("last_transaction_date", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class Totals:
    """The values compared after each load: two counts, two sums, and sums of the CRC-32 of each fact row and user."""

    rows: int
    users: int
    amount: Decimal
    transactions: int
    fact_checksum: int
    user_checksum: int


@dataclass(frozen=True)
class DataSet:
    """The files of one size."""

    users: int
    lake: Path
    changed: Path
    sorted_facts: Path
    sorted_users: Path

    @property
    def row_count(self) -> int:
        return self.users * len(TYPES)


def make_data_set(folder: Path, users: int, seed: int) -> DataSet:
    folder.mkdir()
    data = DataSet(users, *(folder / name for name in ("lake.parquet", "changed.parquet", "facts.tsv", "users.tsv")))
    places = list(range(data.row_count))
    random.Random(seed).shuffle(places)
    _write_parquet(data.lake, (row(place, seed) for place in places))
    _write_parquet(data.changed, (row(place, seed, changed=place % CHANGED == 0) for place in places))
    in_order = (row(place, seed) for place in range(data.row_count))
    _write_tabs(data.sorted_facts, ((1, NOW.date(), one[0], *one[5:]) for one in in_order))
    _write_tabs(data.sorted_users, (row(user * len(TYPES), seed)[:5] for user in range(users)))
    return data


def row(place: int, seed: int, changed: bool = False) -> tuple[Any, ...]:
    """One row in the order of SCHEMA."""
    user, kind = divmod(place, len(TYPES))
    spread = (place * 2_654_435_761 + seed * 40_503) % 2**32
    count = spread % 97 + 1
    total = Decimal(spread % 10_000_000 + changed).scaleb(-2)
    average = (total / count).quantize(Decimal("0.0001"))
    return (
        f"user-{user:08}",
        f"Zoé Müller {user}",
        f"zoe.muller.{user}@example.com",
        _COUNTRIES[user % len(_COUNTRIES)],
        _CITIES[user % len(_CITIES)],
        TYPES[kind],
        total,
        count,
        average,
        Decimal(spread % 1_009).scaleb(-2),
        Decimal(spread % 1_000_003).scaleb(-2),
        NOW - dt.timedelta(milliseconds=spread % (14 * 86_400_000)),
    )


def read_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows in batches, as the lake returns them."""
    with pq.ParquetFile(path) as parquet:
        yield from parquet.iter_batches(batch_size=65_536)


def rows_of(path: Path) -> Iterator[tuple[Any, ...]]:
    for batch in read_batches(path):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


@cache
def totals_of(path: Path) -> Totals:
    """The values that a warehouse with this file's rows must have."""
    users: set[tuple[Any, ...]] = set()
    count, amount, transactions, checksum = 0, Decimal(0), 0, 0
    for one in rows_of(path):
        users.add(one[:5])
        count, amount, transactions = count + 1, amount + one[6], transactions + one[7]
        checksum += _crc32((one[0], *one[5:11], f"{one[11]:%Y-%m-%d %H:%M:%S.%f}"[:-3]))
    return Totals(count, len(users), amount, transactions, checksum, sum(map(_crc32, users)))


def _crc32(values: Iterable[Any]) -> int:
    """Of the text that MySQL's CONCAT_WS makes, which leaves NULL out."""
    return zlib.crc32("|".join(str(value) for value in values if value is not None).encode())


def batched(rows: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    """itertools has it from Python 3.12 on."""
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch


def _write_parquet(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    with pq.ParquetWriter(path, SCHEMA, compression="snappy") as writer:
        for group in batched(rows, _ROW_GROUP_ROWS):
            arrays = [
                pa.array(values, field.type) for values, field in zip(zip(*group, strict=True), SCHEMA, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))


def _write_tabs(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines("\t".join(map(_field, one)) + "\n" for one in rows)


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    return f"{value:%Y-%m-%d %H:%M:%S.%f}" if isinstance(value, dt.datetime) else str(value)
