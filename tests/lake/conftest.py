"""Fixtures of a lake on an object store: its root, a true way to it, and a proxy that may lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.lake.lake import Lake
from tests.lake.bucket_lakes import lake_of
from tests.lying_store import LyingStore, lying_store
from tests.private_seaweedfs import PrivateSeaweedfs


@pytest.fixture
def root(tmp_path: Path) -> str:
    return f"s3://lakes/{tmp_path.name}"


@pytest.fixture
def proxy(seaweedfs: PrivateSeaweedfs) -> Iterator[LyingStore]:
    with lying_store(seaweedfs.url) as proxy:
        yield proxy


@pytest.fixture
def true_lake(root: str, seaweedfs: PrivateSeaweedfs) -> Lake:
    return lake_of(root, seaweedfs.access)
