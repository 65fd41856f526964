"""One writer a feed on an object store: a lease, which is an object that is written with a condition.

It is a courtesy: it spares two runs the same work, and a run that has lost it commits nothing more. Rows do not depend
on it, because a log entry is written only where no other run has written one. A run renews its lease while it lives; it
is taken over when that run has ended, on this machine, or has not renewed it for LEASE_S by the store's clock. The
object stays and names the last run. A crash leaves a lease that is taken over like that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import FeedLocked, FeedLost, StoreNotSafe, StoreRefused, StoreUnreachable
from pipeline.lake.bucket import Bucket, Found, Tag
from pipeline.lake.holder import Holder
from pipeline.lake.store import json_bytes

LEASE_S, RENEW_S = 300, 60
"""How long a lease lasts without renewal, and from one renewal to the next."""
SHORT_S = 60
"""The same for one that is held for moments only, and how long is waited for it."""
_UNSURE = dt.timedelta(days=1)
"""Longer than a commit takes from its first file to its entry, and longer than a request may be under way."""
_NUMBERS = itertools.count(1)
_HELD: dict[str, Lease] = {}
_PROVED: set[str] = set()


@dataclass
class Lease:
    """A lease that this process holds. `before` is the run that held it last, if that is recorded.

    `doubted_at` is when, by the store's clock, a lease was last taken over from a run that may still live.
    """

    bucket: Bucket
    key: str
    what: str
    holder: Holder
    before: Holder | None = None
    doubted_at: dt.datetime | None = None
    tag: Tag = field(default_factory=dict)
    _number: int = field(default_factory=lambda: next(_NUMBERS))
    _ended: threading.Event = field(default_factory=threading.Event)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Raises FeedLost when another run has the lease, or the object was deleted."""
        found = self.bucket.find(self.key)
        if found is None or not self._is_ours(found[0]):
            raise FeedLost(
                f"{self.what} was taken over by another run, or {self.bucket.root}/{self.key} was deleted; "
                "nothing was committed",
                "run the same command again",
            )

    @property
    def since(self) -> dt.datetime | None:
        return self.holder.since

    @property
    def previous_since(self) -> dt.datetime | None:
        """When the run before this one began, by its own clock."""
        return self.before.since if self.before is not None else None

    def kept_from(self, may_be_named: bool) -> float:
        """A leftover written at this moment (epoch seconds of the store) or later may be of a run that lives.

        Infinite where all earlier runs are known to have ended, unless the leftovers `may_be_named`: an entry that a
        run has sent may arrive after its end.
        """
        have_ended = self.before is not None and self.before.has_ended_for(self.holder) and self.doubted_at is None
        if have_ended and not may_be_named:
            return float("inf")
        found = self.bucket.head(self.key)
        return (found.written_at - _UNSURE).timestamp() if found else float("-inf")

    def take(self, lasts_s: float) -> None:
        """Raises FeedLocked naming the run that holds it."""
        found = self.bucket.find(self.key)
        if found is None:
            self._write(None)
            return
        data, known = found
        record = _parse(data)
        self.before = Holder.parse(record)
        self.doubted_at = _moment(record.get("doubted_at"))
        if not self._has_ended():
            asked_at = self._ask_clock()
            if asked_at < known.written_at + dt.timedelta(seconds=lasts_s):
                raise self.locked(self.before)
            self.doubted_at = asked_at
        elif self.doubted_at is not None and known.written_at > self.doubted_at + _UNSURE:
            self.doubted_at = None
        self._write(known)

    def keep(self) -> None:
        """Renews the lease from now on, until it is released or lost."""
        threading.Thread(target=self._renew, name=f"lease of {self.key}", daemon=True).start()

    def release(self) -> None:
        """Records that this run has ended. Where that fails the next run waits until the lease expires."""
        self._ended.set()
        with self._writing, contextlib.suppress(OSError, StoreUnreachable, StoreRefused):
            try:
                self.bucket.update(self.key, self._record(released=True), self.tag)
            except FileExistsError:
                if self._finds_own():
                    self.bucket.update(self.key, self._record(released=True), self.tag)

    def prove(self) -> None:
        """Raises StoreNotSafe where the store lets a second object take the place of this one; once a process."""
        if self.bucket.root not in _PROVED:
            refuse_unsafe(self.bucket, self.key, self._record())
            _PROVED.add(self.bucket.root)

    def _has_ended(self) -> bool:
        return self.before is not None and self.before.has_ended_for(self.holder)

    def _ask_clock(self) -> dt.datetime:
        """The store's time: when it wrote an object just now."""
        asked = f"{self.key}.asked"
        self.bucket.put(asked, b"")
        found = self.bucket.head(asked)
        self.bucket.delete([asked])
        return found.written_at if found else dt.datetime.min.replace(tzinfo=dt.UTC)

    def _write(self, over: Found | None) -> None:
        data = self._record()
        try:
            self.tag = (
                self.bucket.create(self.key, data) if over is None else self.bucket.update(self.key, data, over.tag)
            )
        except (OSError, StoreUnreachable) as error:
            if not self._finds_own():
                raise (self.locked(self.before) if isinstance(error, OSError) else error) from None

    def _finds_own(self) -> bool:
        """Whether the store has this lease, by a request whose answer was lost too; takes note of its tag."""
        found = self.bucket.find(self.key)
        if found is None or not self._is_ours(found[0]):
            return False
        self.tag = found[1].tag
        return True

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            with self._writing, contextlib.suppress(StoreUnreachable, StoreRefused):
                try:
                    if not self._ended.is_set():
                        self.tag = self.bucket.update(self.key, self._record(), self.tag)
                except OSError:
                    if not self._finds_own():
                        return  # `check` will say so

    def _record(self, released: bool = False) -> bytes:
        doubted = self.doubted_at.isoformat() if self.doubted_at is not None else None
        holder = dataclasses.replace(self.holder, released=released)
        return json_bytes({**holder.as_json(), "lease": self._number, "doubted_at": doubted})

    def _is_ours(self, data: bytes) -> bool:
        record = _parse(data)
        return (record.get("process"), record.get("lease")) == (dict(self.holder.process), self._number)

    def locked(self, by: Holder | None) -> FeedLocked:
        named = f" ({by})" if by is not None and str(by) else ""
        return FeedLocked(
            f"{self.what} is held by another run{named}",
            f"wait for it to end; the lease of a run that was killed on another machine ends after {LEASE_S} s",
        )


