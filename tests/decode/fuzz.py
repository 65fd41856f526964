"""Answers of any kind, good and broken, that try to make the engines differ.

`python -m tests.decode.fuzz [inputs] [seed]`; the same seed gives the same answers.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from pipeline.columns import SCALARS, Column, SqlType
from pipeline.decode.engine import engine
from pipeline.decode.layout import AnswerColumn, Decoded, Decoder, Engine, Layout, NotAsDeclared, Scan
from pipeline.decode.native import NativeDecoder
from pipeline.decode.rows import Reference
from pipeline.errors import PipelineError

NUMBERS = r"""
    0 1 -1 7 -0 00 01 1.0 1.5 -1.5 0.0 -0.0 0.00 0.005 0.015 0.025 1.10 1.100 9.99 9.995 99.99 100.00 1e2 1E2
    1.0E10 1e-2 1E-400 1e400 -1e400 4.9E-324 5e-324 1.7976931348623157E308 0.1 1. .5 +1 1e 1e+ --1 2147483647
    2147483648 -2147483648 -2147483649 9223372036854775807 9223372036854775808 -9223372036854775808
    -9223372036854775809 18446744073709551615 18446744073709551616 9007199254740993
    123456789012345678901234567890123456.78 99999999999999999999999999999999999999
    100000000000000000000000000000000000000 1.2345678901234567E19 86399999 86400000 9223372036854775
    9223372036854776 -12219292800001 0E-2 0e5 1e38 1e-38 1e37 12345678901234567890.1234567891
    0.00000000000000000000000000000000000001 NaN Infinity 1_0 0x1
""".split()  # noqa: SIM905 # a list of them takes two pages
TEXTS = r"""
    "" "x" "é" "😀" "a\"b" "a\\" "\\\"" "\u00e9" "\ud83d\ude00" "\ud83d" "\ude00x" "\u0000" "\/" "\x"
    "\b\f\n\r\t" "],[" "NaN" "Infinity" "-Infinity" "nan" "true" "1" "1.5" "-0" "007" "+1" "1e5" "AA==" "AAA="
    "AAAA" "AB==" "A" "AA=A" "====" "/+8=" "1970-01-01" "2024-02-29" "2023-02-29" "0000-01-01" "0001-01-01"
    "9999-12-31" "+12000-01-01" "-0001-01-01" "1582-10-14" "1900-13-01" "2000-00-10" "00:00" "23:59:59.999"
    "24:00" "10:15:30" "10:15:30.5" "10:15:30.123456789" "10:15:30.1234567890" "10:15:30." "10:60" "1:00"
    "10:15:" "2026-11-01T00:00:00.123" "1582-10-15T00:00" "1582-10-14T23:59:59.999" "2026-11-01T" "2026-11-01"
    "2026-11-01T25:00" "10000-01-01T00:00:00.001" "٣"
