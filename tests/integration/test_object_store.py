"""The scripts on a lake in a bucket: the whole main job, upkeep and repair, and runs that are killed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.table import StaticTable

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline import cli
from pipeline.feeds import Feed
from pipeline.lake.lake import Lake
from pipeline.lake.log import entry_name
from tests.expected import expected_rows, rows_of
from tests.gcs_front import gcs_front
from tests.integration.commands import FAST, ran
from tests.integration.small_sources import DAY_MS, columns
from tests.lying_store import Fault, LyingStore, lying_store
from tests.private_gcs import PrivateGcs
from tests.private_seaweedfs import KEY, SECRET, PrivateSeaweedfs
from tests.support import ROOT, feed_for

ROWS = 40


@pytest.fixture
def stream() -> Source:
    """A row each six hours until today, whatever today is."""
    now = int(time.time() * 1000)
    records = [Record(n % 2, n // 2, now - (ROWS - n) * DAY_MS // 4, {"ID": n, "TEXT": f"é{n}"}) for n in range(ROWS)]
    return Source("S", "STREAM", columns(ID="BIGINT", TEXT="STRING"), "s_topic", 2, records)


@pytest.fixture
def totals() -> Source:
    records = [Record(0, n, 0, {"ID": n, "TEXT": "one"}) for n in range(5)]
    return Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, records)


@pytest.fixture
def server(stream: Source, totals: Source) -> Iterator[Emulator]:
    with running(Dataset([stream, totals])) as emulator:
        yield emulator


class Bucket:
    """A lake in a bucket, and the scripts' way to it: by a proxy that counts requests."""

    def __init__(
        self, server: PrivateSeaweedfs | PrivateGcs, proxy: LyingStore, emulator: Emulator, prefix: str
    ) -> None:
        self.proxy, self.root = proxy, f"{'s3' if isinstance(server, PrivateSeaweedfs) else 'gs'}://lakes/{prefix}"
        self.lake = Lake(self.root, cli.tell, 0, access=server.access)
        self.env = FAST | server.settings | {"LAKE_STORE_ENDPOINT": proxy.url, "LAKE_ROOT": self.root}
        self.iceberg = {"s3.endpoint": server.url, "s3.access-key-id": KEY, "s3.secret-access-key": SECRET}
        self.env |= {"KSQLDB_URL": emulator.url, "EXPIRE_GRACE_HOURS": "0"}

    def run(self, script: str, *arguments: str, code: int = 0, **env: str) -> str:
        done = ran(Path(), script, *arguments, code=code, env=self.env | env)
        return str(done.stdout)

    def cost(self, *arguments: str) -> tuple[int, int, int]:
        """How many requests of an export read (but for data files), list and write; an entry is read once."""
        asked = list[tuple[str, str]]()

        def note(method: str, path: str) -> Fault:
            if not path.endswith(".parquet") or method == "PUT":
                asked.append((method, path))
            return ""

        self.proxy.decide = note
        self.run("export_to_data_lake", *arguments)
        entries = [path for method, path in asked if method == "GET" and re.search(r"/\d{20}\.json$", path)]
        assert len(entries) == len(set(entries))
        lists = sum("list-type" in path for _, path in asked)
        reads = sum(method in ("GET", "HEAD") for method, _ in asked) - lists
        return reads, lists, len(asked) - lists - reads

    def rows(self, feed: Feed) -> object:
        table = self.lake.table(feed)
        shown = table.files if feed.type == "stream" else table.versions()[table.current_version or 0]
        found = expected_rows(Source("NONE", "STREAM", (), "", 1, []))
        for batch in table.read_batches(shown):
            found += rows_of(batch)
        return found


@pytest.fixture
def bucket(seaweedfs: PrivateSeaweedfs, server: Emulator, tmp_path: Path) -> Iterator[Bucket]:
    with lying_store(seaweedfs.url) as proxy:
        yield Bucket(seaweedfs, proxy, server, tmp_path.name)


