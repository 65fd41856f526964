"""Other engines work on the same Delta tables: what they must not lose, and what they must not add."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from demo.environment import python_of
from pipeline.errors import TableNotSupported
from pipeline.lake.change import Change
from pipeline.lake.log import removed_files
from pipeline.lake.table import LakeTable
from tests.lake.small_tables import (
    NOW,
    SCHEMA,
    add_rows,
    add_version,
    commit_id,
    days_of_which_one_can_be_read,
    stream_feed,
    table_feed,
    values,
)
from tests.support import cleaned, folder_of, lake_at


def actions(table: LakeTable, version: int) -> list[dict[str, Any]]:
    entry = folder_of(table) / "_delta_log" / f"{version:020}.json"
    return [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]


def identifiers(table: LakeTable, version: int) -> dict[str, Any]:
    return {action["txn"]["appId"]: action["txn"] for action in actions(table, version) if "txn" in action}


def forget_old_bookmarks(table: LakeTable) -> None:
    properties = {"delta.setTransactionRetentionDuration": "interval 1 hours"}
    deltalake.DeltaTable(folder_of(table)).alter.set_table_properties(properties, raise_if_not_exists=False)


def test_each_commit_gives_all_bookmarks_its_time(tmp_path: Path) -> None:
    """A bookmark of a partition without new rows is not older than the others."""
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 2, 4, "b")])
    later = NOW + dt.timedelta(days=9)
    add_rows(table, 2, [(0, 0, 1, "c")], later)

    found = identifiers(table, 2)

    assert {name: txn["version"] for name, txn in found.items() if name.startswith("topic")} == {
        "topic-partitions": 3, "topic/0": 2, "topic/0/rowtime": 0, "topic/2": 5, "topic/2/rowtime": 0,
    }  # fmt: skip
    assert {txn["lastUpdated"] for txn in found.values()} == {int(later.timestamp() * 1000)}


def test_the_current_version_stays_in_each_commit(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(table_feed())
    add_version(table, 3, ["a"])
    table.commit(commit_id(4), Change(), NOW)

    assert identifiers(table, 2)["current-version"]["version"] == 3


def test_bookmarks_survive_an_engine_that_lets_old_ones_go(tmp_path: Path) -> None:
    """The first commit here is as those of earlier versions of this package were: without a time."""
    table, now = lake_at(tmp_path).table(stream_feed()), dt.datetime.now(dt.UTC)
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 2, 4, "b")], now)
    entry = folder_of(table) / "_delta_log" / f"{1:020}.json"
    old = actions(table, 1)
    for action in old:
        action.get("txn", {}).pop("lastUpdated", None)
    entry.write_text("".join(json.dumps(action) + "\n" for action in old), encoding="utf-8")
    add_rows(lake_at(tmp_path).table(stream_feed()), 2, [(0, 0, 1, "c")], now)

    forget_old_bookmarks(table)
    deltalake.DeltaTable(folder_of(table)).create_checkpoint()
    for number in range(3):
        (folder_of(table) / "_delta_log" / f"{number:020}.json").unlink()
    reopened = deltalake.DeltaTable(folder_of(table))

    assert [reopened.transaction_version(name) for name in ("topic/0", "topic/2", "topic-partitions")] == [2, 5, 3]


def test_a_bookmark_stays_in_sight_when_fewer_partitions_are_told(tmp_path: Path) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a"), (0, 2, 4, "b")])

    table.commit(commit_id(2), Change(bookmarks={0: (7, 0)}, partitions=1), NOW)

    assert lake_at(tmp_path).table(stream_feed()).bookmarks() == {0: (7, 0), 2: (5, 0)}


@pytest.mark.parametrize("opening", ["read", "write"])
def test_a_table_that_forgets_bookmarks_is_refused_by_name(tmp_path: Path, opening: str) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    forget_old_bookmarks(table)

    with pytest.raises(TableNotSupported, match=r"delta\.setTransactionRetentionDuration") as raised:
        open_as(opening, tmp_path)

    assert (raised.value.exit_code, "UNSET TBLPROPERTIES" in raised.value.hint) == (1, True)


@pytest.mark.parametrize("opening", ["read", "write"])
def test_a_table_with_deletion_vectors_is_refused_by_name(tmp_path: Path, opening: str) -> None:
    folder = tmp_path / "streams" / "events"
    schema = deltalake.Schema.from_arrow(pa.schema([*SCHEMA, pa.field("date", pa.date32())]))
    folder.mkdir(parents=True)
    deltalake.DeltaTable.create(
        folder, schema=schema, partition_by=["date"], configuration={"delta.enableDeletionVectors": "true"}
    )

    with pytest.raises(TableNotSupported, match="deletion vectors"):
        open_as(opening, tmp_path)


def open_as(opening: str, root: Path) -> LakeTable:
    return lake_at(root).table(stream_feed()) if opening == "read" else cleaned(root, stream_feed(), 1)


@pytest.mark.parametrize("feature", ["columnMapping", "typeWidening"])
def test_a_feature_that_is_not_read_here_is_named(tmp_path: Path, feature: str) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [feature], "writerFeatures": [feature]}
    entry = folder_of(table) / "_delta_log" / f"{2:020}.json"
    info = {"commitInfo": {"timestamp": int(time.time() * 1000), "operation": "ADD FEATURE"}}
    entry.write_text(f"{json.dumps(info)}\n{json.dumps({'protocol': protocol})}\n", encoding="utf-8")

    with pytest.raises(TableNotSupported, match=feature):
        lake_at(tmp_path).table(stream_feed())


def test_a_table_of_another_lake_has_another_id(tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "other"):
        table = lake_at(tmp_path / name).table(stream_feed())
        add_rows(table, 1, [(0, 0, 0, "a")])
        ids.add(lake_at(tmp_path / name).table(stream_feed()).id)
        assert values(table) == ["a"]

    assert len(ids) == 2


def test_files_that_go_and_come_back_are_told_in_full(tmp_path: Path) -> None:
    """Engines that read changes, or count bytes, take them from the actions alone."""
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 4, "a"), (9, 0, 5, "b")])
    before, (later, again) = table.files, (NOW + dt.timedelta(hours=hours) for hours in (1, 2))
    later_ms = int(later.timestamp() * 1000)

    table.commit(commit_id(2), Change(removes=before), later)
    assert table.files == ()
    assert removed_files(table.store) == {before[0].path: later_ms}
    table.commit(commit_id(3), Change(returns=before), again)

    assert table.files == before
    assert removed_files(table.store) == {}
    (added,) = (action["add"] for action in actions(table, 1) if "add" in action)
    (removed,) = (action["remove"] for action in actions(table, 2) if "remove" in action)
    (returned,) = (action["add"] for action in actions(table, 3) if "add" in action)
    same = {name: added[name] for name in ("path", "partitionValues", "size", "dataChange")}
    assert same["dataChange"] is True
    assert removed.items() >= (same | {"deletionTimestamp": later_ms}).items()
    assert returned.items() >= (same | {"modificationTime": added["modificationTime"]}).items()
    assert json.loads(returned["stats"])["numRecords"] == 2


DROP = "drop them where they were set: ALTER TABLE ... DROP FEATURE ..."


@pytest.mark.parametrize(
    ("reader", "features", "settings", "said", "hint"),
    [
        (3, ["deletionVectors"], {}, "has deletion vectors", "REORG TABLE ... APPLY (PURGE)"),
        (1, None, {"delta.enableDeletionVectors": "true"}, "has deletion vectors", "DROP FEATURE deletionVectors"),
        (2, None, {}, "not read here: columnMapping", DROP),
        (3, ["v2Checkpoint", "columnMapping"], {}, "not read here: columnMapping, v2Checkpoint", DROP),
        (3, ["timestampNtz"], {}, None, ""),
        (3, ["timestampNtz"], {"delta.enableDeletionVectors": "false"}, None, ""),
    ],
)
def test_a_table_is_read_only_where_its_log_means_what_it_is_taken_for(
    tmp_path: Path, reader: int, features: list[str] | None, settings: dict[str, str], said: str | None, hint: str
) -> None:
    table = lake_at(tmp_path).table(stream_feed())
    add_rows(table, 1, [(0, 0, 0, "a")])
    entry = folder_of(table) / "_delta_log" / f"{0:020}.json"
    changed = actions(table, 0)
    for action in changed:
        if "protocol" in action:
            action["protocol"] = {"minReaderVersion": reader, "minWriterVersion": 7 if features else 5}
            if features:
                action["protocol"] |= {"readerFeatures": features, "writerFeatures": features}
        if "metaData" in action:
            action["metaData"]["configuration"] |= settings
    entry.write_text("\n".join(json.dumps(action) for action in changed) + "\n", encoding="utf-8")

    if said is None:
        assert values(lake_at(tmp_path).table(stream_feed())) == ["a"]
        return
    with pytest.raises(TableNotSupported, match=f"the feed events .*{said}") as refused:
        lake_at(tmp_path).table(stream_feed())
    assert hint in refused.value.hint


@pytest.mark.long
def test_an_older_duckdb_opens_one_days_files_too(tmp_path: Path) -> None:
    days_of_which_one_can_be_read(tmp_path, days=3, readable=1)
    ask = "import duckdb; duckdb.sql(open('views.sql').read())\n"
    ask += """print(duckdb.__version__[0], *duckdb.sql("SELECT v FROM events WHERE date = '1970-01-02'").fetchone())"""

    said = subprocess.run([python_of("delta-scan"), "-I", "-c", ask], cwd=tmp_path, capture_output=True, text=True)

    assert (said.stdout, said.stderr) == ("1 v1\n", "")
