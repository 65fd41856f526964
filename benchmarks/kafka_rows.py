"""The records that are read from Kafka: JSON of 16 columns, nested ones among them, about 320 bytes each."""

from __future__ import annotations

import functools

from confluent_kafka import Producer

from ksqldb_emulator.dataset import Column, Dataset, Source
from ksqldb_emulator.sqltypes import parse_type

TOPIC, STREAM, FEED = "bench", "BENCH_STREAM", "bench_stream"
PARTITIONS, SEED = 4, 1
_START_MS = 1_763_600_000_000
_TYPES = {
    "ID": "BIGINT", "USER_ID": "STRING", "KIND": "STRING", "AMOUNT": "DECIMAL(12, 2)", "RATE": "DOUBLE",
    "CURRENCY": "STRING", "PAID": "BOOLEAN", "COUNT": "INTEGER", "DAY": "DATE", "AT": "TIMESTAMP",
    "CITY": "STRING", "TAGS": "ARRAY<STRING>", "SCORES": "MAP<STRING, INTEGER>",
    "DEVICE": "STRUCT<`OS` STRING, `VERSION` INTEGER>", "ITEMS": "ARRAY<STRUCT<`SKU` STRING, `N` INTEGER>>",
    "NOTE": "STRING",
}  # fmt: skip
_KINDS = ("payment", "refund", "transfer", "deposit", "fee", "gift", "purchase")
_CITIES = ('"Köln"', '"Lyon"', '"Porto"', '"Łódź"', "null", '"Dublin"', '"Bern"', '"Málaga"', '"Genève"')
_PAYLOAD = (
    '{{"id":{n},"user_id":"u{user:05}","kind":"{kind}","amount":{amount}.{cents:02},"rate":{rate},"currency":"EUR",'
    '"paid":{paid},"count":{count},"day":{day},"at":{at},"city":{city},"tags":["web","t{count}"],'
    '"scores":{{"risk":{count},"age":{cents}}},"device":{{"os":"web","version":{count}}},'
    '"items":[{{"sku":"sku-{cents}","n":1}},{{"sku":"sku-{count}","n":{count}}}],"note":"{note}"}}'
)


def payload(number: int) -> bytes:
    """The record of a number."""
    spread = (number + SEED) * 2_654_435_761 % 2**32
    return _PAYLOAD.format(
        n=number,
        user=spread % 100_000,
        kind=_KINDS[spread % 7],
        amount=spread % 10_000,
        cents=spread % 97,
        rate=spread % 1000 / 997,
        paid="true" if spread % 3 else "false",
        count=spread % 11,
        day=20_000 + spread % 400,
        at=_START_MS + number,
        city=_CITIES[spread % 9],
        note="n" * (spread % 4),
    ).encode()


def described() -> Dataset:
    """What a server says of the stream; it has none of its rows itself."""
    columns = tuple(Column(name, parse_type(text)) for name, text in _TYPES.items())
    return Dataset([Source(STREAM, "STREAM", columns, TOPIC, PARTITIONS)])


def produce(servers: str, numbers: range) -> None:
    """Appends records evenly to all partitions, the record's time a millisecond after the one before."""
    client = Producer(
        {"bootstrap.servers": servers, "linger.ms": 50, "queue.buffering.max.messages": 200_000, "log_level": 0}
    )
    failed = list[object]()
    for number in numbers:
        while True:
            try:
                client.produce(
                    TOPIC,
                    payload(number),
                    partition=number % PARTITIONS,
                    timestamp=_START_MS + number,
                    on_delivery=functools.partial(_note, failed),
                )
                break
            except BufferError:
                client.poll(0.1)
        if number % 1000 == 0:
            client.poll(0)
    if client.flush(300) or failed:
        raise RuntimeError(f"the broker did not take all records: {failed[:3]}")


def _note(failed: list[object], error: object, _message: object) -> None:
    if error is not None:
        failed.append(error)
