"""Older dates in a colder class of a real S3 server: the same log, and the same rows for every reader."""

from __future__ import annotations

import datetime as dt
import json
import urllib.request
from pathlib import Path
from typing import Any, Literal

import deltalake
import obstore
import polars
import pytest

from pipeline.errors import LakeDamaged, SettingsInvalid, StoreUnreachable
from pipeline.lake.access import StoreAccess
from pipeline.lake.bucket import Bucket
from pipeline.lake.cold import COLD, cool
from pipeline.lake.compaction import Compacted, Goal, compact_part
from pipeline.lake.files import DataFile
from pipeline.lake.lake import Lake
from pipeline.lake.object_store import ObjectStore
from pipeline.lake.retention import expire
from pipeline.lake.table import LakeTable
from pipeline.query import When, answering
from pipeline.verify.files import check_files
from tests.lake.bucket_lakes import lake_of
from tests.lake.small_tables import DAY_MS, NOW, add_rows, add_version, commit_id, stream_feed, table_feed, values
from tests.private_azurite import PrivateAzurite
from tests.private_gcs import PrivateGcs
from tests.private_seaweedfs import PrivateSeaweedfs

pytestmark = pytest.mark.server

TODAY = NOW.date().toordinal() - dt.date(1970, 1, 1).toordinal()
STREAM = stream_feed(hot_days=10, retention_days=365)


def class_of(table: LakeTable, file: DataFile) -> str:
    """The storage class that the server says the object has."""
    assert isinstance(table.store, ObjectStore)
    bucket, key = table.store._bucket, table.store._key(file.path)
    is_azure = table.uri().startswith("az://")
    method: Literal["GET", "HEAD"] = "GET" if is_azure else "HEAD"  # Azure signs a right, and S3 a request
    url = obstore.sign(bucket._again, method, key, dt.timedelta(minutes=5))  # type: ignore[arg-type]
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
        return str(answer.headers.get("x-ms-access-tier" if is_azure else "x-amz-storage-class", "STANDARD"))


def classes(table: LakeTable) -> dict[str, str]:
    return {str(file.partition): class_of(table, file) for file in table.files}


def fill(table: LakeTable) -> None:
    """Rows of today, and of days that are over for 9, 10, 11 and 300 days."""
    for number, days in enumerate((0, 9, 10, 11, 300)):
        add_rows(table, number + 1, [((TODAY - days) * DAY_MS, 0, number, f"v{days}")])


def date(days: int) -> str:
    return str(NOW.date() - dt.timedelta(days=days))


@pytest.fixture
def lake(root: str, seaweedfs: PrivateSeaweedfs) -> Lake:
    lake = lake_of(root, seaweedfs.access)
    lake.feeds.add(STREAM)
    return lake


def test_dates_that_are_over_for_hot_days_are_colder_and_every_reader_sees_the_same(
    lake: Lake, seaweedfs: PrivateSeaweedfs
) -> None:
    with lake.writing(STREAM, {}) as table:
        fill(table)
        version = table.delta_version

        assert (cool(table, NOW), cool(table, NOW)) == (2, 0)

        assert (table.delta_version, json.loads(table.store.read(COLD))["class"]) == (version, "STANDARD_IA")
    table = lake.table(STREAM)
    hot, cold = (
        dict.fromkeys((date(0), date(9), date(10)), "STANDARD"),
        dict.fromkeys((date(11), date(300)), "STANDARD_IA"),
    )
    assert classes(table) == hot | cold
    assert check_files(table).findings == ()
    rows = ["v0", "v10", "v11", "v300", "v9"]
    assert values(table) == rows
    options = seaweedfs.options
    assert (
        sorted(deltalake.DeltaTable(table.uri(), storage_options=options).to_pyarrow_table()["v"].to_pylist()) == rows
    )
    assert sorted(polars.scan_delta(table.uri(), storage_options=options).collect()["v"]) == rows
    with answering(lake, "SELECT v FROM events ORDER BY v", When()) as answer:
        assert [row["v"] for batch in answer.batches() for row in batch.to_pylist()] == rows


def test_azure_keeps_the_class_too(azurite: PrivateAzurite, tmp_path: Path) -> None:
    lake = lake_of(f"az://lakes/{tmp_path.name}", azurite.access)
    with lake.writing(STREAM, {}) as table:
        fill(table)

        assert (cool(table, NOW), cool(table, NOW)) == (2, 0)

        assert sorted(classes(table).values()) == ["Cool"] * 2 + ["Hot"] * 3
        assert values(table) == ["v0", "v10", "v11", "v300", "v9"]


