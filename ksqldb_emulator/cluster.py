"""The nodes behind the emulated server, and the minute after one of them dies.

As recorded with two nodes of 7.6 at default settings: the living node answers table pulls at once without the dead
one's rows, sometimes with an error element at their end, sometimes not at all; SHOW QUERIES EXTENDED shows the dead
host as UNRESPONSIVE and leaves out its tasks; shortly before these have moved pulls are empty; for a moment afterwards
the moved tasks still restore their state. DESCRIBE shows none of this.
"""

from __future__ import annotations

import math
import random
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

from ksqldb_emulator.dataset import Query, Source

EXHAUSTED = (
    "io.confluent.ksql.execution.streams.materialization.MaterializationException: Unable to execute pull query: "
    "Exhausted standby hosts to try.Forwarding pull query request failed with error Error issuing POST to KSQL server. "
    "path:/query "
)


class Phase(Enum):
    WHOLE = "whole"
    UNSEEN = "the node is dead, and SHOW QUERIES does not know it"
    DEAD = "the node is unresponsive"
    RETURNING = "its tasks come back, without state"
    RESTORING = "its tasks have moved, and restore their state"


class Pull(Enum):
    """The result of one table pull."""

    WHOLE = "whole"
    SHORT = "without the dead node's rows"
    FAILING = "without them, and with an error element"
    EMPTY = "no row at all"
    HANGING = "no end"
    SILENT = "no byte"


@dataclass(frozen=True)
class BadMinute:
    """Times in seconds after the death, before scaling; and the longest time of a look while the dead host is asked."""

    seen_s: float = 0.3
    returning_s: float = 42
    moved_s: float = 52
    restored_s: float = 53
    slow_look_s: float = 3
    scale: float = 1

    def phase(self, age_s: float) -> Phase:
        bounds = (
            (self.seen_s, Phase.UNSEEN),
            (self.returning_s, Phase.DEAD),
            (self.moved_s, Phase.RETURNING),
            (self.restored_s, Phase.RESTORING),
        )
        return next((phase for bound, phase in bounds if age_s < bound * self.scale), Phase.WHOLE)


_FATES = {
    Phase.WHOLE: [Pull.WHOLE],
    Phase.UNSEEN: [Pull.SHORT, Pull.FAILING],
    Phase.DEAD: [Pull.SHORT] * 5 + [Pull.FAILING] * 5 + [Pull.HANGING, Pull.SILENT],
    Phase.RETURNING: [Pull.EMPTY] * 4 + [Pull.SHORT] * 2 + [Pull.HANGING, Pull.SILENT],
    Phase.RESTORING: [Pull.SHORT, Pull.WHOLE],
}


@dataclass
class Cluster:
    """One node, or more; `kill_node` lets the last of them die: now, in some seconds, under a pull or at a look.

    `paused`: somebody has paused every query.
    """

    hosts: list[str] = field(default_factory=lambda: ["127.0.0.1:8088"])
    paused: bool = False
    random: random.Random = field(default_factory=random.Random)
    pulls: Counter[Pull] = field(default_factory=Counter)
    looks: Counter[Phase] = field(default_factory=Counter)
    _minute: BadMinute | None = None
    _dead_at: float = 0.0
    _dies_at_pull: int = 0
    _dies_at_look: bool = False

    def start_nodes(self, count: int) -> None:
        self.hosts, self._minute = [f"127.0.0.1:{8088 + number}" for number in range(count)], None
        self._dies_at_pull, self._dies_at_look = 0, False

    def kill_node(self, minute: BadMinute, in_s: float = 0.0, at_pull: int = 0, at_look: bool = False) -> None:
        """Kills the last node during that table pull (1: the next one), at the next look, or after `in_s` seconds."""
        self._dead_at, self._minute, self._dies_at_pull = time.monotonic() + in_s, minute, at_pull
        self._dies_at_look = at_look
        if at_pull or at_look:
            self._dead_at = math.inf

    @property
    def phase(self) -> Phase:
        age_s = time.monotonic() - self._dead_at
        return Phase.WHOLE if self._minute is None or age_s < 0 else self._minute.phase(age_s)

    def statuses(self) -> dict[str, str]:
        """What SHOW QUERIES EXTENDED says of each host that runs a query."""
        phase = self.phase
        if self.paused:
            return dict.fromkeys(self.hosts, "PAUSED")
        if phase in (Phase.DEAD, Phase.RETURNING):
            return {self.hosts[-1]: "UNRESPONSIVE"} | dict.fromkeys(self.hosts[:-1], "RUNNING")
        moved = phase is Phase.RESTORING or (phase is Phase.WHOLE and self._is_over)
        return dict.fromkeys(self.hosts[:-1] if moved else self.hosts, "RUNNING")

    def lists_task(self, subtopology: int, partition: int) -> bool:
        phase = self.phase
        if phase is Phase.DEAD or (phase is Phase.RETURNING and subtopology):
            return not self._was_on_dead_node(subtopology, partition)
        return True

    def look_takes_s(self) -> float:
        """How long this SHOW QUERIES takes; counts it in `looks`."""
        if self._dies_at_look:
            self._dead_at, self._dies_at_look = time.monotonic(), False
        phase = self.phase
        self.looks[phase] += 1
        slow = phase in (Phase.UNSEEN, Phase.DEAD, Phase.RETURNING)
        if not slow or self._minute is None or self.random.random() < 0.8:
            return 0.0
        return self.random.uniform(0, self._minute.slow_look_s) * self._minute.scale

    def fate_of_pull(self) -> Pull:
        """The result of this pull of a table; counts it in `pulls`."""
        if self._dies_at_pull:
            self._dies_at_pull -= 1
            if not self._dies_at_pull:
                self._dead_at = time.monotonic()
        fate = self.random.choice(_FATES[self.phase])
        self.pulls[fate] += 1
        return fate

    def had_row(self, source: Source, key: str) -> bool:
        """Whether the dead node had the row of that key."""
        assert source.write_query is not None
        partition = zlib.crc32(key.encode()) % source.partitions
        return self._was_on_dead_node(1 if source.write_query.repartition else 0, partition)

    @property
    def _is_over(self) -> bool:
        return self._minute is not None and time.monotonic() >= self._dead_at

    @staticmethod
    def _was_on_dead_node(subtopology: int, partition: int) -> bool:
        return (subtopology + partition) % 2 == 1


def repartition_topic(service_id: str, query: Query) -> str:
    """The internal topic between the two subtopologies of a query that groups by another column."""
    return f"_confluent-ksql-{service_id}query_{query.id}-{query.repartition}"
