"""A bucket in this process's memory. Each lake of it has caches of its own, as those of other processes have."""

from __future__ import annotations

import itertools
from pathlib import Path

from obstore.store import MemoryStore

from pipeline.lake.access import StoreAccess
from pipeline.lake.bucket import COLD_CLASSES, Bucket, Found
from pipeline.lake.lake import Lake
from pipeline.lake.object_store import ObjectStore

_NUMBERS = itertools.count(1)


class MemoryBucket(Bucket):
    """A bucket that no other has the name of. `has_tags` says whether its lists have the objects' e_tags."""

    def __init__(self, has_tags: bool = True) -> None:
        self.root, self.access, self.cold_class = f"s3://memory{next(_NUMBERS)}", StoreAccess(), COLD_CLASSES["s3"][0]
        self._again = self._once = MemoryStore()
        self.has_tags, self.gets = has_tags, list[str]()

    def get(self, key: str) -> tuple[bytes, Found]:
        self.gets.append(key)
        return super().get(key)

    def names(self, folder: str) -> dict[str, str]:
        names = super().names(folder)
        return names if self.has_tags else dict.fromkeys(names, "")


def store_in(bucket: Bucket, staging: Path) -> ObjectStore:
    """The bucket as another process opens it."""
    return ObjectStore(bucket, "", staging / str(next(_NUMBERS)))


def lake_in(bucket: Bucket, staging: Path) -> Lake:
    """The same as a lake."""
    return Lake(bucket.root, lambda _: None, 0, store=store_in(bucket, staging))
