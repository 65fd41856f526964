"""A lease in a store of this process: what other threads and lost answers leave of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import FeedLocked, StoreUnreachable
from pipeline.lake import lease
from pipeline.lake.bucket import Tag
from pipeline.lake.holder import Holder
from pipeline.lake.lease import Lease
from tests.lake.memory_bucket import MemoryBucket

KEY = "_lock.json"


class LosesAnswers(MemoryBucket):
    """The answer to the next update is lost; the object is written."""

    loses = False

    def update(self, key: str, data: bytes, tag: Tag) -> Tag:
        written = super().update(key, data, tag)
        if self.loses:
            self.loses = False
            raise StoreUnreachable("the answer was lost", "run the same command again")
        return written


def held_by(bucket: MemoryBucket) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(bucket.get(KEY)[0])
    return record


def test_a_thread_that_lets_go_while_another_asks_for_the_same_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = MemoryBucket()
    other = Lease(bucket, KEY, "the feed events", Holder.of_this_process({"command": "other"}))

    class LetsGo(dict[str, Lease]):
        """It has the other's lease at the first look, and nothing after it."""

        def setdefault(self, _place: str, _lease: Lease) -> Lease:  # type: ignore[override]  # as it is called
            return other

    monkeypatch.setattr(lease, "_HELD", LetsGo())

    with (
        pytest.raises(FeedLocked, match=r"the feed events is held by another run \(command other"),
        lease.hold(bucket, KEY, "the feed events", {}),
    ):
        pass


def test_a_run_that_ends_after_the_answer_to_a_renewal_was_lost_is_known_to_have_ended() -> None:
    bucket = LosesAnswers()
    with lease.hold(bucket, KEY, "the feed events", {}) as held:
        bucket.loses = True
        with pytest.raises(StoreUnreachable):
            bucket.update(KEY, bucket.get(KEY)[0], held.tag)

    assert held_by(bucket)["released"] is True


def test_a_run_that_ends_does_not_let_go_of_what_another_has_taken_over() -> None:
    bucket = MemoryBucket()
    with lease.hold(bucket, KEY, "the feed events", {}):
        bucket.put(KEY, b'{"holder": {"command": "other"}}')

    assert held_by(bucket) == {"holder": {"command": "other"}}
