"""Writes to an object that come too soon after others. Google takes one a second, and refuses the rest with 429."""

from __future__ import annotations

import pytest

from pipeline.errors import StoreUnreachable
from pipeline.lake import bucket
from pipeline.lake.lake import Lake
from pipeline.lake.log import entry_name
from tests.lake.bucket_lakes import STREAM, lake_of
from tests.lake.small_tables import add_rows, values
from tests.lying_store import LyingStore, Once
from tests.private_seaweedfs import PrivateSeaweedfs

pytestmark = pytest.mark.server


def test_a_conditional_write_that_came_too_soon_is_sent_again(
    root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, true_lake: Lake
) -> None:
    proxy.decide = Once("429", "_lock.json", times=2)
    with lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}) as table:
        proxy.decide = Once("429", entry_name(1), times=2)
        add_rows(table, 1, [(0, 0, 0, "a")])

    assert proxy.counted["429"] == 4
    assert values(true_lake.table(STREAM)) == ["a"]


def test_a_store_that_is_busy_for_long_is_asked_again_later(
    root: str, seaweedfs: PrivateSeaweedfs, proxy: LyingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "_TOO_SOON_S", (0.0,) * 3)
    proxy.decide = Once("429", "_lock.json", times=9)
    with pytest.raises(StoreUnreachable), lake_of(root, proxy.access(seaweedfs.access)).writing(STREAM, {}):
        pass

    assert proxy.counted["429"] == 4