def test_an_export_puts_older_dates_into_the_colder_class(bucket: Bucket, stream: Source, tmp_path: Path) -> None:
    feed = feed_for(stream)
    bucket.lake.feeds.add(feed)
    on_a_disk = ran(tmp_path, "manage_feeds", "add", "--name=s", "--type=stream", "--source=S", "--hot-days=2", code=2)
    said = bucket.run("manage_feeds", "update", feed.name, "--hot-days", "3")

    first = bucket.run("export_to_data_lake", "--all", LAKE_STORE_COLD_CLASS="GLACIER_IR")
    again = bucket.run("export_to_data_lake", "--all", LAKE_STORE_COLD_CLASS="GLACIER_IR")

    assert "a disk has one class of storage" in on_a_disk.stderr
    assert said == f"updated {feed.name}: hot_days = 3\n"
    assert re.search(r"\d files of older dates put into GLACIER_IR", first)
    assert "GLACIER_IR" not in again
    assert bucket.rows(feed) == expected_rows(stream)


def test_the_scripts_do_their_work_on_a_bucket(
    bucket: Bucket, server: Emulator, stream: Source, totals: Source
) -> None:
    feeds = [feed_for(stream), feed_for(totals, retention_versions=9)]
    for feed in feeds:
        bucket.lake.feeds.add(feed)
    assert "conditional writes: of two writers" in bucket.run("test_setup", "--no-mysql")

    bucket.run("export_to_data_lake", "--all")
    server.append("S", [Record(0, ROWS // 2, int(time.time() * 1000), {"ID": 99, "TEXT": "new"})])
    bucket.run("export_to_data_lake", "--all")

    for feed in feeds:
        assert bucket.rows(feed) == expected_rows(server.source(feed.source))
    bucket.run("metadata_utils", "verify", "--deep", "--source")
    assert f"rows: {ROWS + 1}" in bucket.run("metadata_utils", "sql", "SELECT 'rows: ' || count(*) AS n FROM s")
    bucket.run("metadata_utils", "publish", "--iceberg")
    published = StaticTable.from_metadata(f"{bucket.root}/streams/s/_iceberg", bucket.iceberg)
    assert published.scan().count() == ROWS + 1
    bucket.run("metadata_utils", "rollback", "t", "--to-version", "1")
    assert bucket.lake.table(feeds[1]).current_version == 3
    bucket.run("manage_feeds", "update", "s", "--retention-days", "5")
    assert "s: expired" in bucket.run("metadata_utils", "expire", "s", "--yes")
    assert "s: " in bucket.run("metadata_utils", "compact", "s")
    bucket.run("metadata_utils", "verify", "--deep", "--source")
    assert "killed" not in bucket.run("metadata_utils", "runs")


def test_the_scripts_do_their_work_where_an_object_takes_one_write_a_second(
    gcs: PrivateGcs, server: Emulator, stream: Source, totals: Source, tmp_path: Path
) -> None:
    with gcs_front(gcs.port, apart_s=1) as front, lying_store(f"http://127.0.0.1:{front}") as proxy:
        bucket = Bucket(gcs, proxy, server, tmp_path.name)
        feeds = [feed_for(stream), feed_for(totals, retention_versions=9)]
        for feed in feeds:
            bucket.run("manage_feeds", "add", "--name", feed.name, "--type", feed.type, "--source", feed.source)
        assert "conditional writes: of two writers" in bucket.run("test_setup", "--no-mysql")

        bucket.run("export_to_data_lake", "--all")
        server.append("S", [Record(0, ROWS // 2, int(time.time() * 1000), {"ID": 99, "TEXT": "new"})])
        bucket.run("export_to_data_lake", "--all")

        assert bucket.rows(feeds[0]) == expected_rows(server.source("S"))
        assert "s: " in bucket.run("metadata_utils", "compact", "s")
        bucket.run("metadata_utils", "verify", "--deep", "--source")
        for feed in feeds:
            assert bucket.rows(feed) == expected_rows(server.source(feed.source))


def test_a_bucket_that_cannot_be_used_is_named_before_anything_else_of_it_is_asked(bucket: Bucket) -> None:
    said = bucket.run("test_setup", "--no-mysql", code=1, LAKE_STORE_SECRET="another")

    (failed,) = [line for line in said.splitlines() if line.startswith("failed")]
    assert failed.endswith("conditional writes: the object store refuses")  # the line goes on
    assert "another" not in said
    assert "ksqldb" not in said


def test_a_lost_file_is_found_and_repaired_in_a_bucket(bucket: Bucket, server: Emulator, stream: Source) -> None:
    feed = feed_for(stream)
    bucket.lake.feeds.add(feed)
    bucket.run("export_to_data_lake", "--all")
    table = bucket.lake.table(feed)
    table.store.delete(table.files[0].path)
    table.store.replace(table.files[1].path, b"something else")

    bucket.run("metadata_utils", "verify", "--deep", code=1)
    bucket.run("metadata_utils", "repair", "s", "--yes")

    bucket.run("metadata_utils", "verify", "--deep", "--source")
    assert bucket.rows(feed) == expected_rows(server.source("S"))


@pytest.mark.parametrize(
    ("method", "end"),
    [("PUT", ".parquet"), ("PUT", entry_name(1)), ("GET", ".views.lock"), ("PUT", "s/_metadata.json")],
    ids=["before its files", "before its commit", "after its commit", "at the last file"],
)
def test_a_run_that_is_killed_loses_and_doubles_nothing(
    bucket: Bucket, server: Emulator, stream: Source, method: str, end: str
) -> None:
    feed = feed_for(stream)
    bucket.lake.feeds.add(feed)
    process: list[subprocess.Popen[bytes]] = []

    def kill(asked: str, path: str) -> Fault:
        if process and asked == method and path.endswith(end):
            process[0].kill()
            return "request lost"
        return ""

    bucket.proxy.decide = kill
    command = [sys.executable, "export_to_data_lake.py", "--all"]
    process.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | bucket.env, stderr=subprocess.DEVNULL))
    assert process[0].wait() == -9
    process.clear()

    for _ in range(2):  # what it has uploaded goes when the log has no more room for its entry
        bucket.run("export_to_data_lake", "--all")

    assert bucket.rows(feed) == expected_rows(server.source("S"))
    bucket.run("metadata_utils", "verify", "--deep", "--source")
    table = bucket.lake.table(feed)
    on_store = {
        f"{folder}/{name}" for folder in table.store.names() if "=" in folder for name in table.store.names(folder)
    }
    assert on_store == {file.path for file in table.files}
    assert "killed" in [run.state for run in bucket.lake.runs.newest(9)]


def test_the_page_says_what_runs_cost_in_requests(
    bucket: Bucket, server: Emulator, stream: Source, totals: Source
) -> None:
    for source in (stream, totals):
        bucket.lake.feeds.add(feed_for(source))
    bucket.run("export_to_data_lake", "--all")
    costs = {"a stream, nothing new": bucket.cost("--stream", "s")}
    server.append("S", [Record(0, ROWS // 2, int(time.time() * 1000), {"ID": 99, "TEXT": "new"})])
    costs["a stream, new rows of one day"] = bucket.cost("--stream", "s")
    costs["a table, a new version"] = bucket.cost("--table", "t")

    page = (ROOT / "docs" / "object-stores.md").read_text(encoding="utf-8")
    shown = {cells[1].strip(): tuple(cells[2:5]) for line in page.splitlines() if len(cells := line.split("|")) == 6}

    assert {name: tuple(f" {count} " for count in cost) for name, cost in costs.items()}.items() <= shown.items(), costs
