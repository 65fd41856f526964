"""The native engine means what the reference means, and a build that does not fit is not used."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator

import pytest

from pipeline.columns import Column
from pipeline.decode.engine import engine
from pipeline.decode.layout import AnswerColumn, Decoded, Layout
from pipeline.ksqldb.sqltypes import parse_schema
from tests.decode.engines import needs_native
from tests.support import ROOT

WIDE = 300


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

    count = run(2000, int(os.environ.get("PYTEST_RANDOM_SEED", "2")))

    assert count["read, natively"] > 200
    assert count["NotAsDeclared"] > 200


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
