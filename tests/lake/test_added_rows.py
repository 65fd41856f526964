"""A run that only adds rows reads no list of files, and what it writes is what the whole list would give."""

from __future__ import annotations

import json
import re
from pathlib import Path

import deltalake
import pytest

from pipeline.lake import open_log
from pipeline.lake.change import Change
from pipeline.lake.entry import private_log
from pipeline.lake.log import entry_name
from pipeline.lake.newest import newest_files
from tests.lake.hourly_runs import FEED, HOUR, run
from tests.lake.small_tables import NOW, add_rows, commit_id, table_feed, values
from tests.support import folder_of, lake_at


def test_a_run_that_adds_rows_reads_no_list_of_files_and_describes_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    lake_at(tmp_path).feeds.add(table_feed())
    for number in (1, 20):
        run(tmp_path, number)
    written = [tmp_path / "views.sql", tmp_path / "streams/events/_metadata.json"]

    def refuse(*_: object) -> None:
        raise AssertionError("the list of files is read")

    with monkeypatch.context() as patched:
        patched.setattr(open_log, "committed_files", refuse)
        for number in (21, 48, 49):  # on the same day as before, on a new one, and on that one again
            table = run(tmp_path, number)
            assert [file.bounds["rowoffset"] for file in table.files_with(0, number, number)] == [(number, number)]
    before = [path.read_bytes() for path in written]
    for path in written:
        path.unlink()
    table = run(tmp_path, 50, commits=False)

    assert [path.read_bytes() for path in written] == before
    assert values(table) == ["v1", "v20", "v21", "v48", "v49"]
    assert before[0].decode().count(".parquet'") == 5


@pytest.mark.parametrize("harm", ["another entry", "an older program"])
def test_names_in_the_views_are_kept_only_where_they_are_of_the_entry_before(tmp_path: Path, harm: str) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    for number in (1, 2):
        table = run(tmp_path, number)
    views = tmp_path / "views.sql"
    text, mark = views.read_text(encoding="utf-8"), f"-- of the log entry {table.head.checksum}\n"
    lost = f"  '{table.uri(table.files[0].path)}'"
    assert (text.count(mark), text.count(lost)) == (1, 1)
    other = "-- of the log entry 0123456789abcdef\n" if harm == "another entry" else ""
    views.write_text(text.replace(lost, "  'lost.parquet'").replace(mark, other), encoding="utf-8")

    run(tmp_path, 3)

    assert lost in views.read_text(encoding="utf-8")
    assert "lost.parquet" not in views.read_text(encoding="utf-8")


def test_what_a_run_removes_is_not_described_although_it_adds_rows_too(tmp_path: Path) -> None:
    lake_at(tmp_path).feeds.add(FEED)
    run(tmp_path, 1)
    with lake_at(tmp_path).writing(FEED, {}) as table:
        add_rows(table, 2, [(0, 0, 2, "v2")], NOW + 2 * HOUR)
        (old,) = [file for file in table.files if file.commit == commit_id(1)]
        table.commit(commit_id(3), Change(removes=[old], note={"kind": "expire"}), NOW + 3 * HOUR)
        add_rows(table, 4, [(0, 0, 4, "v4")], NOW + 4 * HOUR)

    text = (tmp_path / "views.sql").read_text(encoding="utf-8")
    assert old.path not in text
    assert text.count(".parquet'") == 2
    assert '"files": 2' in (folder_of(table) / "_metadata.json").read_text(encoding="utf-8")


def test_the_newest_files_are_those_that_the_whole_list_has(tmp_path: Path) -> None:
    """Also where later commits have removed files, and added them again."""
    with lake_at(tmp_path).writing(FEED, {}) as table:
        for number in range(4):
            add_rows(table, number, [(0, partition, 2 * number + n, "v") for partition in (0, 1) for n in (0, 1)])
        first, *_, last = sorted(table.files, key=lambda file: file.path)
        table.commit(commit_id(10), Change(removes=[first, last], note={"kind": "expire"}), NOW)
        table.commit(commit_id(11), Change(returns=[last], note={"kind": "unexpire"}), NOW)
        add_rows(table, 12, [(0, 1, 8, "v")])
        for partition, start in [(p, start) for p in (0, 1) for start in range(9)]:
            within = {"rowpartition": (partition, partition), "rowoffset": (start, start)}
            whole = {file.path: file for file in table._log.files(within)}
            assert {file.path: file for file in table.files_with(partition, start, start)} == whole
        newest = newest_files(table.store, table.delta_version, "date", 1, 8)
        assert newest is not None
        assert [file.commit for file in newest] == [commit_id(12)]
        assert newest_files(table.store, table.delta_version, "date", 2, 8) is None


def test_an_entry_is_the_same_with_and_without_the_list_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    for root, whole in ((tmp_path / "a", False), (tmp_path / "b", True)):
        with lake_at(root).writing(FEED, {}) as table, monkeypatch.context() as patched:
            add_rows(table, 1, [(0, 0, 0, "a")])
            deltalake.DeltaTable(folder_of(table)).create_checkpoint()
            table.refresh()
            if whole:
                patched.setattr(open_log, "log_of_head", lambda store, head: private_log(store, head.version))
            gone = table.files
            add_rows(table, 2, [(0, 0, 1, "b")])
            table.commit(commit_id(3), Change(removes=gone, note={"kind": "expire"}), NOW)
            lines = b"\n".join(table.store.read(entry_name(version)) for version in (2, 3)).splitlines()
            actions = [json.loads(re.sub(rb'"timestamp":\d+,', b"", line)) for line in lines]
            entries.append(sorted(json.dumps(action, sort_keys=True) for action in actions))

    assert entries[0] == entries[1]
