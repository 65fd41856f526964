"""What the lake promises, whatever it is kept in: the same tests for each store."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import deltalake
import duckdb
import pyarrow as pa
import pytest

from pipeline.errors import CommitFailed, FeedExists, FeedLocked, FeedLost
from pipeline.lake.bucket import Bucket, Found
from pipeline.lake.change import Change
from pipeline.lake.compaction import Compacted, Goal, compact_part
from pipeline.lake.files import parquet_files
from pipeline.lake.lake import Lake, Upkeep
from pipeline.lake.leftovers import note_moves
from pipeline.lake.local_store import LocalStore
from pipeline.lake.log import entry_name
from pipeline.lake.retention import expire
from pipeline.lake.rewrite import roll_back, widen
from pipeline.lake.store import Store
from pipeline.lake.stores import open_store
from pipeline.lake.table import LakeTable
from pipeline.lake.unexpire import unexpire_feed
from pipeline.readiness import check_disk, check_lake_root
from pipeline.verify.files import check_files
from tests.lake.memory_store import MemoryStore
from tests.lake.small_tables import (
    NOW,
    SCHEMA,
    TABLE,
    add_rows,
    add_version,
    commit_id,
    stream_feed,
    table_feed,
    values,
)

STREAM, FEED = stream_feed(), table_feed(retention_versions=2)
ROUNDS = 4


def on_local_disk(request: pytest.FixtureRequest) -> Store:
    return LocalStore(request.getfixturevalue("tmp_path"))


def in_memory(request: pytest.FixtureRequest) -> Store:
    return MemoryStore(disk=request.getfixturevalue("tmp_path"))


def on_s3(request: pytest.FixtureRequest) -> Store:
    server, path = request.getfixturevalue("seaweedfs"), request.getfixturevalue("tmp_path")
    return open_store(f"s3://lakes/{path.name}", server.access)


def on_azure(request: pytest.FixtureRequest) -> Store:
    server, path = request.getfixturevalue("azurite"), request.getfixturevalue("tmp_path")
    return open_store(f"az://lakes/{path.name}", server.access)


def on_google(request: pytest.FixtureRequest) -> Store:
    server, path = request.getfixturevalue("gcs"), request.getfixturevalue("tmp_path")
    return open_store(f"gs://lakes/{path.name}", server.access)


SERVERS = {"s3": "seaweedfs", "az": "azurite", "gs": "gcs"}
BUCKETS = [pytest.param(made, marks=pytest.mark.server) for made in (on_s3, on_azure, on_google)]
STORES = [on_local_disk, in_memory, *BUCKETS]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    made: Callable[[pytest.FixtureRequest], Store] = request.param
    return made(request)


@pytest.fixture
def options(store: Store, request: pytest.FixtureRequest) -> dict[str, str]:
    """What the Delta library needs to read there."""
    scheme, is_url, _ = store.uri().partition("://")
    return dict(request.getfixturevalue(SERVERS[scheme]).options) if is_url else {}


@pytest.fixture
def lake(store: Store) -> Lake:
    return Lake("", lambda _: None, 0, store)


class TestAnyStore:
    def test_rows_and_bookmarks_are_there_together_and_stay(self, lake: Lake) -> None:
        with lake.writing(STREAM, {}) as table:
            assert not table.exists
            add_rows(table, 1, [(0, 0, 5, "a"), (1, 2, 9, "b")])
            add_rows(table, 2, [(0, 0, 6, "c")])

        again = lake.table(STREAM)
        assert values(again) == ["a", "b", "c"]
        assert {partition: mark.next_offset for partition, mark in again.bookmarks().items()} == {0: 7, 2: 10}
        assert check_files(again).findings == ()

    def test_an_entry_that_is_there_is_never_written_over(self, lake: Lake) -> None:
        with lake.writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
            other = lake.table(STREAM)
            add_rows(other, 2, [(0, 0, 1, "first")])
            entry = table.store.read(entry_name(2))

            with pytest.raises(CommitFailed, match="another program has committed version 2"):
                add_rows(table, 3, [(0, 0, 1, "second")])

            assert table.store.read(entry_name(2)) == entry
        assert values(lake.table(STREAM)) == ["a", "first"]

    @pytest.mark.parametrize("store", BUCKETS, indirect=True)
    def test_of_six_commits_at_once_by_runs_that_hold_nothing_exactly_one_is_done(self, lake: Lake) -> None:
        add_rows(lake.table(STREAM), 1, [(0, 0, 0, "0")])
        start, won = threading.Barrier(6), ["0"]

        def commit(table: LakeTable, round_: int, number: int) -> str:
            value = f"{round_}-{number}"
            start.wait()
            with contextlib.suppress(CommitFailed):
                add_rows(table, round_ * 6 + number, [(0, 0, round_, value)])
                return value
            return ""

        with ThreadPoolExecutor(6) as pool:
            for round_ in range(1, ROUNDS + 1):
                tables = [lake.table(STREAM) for _ in range(6)]
                done = list(filter(None, pool.map(commit, tables, [round_] * 6, range(6))))
                assert len(done) == 1
                won += done

        assert values(lake.table(STREAM)) == sorted(won)
        assert lake.table(STREAM).delta_version == ROUNDS + 1

    @pytest.mark.parametrize("store", BUCKETS, indirect=True)
    def test_a_log_entry_is_fetched_once_however_often_the_log_is_listed(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with lake.writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
        real, fetched = Bucket.get, list[str]()

        def get(bucket: Bucket, key: str) -> tuple[bytes, Found]:
            fetched.append(key)
            return real(bucket, key)

        monkeypatch.setattr(Bucket, "get", get)
        for _ in range(2):
            assert values(lake.table(STREAM)) == ["a"]

        assert len(fetched) == len(set(fetched))

    def test_one_run_holds_a_feed(self, lake: Lake) -> None:
        with lake.writing(STREAM, {}), pytest.raises(FeedLocked), lake.writing(STREAM, {}):
            pass
        with lake.writing(STREAM, {}):
            pass

    def test_a_run_that_holds_the_feed_no_longer_commits_nothing(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with lake.writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
            hold = table.store.held()
            with monkeypatch.context() as patched:
                patched.setattr(type(hold), "check", _lost)
                with pytest.raises(FeedLost):
                    add_rows(table, 2, [(0, 0, 1, "b")])

        assert values(lake.table(STREAM)) == ["a"]

    def test_versions_expire_come_back_and_are_published_again(self, lake: Lake) -> None:
        with lake.writing(FEED, {}) as table:
            for version in (1, 2, 3):
                add_version(table, version, ["k"] * version)
            assert expire(table, commit_id(4), NOW, max_share=1) == ["1"]
            assert list(table.versions()) == [2, 3]
            assert roll_back(table, 2, commit_id(5), NOW) == 4
        longer = FEED.model_copy(update={"retention_versions": 9})
        lake.grace_hours = 24
        upkeep = Upkeep(lake, {}, commit_id(6), NOW, 1)
        assert unexpire_feed(upkeep, longer).partitions == ["1"]

        assert {v: sum(f.row_count for f in files) for v, files in lake.table(FEED).versions().items()} == {
            1: 1, 2: 2, 3: 3, 4: 2,
        }  # fmt: skip
        assert check_files(lake.table(FEED)).findings == ()

    def test_a_column_becomes_wider(self, lake: Lake) -> None:
        narrow = TABLE.set(1, pa.field("amount", pa.decimal128(20, 10)))
        with lake.writing(FEED, {}) as table:
            add_version(table, 1, ["a"], schema=narrow)
            widen(table, table.match_schema(TABLE), TABLE, commit_id(2), NOW)

        assert lake.table(FEED).schema.field("amount").type == TABLE.field("amount").type
        assert [batch.num_rows for batch in lake.table(FEED).read_batches(lake.table(FEED).files)] == [1]

    def test_many_small_files_become_one_with_the_same_rows(self, lake: Lake) -> None:
        with lake.writing(STREAM, {}) as table:
            for number in range(3):
                add_rows(table, number, [(0, 0, number, f"v{number}")])
            before = table.bookmarks()
            assert not compact_part(table, Goal(10**6), commit_id(9), NOW, Compacted("events"))

        again = lake.table(STREAM)
        assert (len(again.files), values(again), again.bookmarks()) == (1, ["v0", "v1", "v2"], before)
        assert check_files(again).findings == ()
        assert again.history()[0]["pipeline"]["kind"] == "compact"

    def test_what_no_commit_names_is_removed(self, lake: Lake) -> None:
        with lake.writing(STREAM, {}) as table:
            add_rows(table, 1, [(0, 0, 0, "a")])
        orphan = f"date=1970-01-01/{commit_id(9)}-00000-{'0' * 16}.parquet"
        note_moves(table.store, 2, commit_id(9), [orphan])
        table.store.replace(orphan, b"of a run that was killed")
        (table.staging_folder("left")).mkdir(parents=True)

        with lake.writing(STREAM, {}) as table:
            assert not table.staging_folder("left").exists()
            add_rows(table, 2, [(0, 0, 1, "b")])
        with lake.writing(STREAM, {}) as table:
            assert table.store.size(orphan) is None  # at the latest now: the log has no more room for its entry
            assert values(table) == ["a", "b"]
            table.commit(commit_id(3), Change(removes=table.files), NOW)
            assert table.remove_orphans(0) == 2

    def test_metadata_and_views_are_written_from_the_log(
        self, lake: Lake, store: Store, options: dict[str, str]
    ) -> None:
        lake.feeds.add(FEED)
        with lake.writing(FEED, {}) as table:
            add_version(table, 1, ["a"])
            add_version(table, 2, ["a", "b"])

        written = json.loads(table.store.read("_metadata.json"))
        assert (written["current_version"], written["totals"]["rows"]) == (2, 3)
        with duckdb.connect() as connection:
            store.uri()
            if (filesystem := lake.filesystem()) is not None:
                connection.register_filesystem(filesystem)
            connection.execute(store.read("views.sql").decode())
            assert connection.sql("SELECT count(*) FROM totals_history").fetchall() == [(3,)]
        assert deltalake.DeltaTable(table.uri(), storage_options=options).version() == table.delta_version

    def test_a_checkpoint_is_what_readers_begin_with(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pipeline.lake.table.CHECKPOINT_EVERY", 2)
        with lake.writing(FEED, {}) as table:
            for version in range(1, 5):
                add_version(table, version, ["k"], now=NOW + dt.timedelta(hours=version))
        table.store.delete(*(entry_name(number) for number in range(4)))

        assert list(lake.table(FEED).versions()) == [1, 2, 3, 4]

    def test_feeds_are_added_changed_and_put_away(self, lake: Lake) -> None:
        lake.feeds.add(STREAM)
        with pytest.raises(FeedExists):
            lake.feeds.add(STREAM)
        lake.feeds.archive(STREAM.name)
        assert lake.feeds.list().feeds == ()
        lake.feeds.restore(STREAM.name)
        assert lake.feeds.get(STREAM.name) == STREAM
        lake.feeds.delete(STREAM.name)
        assert lake.feeds.list().feeds == ()

    def test_the_space_for_new_files_is_known_before_the_lake_is_there(self, lake: Lake) -> None:
        assert [check.state for check in (check_lake_root(lake), check_disk(lake))] == ["ok", "ok"]

    def test_all_data_of_a_feed_is_deleted(self, lake: Lake) -> None:
        with lake.writing(STREAM, {}) as table:
            table.create(SCHEMA, "topic")
            add_rows(table, 1, [(0, 0, 0, "a")])

        lake.delete_data(STREAM, {})

        assert [*table.store.names("_delta_log"), *parquet_files(table.store)] == []
        assert not lake.table(STREAM).exists


def _lost(_: object) -> None:
    raise FeedLost("it was taken away", "run the same command again")
