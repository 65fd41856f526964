"""A small lake with all that a copy has to bring, its copies, and a store that dies at a step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.lake.change import Change
from pipeline.lake.copy import CopiedFeed, LakeCopy
from pipeline.lake.lake import Lake
from pipeline.lake.retention import expire
from pipeline.lake.store import Store
from pipeline.lake.table import LakeTable
from pipeline.progress import Meter
from pipeline.unreadable import SCHEMA
from tests.lake.small_tables import DAY_MS, NOW, add_rows, add_version, commit_id, stream_feed, table_feed

EVENTS, TOTALS = stream_feed(retention_days=365, keep_unreadable=True), table_feed()
NEVER = stream_feed(name="never")
DAYS = list(enumerate((200, 1)))
"""How many days ago the rows of each commit are, with their numbers."""
TODAY = int(NOW.timestamp() * 1000)


def lake_in(store: Store, said: Callable[[str], None] = lambda _: None) -> Lake:
    return Lake("", said, 168, store)


def fill(store: Store) -> Lake:
    """Two feeds with data, one of them archived, and one without; records that are no rows; days that have expired."""
    lake = lake_in(store)
    lake.make_folders()
    for feed in (EVENTS, TOTALS, NEVER):
        lake.feeds.add(feed)
    with lake.writing(EVENTS, {}) as table:
        for number in range(3):
            add_rows(table, number, [(TODAY - ago * DAY_MS, 0, 2 * number + n, f"{number}-{ago}") for n, ago in DAYS])
    with lake.writing(EVENTS.of_unreadable(), {}) as beside:
        beside.create(SCHEMA, "topic")
        beside.commit(commit_id(7), Change(note={"kind": "kept"}), NOW)
    with lake.writing(TOTALS, {}) as table:
        for version in range(1, 6):
            add_version(table, version, ["a", "b"][: version % 2 + 1], days=version - 5)
    lake.feeds.archive("totals")
    with lake.writing(stream_feed(retention_days=100), {}) as table:
        expire(table, commit_id(8), NOW, max_share=1)
    lake.runs.begin("20261120T060000Z-00000001", "an export", NOW)
    lake.write_views()
    return lake


def add_more(lake: Lake, number: int) -> None:
    """Commits one more row of the stream."""
    with lake.writing(EVENTS, {}) as table:
        add_rows(table, number, [(TODAY, 0, number, f"more-{number}")])


def copy_lake(source: Store, target: Store, said: Callable[[str], None] = lambda _: None) -> dict[str, CopiedFeed]:
    copy = LakeCopy(source, target, {}, said)
    copy.refuse_other()
    feeds, errors = copy.feeds()
    assert not errors
    done = {feed.name: copy.copy_feed(feed, Meter(feed.name)) for feed in feeds}
    copy.finish()
    return done


def contents(root: Path) -> dict[str, bytes]:
    """All files of a lake on a disk."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rows_of(table: LakeTable) -> list[Any]:
    return sorted(str(row) for batch in table.read_batches(table.files) for row in batch.to_pylist())


class Killed(BaseException):
    """What no code catches."""


class DyingStore:
    """A store on which a process dies at one of the steps that change it: before it, or after it.

    `steps` is how many it lives for. Everything that follows finds it dead.
    """

    VERBS = ("put_new", "take_in", "replace", "append", "delete", "move")

    def __init__(self, store: Store, steps: Iterator[int], dies_at: int) -> None:
        self._store, self._steps, self._dies_at = store, steps, dies_at

    def below(self, folder: str) -> DyingStore:
        return DyingStore(self._store.below(folder), self._steps, self._dies_at)

    def take_in(self, moves: Mapping[str, Path]) -> None:
        for name, path in moves.items():
            self._step(self._store.take_in, {name: path})

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return (lambda *given: self._step(found, *given)) if name in self.VERBS else found

    def _step(self, act: Callable[..., Any], *given: Any) -> Any:
        self._live()
        result = act(*given)
        self._live()
        return result

    def _live(self) -> None:
        if next(self._steps) >= self._dies_at:
            raise Killed


def dying(store: Store, dies_at: int) -> Any:
    return DyingStore(store, itertools.count(1), dies_at)
