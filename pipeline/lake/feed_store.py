"""Feeds on disk: one JSON file each in `feeds/active`; archiving moves it to `feeds/archived`.

Every change replaces one file in one step, so a crash leaves the old feed or the new one. One process at a time changes
feeds, so no change is overwritten by another.
"""

from __future__ import annotations

import contextlib
import difflib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from pipeline.errors import (
    FeedExists,
    FeedInvalid,
    FeedUnknown,
    LakeDamaged,
    LakeMissing,
    PipelineError,
    ViewExists,
    WrongUsage,
)
from pipeline.feeds import Feed, parse_feed
from pipeline.lake.store import Store, disk_errors, json_bytes, parse_json

_ACTIVE, _ARCHIVED = "feeds/active", "feeds/archived"


@dataclass(frozen=True)
class BrokenFeed:
    """A file among the feeds that cannot be read as one, and why; `name` is the file's."""

    name: str
    error: PipelineError


class FoundFeeds(NamedTuple):
    """The feeds that can be read, by name, and the files among them that cannot."""

    feeds: tuple[Feed, ...]
    broken: tuple[BrokenFeed, ...] = ()

    @property
    def errors(self) -> tuple[PipelineError, ...]:
        return tuple(lost.error for lost in self.broken)


class FeedStore:
    """The feeds of one lake."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folder = store.uri("feeds")

    def is_there(self) -> bool:
        """Whether there is a lake at all."""
        return self._store.is_there()

    def make_folders(self) -> None:
        with disk_errors(self.folder):
            self._store.make_folder(_ACTIVE)
            self._store.make_folder(_ARCHIVED)

    def check_there(self) -> None:
        """Raises LakeMissing: a lake that is not mounted is not an empty one."""
        root, begin = self._store.uri(), "or begin a lake there: python manage_feeds.py sync"
        with disk_errors(root, "read"):
            if not self.is_there():
                if (place := self._store.local_path()) is not None and place.exists():
                    raise LakeMissing(f"there is no lake at {root}: it is a file", "set LAKE_ROOT to a folder")
                raise LakeMissing(f"there is no lake at {root}: no such folder", f"mount it, set LAKE_ROOT, {begin}")
        if not any(name.endswith(".json") for folder in (_ACTIVE, _ARCHIVED) for name in self._names(folder)):
            raise LakeMissing(f"there is no lake at {root}: no feeds are there", f"set LAKE_ROOT, {begin}")

    def list(self, archived: bool = False) -> FoundFeeds:
        """All active (or archived) feeds."""
        folder = _ARCHIVED if archived else _ACTIVE
        feeds, broken = list[Feed](), list[BrokenFeed]()
        for name in self._names(folder):
            if not name.endswith(".json"):
                continue
            try:
                feeds.append(self._read(f"{folder}/{name}"))
            except (FeedInvalid, LakeDamaged) as error:
                if self._store.size(f"{folder}/{name}") is None:  # archived or deleted meanwhile
                    continue
                broken.append(BrokenFeed(name.removesuffix(".json"), error))
        return FoundFeeds(tuple(feeds), tuple(broken))

    def readable(self) -> tuple[Feed, ...]:
        """Active and archived feeds, without those whose file cannot be read."""
        return (*self.list().feeds, *self.list(archived=True).feeds)

    def get(self, name: str) -> Feed:
        """The active feed of that name.

        Raises FeedUnknown naming similar feeds.
        """
        self._find_active(name)
        return self._read(f"{_ACTIVE}/{name}.json")

    def get_anywhere(self, name: str) -> Feed:
        """The feed of that name, active or archived."""
        return self._read(f"{self.find(name)}/{name}.json")

    def find(self, name: str) -> str:
        """The folder that has a feed of that name, readable or not. Raises FeedUnknown or LakeMissing."""
        if self._is_in(name, _ARCHIVED):
            return _ARCHIVED
        self._find_active(name)
        return _ACTIVE

    def _find_active(self, name: str) -> None:
        if self._is_in(name, _ACTIVE):
            return
        if not self.is_there():
            self.check_there()
        hint = "python manage_feeds.py list"
        lower = name.lower()  # ksqlDB prints names in upper case
        active = [file.removesuffix(".json") for file in self._names(_ACTIVE) if file.endswith(".json")]
        if self._is_in(lower, _ARCHIVED) and lower not in active:
            hint = f"it is archived: python manage_feeds.py restore {lower}"
        elif near := difflib.get_close_matches(lower, active, 1):
            hint = f"there is {near[0]}; all of them: python manage_feeds.py list"
        raise FeedUnknown(f"there is no feed {name!r} in {self._store.uri(_ACTIVE)}", hint)

    def choose(
        self, names: Sequence[str] = (), archived: bool = False
    ) -> tuple[Sequence[Feed], Sequence[PipelineError]]:
        """The feeds of those names, or all readable ones, and the errors of the others; with `archived` those too."""
        if names:
            get = self.get_anywhere if archived else self.get
            return [get(name) for name in dict.fromkeys(names)], ()
        found = [self.list(), *([self.list(archived=True)] if archived else [])]
        return [feed for one in found for feed in one.feeds], [error for one in found for error in one.errors]

    def select(self, names: Sequence[str], type_: str | None = None) -> tuple[Feed, ...]:
        """The feeds of those names, each of `type_` if given."""
        feeds = tuple(self.get(name) for name in dict.fromkeys(names))
        for feed in feeds:
            if type_ is not None and feed.type != type_:
                raise WrongUsage(f"the feed {feed.name} is a {feed.type}, not a {type_}", f"use --{feed.type}")
        return feeds

    def add(self, feed: Feed) -> None:
        """Adds a feed.

        Raises FeedExists when an active or archived feed has its name, ViewExists when one has a view of its name.
        """
        with self._changing():
            self.refuse_taken(feed)
            self._write(feed)

    def refuse_taken(self, feed: Feed) -> None:
        """Raises what `add` raises."""
        if self._is_in(feed.name, _ACTIVE):
            changes = f"how to change it: python manage_feeds.py update {feed.name} --help"
            raise FeedExists(
                f"there is already a feed {feed.name!r}",
                f"how it is: python manage_feeds.py show {feed.name}; {changes}",
            )
        if self._is_in(feed.name, _ARCHIVED):
            raise FeedExists(
                f"there is already an archived feed {feed.name!r}",
                f"to bring it back: python manage_feeds.py restore {feed.name}",
            )
        for other in self.readable():
            for view in set(feed.view_names) & set(other.view_names):
                raise ViewExists(f"the feed {other.name} has a view {view!r} already", "choose another name")

    def save(self, feed: Feed) -> None:
        """Writes the feed over any feed of its name; `change` replaces one safely."""
        with self._changing():
            self._write(feed)

    def change(self, name: str, changed: Callable[[Feed], Feed]) -> Feed:
        """Replaces an active feed by what `changed` returns for its present state; returns the new feed."""
        with self._changing():
            feed = changed(self.get(name))
            self._write(feed)
        return feed

    def archive(self, name: str) -> None:
        """Puts a feed away; its file need not be readable."""
        with self._changing():
            self._find_active(name)
            self._move(name, _ACTIVE, _ARCHIVED)

    def restore(self, name: str) -> None:
        with self._changing():
            if not self._is_in(name, _ARCHIVED):
                raise FeedUnknown(f"there is no archived feed {name!r}", "python manage_feeds.py list --archived")
            self._move(name, _ARCHIVED, _ACTIVE)

    def take_over(self, other: FeedStore, name: str) -> None:
        """Puts the feed where `other` has it, active or archived, and as it is there."""
        with self._changing():
            folder = other.find(name)
            self._store.replace(f"{folder}/{name}.json", other._store.read(f"{folder}/{name}.json"))
            self._store.delete(f"{_ACTIVE if folder == _ARCHIVED else _ARCHIVED}/{name}.json")

    def delete(self, name: str) -> None:
        """Removes the feed's file, wherever it is; its data stays in the lake."""
        with self._changing():
            folder = self.find(name)
            self._store.delete(f"{folder}/{name}.json")

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self.make_folders()
        with disk_errors(self.folder), self._store.short_lock("feeds/.lock"):
            yield

    def _write(self, feed: Feed) -> None:
        self._store.replace(f"{_ACTIVE}/{feed.name}.json", json_bytes(feed.model_dump(mode="json")))

    def _move(self, name: str, source: str, target: str) -> None:
        self._store.move(f"{source}/{name}.json", f"{target}/{name}.json")

    def _is_in(self, name: str, folder: str) -> bool:
        # Compared with the folder's names, so that a name with slashes cannot lead out of it.
        return f"{name}.json" in self._names(folder)

    def _way_out(self, path: PurePosixPath) -> str:
        name = shlex.quote(path.stem)
        away = f"delete {name} --confirm" if str(path.parent) == _ARCHIVED else f"archive {name}"
        return f"correct it, or put it away: python manage_feeds.py {away}"

    def _names(self, folder: str) -> Sequence[str]:
        with disk_errors(self._store.uri(folder), "read"):
            return self._store.names(folder)

    def _read(self, name: str) -> Feed:
        path, where = PurePosixPath(name), self._store.uri(name)
        way_out = self._way_out(path)
        with disk_errors(where, "read"):
            feed = parse_feed(parse_json(self._store.read(name), where, way_out), where, way_out)
        if feed.name != path.stem:
            raise FeedInvalid(f"{where} holds the feed {feed.name!r}", f"rename the file to {feed.name}.json")
        return feed
