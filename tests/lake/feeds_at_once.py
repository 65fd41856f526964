"""Changes feeds from several processes at once: tag|sync ROOT PROCESSES CHANGES; prints how many each has added."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from data_lake_config import DEFAULT_FEEDS
from pipeline.feed_changes import create_missing
from pipeline.lake.feed_store import FeedStore
from tests.support import lake_at


def tag(store: FeedStore, me: int, changes: int) -> None:
    for number in range(changes):
        new = f"{me}-{number}"
        store.change("f", lambda feed: feed.model_copy(update={"tags": (*feed.tags, new)}))  # noqa: B023 # called at once


def sync(store: FeedStore, me: int, changes: int) -> None:  # noqa: ARG001 # as tag
    os.write(1, b"%d\n" % len(create_missing(store, DEFAULT_FEEDS, lambda _: None)))


def main(act: str, root: str, processes: str, changes: str) -> None:
    children = []
    for me in range(int(processes)):
        if (child := os.fork()) == 0:
            {"tag": tag, "sync": sync}[act](lake_at(Path(root)).feeds, me, int(changes))
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitpid(child, 0)[1] for child in children) != 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
