"""Two versions of a table compared by key, and how the command shows it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.columns import KSQLDB_ROLE
from pipeline.errors import KeyUnknown, VersionUnknown
from pipeline.lake.change import Change
from pipeline.lake.table import LakeTable
from pipeline.lake.writer import StagedWriter
from pipeline.verify.versions import compare_versions
from tests.integration.commands import command, ran
from tests.lake.small_tables import NOW, TABLE, add_version, commit_id, stream_feed, table_feed
from tests.support import lake_at

KEY = {KSQLDB_ROLE: b"KEY"}
SCHEMA = pa.schema(
    [
        pa.field("user id", pa.string(), metadata=KEY),
        pa.field("windowstart", pa.int64(), metadata=KEY),
        ("amount", pa.decimal128(38, 10)),
        ("ratio", pa.float64()),
        ("tags", pa.list_(pa.struct([("n", pa.int32())]))),
    ]
)
FEED = table_feed(retention_versions=9)
SAME = ("a", 1, Decimal("1.5"), float("nan"), [{"n": 1}, {"n": None}])


def commit(table: LakeTable, version: int, rows: list[tuple[Any, ...]]) -> None:
    writer = StagedWriter(table.staging_folder(commit_id(version)), SCHEMA, partition=str(version))
    writer.add(pa.RecordBatch.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA))
    table.commit(commit_id(version), Change(adds=writer.finish(), current_version=version), NOW)


@pytest.fixture
def root(lake_root: Path) -> Path:
    lake = lake_at(lake_root)
    lake.feeds.add(FEED)
    with lake.writing(FEED, {}) as table:
        table.create(SCHEMA, "")
        commit(table, 1, [SAME, ("b", 1, None, 0.5, None), ("b", 2, Decimal("2"), 2.0, [])])
        commit(table, 2, [SAME, ("b", 2, Decimal("2.0000000001"), 2.0, [{"n": 3}]), (None, 3, Decimal(3), None, None)])
    return lake_root


def test_rows_are_new_gone_or_changed_by_their_key(root: Path) -> None:
    found = compare_versions(lake_at(root).table(FEED), 1, 2, 10)

    assert (found.counts, found.unchanged) == ({"new": 1, "gone": 1, "changed": 1}, 1)
    by_kind = {row.kind: row for row in found.rows}
    assert by_kind["changed"].key == {"user id": "b", "windowstart": "2"}
    assert by_kind["changed"].values == {
        "amount": ("2.0000000000", "2.0000000001"),
        "tags": ("[]", '[{"n": 3}]'),
    }
    assert by_kind["gone"].values == {"amount": (None, None), "ratio": ("0.5", None), "tags": (None, None)}
    assert by_kind["new"].key == {"user id": None, "windowstart": "3"}


def test_the_other_way_round_what_was_new_is_gone(root: Path) -> None:
    found = compare_versions(lake_at(root).table(FEED), 2, 1, 0)

    assert (found.counts, found.unchanged, found.rows) == ({"new": 1, "gone": 1, "changed": 1}, 1, ())


def test_a_version_is_what_it_is(root: Path) -> None:
    found = compare_versions(lake_at(root).table(FEED), 2, 2, 10)

    assert (found.counts, found.unchanged) == ({"new": 0, "gone": 0, "changed": 0}, 3)


def test_what_cannot_be_compared_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(VersionUnknown, match="no version 7 of totals"):
        compare_versions(lake_at(root).table(FEED), 1, 7, 10)
    with lake_at(tmp_path / "old").writing(FEED, {}) as table:
        add_version(table, 1, ["a"], schema=TABLE)
        with pytest.raises(KeyUnknown, match="does not know the key of totals"):
            compare_versions(table, 1, 1, 10)


def test_the_command_shows_the_rows_and_how_many_there_are(root: Path) -> None:
    shown = ran(root, "metadata_utils", "diff", "totals", "1", "2").stdout
    short = ran(root, "metadata_utils", "diff", "totals", "1", "2", "--limit", "1").stdout
    form = json.loads(ran(root, "metadata_utils", "diff", "totals", "1", "2", "--json").stdout)

    assert shown.splitlines()[0] == "totals: version 1 to 2: 1 new, 1 gone, 1 changed, 1 unchanged"
    assert "  ~ user id=b, windowstart=2: amount 2.0000000000 -> 2.0000000001, tags [] ->" in shown
    assert "  - user id=b, windowstart=1: amount=NULL, ratio=0.5, tags=NULL" in shown
    assert short.splitlines()[-1] == "  and 2 rows more: --limit"
    assert (form["new"], form["gone"], form["changed"], form["unchanged"], len(form["rows"])) == (1, 1, 1, 1, 3)


def test_a_stream_has_no_versions(root: Path) -> None:
    lake_at(root).feeds.add(stream_feed())

    done = command(root, "metadata_utils", "diff", "events", "1", "2")

    assert (done.exit_code, "error: events is a stream" in done.stderr) == (2, True)
