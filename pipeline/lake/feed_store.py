"""Feeds on disk: one JSON file each in `feeds/active`, moved to `feeds/archived` when its work is done.

Every change replaces one file whole, so a crash leaves the feed as it was or as it was meant to be. One process at a
time changes feeds, so none writes over another's change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.errors import WrongUsage
from pipeline.feeds import Feed, FeedInvalid, parse_feed
from pipeline.lake.storage import (
    LakeDamaged,
    delete_file,
    disk_errors,
    make_folder,
    move_file,
    read_json,
    short_lock,
    sync_folder,
    write_json,
)


class FeedUnknown(WrongUsage):
    """There is no such feed."""


class FeedExists(WrongUsage):
    """A feed of that name is there already."""


class ViewExists(FeedExists):
    """A feed of another name has a view of that name already."""


class FeedStore:
    """The feeds of one lake."""

    def __init__(self, root: Path) -> None:
        self._active = root / "feeds" / "active"
        self._archived = root / "feeds" / "archived"

    def make_folders(self) -> None:
        with disk_errors(self._active.parent):
            make_folder(self._active)
            make_folder(self._archived)

    def list(self, archived: bool = False) -> tuple[Feed, ...]:
        """All active (or archived) feeds by name.

        Raises FeedInvalid for a file that is no valid feed: a broken feed is never skipped in silence.
        """
        folder, feeds = self._archived if archived else self._active, list[Feed]()
        for name in _names(folder):
            if name.endswith(".json"):
                try:
                    feeds.append(self._read(folder / name))
                except LakeDamaged:
                    if (folder / name).exists():  # else it was archived or deleted just now
                        raise
        return tuple(feeds)

    def get(self, name: str) -> Feed:
        """The active feed of that name.

        Raises FeedUnknown naming what there is.
        """
        path = self._active / f"{name}.json"
        if not self._is_in(name, self._active):
            hint = "python manage_feeds.py list"
            if self._is_in(name, self._archived):
                hint = f"it is archived: python manage_feeds.py restore {name}"
            raise FeedUnknown(f"there is no feed {name!r}", hint)
        return self._read(path)

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
            for folder, where in ((self._active, "active"), (self._archived, "archived")):
                if self._is_in(feed.name, folder):
                    raise FeedExists(
                        f"there is already an {where} feed {feed.name!r}",
                        "choose another name, or change it: manage_feeds.py update",
                    )
            for other in (*self.list(), *self.list(archived=True)):
                for view in set(feed.view_names) & set(other.view_names):
                    raise ViewExists(f"the feed {other.name} has a view {view!r} already", "choose another name")
            self._write(feed)

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
        with self._changing():
            self.get(name)
            self._move(name, self._active, self._archived)

    def restore(self, name: str) -> None:
        with self._changing():
            if not self._is_in(name, self._archived):
                raise FeedUnknown(f"there is no archived feed {name!r}", "python manage_feeds.py list --archived")
            self._move(name, self._archived, self._active)

    def delete(self, name: str) -> None:
        """Removes the feed's file, wherever it is; its data stays in the lake."""
        with self._changing():
            folder = self._archived if self._is_in(name, self._archived) else self._active
            if folder is self._active:
                self.get(name)
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

    def _read(self, path: Path) -> Feed:
        with disk_errors(path, "read"):
            feed = parse_feed(read_json(path), str(path))
        if feed.name != path.stem:
            raise FeedInvalid(f"{path} holds the feed {feed.name!r}", f"rename the file to {feed.name}.json")
        return feed


def _names(folder: Path) -> list[str]:
    """What is in the folder. `Path.glob` would answer with nothing for a folder that may not be read."""
    with disk_errors(folder, "read"):
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
