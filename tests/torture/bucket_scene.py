"""A scene whose lake is in a bucket: a private S3 server, and a proxy before it that can lose and delay requests.

The same experiments take it as the one on a disk: `scene_at` makes either.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ksqldb_emulator.testing import running
from pipeline import cli
from pipeline.lake.bucket import Bucket
from pipeline.lake.lake import Lake
from tests.lying_store import Fault, LyingStore, lying_store
from tests.private_seaweedfs import PrivateSeaweedfs, running_seaweedfs
from tests.torture.victim import COLUMNS, FAST, Scene, feeds_of_scene, make_dataset, scene

Place = Literal["disk", "bucket"]


@dataclass
class BucketScene(Scene):
    """A lake in a bucket below `prefix`, reached by a proxy, and the server that it is filled from."""

    server: PrivateSeaweedfs = field(kw_only=True)
    proxy: LyingStore = field(kw_only=True)
    prefix: str = field(kw_only=True)

    @property
    def env(self) -> dict[str, str]:
        place = {"LAKE_ROOT": f"s3://lakes/{self.prefix}", "LAKE_STORE_ENDPOINT": self.proxy.url}
        return FAST | self.server.settings | place | {"KSQLDB_URL": self.emulator.url}

    @property
    def lake(self) -> Lake:
        """The lake as it truly is."""
        return Lake(f"s3://lakes/{self.prefix}", cli.tell, 0, access=self.server.access)

    @property
    def readers(self) -> tuple[str, ...]:
        return ("delta", "polars", "views")

    @property
    def readers_at_rest(self) -> tuple[str, ...]:
        return self.readers  # what a killed run has left stays for a while

    def seen_by(self, reader: str) -> Counter[tuple[int, int, int]]:
        import deltalake
        import polars

        from tests.torture.readers import rows_of_views

        url, options = f"s3://lakes/{self.prefix}/streams/events", self.server.options
        if reader == "views":
            views = Bucket("s3", "lakes", self.server.access).find(f"{self.prefix}/views.sql")
            return Counter() if views is None else rows_of_views(views[0].decode(), self.lake.filesystem())
        if not deltalake.DeltaTable.is_deltatable(url, options):
            return Counter()
        if reader == "polars":
            return Counter(polars.scan_delta(url, storage_options=options).select(COLUMNS).collect().iter_rows())
        rows = deltalake.DeltaTable(url, storage_options=options).to_pyarrow_table(columns=COLUMNS).to_pydict()
        return Counter(zip(*(rows[name] for name in COLUMNS), strict=True))

    def new_lake(self, name: str) -> None:
        self.prefix = name
        self.lake.feeds.add(self.stream)

    def copy_to(self, prefix: str) -> None:
        """Copies the lake, and goes on with the copy."""
        bucket = Bucket("s3", "lakes", self.server.access)
        for key in list(bucket.all_below(f"{self.prefix}/")):
            bucket.copy(key, prefix + key.removeprefix(self.prefix))
        self.prefix = prefix

    def kill_at(self, number: int, fault: Fault, *arguments: str, script: str, **env: str) -> bool:
        """Kills a command as it sends this request, which the store does not get, or gets later; whether it sent it."""
        process, count = self.start(*arguments, script=script, output=None, **env), 0

        def decide(_method: str, _path: str) -> Fault:
            nonlocal count
            count += 1
            if count != number or process.pid is None:
                return ""
            os.kill(process.pid, signal.SIGKILL)
            return fault

        self.proxy.decide = decide
        process.join()
        self.proxy.decide = lambda _method, _path: ""
        return process.exitcode == -signal.SIGKILL


@contextlib.contextmanager
def bucket_scene(folder: Path, rows: int, days: int = 4) -> Iterator[BucketScene]:
    """An empty lake with a stream feed and a table feed, in a bucket."""
    stream, table = feeds_of_scene()
    with (
        running(make_dataset(rows, days)) as emulator,
        running_seaweedfs(folder) as server,
        lying_store(server.url) as proxy,
    ):
        stage = BucketScene(folder, emulator, stream, table, server=server, proxy=proxy, prefix="lake")
        for feed in (stream, table):
            stage.lake.feeds.add(feed)
        yield stage


def scene_at(place: Place, folder: Path, rows: int, days: int = 4) -> AbstractContextManager[Scene]:
    """An empty lake with a stream feed and a table feed, on a disk or in a bucket."""
    return scene(folder, rows, days) if place == "disk" else bucket_scene(folder, rows, days)


def name_at(place: Place, name: str) -> str:
    """The name of a figure of a lake in that place."""
    return name if place == "disk" else f"{name}-S3"
