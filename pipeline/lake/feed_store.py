"""Feeds on disk: one JSON file each in `feeds/active`, moved to `feeds/archived` when its work is done.

Every change replaces one file whole, so a crash leaves the feed as it was or as it was meant to be. One process at a
time changes feeds, so none writes over another's change.
"""

from __future__ import annotations

import contextlib
import difflib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from pipeline.lake.local_store import (
    delete_file,
    disk_errors,
    make_folder,
    move_file,
    read_json,
    sync_folder,
    write_json,
)
from pipeline.lake.lock import short_lock


@dataclass(frozen=True)
class BrokenFeed:
    """A file among the feeds that is none, and why; its name is the file's."""

    name: str
    error: PipelineError


class FeedStore:
    """The feeds of one lake."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "feeds"
        self._active = root / "feeds" / "active"
        self._archived = root / "feeds" / "archived"

    def is_there(self) -> bool:
        """Whether the lake's root is a folder."""
        return self.root.is_dir()

    def make_folders(self) -> None:
        with disk_errors(self._active.parent):
            make_folder(self._active)
            make_folder(self._archived)

    def check_there(self) -> None:
        """Raises LakeMissing: a lake that is not mounted is not an empty one."""
        root, begin = self.folder.parent, "or begin a lake there: python manage_feeds.py sync"
        with disk_errors(root, "read"):
            if not root.is_dir():
                raise LakeMissing(f"there is no lake at {root}: no such folder", f"mount it, set LAKE_ROOT, {begin}")
        if not any(name.endswith(".json") for folder in (self._active, self._archived) for name in _names(folder)):
            raise LakeMissing(f"there is no lake at {root}: no feeds are there", f"set LAKE_ROOT, {begin}")

    def list(self, archived: bool = False, broken: Callable[[BrokenFeed], None] | None = None) -> tuple[Feed, ...]:
        """All active (or archived) feeds by name, those that can be read; `broken` gets the others.

        Raises FeedInvalid or LakeDamaged for a broken one where there is no `broken`: none is skipped in silence.
        """
        folder, feeds = self._archived if archived else self._active, list[Feed]()
        for name in _names(folder):
            if not name.endswith(".json"):
                continue
            try:
                feeds.append(self._read(folder / name))
            except (FeedInvalid, LakeDamaged) as error:
                if not (folder / name).exists():  # it was archived or deleted just now
                    continue
                if broken is None:
                    raise
                broken(BrokenFeed(name.removesuffix(".json"), error))
        return tuple(feeds)

    def get(self, name: str) -> Feed:
        """The active feed of that name.

        Raises FeedUnknown naming what there is.
        """
        self._find_active(name)
        return self._read(self._active / f"{name}.json")

    def get_anywhere(self, name: str) -> Feed:
        """The feed of that name, active or archived."""
        return self._read(self.find(name) / f"{name}.json")

    def find(self, name: str) -> Path:
        """The folder that has a feed of that name, readable or not. Raises FeedUnknown or LakeMissing."""
        if self._is_in(name, self._archived):
            return self._archived
        self._find_active(name)
        return self._active

    def _find_active(self, name: str) -> None:
        if self._is_in(name, self._active):
            return
        if not self.root.is_dir():
            self.check_there()
        hint = "python manage_feeds.py list"
        if self._is_in(name, self._archived):
            hint = f"it is archived: python manage_feeds.py restore {name}"
        elif near := difflib.get_close_matches(f"{name}.json", _names(self._active), 1):
            hint = f"there is {near[0].removesuffix('.json')}; all of them: python manage_feeds.py list"
        raise FeedUnknown(f"there is no feed {name!r} in {self._active}", hint)

    def choose(
        self, names: Sequence[str] = (), archived: bool = False
    ) -> tuple[Sequence[Feed], Sequence[PipelineError]]:
        """The feeds of those names, or all that can be read, and why others cannot; `archived` ones too."""
        if names:
            get = self.get_anywhere if archived else self.get
            return [get(name) for name in dict.fromkeys(names)], ()
        broken: list[BrokenFeed] = []
        feeds = [*self.list(broken=broken.append), *(self.list(True, broken.append) if archived else ())]
        return feeds, [one.error for one in broken]

    def select(self, names: Sequence[str], type_: str | None = None) -> tuple[Feed, ...]:
        """The feeds of those names, each of `type_` if given."""
        feeds = tuple(self.get(name) for name in dict.fromkeys(names))
        for feed in feeds:
            if type_ is not None and feed.type != type_:
                raise WrongUsage(f"the feed {feed.name} is a {feed.type}, not a {type_}", f"use --{feed.type}")
        return feeds

    def add(self, feed: Feed) -> None:
        """Raises FeedExists when an active or archived feed has its name, ViewExists when one has a view of its."""
        with self._changing():
            self.refuse_taken(feed)
            self._write(feed)

    def refuse_taken(self, feed: Feed) -> None:
        """Raises what `add` raises."""
        if self._is_in(feed.name, self._active):
            raise FeedExists(
                f"there is already a feed {feed.name!r}", f"to change it: python manage_feeds.py update {feed.name}"
            )
        if self._is_in(feed.name, self._archived):
            raise FeedExists(
                f"there is already an archived feed {feed.name!r}",
                f"to bring it back: python manage_feeds.py restore {feed.name}",
            )
        for other in (*self.list(broken=ignored), *self.list(archived=True, broken=ignored)):
            for view in set(feed.view_names) & set(other.view_names):
                raise ViewExists(f"the feed {other.name} has a view {view!r} already", "choose another name")

    def save(self, feed: Feed) -> None:
        """Writes the feed over the one of its name, whatever that is; see `change`."""
        with self._changing():
            self._write(feed)

    def change(self, name: str, changed: Callable[[Feed], Feed]) -> Feed:
        """Replaces an active feed by what `changed` makes of it as it is now; returns that."""
        with self._changing():
            feed = changed(self.get(name))
            self._write(feed)
        return feed

    def archive(self, name: str) -> None:
        """Puts a feed away; its file need not be readable."""
        with self._changing():
            self._find_active(name)
            self._move(name, self._active, self._archived)

    def restore(self, name: str) -> None:
        with self._changing():
            if not self._is_in(name, self._archived):
                raise FeedUnknown(f"there is no archived feed {name!r}", "python manage_feeds.py list --archived")
            self._move(name, self._archived, self._active)

    def delete(self, name: str) -> None:
        """Removes the feed's file, wherever it is; its data stays in the lake."""
        with self._changing():
            folder = self.find(name)
            delete_file(folder / f"{name}.json")
            sync_folder(folder)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self.make_folders()
        feeds = self._active.parent
        with disk_errors(feeds), short_lock(feeds / ".lock"):
            yield

    def _write(self, feed: Feed) -> None:
        write_json(self._active / f"{feed.name}.json", feed.model_dump(mode="json"))

    def _move(self, name: str, source: Path, target: Path) -> None:
        move_file(source / f"{name}.json", target / f"{name}.json")
        sync_folder(target)
        sync_folder(source)

    def _is_in(self, name: str, folder: Path) -> bool:
        # The names of the folder are asked, so that a name with slashes never leaves it.
        return f"{name}.json" in _names(folder)

    def _way_out(self, path: Path) -> str:
        name = shlex.quote(path.stem)
        away = f"delete {name} --confirm" if path.parent == self._archived else f"archive {name}"
        return f"correct it, or put it away: python manage_feeds.py {away}"

    def _read(self, path: Path) -> Feed:
        way_out = self._way_out(path)
        with disk_errors(path, "read"):
            feed = parse_feed(read_json(path, way_out), str(path), way_out)
        if feed.name != path.stem:
            raise FeedInvalid(f"{path} holds the feed {feed.name!r}", f"rename the file to {feed.name}.json")
        return feed


def ignored(_: BrokenFeed) -> None:
    """The views of a feed that cannot be read are not known; its file keeps its name taken."""


def _names(folder: Path) -> list[str]:
    """What is in the folder. `Path.glob` would answer with nothing for a folder that may not be read."""
    with disk_errors(folder, "read"):
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
