"""Topics that have lost rows since the last run: noticed before a row is missing without a word, and never twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ksqldb_emulator.dataset import Dataset, Source
from ksqldb_emulator.testing import running
from tests.integration.small_sources import a_stream, events, export, places, reader_of
from tests.support import feed_for, lake_at, run_script

pytestmark = pytest.mark.server


def two_partitions() -> Source:
    return a_stream(events(5) + events(5, partition=1), partitions=2)


def test_reading_all_again_tells_which_rows_were_lost_in_between(lake_root: Path) -> None:
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:], source.log_start = events(5, first=20), {0: 20}
        refused = export(lake_root, server, feed, "--full")
        accepted = export(lake_root, server, feed, "--full", "--accept-gap")

    assert refused.returncode == 1
    assert "partition 0 now begins at offset 20, but the next row due for the lake is 5" in refused.stderr
    assert accepted.returncode == 0
    assert "partition 0: offsets 5 to 19 are lost" in accepted.stderr
    assert places(lake_root, feed) == Counter([*range(5), *range(20, 25)])
    assert lake_at(lake_root).table(feed).history()[0]["pipeline"]["gaps"] == {"0": [5, 20]}


def test_a_gap_is_accepted_once_though_no_row_comes_after_it(lake_root: Path) -> None:
    source = two_partitions()
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:], source.log_start = events(5), {1: 20}
        refused = export(lake_root, server, feed)
        accepted = export(lake_root, server, feed, "--accept-gap")
        after = export(lake_root, server, feed)

    assert [done.returncode for done in (refused, accepted, after)] == [1, 0, 0]
    assert "offsets 5 to 19 are lost" in accepted.stderr
    assert lake_at(lake_root).table(feed).bookmarks()[1][0] == 20


def test_rows_lost_in_a_partition_that_was_empty_at_the_first_export_are_noticed(lake_root: Path) -> None:
    source = a_stream(events(5), partitions=2)
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records += events(5, first=20, partition=1)
        source.log_start = {1: 20}
        refused = export(lake_root, server, feed)

    assert refused.returncode == 1
    assert "partition 1 now begins at offset 20, but the next row due for the lake is 0" in refused.stderr


def test_an_empty_stream_commits_where_it_ends_once(lake_root: Path) -> None:
    source = a_stream([])
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        for _ in range(3):
            done = export(lake_root, server, feed)
            assert done.returncode == 0, done.stderr

    assert lake_at(lake_root).table(feed).bookmarks() == {0: (0, None)}
    assert lake_at(lake_root).table(feed).delta_version == 1


@pytest.mark.parametrize("readers", [True, False])
def test_a_partition_that_retention_has_emptied_is_not_waited_for(lake_root: Path, readers: bool) -> None:
    source = two_partitions()
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)] if readers else [source])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:], source.log_start = events(5), {1: 5}
        env = {"LAKE_ROOT": str(lake_root), "KSQLDB_URL": server.url, "QUIET_S": "0.5", "STALL_S": "8"}
        proof = run_script("metadata_utils.py", "verify", "--deep", "--source", env=env)
        day = export(lake_root, server, feed, "--date", "2025-11-20")

    assert proof.returncode == 0, proof.stderr
    assert day.returncode == 1
    assert "5 rows of 2025-11-20 that are in the lake are no longer in s_topic" in day.stderr


def test_rows_that_the_server_lost_from_the_front_differ_from_the_lake(lake_root: Path) -> None:
    """The server says that its topic starts at offset 0: what is missing there is not explained by retention."""
    source = a_stream(events(5))
    feed = feed_for(source)
    with running(Dataset([source, reader_of(source)])) as server:
        assert export(lake_root, server, feed).returncode == 0
        source.records[:2] = []
        proof = run_script(
            "metadata_utils.py",
            "verify",
            "--deep",
            "--source",
            env={"LAKE_ROOT": str(lake_root), "KSQLDB_URL": server.url},
        )

    assert proof.returncode == 1
    assert "5 rows in the lake, 3 on the server" in " ".join(proof.stdout.split())
