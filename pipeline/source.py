"""What any source of rows is and gives: plain values, and the few calls that it answers. Nothing here knows a server.

A stream is read from bookmarks on, in tasks; rows of a topic partition come in the order of their offsets, and some may
come again: `once` lets each through once. A table is read whole, with proof of its end. A new source implements
`Sources`, `StreamSource` and `TableSource`, as `ksqldb.source` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from pipeline.errors import TryLater
from pipeline.limits import Limits

if TYPE_CHECKING:  # imported before anything that takes long is needed
    import pyarrow as pa

    from pipeline.columns import Column
    from pipeline.feeds import ReadFrom

UNKNOWN = -1
MOST_RECORDS = 2**44
"""More than a topic partition will ever have: no offset is as large."""

Outcome = Literal["exact", "quiet", "time limit"]
"""How a read of a stream ended: at its true end, where the server stood still, or because the time was over."""

_WEAKEST_LAST: tuple[Outcome, ...] = ("exact", "quiet", "time limit")


def weakest(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    """How several reads ended together; None while one of them goes on."""
    ended = [outcome for outcome in outcomes if outcome is not None]
    return max(ended, key=_WEAKEST_LAST.index, default=None) if len(ended) == len(outcomes) else None


@dataclass(frozen=True)
class Source:
    """A stream or table, and the topic that its rows are in; `topic_id` is empty where it is not known."""

    name: str
    kind: str
    topic: str
    partitions: int
    topic_id: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Offsets:
    """A topic partition's first offset that still exists (or UNKNOWN), its end, and how far a query has read it.

    `written` is the end of all records, those of open transactions too; UNKNOWN where it is not known.
    """

    start: int
    end: int
    consumed: int
    written: int = UNKNOWN


class Bookmark(NamedTuple):
    """How far a topic partition was read: the next offset, and the ROWTIME of the row before it, if there was one."""

    next_offset: int
    last_rowtime_ms: int | None = None


@dataclass(frozen=True)
class Wanted:
    """Which rows: `new` ones from the bookmarks on, `old` ones before them; those with ROWTIME in [start, end), ms."""

    new: bool = True
    old: bool = False
    start_ms: int | None = None
    end_ms: int | None = None


NEW_ROWS, OLD_ROWS, ALL_ROWS = Wanted(), Wanted(new=False, old=True), Wanted(old=True)


@dataclass(frozen=True)
class Task:
    """A part of a stream to read, in plain values: it can be sent to another process.

    `start` are bookmarks by topic partition. `ends` say which partitions are read and how far; without them all are,
    until the source finds no more. A task that `is_part` shares its partitions with others: its own are the offsets
    from each start to each end in `ends` alone, and one task of a partition has its bookmark.
    """

    feed: str
    topic: str
    start: Mapping[int, Bookmark]
    ends: Mapping[int, Offsets] | None = None
    wanted: Wanted = NEW_ROWS
    accept_gap: bool = False
    is_part: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read, by its ends."""
        return self.ends is not None and all(at.end <= self.first(p, at) for p, at in self.ends.items())

    def first(self, partition: int, offsets: Offsets) -> int:
        """The first offset that is wanted of a partition; witnesses lie before it."""
        known = self.start.get(partition)
        return max(offsets.start, 0 if known is None or self.wanted.old else known.next_offset)


@dataclass(frozen=True)
class Look:
    """What one look at a cluster found. `trouble` says why a read now could lack rows; empty when all is well.

    Two looks are equal when nothing has changed between them that a read depends on.
    """

    state: object = None
    trouble: str = ""


@dataclass(frozen=True)
class Plan:
    """How what is wanted of a stream will be read. `ends` are the true ends at that moment, where they are known.

    A source that `seeks` reads any offsets of a topic partition without those before them, and can be pickled: its
    tasks may be cut into parts, which other processes read.
    """

    columns: tuple[Column, ...]
    tasks: tuple[Task, ...]
    ends: Mapping[int, Offsets] | None = None
    seeks: bool = False