@contextlib.contextmanager
def hold(bucket: Bucket, key: str, what: str, holder: Mapping[str, Any]) -> Iterator[Lease]:
    """Holds the lease until the block ends. `holder` is shown to a second run. Raises FeedLocked and StoreNotSafe."""
    with _taken(Lease(bucket, key, what, Holder.of_this_process(holder)), LEASE_S) as lease:
        lease.prove()
        lease.keep()
        yield lease


@contextlib.contextmanager
def short_hold(bucket: Bucket, key: str) -> Iterator[None]:
    """Waits for a lease that is held for moments only. Raises FeedLocked."""
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        while True:
            lease = Lease(bucket, key, f"{bucket.root}/{key}", Holder.of_this_process({}))
            try:
                stack.enter_context(_taken(lease, SHORT_S))
                break
            except FeedLocked:
                if time.monotonic() - begun > SHORT_S:
                    raise
                time.sleep(0.2)
        yield


@contextlib.contextmanager
def _taken(lease: Lease, lasts_s: float) -> Iterator[Lease]:
    place = f"{lease.bucket.root}/{lease.key}"
    there = _HELD.setdefault(place, lease)
    if there is not lease:
        raise lease.locked(there.holder)
    try:
        lease.take(lasts_s)
        try:
            yield lease
        finally:
            lease.release()
    finally:
        del _HELD[place]


def held(bucket: Bucket, key: str) -> Lease | None:
    """This process's lease of that key."""
    return _HELD.get(f"{bucket.root}/{key}")


def refuse_unsafe(bucket: Bucket, key: str, data: bytes) -> None:
    """Raises StoreNotSafe unless the store refuses to create the object `key`, which exists and has these bytes."""
    with contextlib.suppress(FileExistsError):
        bucket.create(key, data)
        raise StoreNotSafe(
            f"the store of {bucket.root} ignores If-None-Match: of two runs one would replace the other's commit",
            "use a store, or a version of it, with conditional writes; see docs/object-stores.md",
        )


def _parse(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _moment(text: Any) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(text) if text else None
    except (TypeError, ValueError):
        return None
