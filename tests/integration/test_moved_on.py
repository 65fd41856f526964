"""`verify --source` finds what is wrong, and not what time and the lake's own retention have changed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ksqldb_emulator import cluster
from ksqldb_emulator.dataset import Dataset, Query, Record, Source
from ksqldb_emulator.testing import Emulator, running
from tests.integration.small_sources import DAY_MS, START_MS, a_stream, columns, export, places
from tests.lake.small_tables import SCHEMA
from tests.support import feed_for, lake_at, run_script

pytestmark = pytest.mark.server


def verify(root: Path, server: Emulator, code: int = 0) -> Any:
    env = {"LAKE_ROOT": str(root), "KSQLDB_URL": server.url, "QUIET_S": "0.5"}
    done = run_script("metadata_utils.py", "verify", "--deep", "--source", env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_a_table_that_has_moved_on_is_no_problem(lake_root: Path) -> None:
    records = [Record(0, n, START_MS + n, {"ID": n, "TEXT": f"v{n}"}) for n in range(4)]
    source = Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, records)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed_for(source)).returncode == 0
        same = verify(lake_root, server)
        source.records.append(Record(0, 4, START_MS, {"ID": 4, "TEXT": "new"}))
        moved = verify(lake_root, server)

    assert same.stdout == "t: ok; 1 file read, 4 rows\n  4 rows as on the server\n"
    assert moved.stdout.startswith("t: ok; 1 file read, 4 rows\n  the table on the server has moved on since")


def test_a_table_of_a_cluster_that_lost_a_node_is_not_compared(
    lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pull is short, and the table in the same state as ever: that is no problem of the lake."""
    monkeypatch.setitem(cluster._FATES, cluster.Phase.DEAD, [cluster.Pull.SHORT])
    records = [Record(n % 3, n // 3, START_MS + n, {"ID": n, "TEXT": f"v{n}"}) for n in range(30)]
    stream = Source("S", "STREAM", columns(ID="BIGINT KEY", TEXT="STRING"), "s", 3, records)
    query = Query("CTAS_T_1", "CREATE ...", ("T",), ("t",), ("s",), "Aggregate-GroupBy-repartition")
    table = Source("T", "TABLE", stream.columns, "t", 3, list(records), write_query=query)
    with running(Dataset([stream, table])) as server:
        server.cluster.start_nodes(2)
        assert export(lake_root, server, feed_for(table)).returncode == 0
        never = 1e9
        server.cluster.kill_node(cluster.BadMinute(0, never, never, never, slow_look_s=0))
        done = verify(lake_root, server, code=75)

    assert "rows differ" not in done.stdout
    assert "the table T cannot be read whole now" in done.stderr


def test_late_rows_that_expired_in_the_lake_are_not_missed(lake_root: Path) -> None:
    today = int(time.time() * 1000)
    source = a_stream([Record(0, n, today - (9 - n) * DAY_MS, {"ID": n, "TEXT": "v"}) for n in range(10)])
    feed = feed_for(source, retention_days=5)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records += [Record(0, 10 + n, today - (8 - n) * DAY_MS, {"ID": n, "TEXT": "late"}) for n in range(5)]
        assert export(lake_root, server, feed).returncode == 0
        sound = verify(lake_root, server)
        source.records[9].values["TEXT"] = "other"  # type: ignore[index] # it has values
        wrong = verify(lake_root, server, code=1)

    assert 10 not in places(lake_root, feed)
    assert "as on the server" in sound.stdout
    assert "\n  expired in the lake and still on the server: 7 rows\n" in sound.stdout
    assert "values differ from the server's" in wrong.stdout


def test_rows_that_expired_are_not_missed_after_a_longer_retention_was_set(lake_root: Path) -> None:
    today = int(time.time() * 1000)
    source = a_stream([Record(0, n, today - (9 - n) * DAY_MS, {"ID": n, "TEXT": "v"}) for n in range(10)])
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed_for(source, retention_days=5)).returncode == 0
        lake_at(lake_root).feeds.save(feed_for(source, retention_days=365))
        done = verify(lake_root, server)

    assert done.stdout.endswith("\n  6 rows as on the server\n  expired in the lake and still on the server: 4 rows\n")


def test_a_stream_that_no_export_has_finished_is_not_exported_yet(lake_root: Path) -> None:
    source = a_stream([Record(0, 0, START_MS, {"ID": 0, "TEXT": "v"})])
    feed = feed_for(source)
    with running(Dataset([source])) as server:
        assert export(lake_root, server, feed, "--dry-run").returncode == 0
        lake_at(lake_root).table(feed).create(SCHEMA, source.topic)  # as a run leaves it that was killed after that
        done = verify(lake_root, server)

    assert done.stdout == "s: not exported yet\n"
