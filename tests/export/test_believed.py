"""When a table read is believed: reads between looks, at a cluster whose nodes may die at any moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.errors import PipelineError, SnapshotNotBelieved, SnapshotShrank
from pipeline.export.believed import read_until_believed
from pipeline.source import Look
from tests.export.reads import PAUSE_S, WAIT_S, Broken, Clock, Refused, Stored


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


@pytest.mark.parametrize(("rows", "previous"), [(5, None), (5, 5), (5, 6), (0, None)])
def test_one_read_that_is_exact_at_known_offsets_is_enough(rows: int, previous: int | None) -> None:
    clock, reads = Clock(), Reads(rows)

    believed = read_until_believed(reads, None, "T", previous, clock.policy(0.2), (), lambda: "exact")

    assert (believed.row_count, reads.asked) == (rows, 1)


def test_an_exact_read_that_lost_more_than_a_table_may_is_for_a_person() -> None:
    reads = Reads(5)

    with pytest.raises(SnapshotShrank):
        read_until_believed(reads, None, "T", 10, Clock().policy(0.2), (), lambda: "exact")
    assert reads.kept == []
