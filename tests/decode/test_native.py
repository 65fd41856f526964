"""The native engine means what the reference means, and a build that does not fit is not used."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.columns import Column
from pipeline.decode import rows as rows_module
from pipeline.decode.engine import engine
from pipeline.decode.layout import AnswerColumn, Decoded, Decoder, Layout, NotAsDeclared, Scan
from pipeline.decode.rows import Reference
from pipeline.errors import TypeNotSupported
from pipeline.kafka.formats.json_payloads import JsonDeserializer
from pipeline.kafka.formats.payload import Payload
from pipeline.ksqldb.sqltypes import parse_schema
from tests.decode.engines import needs_native
from tests.examples import examples, times
from tests.kafka.formats.reading import columns_of
from tests.support import ROOT

WIDE = 300
EVERY_TYPE = {
    "A": "BOOLEAN", "B": "BIGINT", "C": "DOUBLE", "D": "DECIMAL(5, 2)", "E": "DATE", "F": "TIME", "G": "TIMESTAMP",
    "H": "MAP<STRING, ARRAY<STRING>>", "I": "STRUCT<`X` INTEGER, `Y` BYTES>",
}  # fmt: skip
AS_DECLARED = (
    '{"A": true, "B": 7, "C": 1.5, "D": 1.2, "E": 20000, "F": 1, "G": 2, "H": {"k": ["v", 12, null]},'
    ' "I": {"X": 1, "Y": "aaaa"}, "OTHER": null}'
)


@pytest.fixture(autouse=True)
def _chosen_again() -> Iterator[None]:
    engine.cache_clear()
    yield
    engine.cache_clear()


def decoder_of(schema: str, streamed: bool = False) -> object:
    columns: tuple[Column, ...] = parse_schema(schema)
    return engine().decoder(streamed, Layout([AnswerColumn.as_declared(column) for column in columns]))


@needs_native
def test_engines_do_not_differ_on_generated_answers_good_and_broken() -> None:
    from tests.decode.fuzz import run

    count = run(times(20_000), int(os.environ.get("PYTEST_RANDOM_SEED", "2")))

    assert count["read, natively"] > times(160)
    assert count["NotAsDeclared"] > times(200)
    assert count["changed, read"] > times(500)
    assert count["changed, read together"] > times(500)


@needs_native
def test_engines_do_not_differ_on_generated_payloads_good_and_broken() -> None:
    from tests.decode.fuzz_payloads import run

    count = run(5000, int(os.environ.get("PYTEST_RANDOM_SEED", "2")))

    assert count["read natively"] > 500


@needs_native
@pytest.mark.parametrize("prefix", [b"", b"\x00\x00\x00\x00\x07"])
def test_payloads_are_read_natively_in_any_case_and_only_strange_ones_are_left(prefix: bytes) -> None:
    reader = JsonDeserializer(Payload("JSON_SR" if prefix else "JSON", columns_of(EVERY_TYPE)))
    payloads = [prefix + text.encode() for text in (AS_DECLARED, AS_DECLARED.lower(), '{"more": [{"x": 1e5}]}', "{}")]

    usual = reader.usual(pa.array([*payloads, None, prefix + b'{"B": "1.5"}', *payloads, prefix + b"{"]))

    assert usual is not None
    assert (list(usual.left), list(usual.missing)) == ([5, 10], [4])
    read = reader.read(pa.array([*payloads, None, prefix + b'{"B": "1"}', *payloads, prefix + b"{"]))
    rows = [tuple(array[at].as_py() for array in read.arrays) for at in range(11)]
    assert rows[0] == rows[1] == rows[6]
    assert rows[0][1] == 7
    assert rows[5] == (None, 1, *[None] * 7)
    assert (read.no_row, read.unreadable) == ({4}, {10: "no JSON"})


@needs_native
def test_a_build_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine().name == "native"

    engine.cache_clear()
    monkeypatch.setattr("ksqldb_lake_native.__version__", "0.0.1")

    assert engine().name == "reference"


def test_without_a_build_the_reference_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pipeline.decode.native", None)

    assert engine().name == "reference"


@needs_native
def test_the_version_is_that_of_the_sources() -> None:
    from pipeline.decode.native import VERSION

    assert tomllib.loads((ROOT / "native/Cargo.toml").read_text())["package"]["version"] == VERSION


@needs_native
@pytest.mark.parametrize("streamed", [False, True])
def test_rows_with_nulls_and_deletes_are_read_natively(streamed: bool) -> None:
    decoder = decoder_of("`A` INTEGER, `B` ARRAY<STRING>, `M` MAP<STRING, DECIMAL(38, 10)>", streamed)
    rows = [[1, ["x", None], {"k": 1.5}], [None, None, None], [2, [], {}]] * WIDE
    elements = [{"row": {"columns": row, "tombstone": row[0] is None}} if streamed else row for row in rows]

    decoded: Decoded = decoder.decode(json.dumps(elements)[1:-1].encode())  # type: ignore[attr-defined] # a protocol's

    assert decoder.left == 0  # type: ignore[attr-defined] # the native one has it
    assert decoded.batch.num_rows == 3 * WIDE
    assert list(decoded.tombstones) == ([*range(1, 3 * WIDE, 3)] if streamed else [])


@needs_native
@given(st.text('"\\\\[]{},x', max_size=400).map(str.encode), st.integers(0, 3), st.booleans(), st.booleans())
@examples(500)
def test_engines_find_the_same_ends(data: bytes, depth: int, quoted: bool, escaped: bool) -> None:
    state = Scan(depth, quoted, escaped)
    native, reference = engine().scan(data, state), Reference().scan(data, state)

    assert (native.ends.tolist(), *native[1:]) == (reference.ends.tolist(), *reference[1:])


@needs_native
def test_rows_are_read_natively_up_to_one_that_is_not_whole_or_unusual() -> None:
    decoder: Decoder = decoder_of("`A` BIGINT, `B` STRUCT<`C` ARRAY<STRING>, `D` STRING>")  # type: ignore[assignment]
    rows, third = b'[1,{"C":["x",null],"D":"y"}] , [2,null]', b',[3,{"C":["z"],"D":"1"}]'

    for cut in range(len(third)):
        decoded, end = decoder.usual_rows(rows + third[:cut], follow=False) or (None, 0)
        assert decoded is not None
        assert (decoded.batch["a"].to_pylist(), end) == ([1, 2], len(rows))
        assert decoded.batch["b"].to_pylist() == [{"c": ["x", None], "d": "y"}, None]
    assert decoder.usual_rows(rows + third + b"\n,[3.5,null]", follow=False)[1] == len(rows + third)  # type: ignore[index]
    assert decoder.usual_rows(b"\n, " + rows, follow=True)[1] == len(rows) + 3  # type: ignore[index]
    for none, follow in ((b"", False), (b",", True), (rows, True), (b"," + rows, False), (b"]", False), (b"[1", False)):
        assert decoder.usual_rows(none, follow) is None


@needs_native
def test_what_is_malformed_is_not_refused_for_a_value_that_stands_before_it() -> None:
    schema = "`A` STRUCT<`K` MAP<DECIMAL(38, 0), STRING>>, `B` STRUCT<`K` MAP<DECIMAL(37, 5), STRING>>"
    decoder: Decoder = decoder_of(schema)  # type: ignore[assignment]

    with pytest.raises(TypeNotSupported):
        decoder.decode(b'[{"K":{"1":"a"}},{"K":{"1":"a"}}]')
    with pytest.raises(NotAsDeclared):
        decoder.decode(b'[{"K":{"1":"a"}},{."K":{"1":"a"}}]')


@pytest.mark.parametrize("part_bytes", [1, 20, 2**20])
@pytest.mark.parametrize("streamed", [True, False])
def test_the_reference_reads_rows_together_up_to_the_last_line_that_is_whole(
    streamed: bool, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_PART_BYTES", part_bytes)
    columns = parse_schema("`A` BIGINT, `B` STRING")
    decoder = Reference().decoder(streamed, Layout([AnswerColumn.as_declared(column) for column in columns]))
    form = b'{"row":{"columns":%s}}' if streamed else b"%s"
    first, second = form % b'[1,"x,]["]', form % b"[2,null]"
    error = b'{"errorMessage":{}}' if streamed else b'{"error_code":1}'

    decoded, end = decoder.usual_rows(first + b" ,\r\n" + second + b",\n" + second[:-2], follow=False) or (None, 0)

    assert decoded is not None
    assert (decoded.batch["a"].to_pylist(), decoded.batch["b"].to_pylist()) == ([1, 2], ["x,][", None])
    assert end == len(first + b" ,\r\n" + second)
    assert decoder.usual_rows(b"\n, " + first + b",\n", follow=True)[1] == len(first) + 3  # type: ignore[index]
    rows = first + b",\n" + second
    deleted = first.replace(b"]}}", b'],"tombstone":true}}') if streamed else first
    decoded, _ = decoder.usual_rows(b",\n".join([first, deleted, second, deleted, b""]), follow=False) or (None, 0)
    assert decoded is not None
    assert decoded.batch["a"].to_pylist() == [1, 1, 2, 1]
    assert list(decoded.tombstones) == ([1, 3] if streamed else [])
    for none, follow in (
        (b"", False), (b" ,\n", False), (first + b",\n,\n", False), (b",\n", True), (rows + b",\n", True),
        (b"," + rows, False), (rows[:-2], True),
        (rows + b"],\n", False), (rows + b",,\n", False),
        (first + b",\n" + error + b",\n", False),
        (form % b"[1.5,null]" + b",\n", False), (form % b"[1,1]" + b",\n", False), (form % b"[1]" + b",\n", False),
    ):  # fmt: skip
        assert decoder.usual_rows(none, follow) is None, none


@needs_native
def test_usual_chunks_are_taken_natively_and_all_others_are_left() -> None:
    body = b"\r\n5\r\nhello\r\nA\r\n, my world\r\n"

    assert engine().usual_chunks(b"x" + body, 1) == (b"xhello, my world", len(body) - 1)
    assert engine().usual_chunks(b"\r\n5\r\nhell", 0) == (b"hell", 10)
    for left in (b"5;a=b\r\nhello", b"0\r\n\r\n", b"0" * 15 + b"5\r\nhello", b"+5\r\nhello", b"5", b""):
        assert engine().usual_chunks(b"\r\n" + left, 0) == (b"", 0)
