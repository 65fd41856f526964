"""Records' payloads in JSON, good and broken, that try to make the native engine differ from the complete reading.

`python -m tests.decode.fuzz_payloads [inputs] [seed]`; the same seed gives the same payloads. An input is one payload:
each is read or left by itself. Of every batch what the native engine read is compared: the rest is the reference's own.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from pipeline.columns import SCALARS, SqlType
from pipeline.decode.engine import engine
from pipeline.decode.rows import Reference
from pipeline.errors import PipelineError
from pipeline.kafka.formats.deserializer import deserializer
from pipeline.kafka.formats.json_payloads import JsonDeserializer
from pipeline.kafka.formats.payload import Payload
from tests.decode.fuzz import NUMBERS, TEXTS, changed_of, text_of, texts

FITTING = {
    "BOOLEAN": ["true", "false"],
    "INTEGER": ["0", "-7", "2147483647", "-2147483648"],
    "BIGINT": ["0", "-1", "9223372036854775807", "-9223372036854775808"],
    "DOUBLE": ["1.5", "0", "-0.0", "1.0E10", "4.9E-324", '"NaN"', '"-Infinity"', "12345678901234567890", "-1e-400"],
    "DECIMAL": ["0", "0.00", "-1.5", "1.25", "0.015", "9.995", "1.0E1", '"1.5"'],
    "STRING": ['"x"', '""', '"é\\n\\""', '"😀"', "12", "true", "1.50"],
    "BYTES": ['"AA=="', '""', '"AAAA"', '"/+8="', '" AA=="'],
    "DATE": ["20000", "0", "-719162", '"1"'],
    "TIME": ["0", "86399999", "86400000"],
    "TIMESTAMP": ["0", "-12219292800001", "9223372036854775", "1763600000000"],
}
NAMES = ["A", "B_1", "größe", "a b", 'q"t', "Mixed", "K"]
OTHERS = ["zz", "a", "STRASSE", "straße", "x\\u0041", "ſ"]
PER_TYPE, PER_BATCH, CHANGED = 2, 40, 4
"""Batches for each type; whole payloads in each, and how many changed ones are made of each of them."""


@dataclass
class Payloads:
    """Random types and payloads; the same seed gives the same ones."""

    chance: random.Random

    def type_(self, depth: int) -> SqlType:
        pick = self.chance.randrange(10 if depth else 7)
        if pick == 7:
            return SqlType("ARRAY", element=self.type_(depth - 1))
        if pick == 8:
            return SqlType("MAP", key=SqlType("STRING"), element=self.type_(depth - 1))
        if pick == 9:
            return self.struct(depth - 1, 3)
        base = self.chance.choice(list(SCALARS))
        if base != "DECIMAL":
            return SqlType(base)
        precision = self.chance.choice([1, 2, 3, 5, 12, 20, 37, 38])
        return SqlType("DECIMAL", precision, min(precision, self.chance.choice([0, 1, 2, 10, 38])))

    def struct(self, depth: int, most: int) -> SqlType:
        names = self.chance.sample(NAMES, self.chance.randint(1, most))
        return SqlType("STRUCT", fields=tuple((name, self.type_(depth)) for name in names))

    def payload(self) -> Payload:
        format_ = self.chance.choice(["JSON", "JSON", "JSON_SR"])
        if self.chance.random() < 0.2:
            return Payload(format_, (("V", self.type_(2)),), wrapped=False)  # type: ignore[arg-type] # one of the names
        return Payload(format_, self.struct(2, 4).fields)  # type: ignore[arg-type] # one of the names

    def value(self, type_: SqlType) -> str:
        chance, luck = self.chance, self.chance.random()
        if luck < 0.05:
            return "null"
        if luck < 0.06:
            return self.any_value()
        if type_.base == "ARRAY":
            assert type_.element
            return "[" + self.comma().join(self.value(type_.element) for _ in range(chance.randrange(4))) + "]"
        if type_.base == "MAP":
            assert type_.element
            keys = [f'"{number}{text[1:]}' for number, text in enumerate(chance.sample(TEXTS, chance.randrange(4)))]
            keys += chance.choices(TEXTS, k=2) if luck < 0.1 else []
            return "{" + self.comma().join(f"{key}:{self.value(type_.element)}" for key in keys) + "}"
        if type_.base == "STRUCT":
            return self.object_(type_)
        if luck < 0.12:
            return chance.choice(TEXTS if luck < 0.09 else NUMBERS)
        return chance.choice(FITTING[type_.base])

    def object_(self, type_: SqlType) -> str:
        chance = self.chance
        fields = [(name, self.value(field)) for name, field in type_.fields if chance.random() < 0.95]
        if chance.random() < 0.1:
            chance.shuffle(fields)
        if chance.random() < 0.1:
            fields.insert(chance.randrange(len(fields) + 1), (chance.choice(OTHERS), self.any_value()))
        if chance.random() < 0.03 and fields:
            fields.append(chance.choice(fields))
        lower = chance.random() < 0.5
        return (
            "{" + self.comma().join(f"{text_of(name.lower() if lower else name)}:{text}" for name, text in fields) + "}"
        )

    def any_value(self) -> str:
        luck = self.chance.random()
        if luck < 0.4:
            return self.chance.choice(NUMBERS)
        if luck < 0.7:
            return self.chance.choice(TEXTS)
        if luck < 0.8:
            return self.chance.choice(["true", "false", "null", "", "[]", "{}", "nul", "[1,]"])
        inner = self.any_value()
        return f"[{inner},{inner}]" if luck < 0.9 else f'{{"k":{inner},"k":[{inner}]}}'

    def comma(self) -> str:
        return self.chance.choice([",", ",", ",", " , ", ",\n"])

    def batch(self, payload: Payload) -> list[bytes | None]:
        """Whole payloads, and some made of each with a few bytes changed, lost, put in or doubled."""
        chance, found = self.chance, list[bytes | None]()
        type_ = SqlType("STRUCT", fields=payload.columns) if payload.wrapped else payload.columns[0][1]
        prefix = b"\x00\x00\x00\x00\x07" if payload.format == "JSON_SR" else b""
        for _ in range(PER_BATCH):
            text = self.object_(type_) if payload.wrapped else self.value(type_)
            whole = prefix + text.encode("utf-8", "surrogatepass")
            found.append(whole)
            found += [changed_of(chance, whole) for _ in range(CHANGED)]
        found.append(None)
        return found


def run(inputs: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """Raises AssertionError where the engines differ; how many inputs were read natively, or left."""
    count, payloads, started = Counter[str](), Payloads(random.Random(seed)), time.monotonic()
    told = 0
    for payload, fast, complete in _readers(payloads):
        for _ in range(PER_TYPE):
            batch = payloads.batch(payload)
            compare(payload, fast, complete, batch, count)
            if count["inputs"] >= inputs:
                return count
        if count["inputs"] - told >= 200_000:
            told = count["inputs"]
            tell(f"{time.monotonic() - started:.0f} s: {dict(count)}")
    raise AssertionError("there is no end of types")


def _readers(payloads: Payloads) -> Iterator[tuple[Payload, JsonDeserializer, JsonDeserializer]]:
    while True:
        payload = payloads.payload()
        try:
            fast = deserializer(payload, None)
        except PipelineError:  # names that collide
            continue
        assert isinstance(fast, JsonDeserializer)
        yield payload, fast, JsonDeserializer(payload, Reference())


def compare(
    payload: Payload, fast: JsonDeserializer, complete: JsonDeserializer, batch: list[bytes | None], count: Counter[str]
) -> None:
    """What the native engine has read of them, and what the reference reads."""
    usual = fast.usual(pa.array(batch, pa.binary()))
    assert usual is not None
    usual.values.validate(full=True)
    left = set(usual.left)
    natively = [at for at in range(len(batch)) if at not in left]
    read = complete.read(pa.array([batch[at] for at in natively], pa.binary()))
    taken = usual.values.take(pa.array(natively, pa.int64()))
    arrays = taken.flatten() if payload.wrapped else [taken]
    columns = [str(type_) for _, type_ in payload.columns]
    assert not read.unreadable, (payload, [(batch[natively[at]], why) for at, why in read.unreadable.items()][:3])
    assert [batch[natively[at]] for at in read.no_row] == [None] * len(usual.missing), payload
    if texts(arrays) != texts(read.arrays):
        for at, place in enumerate(natively):
            one = [array.slice(at, 1) for array in arrays], [array.slice(at, 1) for array in read.arrays]
            assert texts(one[0]) == texts(one[1]), (columns, payload, batch[place], *map(texts, one))
    count["inputs"] += len(batch)
    count["read natively"] += len(natively) - len(usual.missing)


def main(inputs: int = 10_000_000, seed: int = 1) -> None:
    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    assert engine().name == "native", "the native engine is not built"
    tell(f"no difference: {dict(run(inputs, seed, tell))}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
