"""The fingerprint of rows in the log: what a commit adds and takes it follows, and what only moves rows leaves it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import LakeDamaged
from pipeline.fingerprint import NOTHING, ContentHash, total
from pipeline.lake.change import Change
from pipeline.lake.compaction import small_files
from pipeline.lake.files import DataFile
from pipeline.lake.retention import expire
from pipeline.lake.rewrite import rewrite, roll_back, widen
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import find_expired, unexpire
from pipeline.lake.writer import StagedWriter
from pipeline.verify.files import check_files
from tests.examples import examples
from tests.lake.compactions import EVENTS, GOAL, TODAY, add_days, compact
from tests.lake.small_tables import (
    DAY_MS,
    NOW,
    SCHEMA,
    TABLE,
    add_rows,
    add_version,
    commit_id,
    stream_feed,
    table_feed,
)
from tests.support import folder_of, lake_at


def noted(table: LakeTable) -> str | None:
    return table.head.fingerprint


def of_files(files: Sequence[DataFile]) -> str:
    return total(file.fingerprint for file in files)


def read(table: LakeTable) -> str:
    """The fingerprint of the rows that are read."""
    content = ContentHash()
    for batch in table.read_batches(table.files):
        content.add_batch(batch)
    return content.hexdigest()


def test_each_commit_notes_the_fingerprint_of_all_rows_and_each_file_has_its_own(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    table.create(SCHEMA, "topic")
    assert noted(table) == NOTHING
    for number in range(3):
        add_rows(table, number, [(number * DAY_MS, 0, number, "a"), (0, 1, number, "b")])

        again = lake_at(tmp_path).table(EVENTS)
        assert noted(table) == noted(again) == of_files(again.files) == read(again) != NOTHING
    assert all(file.fingerprint for file in table.files)


def test_new_columns_and_wider_types_leave_the_fingerprint_as_it_was(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, ["a", "b"])
    before = noted(table)
    wide = TABLE.set(1, pa.field("amount", pa.decimal128(38, 12))).append(pa.field("new", pa.int32()))
    narrow = pa.schema([("k", pa.string()), ("amount", pa.decimal128(20, 10))])
    other = lake_at(tmp_path / "narrow").table(table_feed())
    add_version(other, 1, ["a", "b"], schema=narrow)

    table.match_schema(TABLE.append(pa.field("new", pa.int32())))
    widen(other, ["amount"], wide, commit_id(2), NOW)

    assert noted(table) == before == read(table)
    assert noted(other) == before == read(other)
    assert check_files(other, None).findings == ()


def test_a_version_that_comes_back_has_the_fingerprint_that_it_had(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, ["a", "b"])
    add_version(table, 2, ["c"])

    new = roll_back(table, 1, commit_id(3), NOW)

    versions = lake_at(tmp_path).table(table_feed()).versions()
    assert of_files(versions[new]) == of_files(versions[1]) != of_files(versions[2])
    assert noted(table) == of_files(table.files) == read(table)


def test_a_version_without_rows_has_the_fingerprint_of_nothing(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 1, [])

    assert (noted(table), check_files(table).findings, check_files(table, None).findings) == (NOTHING, (), ())


row = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(["", "a", "é", "\0"]))


@examples(25)
@given(st.lists(st.lists(row, min_size=1, max_size=5), min_size=2, max_size=6), st.booleans())
def test_compaction_leaves_the_fingerprint_of_each_day_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[tuple[int, int, str]]], new_column: bool
) -> None:
    root, offsets = tmp_path_factory.mktemp("lake"), {0: 0, 1: 0}
    lake_at(root).feeds.add(EVENTS)
    table = lake_at(root).table(EVENTS)
    for number, rows in enumerate(commits):
        made = []
        for ago, partition, text in rows:
            made.append((TODAY - (ago + 1) * DAY_MS, partition, offsets[partition], text))
            offsets[partition] += 1
        add_rows(table, number, made)
    if new_column:
        table.match_schema(SCHEMA.append(pa.field("w", pa.string())))
    before, whole = by_day(table), noted(table)
    due = small_files(table, GOAL, NOW)

    done = compact(root)

    again = lake_at(root).table(EVENTS)
    assert len(done.made) == len(due)
    assert by_day(again) == before
    assert noted(again) == whole == of_files(again.files) == read(again)
    assert check_files(again).findings == ()


def by_day(table: LakeTable) -> dict[str | None, str]:
    days: dict[str | None, list[DataFile]] = {}
    for file in table.files:
        days.setdefault(file.partition, []).append(file)
    return {name: of_files(files) for name, files in days.items()}


def test_a_rewrite_that_would_change_a_value_is_refused_and_the_lake_is_as_it_was(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [1])
    version, files = table.delta_version, table.files

    def changed(members: Sequence[DataFile]) -> Iterator[pa.RecordBatch]:
        for batch in table.read_batches(members):
            texts = ["other", *batch.column("v").to_pylist()[1:]]
            yield batch.set_column(3, SCHEMA.field("v"), pa.array(texts, pa.string()))

    with pytest.raises(LakeDamaged, match="are not those that were written"):
        rewrite(table, [files], changed, Change(data_change=False), commit_id(9), NOW)

    again = lake_at(tmp_path).table(EVENTS)
    assert (again.delta_version, again.files) == (version, files)
    assert [path for path in table.staging_folder().rglob("*") if path.is_file()] == []


def test_what_expires_leaves_the_fingerprint_and_comes_back_into_it(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed(retention_days=2))
    add_days(table, [5, 0])
    whole, days = noted(table), by_day(table)

    expire(table, commit_id(8), NOW, 1)
    gone = noted(table)
    keeps = lake_at(tmp_path).table(stream_feed(retention_days=30))
    unexpire(keeps, find_expired(keeps, NOW, 168), commit_id(9), NOW)

    assert gone == days[max(day for day in days if day)]
    assert noted(keeps) == whole == of_files(keeps.files)


def an_older_lake(root: Path) -> LakeTable:
    """Files as they were before there were fingerprints, by commits as they were."""
    table = lake_at(root).table(EVENTS)
    add_days(table, [1])
    for entry in sorted((folder_of(table) / "_delta_log").glob("*.json")):
        entry.write_text(_aged(entry.read_text(encoding="utf-8")), encoding="utf-8")
    for path in folder_of(table).glob("*/*.parquet"):
        path.rename(path.with_name(_aged(path.name)))
    return lake_at(root).table(EVENTS)


def _aged(text: str) -> str:
    return re.sub(r'"fingerprint":"[0-9a-f]{32}"', '"other":0', re.sub(r"-[0-9a-f]{32}(?=-[0-9a-f]{16}\.)", "", text))


def test_an_older_lake_goes_on_and_gets_fingerprints_as_its_files_are_written_again(tmp_path: Path) -> None:
    table = an_older_lake(tmp_path)
    lake_at(tmp_path).feeds.add(EVENTS)
    assert noted(table) is None
    assert check_files(table).compared == (
        "3 files read, 6 rows",
        "3 files not fingerprinted yet: only a checksum proves what is in them",
    )

    add_rows(table, 7, [(TODAY, 0, 7, "new")])
    mixed = noted(table)
    found = check_files(table, None)
    compact(tmp_path)

    again = lake_at(tmp_path).table(EVENTS)
    assert mixed == of_files(table.files) != NOTHING
    assert (found.findings, found.compared[1][:12]) == ((), "3 files not ")
    assert noted(again) == of_files(again.files) == read(again)
    assert check_files(again).compared == ("2 files read, 7 rows",)


def test_the_log_alone_shows_a_file_that_came_or_went_beside_the_commits(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [1, 0], commits=2)
    entry = folder_of(table) / "_delta_log" / f"{1:020}.json"
    lines = entry.read_text(encoding="utf-8").splitlines()
    lost = next(line for line in lines if '"add":' in line)
    entry.write_text("\n".join(line for line in lines if line != lost), encoding="utf-8")

    verdict = check_files(lake_at(tmp_path).table(EVENTS), None)

    assert [finding.what for finding in verdict.findings] == [
        "rows are not those that were committed (fingerprint differs)"
    ]
    assert verdict.compared == ("3 files, 6 rows by the log, none read",)


@pytest.mark.parametrize("harm", ["missing", "cut", "flipped"])
def test_without_reading_a_file_is_known_by_its_size_alone(tmp_path: Path, harm: str) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_days(table, [1], commits=1)
    (path,) = folder_of(table).glob("*/*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if harm == "flipped" else data[:-1])
    if harm == "missing":
        path.unlink()

    found = [finding.what for finding in check_files(table, None).findings]

    assert found == {"missing": ["file is missing"], "cut": found, "flipped": []}[harm]
    assert (harm == "cut") == any("size is" in what for what in found)


def test_statistics_show_offsets_that_are_there_twice_or_not_before_the_bookmark(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(EVENTS)
    add_rows(table, 1, [(0, 0, offset, "a") for offset in range(5)])
    add_rows(table, 2, [(DAY_MS, 0, 5, "late"), (0, 0, 7, "between"), (DAY_MS, 0, 9, "rows")])
    assert check_files(table, None).findings == ()
    writer = StagedWriter(table.staging_folder("x"), SCHEMA, date_column="rowtime")
    rows = [{"rowtime": 0, "rowpartition": 0, "rowoffset": offset, "v": "again"} for offset in (4, 12)]
    writer.add(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
    table.commit(commit_id(3), Change(adds=writer.finish()), NOW)

    found = {finding.what: finding.detail for finding in check_files(table, None).findings}

    assert list(found) == ["offset is not before the bookmark", "row is there more than once"]
    assert found["row is there more than once"].startswith("partition 0 offsets 0 to 4: ")
