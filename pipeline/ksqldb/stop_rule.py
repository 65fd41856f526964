"""When a push query has reached its end, by its positions in SHOW QUERIES EXTENDED; this module sends no requests.

Facts, seen on 7.2, 7.6 and 8.3: the listed `endOffset` is the fetched offset, not the end of the topic; an empty
partition stays at -1; a scan that is behind fetches full polls, several a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.once import topic_recreated
from pipeline.source import UNKNOWN, Offsets, Outcome, Source

Position = tuple[int, int]  # fetched, committed

_NOT_FETCHED: Position = (-1, -1)
_POLL_RECORDS = 1000  # max.poll.records of the server's consumer
_EMPTY_FACTOR = 4  # a busy server fetches nothing for seconds, which looks like an empty partition
_IDLE_S = 0.8  # two looks: a scan without work for so long gives its turn to the next one


@dataclass
class StopRule:
    """Decides from the positions seen over time whether the scan is at its end.

    Where the ends are known, they decide. Else the server is `quiet` when for `quiet_s` it fetched less than one full
    poll and has processed it: a scan that is behind fetches full polls, several a second, so slower rows are new
    arrivals. Without this rule a stream that is written to all the time would never reach its end. A scan of large
    records is as slow: as long as it moves, it has `slow_s` to reach its bookmark.

    A partition without fetched records is empty, or the server is busy: it gets more time, unless the scan is past the
    bookmarks of other partitions and this one has no bookmark. `idle` says that the scan is past its bookmarks and only
    waits.
    """

    source: Source
    quiet_s: float
    ends: Mapping[int, Offsets] | None
    bookmark: Mapping[int, int]
    slow_s: float = 120
    idle: bool = False
    _calm: dict[int, Position] = field(default_factory=dict)
    _calm_since: float = 0.0
    _last: dict[int, Position] = field(default_factory=dict)
    _moved_at: float = 0.0
    _unfetched_since: float | None = None

    def decide(self, positions: dict[int, Position], now: float) -> Outcome | None:
        """`exact`, `quiet`, or None to go on.

        Raises TopicChanged when the scan ended before the bookmark.
        """
        if self.ends is not None:
            return self._decide_by_ends(self.ends, positions, now)
        if not self._is_calm(positions):
            self._calm, self._calm_since = positions, now
        if positions != self._last:
            self._last, self._moved_at = positions, now
        behind = [p for p, (_, committed) in positions.items() if 0 <= committed < self.bookmark.get(p, 0)]
        patience = self.quiet_s * (_EMPTY_FACTOR if self._may_be_unread(positions) else 1)
        if behind and now - self._moved_at < self.quiet_s:
            patience = max(patience, self.slow_s)
        all_there = set(positions) >= set(range(self.source.partitions))
        is_done = all_there and self._is_processed(positions)
        is_past = bool(self.bookmark) and not self._may_be_unread(positions)
        self.idle = is_done and not behind and (is_past or now - self._calm_since >= min(_IDLE_S, patience))
        if not is_done or now - self._calm_since < patience:
            return None
        for partition in behind:
            raise topic_recreated(self.source.topic, partition, positions[partition][1], self.bookmark[partition])
        return "quiet"

    def _decide_by_ends(
        self, ends: Mapping[int, Offsets], positions: Mapping[int, Position], now: float
    ) -> Outcome | None:
        """A partition that retention has emptied is never fetched: it is waited for only if its start is unknown."""
        due = [partition for partition, offsets in ends.items() if not self._reached(partition, offsets, positions)]
        if not due:
            return "exact"
        if any(ends[p].start != UNKNOWN or positions.get(p) != _NOT_FETCHED for p in due):
            self._unfetched_since, self.idle = None, False
            return None
        if self._unfetched_since is None:
            self._unfetched_since = now
        self.idle = now - self._unfetched_since >= _IDLE_S
        return "quiet" if now - self._unfetched_since >= self.quiet_s * _EMPTY_FACTOR else None

    def _reached(self, partition: int, offsets: Offsets, positions: Mapping[int, Position]) -> bool:
        nothing_new = offsets.end <= max(self.bookmark.get(partition, 0), offsets.start)
        return nothing_new or positions.get(partition, _NOT_FETCHED)[1] >= offsets.end

    def _may_be_unread(self, positions: Mapping[int, Position]) -> bool:
        """Whether a partition that was not fetched may have due rows."""
        had_rows = {partition for partition, mark in self.bookmark.items() if mark > 0}
        return any(at == _NOT_FETCHED and (p in had_rows or not had_rows) for p, at in positions.items())

    def _is_calm(self, positions: Mapping[int, Position]) -> bool:
        """Whether less than one full poll was fetched, or is unprocessed, since the scan was calm last."""
        if set(positions) != set(self._calm):
            return False
        steps = [positions[partition][0] - before[0] for partition, before in self._calm.items()]
        waiting = sum(max(0, fetched + 1 - committed) for fetched, committed in positions.values() if fetched >= 0)
        return all(step >= 0 for step in steps) and sum(steps) < _POLL_RECORDS and waiting < _POLL_RECORDS

    @staticmethod
    def _is_processed(positions: Mapping[int, Position]) -> bool:
        return all(position == _NOT_FETCHED or position[1] > position[0] for position in positions.values())
