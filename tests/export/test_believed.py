"""When a table read is believed: reads between looks, at a cluster whose nodes may die at any moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipeline.errors import PipelineError, SnapshotNotBelieved, SnapshotShrank, TryLater
from pipeline.export.believed import read_until_believed
from pipeline.source import Look, ReadPolicy

PAUSE_S, WAIT_S = 5.0, 180.0


class Broken(TryLater):
    """A read that may be whole the next time."""


class Refused(PipelineError):
    """A read that is over for good."""


class Stored:
    """A read that was put somewhere."""

    def __init__(self, row_count: int) -> None:
        self.row_count, self.kept = row_count, True

    def discard(self) -> None:
        assert self.kept, "discarded twice"
        self.kept = False


class Clock:
    """Time passes in pauses only, and where a test lets it."""

    def __init__(self) -> None:
        self.now, self.pauses, self.said = 0.0, list[float](), list[str]()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def policy(self, max_shrink: float = 0.2, recheck_s: float = PAUSE_S) -> ReadPolicy:
        return ReadPolicy(
            recheck_s, WAIT_S, max_shrink, sleep=self.sleep, clock=lambda: self.now, tell=self.said.append
        )


class Reads:
    """Reads that find these numbers of rows one after the other; an error in the list is what one fails with."""

    def __init__(self, *found: int | PipelineError) -> None:
        self._due, self.stored = list(found), list[Stored]()
        self.asked = 0

    def __call__(self) -> Stored:
        self.asked += 1
        found = self._due.pop(0)
        if isinstance(found, PipelineError):
            raise found
        self.stored.append(Stored(found))
        return self.stored[-1]

    @property
    def kept(self) -> list[int]:
        return [stored.row_count for stored in self.stored if stored.kept]


CLEAN, ALONE = Look("a and b"), Look("a")
DYING = Look("a", "b is UNRESPONSIVE")


class Looks:
    """Looks that find this one after the other; the last one stays."""

    def __init__(self, *found: Look | PipelineError) -> None:
        self._due, self.count = list(found), 0

    def __call__(self) -> Look:
        self.count += 1
        found = self._due.pop(0) if len(self._due) > 1 else self._due[0]
        if isinstance(found, PipelineError):
            raise found
        return found


def believe(
    reads: Reads,
    looks: Callable[[], Look] | None,
    clock: Clock,
    previous: int | None = None,
    max_shrink: float = 0.2,
) -> int:
    return read_until_believed(reads, looks, "T", previous, clock.policy(max_shrink), (Broken,)).row_count


@pytest.mark.parametrize("previous", [None, 7, 6])
def test_a_whole_cluster_is_read_twice_with_a_pause_between_and_looked_at_around_each_read(
    previous: int | None,
) -> None:
    reads, looks, clock = Reads(7, 7), Looks(CLEAN), Clock()

    assert believe(reads, looks, clock, previous) == 7
    assert (reads.kept, looks.count, clock.pauses) == ([7], 4, [PAUSE_S])


@pytest.mark.parametrize(
    ("found", "believed", "pauses"),
    [
        ([4, 7], 7, [5]),
        ([7, 4, 7, 7], 7, [5, 10, 10]),
        ([7, 6, 5, 5], 5, [5, 10, 10]),
        ([0, 0], 0, [5]),
    ],
)
def test_a_read_that_is_smaller_than_the_one_before_is_not_believed_and_two_others_have_to_agree(
    found: list[int], believed: int, pauses: list[float]
) -> None:
    reads, clock = Reads(*found), Clock()

    assert believe(reads, Looks(CLEAN), clock) == believed
    assert (reads.kept, clock.pauses) == ([believed], pauses)


def test_a_table_that_shrinks_at_every_read_is_given_up_after_the_limit() -> None:
    reads, clock = Reads(*range(900, 0, -50)), Clock()

    with pytest.raises(
        SnapshotNotBelieved, match="within 180 s: it had fewer rows at each read, 450 at the last"
    ) as raised:
        believe(reads, Looks(CLEAN), clock, 1000)

    assert (reads.kept, raised.value.exit_code) == ([], 75)
    assert clock.now <= WAIT_S + PAUSE_S


def test_nothing_is_read_while_a_look_finds_trouble() -> None:
    reads, clock = Reads(), Clock()

    with pytest.raises(SnapshotNotBelieved, match="could not be read whole within 180 s: b is UNRESPONSIVE") as raised:
        believe(reads, Looks(DYING), clock)

    assert (reads.asked, raised.value.exit_code) == (0, 75)
    assert clock.pauses == [10, 20, 30, 30, 30, 30, 30]
    assert clock.said[:2] == [f"T: b is UNRESPONSIVE; reading it again in {pause} s" for pause in (10, 20)]
    assert "--allow-shrink" not in raised.value.message + raised.value.hint


@pytest.mark.parametrize(("recheck_s", "pauses"), [(0, [3, 6, 12, 24, 30, 30, 30, 30]), (60, [60, 60, 60]), (200, [])])
def test_a_pause_is_never_so_short_that_looks_follow_at_once_nor_shorter_than_is_set(
    recheck_s: float, pauses: list[float]
) -> None:
    clock = Clock()

    with pytest.raises(SnapshotNotBelieved):
        read_until_believed(Reads(), Looks(DYING), "T", None, clock.policy(recheck_s=recheck_s))

    assert clock.pauses == pauses


@pytest.mark.parametrize(
    "looks",
    [
        [DYING, CLEAN],
        [CLEAN, DYING, CLEAN],
        [CLEAN, ALONE],
        [CLEAN, CLEAN, DYING, ALONE],
        [CLEAN, CLEAN, ALONE],
        [CLEAN, CLEAN, CLEAN, DYING, ALONE],
        [CLEAN, CLEAN, CLEAN, ALONE],
    ],
)
def test_after_trouble_two_more_reads_are_needed_and_the_pause_between_them_is_longer(looks: list[Look]) -> None:
    reads, clock = Reads(7, 7, 7, 7), Clock()

    assert believe(reads, Looks(*looks), clock) == 7
    assert clock.pauses[-2:] == [10, 10]
    assert reads.kept == [7]
    assert len(reads.stored) == reads.asked


def test_short_reads_between_looks_that_are_not_clean_never_count() -> None:
    reads, clock = Reads(4, 4, 7, 7), Clock()

    assert believe(reads, Looks(CLEAN, DYING, CLEAN, DYING, ALONE), clock, previous=4) == 7


def test_a_read_that_breaks_while_a_node_dies_is_repeated_for_as_long_as_looks_find_trouble() -> None:
    reads, clock = Reads(*[Broken("no byte")] * 5, 7, 7), Clock()
    looks = Looks(*[CLEAN, DYING] * 5, ALONE)

    assert believe(reads, looks, clock) == 7
    assert reads.kept == [7]


def test_a_read_that_breaks_at_a_whole_cluster_is_tried_three_times() -> None:
    reads, clock = Reads(*[Broken(f"broke {number}") for number in range(4)]), Clock()

    with pytest.raises(Broken, match="broke 2"):
        believe(reads, Looks(CLEAN), clock)

    assert (reads.asked, clock.pauses) == (3, [10, 20])


@pytest.mark.parametrize("at", range(4))
def test_an_error_of_a_look_ends_it_and_leaves_no_read_behind(at: int) -> None:
    reads, looks = Reads(7, 7), Looks(*[CLEAN] * at, Refused("the server is away"))

    with pytest.raises(Refused):
        believe(reads, looks, Clock())

    assert reads.kept == []


def test_an_error_that_does_not_pass_ends_it_and_leaves_no_read_behind() -> None:
    reads, clock = Reads(7, Refused("no such table"), 7), Clock()

    with pytest.raises(Refused):
        believe(reads, Looks(CLEAN), clock)

    assert (reads.kept, reads.asked) == ([], 2)


@pytest.mark.parametrize(
    ("previous", "found", "pauses"),
    [
        (100, [100], []),
        (100, [101], []),
        (0, [0], []),
        (None, [7, 7], [5]),
        (None, [0, 0], [5]),
        (100, [67, 100], [5]),
        (100, [99, 98, 98, 98], [5, 10, 10]),
    ],
)
def test_a_read_with_a_proof_of_its_own_is_repeated_only_when_it_is_the_first_or_smaller(
    previous: int | None, found: list[int], pauses: list[float]
) -> None:
    reads, clock = Reads(*found), Clock()

    assert believe(reads, None, clock, previous) == found[-1]
    assert (reads.kept, clock.pauses) == ([found[-1]], pauses)


@pytest.mark.parametrize(
    ("previous", "now", "max_shrink", "believed"),
    [(100, 80, 0.2, True), (100, 79, 0.2, False), (100, 0, 1, True), (100, 0, 0.99, False), (100, 99, 0, False),
     (100, 100, 0, True), (1, 0, 0.2, False), (0, 0, 0, True)],
)  # fmt: skip
@pytest.mark.parametrize("looks", [Looks(CLEAN), None], ids=["pulled", "own proof"])
def test_a_table_may_lose_a_share_of_its_rows_and_no_more(
    looks: Looks | None, previous: int, now: int, max_shrink: float, believed: bool
) -> None:
    reads = Reads(now, now)

    if believed:
        assert believe(reads, looks, Clock(), previous, max_shrink) == now
    else:
        with pytest.raises(SnapshotShrank, match=f"has {now} rows, and had {previous}") as raised:
            believe(reads, looks, Clock(), previous, max_shrink)
        assert raised.value.exit_code == 1
        assert "whether these rows were really deleted; only if they were" in raised.value.hint
        assert "with --allow-shrink" in raised.value.hint
    assert reads.kept == ([now] if believed else [])


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


@settings(max_examples=600)
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


@settings(max_examples=300)
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