""".split()  # noqa: SIM905 # a list of them takes two pages
FITTING = {
    "BOOLEAN": ["true", "false"],
    "INTEGER": ["0", "-7", "2147483647", "-2147483648"],
    "BIGINT": ["0", "-1", "9223372036854775807", "-9223372036854775808"],
    "DOUBLE": ["1.5", "0", "-0.0", "1.0E10", "4.9E-324", '"NaN"', '"-Infinity"', "12345678901234567890"],
    "DECIMAL": ["0", "0.00", "-1.5", "1.25", "0.015", "9.995", "1.0E1"],
    "STRING": ['"x"', '""', '"é\\n\\""', '"😀"'],
    "BYTES": ['"AA=="', '""', '"AAAA"', '"/+8="'],
    "DATE": ['"2024-02-29"', "0", "-719162", '"9999-12-31"'],
    "TIME": ["0", "86399999", '"10:15"', '"10:15:30.5"'],
    "TIMESTAMP": ["0", "-12219292800001", '"2026-11-01T00:00:00.123"', '"1582-10-15T00:00"'],
}
BYTES = b'[]{}",:\\ntfu/e0123456789.-+E \n\r\t\x00\x1f\x7f\x80\xc3\xa9\xff'
NAMES = ["A", "b", "größe", "a b", 'q"t', "x\\y", "V"]
KEYS = [name for name, row in SCALARS.items() if row.can_be_map_key]
REUSED, CHANGED = 20, 12
PER_HEADER = REUSED * (1 + CHANGED)
"""Answers to one header: so many made, and of each so many changed ones."""
Outcome = tuple[str, object]


@dataclass
class Answers:
    """Random answers; the same seed gives the same ones."""

    chance: random.Random

    def type_(self, depth: int) -> SqlType:
        pick, chance = self.chance.randrange(10 if depth else 7), self.chance
        if pick == 7:
            return SqlType("ARRAY", element=self.type_(depth - 1))
        if pick == 8:
            return SqlType("MAP", key=self.scalar(chance.choice(KEYS)), element=self.type_(depth - 1))
        if pick == 9:
            names = chance.sample(NAMES, chance.randint(1, 3))
            return SqlType("STRUCT", fields=tuple((name, self.type_(depth - 1)) for name in names))
        return self.scalar(chance.choice(list(SCALARS)))

    def scalar(self, base: str) -> SqlType:
        if base != "DECIMAL":
            return SqlType(base)
        precision = self.chance.choice([1, 2, 3, 5, 12, 15, 16, 20, 37, 38])
        return SqlType("DECIMAL", precision, min(precision, self.chance.choice([0, 1, 2, 5, 10, 38])))

    def layout(self) -> Layout:
        parts = []
        for number in range(self.chance.randint(1, 4)):
            type_ = self.type_(2)
            column = Column(f"C{number}", type_)
            part = AnswerColumn.as_declared(column)
            if self.chance.random() < 0.2:
                part = AnswerColumn(column, (SqlType("STRUCT", fields=(("V", type_),)),), is_wrapped=True)
            elif type_.base == "TIMESTAMP" and self.chance.random() < 0.5:
                part = AnswerColumn(column, (SqlType("BIGINT"),))
            parts.append(part)
        return Layout(parts)

    def value(self, type_: SqlType) -> str:
        chance, luck = self.chance, self.chance.random()
        if luck < 0.06:
            return "null"
        if luck < 0.08:
            return chance.choice([chance.choice(NUMBERS), chance.choice(TEXTS), "true", "[]", "{}", "", "[[]]"])
        if type_.base == "ARRAY":
            assert type_.element
            return "[" + self.comma().join(self.value(type_.element) for _ in range(chance.randrange(4))) + "]"
        if type_.base == "MAP":
            return self.map_(type_)
        if type_.base == "STRUCT":
            fields = [
                f"{text_of(name)}{chance.choice([':', ' : '])}{self.value(field)}" for name, field in type_.fields
            ]
            if chance.random() < 0.1:
                chance.shuffle(fields)
            if chance.random() < 0.05:
                fields.append(chance.choice([*fields, '"more":1']))
            return "{" + self.comma().join(fields) + "}"
        if luck < 0.2:
            return chance.choice(TEXTS if type_.base in ("STRING", "BYTES") or luck < 0.14 else NUMBERS)
        return chance.choice(FITTING[type_.base])

    def map_(self, type_: SqlType) -> str:
        key, element = type_.key, type_.element
        assert key
        assert element
        count = self.chance.choice([0, 1, 2, 3, 20])
        if key.base != "STRING" and self.chance.random() < 0.4:
            pairs = (f"[{self.value(key)},{self.value(element)}]" for _ in range(count))
            return "[" + self.comma().join(pairs) + "]"
        texts = [self.chance.choice(TEXTS)] if self.chance.random() < 0.1 else []
        texts += [text if text.startswith('"') else f'"{text}"' for text in FITTING[key.base]]
        if self.chance.random() < 0.7:
            texts = [
                f'"{number}"' if key.base in ("INTEGER", "BIGINT") else f'"{number}{text[1:]}'
                for number, text in enumerate(texts * 5)
            ]
        chosen = self.chance.sample(texts, min(count, len(texts)))
        return "{" + self.comma().join(f"{text}:{self.value(element)}" for text in chosen) + "}"

    def comma(self) -> str:
        return self.chance.choice([",", ",", ",", " , ", ",\n"])

    def elements(self, layout: Layout, streamed: bool) -> bytes:
        rows = []
        for _ in range(self.chance.randint(1, 3)):
            row = "[" + self.comma().join(self.value(type_) for type_ in layout.sent) + "]"
            if streamed:
                more = self.chance.choice(["", "", "", ',"tombstone":true', ',"tombstone":null'])
                behind = self.chance.choice(["", "", "", "", ',"errorMessage":null', ',"finalMessage":"x"'])
                row = f'{{"row":{{"columns":{row}{more}}}{behind}}}'
            rows.append(row)
        return self.comma().join(rows).encode("utf-8", "surrogatepass")

    def broken(self, data: bytes) -> bytes:
        """Now and then with some bytes changed, lost, put in or doubled."""
        if self.chance.random() < 0.5:
            return data
        changed = bytearray(data)
        for _ in range(self.chance.randint(1, 2)):
            at, end = self.chance.randrange(len(changed) + 1), self.chance.randrange(4)
            changed[at : at + end] = self.chance.choice(
                [b"", bytes([self.chance.choice(BYTES)]), changed[at : at + 2 * end], changed[:end]]
            )
        return bytes(changed)


def text_of(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def changed_of(chance: random.Random, whole: bytes) -> bytes:
    """With a few bytes changed, lost, put in or doubled."""
    at, end, luck = int(chance.random() * (len(whole) + 1)), int(chance.random() * 4), chance.random()
    put_in = BYTES[int(luck * 1000) % len(BYTES)]
    new = (
        bytes([put_in])
        if luck < 0.6
        else b""
        if luck < 0.75
        else whole[at : at + 2 * end]
        if luck < 0.9
        else whole[:end]
    )
    return whole[:at] + new + whole[at + end :]


def outcome(decode: Callable[[bytes], Decoded | None], elements: bytes) -> Outcome:
    try:
        decoded = decode(elements)
    except (PipelineError, NotAsDeclared) as error:
        return type(error).__name__, str(error)
    if decoded is None:
        return "left", None
    decoded.batch.validate(full=True)
    return "read", (decoded.batch.schema, texts(decoded.batch.columns), [*decoded.tombstones], [*decoded.notices])


def texts(columns: Iterable[pa.Array]) -> list[object]:
    """The columns as what tells apart whatever differs: 0.0 and -0.0 too."""
    return [_text(column) for column in columns]


def _text(column: pa.Array) -> object:
    try:
        return repr(column.to_pylist())
    except OverflowError:  # dates that Python does not have
        return repr(column.cast(_with_numbers(column.type)).to_pylist())


def _with_numbers(type_: pa.DataType) -> pa.DataType:
    """The type with whole numbers in the place of dates and times."""
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _with_numbers(field.type)) for field in type_])
    if pa.types.is_map(type_):
        return pa.map_(_with_numbers(type_.key_type), _with_numbers(type_.item_type))
    if pa.types.is_list(type_):
        return pa.list_(pa.field("element", _with_numbers(type_.value_type)))
    if pa.types.is_timestamp(type_):
        return pa.int64()
    return pa.int32() if pa.types.is_date(type_) else type_


def compare_scans(one: Engine, other: Engine, data: bytes, cut: int) -> None:
    """Both engines find the same in two pieces of it, and what one finds in the whole."""
    found = []
    for each in (one, other):
        first = each.scan(data[:cut], Scan(1))
        second = each.scan(data[cut:], first.state) if first.closed_at < 0 else None
        ends = first.ends.tolist() + ([] if second is None else (second.ends + cut).tolist())
        closed_at = first.closed_at if second is None else second.closed_at + (cut if second.closed_at >= 0 else 0)
        found.append((ends, closed_at, first.state if second is None else second.state))
    whole = one.scan(data, Scan(1))
    found.append((whole.ends.tolist(), whole.closed_at, whole.state))
    assert found[0] == found[1] == found[2], (data, cut)


def run(inputs: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> Counter[str]:
    """Raises AssertionError where the engines differ; how many inputs were read natively, read, refused or left.

    An input is some elements that came together: what was made, now and then broken, and other changes of each, of
    which what is read natively is compared.
    """
    count, answers = Counter[str](), Answers(random.Random(seed))
    started = time.monotonic()
    for streamed, layout in _headers(answers, inputs):
        native, reference = NativeDecoder(streamed, layout), Reference().decoder(streamed, layout)
        for _ in range(REUSED):
            whole = answers.elements(layout, streamed)
            elements = answers.broken(whole)
            compare_scans(engine(), Reference(), elements, answers.chance.randrange(len(elements) + 1))
            left = native.left
            found = outcome(native.decode, elements)
            if native.left == left:
                _compare(found, reference, layout, elements)
            count[f"{found[0]}{', natively' if native.left == left else ''}"] += 1
            for _ in range(CHANGED):
                changed = changed_of(answers.chance, whole)
                found = outcome(native.usual, changed)
                if found[0] != "left":
                    _compare(found, reference, layout, changed)
                count[f"changed, {found[0]}"] += 1
                if (begun := native.usual_rows(b" ," + changed, follow=True)) is not None:
                    rows, end = begun[0], begun[1] - 2
                    _compare(outcome(lambda _, rows=rows: rows, b""), reference, layout, changed[:end])  # type: ignore[misc]
                    count["changed, read up to a place"] += 1
                if (begun := reference.usual_rows(b" ," + changed + b",\n[", follow=True)) is not None:
                    rows, end = begun[0], begun[1] - 2
                    _compare(outcome(lambda _, rows=rows: rows, b""), reference, layout, changed[:end])  # type: ignore[misc]
                    count["changed, read together"] += 1
        count["inputs"] += PER_HEADER
        if count["inputs"] % 100_000 < PER_HEADER:
            tell(f"{time.monotonic() - started:.0f} s: {dict(count)}")
    return count


def _compare(found: Outcome, reference: Decoder, layout: Layout, elements: bytes) -> None:
    wanted = outcome(reference.decode, elements)
    assert found == wanted, ([str(type_) for type_ in layout.sent], elements, found, wanted)


def _headers(answers: Answers, inputs: int) -> Iterator[tuple[bool, Layout]]:
    for _ in range(-(-inputs // PER_HEADER)):
        try:
            yield answers.chance.random() < 0.5, answers.layout()
        except PipelineError:
            continue


def main(inputs: int = 10_000_000, seed: int = 1) -> None:
    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    tell(f"no difference: {dict(run(inputs, seed, tell))}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
