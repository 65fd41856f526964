"""The interface of any source of rows: plain values and a few protocols. No server is known here.

A stream is read from its bookmarks on, in tasks; rows of a topic partition come in the order of their offsets, and some
may come again: `once` lets each through once. A table is read whole, with proof of its end. A new source implements
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
"""Larger than any offset that a topic partition can have."""

Outcome = Literal["exact", "quiet", "time limit"]
"""How a read of a stream ended: at its true end, where the server stood still, or because the time was over."""

_WEAKEST_LAST: tuple[Outcome, ...] = ("exact", "quiet", "time limit")


def weakest(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    """The least certain of several outcomes; None while one of the reads goes on."""
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
    """Which rows to read: `new` ones from the bookmarks on, `old` ones before them, with ROWTIME in [start, end) ms."""

    new: bool = True
    old: bool = False
    start_ms: int | None = None
    end_ms: int | None = None


NEW_ROWS, OLD_ROWS, ALL_ROWS = Wanted(), Wanted(new=False, old=True), Wanted(old=True)


@dataclass(frozen=True)
class Task:
    """A part of a stream to read, in plain values: it can be sent to another process.

    `start` are bookmarks by topic partition. `ends` say which partitions are read and how far; without `ends` all
    partitions are read until the source finds no more rows. A task that `is_part` shares its partitions with other
    tasks: it reads only the offsets from start to end in `ends`, and one task of each partition has the bookmark.
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
        """The first offset to read of a partition, without the witnesses before it."""
        known = self.start.get(partition)
        return max(offsets.start, 0 if known is None or self.wanted.old else known.next_offset)


@dataclass(frozen=True)
class Look:
    """What one look at a cluster found. `trouble` says why a read now could lack rows; empty when all is well.

    Two looks are equal when nothing that a read depends on has changed between them.
    """

    state: object = None
    trouble: str = ""


@dataclass(frozen=True)
class Plan:
    """How the wanted rows of a stream will be read. `ends` are the true ends when it was made, where they are known.

    A source that `seeks` reads any offsets of a topic partition without those before them, and can be pickled: its
    tasks may be cut into parts, which other processes read.
    """

    columns: tuple[Column, ...]
    tasks: tuple[Task, ...]
    ends: Mapping[int, Offsets] | None = None
    seeks: bool = False


@dataclass
class StreamRead:
    """A task while it is read: `batches` have `rowtime`, `rowpartition` and `rowoffset`; `outcome` is set after them.

    A read is not `proved` when its connection had to be dropped, so that its last rows may be missing. `unreadable` are
    the records so far that are no rows (see `pipeline.unreadable`), until they are taken.
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
    """One read of a table. `batches` can be taken once; after that `proved` says whether the read is proved complete.

    A read that is exact at known offsets has that `state`: it needs no second read to confirm it. `unreadable` counts,
    by reason, the records that cannot be read and so change no row.
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
        """The columns as DESCRIBE shows them; a plan may know their types more exactly."""

    def ends(self) -> Mapping[int, Offsets] | None:
        """The present start and end of each topic partition; None where they cannot be known."""

    def plan(self, whole: Task, limits: Limits) -> Plan:
        """Splits `whole` into tasks that can be read one by one."""

    def read(self, task: Task, limits: Limits) -> StreamRead:
        """Reads a task. Raises ReadStalled when no more rows come; the rows before it are good."""


class TableSource(Protocol):
    """A table that can be read whole.

    `passing` are the errors after which a read is tried again, `read_by` describes the kind of read for people, and
    `is_watched` says whether a read counts only between two looks at the cluster.
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
        """The columns as DESCRIBE shows them. Raises SourceNotReadable for a table that cannot be read whole."""

    def state(self) -> TableState:
        """The offsets that the table's rows are made of at this moment."""

    def looks(self, state: TableState) -> Callable[[], Look] | None:
        """A function that looks at the cluster before and after a read; None where each read proves itself whole."""

    def read(self, limits: Limits, watched: bool) -> TableRead:
        """Reads all rows; `watched` says that the caller looks at the cluster before and after."""

    def read_at(self, note: StateNote, limits: Limits, /) -> TableRead | None:
        """The rows at a state that was noted before; None where only those of the present can be read."""


class Sources(Protocol):
    """The streams and tables of a server. `place` is its version and address, for people."""

    @property
    def place(self) -> str: ...
    def apart(self) -> AbstractContextManager[Sources]:
        """The same sources with their own connections, for another thread."""

    def list(self) -> Mapping[str, str]:
        """The kind, `stream` or `table`, of each source by its exact name."""

    def find(self, name: str, read_from: ReadFrom = "") -> StreamSource | TableSource:
        """The source of that name, or the only one whose name differs in case alone; `read_from` as in `feeds.Feed`.

        Raises SourceUnknown, and KafkaSettingsInvalid where Kafka is asked for and not set.
        """


OpenSources = Callable[[], AbstractContextManager[Sources]]
"""Connects to a server; raises when it cannot be used, before its streams and tables are asked about."""
