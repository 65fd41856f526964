"""What a feed's metadata in another format is; a value that needs none of that format's packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Where the metadata of a feed is, for which Delta version, and how many snapshots it has.

    `location` is what a reader opens, `metadata_location` the file that a catalog names.
    """

    feed: str
    location: str
    metadata_location: str
    delta_version: int
    snapshots: int
    new_snapshots: int
    format: str
