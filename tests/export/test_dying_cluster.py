"""Whenever a node of a cluster dies, a table read is whole or refused for now."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import event, given
from hypothesis import strategies as st

from pipeline.errors import TryLater
from pipeline.export.believed import read_until_believed
from pipeline.source import Look
from tests.examples import examples
from tests.export.reads import PAUSE_S, Broken, Clock, Stored


@dataclass
class DyingCluster:
    """Two nodes, of which one dies: what looks and reads find of it, by the time at which they come.

    Seconds: the death shows after `unseen_s`; after `moved_s` the other node has its tasks, and restores their state
    for `restored_s`. It may be back after `back_s`: its tasks then move to it in the same way. A read that meets a
    moment with rows missing fares as `fates` say.
    """

    death_s: float
    unseen_s: float
    moved_s: float
    restored_s: float
    back_s: float | None
    look_s: float
    read_s: float
    fates: list[str]
    clock: Clock = field(default_factory=Clock)
    reads: list[Stored] = field(default_factory=list)

    WHOLE = 7

    def look(self) -> Look:
        at = self.clock.now - self.death_s
        self.clock.now += self.look_s
        back = self.back_s is not None and at >= self.back_s
        if at < self.unseen_s:
            return Look("a, b: whole")
        if at < self.moved_s:
            return Look("a, b: in part", "tasks are missing") if back else Look("a: in part", "b is UNRESPONSIVE")
        return Look("a, b: whole" if back else "a: whole")

    def read(self) -> Stored:
        start, end = self.clock.now - self.death_s, self.clock.now - self.death_s + self.read_s
        holes = [(0.0, self.moved_s + self.restored_s)]
        if self.back_s is not None and self.back_s > self.moved_s:
            holes.append((self.back_s, self.back_s + self.restored_s))
        fate = "whole"
        if any(start < to and end > at for at, to in holes) and self.fates:
            fate = self.fates.pop(0)
        if fate == "hangs":
            self.clock.now += 30
            raise Broken("no byte for 30 s")
        self.clock.now += self.read_s
        if fate == "breaks":
            raise Broken("Exhausted standby hosts")
        rows = {"whole": self.WHOLE, "short": 4, "cut": 5, "empty": 0}[fate]
        self.reads.append(Stored(rows))
        return self.reads[-1]


CLUSTERS = st.builds(
    DyingCluster,
    death_s=st.floats(-70, 40),
    unseen_s=st.floats(0, 0.5),
    moved_s=st.floats(6, 60),
    restored_s=st.floats(0, PAUSE_S),
    back_s=st.none() | st.floats(10, 120),
    look_s=st.sampled_from([0.0, 0.05, 3.0]),
    read_s=st.sampled_from([0.0, 0.05, 2.0, 45.0, 200.0]),
    fates=st.lists(st.sampled_from(["short", "short", "cut", "empty", "breaks", "hangs", "whole"]), max_size=12),
)


@examples(600)
@given(CLUSTERS, st.none() | st.integers(0, 7))
def test_whenever_a_node_dies_a_snapshot_is_whole_or_refused_for_now(
    cluster: DyingCluster, previous: int | None
) -> None:
    try:
        believed = read_until_believed(
            cluster.read, cluster.look, "T", previous, cluster.clock.policy(max_shrink=1), (Broken,)
        )
    except TryLater as error:
        event("refused")
        assert error.exit_code == 75
        assert not any(stored.kept for stored in cluster.reads)
        return

    event("believed")
    assert believed.row_count == DyingCluster.WHOLE
    assert [stored for stored in cluster.reads if stored.kept] == [believed]


@examples(300)
@given(CLUSTERS)
def test_a_run_outlasts_the_death_of_a_node_unless_its_reads_hang(cluster: DyingCluster) -> None:
    fates = [fate for fate in cluster.fates if fate in ("short", "empty", "whole")]
    cluster = replace(cluster, fates=fates, read_s=min(cluster.read_s, 2.0), clock=Clock(), reads=[])

    believed = read_until_believed(cluster.read, cluster.look, "T", None, cluster.clock.policy(max_shrink=1), (Broken,))

    assert believed.row_count == DyingCluster.WHOLE


def test_a_node_that_dies_and_is_back_within_a_pause_hides_no_rows() -> None:
    """Both reads after the first find the same rows missing, and each look the same cluster."""
    cluster = DyingCluster(5, 0.5, 6, 1, 10, 0, 0.05, ["short", "short"])

    believed = read_until_believed(cluster.read, cluster.look, "T", None, cluster.clock.policy(max_shrink=1), (Broken,))

    assert believed.row_count == DyingCluster.WHOLE


def test_what_remains_is_a_restore_that_outlasts_the_pause() -> None:
    """The one wrong snapshot that is known: the tasks have moved, every look is clean, and state is still restored."""
    cluster = DyingCluster(-50, 0.3, 45, 20, None, 0.05, 0.05, ["short", "short", "short"])

    believed = read_until_believed(cluster.read, cluster.look, "T", None, cluster.clock.policy(max_shrink=1), (Broken,))

    assert believed.row_count == 4