@dataclass
class StreamRead:
    """A task while it is read: `batches` have `rowtime`, `rowpartition` and `rowoffset`; after them the rest is known.

    Where a read is not `proved`, the connection had to be left, and the last rows may not have come. `unreadable` are
    the records so far that are no rows (see `pipeline.unreadable`): whoever takes the batches takes them away.
    """

    batches: Iterator[pa.RecordBatch]
    outcome: Outcome | None = None
    proved: bool = True
    unreadable: list[pa.RecordBatch] = field(default_factory=list)

    def take_unreadable(self) -> list[pa.RecordBatch]:
        taken, self.unreadable = self.unreadable, []
        return taken


@dataclass
class TableRead:
    """One read of a table. `batches` can be taken once; after it the read is proved complete, or not `proved`.

    A read that knows the offsets at which it is exact has that `state`: it is whole, and none has to agree with it.
    `unreadable` counts, by reason, the records that are no changes because they cannot be read.
    """

    columns: tuple[Column, ...]
    batches: Iterator[pa.RecordBatch]
    proved: bool = True
    state: TableState | None = None
    unreadable: dict[str, int] = field(default_factory=dict)


StateNote = Mapping[str, Mapping[str, Sequence[int]]]
"""A `TableState` as JSON: topic, partition, [offset up to which it was read, end]."""


@dataclass(frozen=True)
class TableState:
    """What a table's rows are made of, by topic and partition; empty where it is not known.

    `lag` counts the records that are not in its rows yet; None where that is not known.
    """

    offsets: Mapping[str, Mapping[int, Offsets]]
    lag: int | None = None

    @property
    def note(self) -> dict[str, dict[str, list[int]]] | None:
        """As a StateNote; None where the state is not known.

        A table whose state is the same at two moments has had the same rows since.
        """
        found = {
            topic: {str(p): [at.consumed, at.end] for p, at in sorted(by_partition.items())}
            for topic, by_partition in sorted(self.offsets.items())
        }
        return found or None


class StreamSource(Protocol):
    """A stream that can be read from bookmarks on."""

    @property
    def kind(self) -> Literal["stream"]: ...
    @property
    def source(self) -> Source: ...
    def columns(self) -> tuple[Column, ...]:
        """As they are described; a plan may know their types more exactly."""

    def ends(self) -> Mapping[int, Offsets] | None:
        """The present start and end of each topic partition; None where they cannot be known."""

    def plan(self, whole: Task, limits: Limits) -> Plan:
        """`whole` in tasks that can be read one by one."""

    def read(self, task: Task, limits: Limits) -> StreamRead:
        """The rows of a task. Raises ReadStalled when no more come, and what has come is to be kept."""


class TableSource(Protocol):
    """A table that can be read whole.

    `passing` are the errors after which a read is tried again, `read_by` says for people how a read is made, and
    `is_watched` whether it counts only between two looks at the cluster.
    """

    @property
    def kind(self) -> Literal["table"]: ...
    @property
    def source(self) -> Source: ...
    @property
    def passing(self) -> tuple[type[TryLater], ...]: ...
    @property
    def read_by(self) -> str: ...
    @property
    def is_watched(self) -> bool: ...
    def columns(self) -> tuple[Column, ...]:
        """As they are described. Raises SourceNotReadable for a table that cannot be read whole."""

    def state(self) -> TableState:
        """What the table is made of at this moment."""

    def looks(self, state: TableState) -> Callable[[], Look] | None:
        """What looks at the cluster, for a read between two looks; None where every read proves itself."""

    def read(self, limits: Limits, watched: bool) -> TableRead:
        """All rows now; `watched` by looks before and after, or with a proof of its own."""

    def read_at(self, note: StateNote, limits: Limits, /) -> TableRead | None:
        """The rows at a state that was noted before; None where only those of the present can be read."""


class Sources(Protocol):
    """The streams and tables of a server. `place` is its version and address, for people."""

    @property
    def place(self) -> str: ...
    def apart(self) -> AbstractContextManager[Sources]:
        """The same, with connections of its own, for another thread."""

    def list(self) -> Mapping[str, str]:
        """Every one by its exact name: `stream` or `table`."""

    def find(self, name: str, read_from: ReadFrom = "") -> StreamSource | TableSource:
        """The one of that name, or the only one that equals it but for case; its rows come the way that is asked for.

        Raises SourceUnknown, and KafkaSettingsInvalid for a way that there are no settings for.
        """


OpenSources = Callable[[], AbstractContextManager[Sources]]
"""Connects to a server. Raises what is wrong with it, before anything is asked of its streams and tables."""
