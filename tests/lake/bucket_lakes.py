"""Lakes in the bucket of a private S3 server."""

from __future__ import annotations

from pipeline.lake.access import StoreAccess
from pipeline.lake.lake import Lake
from pipeline.lake.store import Store
from tests.lake.small_tables import stream_feed

STREAM = stream_feed()


def lake_of(root: str, access: StoreAccess) -> Lake:
    return Lake(root, lambda _: None, 0, access=access)


def store_of(lake: Lake) -> Store:
    return lake.table(STREAM).store