def test_google_keeps_the_class_too(gcs: PrivateGcs, tmp_path: Path) -> None:
    lake = lake_of(f"gs://lakes/{tmp_path.name}", gcs.access)
    with lake.writing(STREAM, {}) as table:
        fill(table)

        assert (cool(table, NOW), cool(table, NOW)) == (2, 0)

        assert isinstance(table.store, ObjectStore)
        found = [gcs.class_of(table.store._key(file.path)) for file in table.files]
        assert sorted(found) == ["NEARLINE"] * 2 + ["STANDARD"] * 3
        assert values(table) == ["v0", "v10", "v11", "v300", "v9"]


def test_versions_of_tables_are_cold_by_the_day_of_their_export(lake: Lake) -> None:
    feed = table_feed(hot_days=1)
    with lake.writing(feed, {}) as table:
        add_version(table, 1, ["a"])
        add_version(table, 2, ["b"], days=9)

        assert cool(table, NOW + dt.timedelta(days=10)) == 1
        assert classes(table) == {"1": "STANDARD_IA", "2": "STANDARD"}


def test_a_run_that_dies_or_has_no_time_leaves_the_rest_to_the_next_one(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lake.writing(STREAM, {}) as table:
        fill(table)
        real, left = Bucket.put, [1]

        def dying(bucket: Bucket, key: str, *given: Any) -> None:
            if key.endswith(".parquet"):
                left[0] -= 1
                if left[0] < 0:
                    raise StoreUnreachable("the object store does not answer", "again")
            real(bucket, key, *given)

        assert cool(table, NOW, lambda: False) == 0
        with monkeypatch.context() as patched, pytest.raises(StoreUnreachable):
            patched.setattr(Bucket, "put", dying)
            cool(table, NOW)
        assert sorted(classes(table).values()) == ["STANDARD"] * 4 + ["STANDARD_IA"]
        assert values(table) == ["v0", "v10", "v11", "v300", "v9"]

    with lake.writing(STREAM, {}) as table:
        assert cool(table, NOW) == 1
        table.store.delete(COLD)  # it can be lost
        assert cool(table, NOW) == 2


def test_compaction_and_expiry_go_on_with_cold_files(lake: Lake) -> None:
    with lake.writing(STREAM, {}) as table:
        fill(table)
        add_rows(table, 8, [((TODAY - 300) * DAY_MS, 0, 20, "more")])
        assert cool(table, NOW) == 3

        compact_part(table, Goal(10**6), commit_id(9), NOW, Compacted("events"))

        assert classes(table)[date(300)] == "STANDARD"
        assert cool(table, NOW + dt.timedelta(hours=1)) == 0  # once a day
        assert cool(table, NOW + dt.timedelta(days=1)) == 2  # the new file, and those of one more day
        assert classes(table)[date(300)] == classes(table)[date(10)] == "STANDARD_IA"
        assert len(json.loads(table.store.read(COLD))["files"]) == 3
        expire(table, commit_id(10), NOW + dt.timedelta(days=100), max_share=1)
        assert "v300" not in values(table)
        table.remove_orphans(0)
        assert check_files(table).findings == ()


def test_a_damaged_file_is_not_written_again(lake: Lake) -> None:
    with lake.writing(STREAM, {}) as table:
        fill(table)
        (oldest,) = (file for file in table.files if file.partition == date(300))
        assert isinstance(table.store, ObjectStore)
        table.store.replace(oldest.path, b"damaged")

        with pytest.raises(LakeDamaged, match="is not what was written"):
            cool(table, NOW)

        assert table.store.read(oldest.path) == b"damaged"
        assert class_of(table, oldest) == "STANDARD"


def test_only_classes_that_answer_at_once_are_taken() -> None:
    assert Bucket("gs", "lakes", StoreAccess(cold_class="ARCHIVE", token="x")).cold_class == "ARCHIVE"
    with pytest.raises(SettingsInvalid) as raised:
        Bucket("s3", "lakes", StoreAccess(cold_class="DEEP_ARCHIVE"))
    assert "DEEP_ARCHIVE is none of s3's classes" in raised.value.message
    assert "GLACIER_IR" in raised.value.hint


def test_a_disk_has_one_class(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), print, 0)
    with lake.writing(STREAM, {}) as table:
        fill(table)
        assert cool(table, NOW) == 0
        assert table.store.size(COLD) is None
