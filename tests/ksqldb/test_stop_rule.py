"""When a push is at its end: by the true ends where they are known, else by a server that stands still."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import TopicChanged
from pipeline.ksqldb.stop_rule import Position, StopRule
from pipeline.source import UNKNOWN, Offsets, Source
from tests.vectors import exchanges, needs_vectors

QUIET_S = 3.0


def source(partitions: int) -> Source:
    return Source("S", "stream", "s", partitions)


def rule(partitions: int, ends: dict[int, Offsets] | None = None, bookmark: dict[int, int] | None = None) -> StopRule:
    return StopRule(source(partitions), QUIET_S, ends, bookmark or {})


def first_verdict(stopping: StopRule, seen: list[tuple[float, dict[int, Position]]]) -> tuple[str | None, float | None]:
    """The first verdict over positions seen at some seconds, and when it came."""
    for now, positions in seen:
        verdict = stopping.decide(positions, now)
        if verdict is not None:
            return verdict, now
    return None, None


def recorded_progress(name: str) -> list[tuple[float, dict[int, Position]]]:
    return [(moment["seconds"], positions(moment["tasks"])) for moment in exchanges()[name]["progress"]]


def positions(tasks: list[dict[str, Any]]) -> dict[int, Position]:
    listed = [offsets for task in tasks for offsets in task["topicOffsets"]]
    return {each["topicPartitionEntity"]["partition"]: (each["endOffset"], each["committedOffset"]) for each in listed}


@needs_vectors
@pytest.mark.parametrize(
    ("name", "partitions"),
    [
        ("push TRANSACTION_STREAM from earliest", 3),
        ("push TRANSACTION_FLATTENED from earliest", 3),
        ("push TRANSACTION_STREAM_ANONYMIZED from earliest", 3),
        ("push with offset predicate", 3),
        ("push ALL_TYPES from earliest", 2),
    ],
)
def test_a_recorded_push_is_quiet_after_the_quiet_time_and_not_before(name: str, partitions: int) -> None:
    seen = recorded_progress(name)

    verdict, when = first_verdict(rule(partitions), seen)

    assert verdict == "quiet"
    assert when is not None
    assert when - seen[0][0] >= QUIET_S
    assert first_verdict(rule(partitions + 1), seen) == (None, None)  # a partition that is not listed may hold rows


@needs_vectors
def test_a_recorded_push_is_exact_as_soon_as_the_true_ends_are_committed() -> None:
    seen = recorded_progress("push TRANSACTION_STREAM from earliest")
    ends = {0: Offsets(0, 191, 191), 1: Offsets(0, 214, 214), 2: Offsets(0, 197, 197)}

    assert first_verdict(rule(3, ends), seen) == ("exact", seen[0][0])
    assert first_verdict(rule(3, ends | {2: Offsets(0, 198, 198)}), seen) == (None, None)


@needs_vectors
@pytest.mark.parametrize("name", ["push EMPTY_STREAM", "push TRANSACTION_STREAM_BLACKLISTED from earliest"])
def test_partitions_that_look_empty_are_given_more_time(name: str) -> None:
    seen = recorded_progress(name)
    partitions = len(seen[0][1])

    assert first_verdict(rule(partitions), seen) == (None, None)
    later = [(seen[-1][0] + second, seen[-1][1]) for second in range(20)]
    verdict, when = first_verdict(rule(partitions), seen + later)
    assert verdict == "quiet"
    assert when is not None
    assert when >= seen[0][0] + 4 * QUIET_S


def moving(*fetched: int, every_s: float = 0.4) -> list[tuple[float, dict[int, Position]]]:
    """One partition whose fetched offsets are processed at once, as it looks in the middle of a scan."""
    return [(place * every_s, {0: (offset, offset + 1)}) for place, offset in enumerate(fetched)]


def test_a_scan_in_its_middle_looks_caught_up_and_is_not_quiet() -> None:
    assert first_verdict(rule(1), moving(*range(999, 60_000, 1000))) == (None, None)


def test_a_stream_that_is_written_to_slowly_comes_to_an_end() -> None:
    verdict, when = first_verdict(rule(1), moving(*range(999, 1400, 7)))

    assert (verdict, when is not None and when >= QUIET_S) == ("quiet", True)


def test_what_was_fetched_must_be_processed_first() -> None:
    waiting: list[tuple[float, dict[int, Position]]] = [(second, {0: (99, 60)}) for second in range(30)]

    assert first_verdict(rule(1), waiting) == (None, None)
    assert first_verdict(rule(1), [*waiting, (30, {0: (99, 100)})]) == ("quiet", 30)


@pytest.mark.parametrize("odd", [{}, {0: (9, 10)}, {0: (9, 10), 1: (-1, -1)}, {0: (9, 10), 1: (2, 3)}])
def test_tasks_that_vanish_or_start_over_begin_the_quiet_time_again(odd: dict[int, Position]) -> None:
    steady: dict[int, Position] = {0: (9, 10), 1: (9, 10)}
    seen = [(0.0, steady), (2.0, steady), (2.9, odd), *((3.0 + second, steady) for second in range(5))]

    assert first_verdict(rule(2), seen) == ("quiet", 6.0)


def test_with_true_ends_standing_still_is_not_enough_and_what_is_not_due_is_not_waited_for() -> None:
    ends = {0: Offsets(0, 100, 0), 1: Offsets(50, 50, 0), 2: Offsets(0, 30, 0)}
    stopping = rule(3, ends, bookmark={2: 30})

    assert first_verdict(stopping, [(second, {0: (98, 99)}) for second in range(60)]) == (None, None)
    assert stopping.decide({}, 60) is None
    # Partition 1 is empty and partition 2 was read before: neither need be listed.
    assert stopping.decide({0: (99, 100)}, 61) == "exact"


@pytest.mark.parametrize(("committed", "changed"), [(0, True), (9, True), (10, False), (11, False)])
def test_a_scan_that_ends_before_the_bookmark_means_another_topic(committed: int, changed: bool) -> None:
    stopping = rule(1, bookmark={0: 10})
    seen: list[tuple[float, dict[int, Any]]] = [(second, {0: (committed - 1, committed)}) for second in range(20)]

    if changed:
        with pytest.raises(TopicChanged, match=f"partition 0 ends at offset {committed}, but rows up to offset 9"):
            first_verdict(stopping, seen)
    else:
        assert first_verdict(stopping, seen)[0] == "quiet"


def test_a_scan_that_stands_still_before_the_bookmark_for_the_quiet_time_is_at_its_end() -> None:
    stopping = rule(1, bookmark={0: 10})

    assert stopping.decide({0: (3, 4)}, 0) is None
    assert stopping.decide({0: (3, 4)}, QUIET_S - 0.1) is None
    with pytest.raises(TopicChanged, match="the topic s was recreated or cut"):
        stopping.decide({0: (3, 4)}, QUIET_S)


def test_a_scan_of_big_records_is_given_time_to_come_to_its_bookmark() -> None:
    """Some hundred records a second are less than a poll in the quiet time; while they move, that is no end."""
    stopping = rule(1, bookmark={0: 1_000_000})
    slow: list[tuple[float, dict[int, Position]]] = [(n * 0.4, {0: (n * 120 + 119, n * 120 + 120)}) for n in range(200)]

    assert first_verdict(stopping, slow) == (None, None)
    with pytest.raises(TopicChanged, match="ends at offset 24000"):
        first_verdict(stopping, [(80 + n * 0.4, {0: (23_999, 24_000)}) for n in range(20)])


def test_a_short_topic_that_is_written_to_slowly_is_told_from_a_slow_scan() -> None:
    stopping = rule(1, bookmark={0: 1_000_000})
    written_to: list[tuple[float, dict[int, Position]]] = [(float(n), {0: (n, n + 1)}) for n in range(200)]

    with pytest.raises(TopicChanged, match="was recreated or cut"):
        first_verdict(stopping, written_to)


def test_a_partition_whose_start_is_not_known_may_have_been_emptied() -> None:
    never: list[tuple[float, dict[int, Position]]] = [(float(n), {0: (9, 10), 1: (-1, -1)}) for n in range(30)]
    ends = {0: Offsets(UNKNOWN, 10, 0), 1: Offsets(UNKNOWN, 10, 0)}

    assert first_verdict(rule(2, ends), never) == ("quiet", 4 * QUIET_S)
    assert first_verdict(rule(2, ends | {1: Offsets(0, 10, 0)}), never) == (None, None)
    assert first_verdict(rule(2, ends), [(float(n), {0: (8, 9), 1: (-1, -1)}) for n in range(30)]) == (None, None)


@pytest.mark.parametrize("offsets", [Offsets(0, 11, 0), Offsets(10, 11, 0)])
def test_a_single_new_row_is_waited_for(offsets: Offsets) -> None:
    stopping = rule(1, {0: offsets}, bookmark={0: 10} if offsets.start == 0 else {})

    assert first_verdict(stopping, [(float(n), {0: (9, 10)}) for n in range(60)]) == (None, None)
    assert stopping.decide({0: (10, 11)}, 60) == "exact"


def test_the_last_record_fetched_must_be_processed_too() -> None:
    """`committed` is the next offset to process, `fetched` the last one that has come."""
    last_waits: list[tuple[float, dict[int, Position]]] = [(float(n), {0: (99, 99)}) for n in range(30)]

    assert first_verdict(rule(1), last_waits) == (None, None)
    assert first_verdict(rule(1), [*last_waits, (30, {0: (99, 100)})]) == ("quiet", 30)


def test_a_poll_that_was_only_now_processed_begins_the_quiet_time() -> None:
    """While a full poll waits nothing more is fetched: that it stands still says nothing of the topic's end."""
    waits: list[tuple[float, dict[int, Position]]] = [(float(n), {0: (1999, 900)}) for n in range(10)]
    then: list[tuple[float, dict[int, Position]]] = [(float(n), {0: (1999, 2000)}) for n in range(10, 20)]

    assert first_verdict(rule(1), [*waits, *then]) == ("quiet", 9 + QUIET_S)


@pytest.mark.parametrize(("waiting", "other", "quiet_at"), [
    (999, (99, 400), 10.0),
    (1000, (99, 400), 12.0),
    (998, (0, 0), 10.0),
    (999, (0, 0), 12.0),
    (999, (-1, -1), 11.0),
])  # fmt: skip
def test_a_full_poll_that_waits_to_be_processed_is_no_quiet_time(
    waiting: int, other: Position, quiet_at: float
) -> None:
    """Partition 1 waits, and is processed at the tenth second; a step back in partition 0 does not make up for it.

    Its first record counts when it waits, and an empty one (which is given four times as long) has none that waits.
    """
    behind = [(float(n), {0: other, 1: (waiting - 1, 0)}) for n in range(10)]
    after = (0, 1) if other == (0, 0) else other
    done = [(10.0 + n, {0: after, 1: (waiting - 1, waiting)}) for n in range(9)]

    assert first_verdict(rule(2), [*behind, *done]) == ("quiet", quiet_at + (other == (-1, -1)))


@pytest.mark.parametrize(("fetched", "quiet_at"), [(499, QUIET_S), (500, 2 + QUIET_S)])
def test_a_full_poll_over_all_partitions_begins_the_quiet_time_again(fetched: int, quiet_at: float) -> None:
    first: dict[int, Position] = {0: (0, 1), 1: (0, 1)}
    later: dict[int, Position] = {0: (fetched, fetched + 1), 1: (500, 501)}
    seen = [(0.0, first), (1.0, first), *((2.0 + n, later) for n in range(9))]

    assert first_verdict(rule(2), seen) == ("quiet", quiet_at)


def test_a_partition_of_unknown_start_that_is_fetched_after_all_is_waited_for_from_then_on() -> None:
    ends = {0: Offsets(UNKNOWN, 10, 0)}
    never: list[tuple[float, dict[int, Position]]] = [(float(n), {0: (-1, -1)}) for n in range(12)]
    again = [(12.0, {0: (5, 6)}), *((13.0 + n, {0: (-1, -1)}) for n in range(14))]

    assert first_verdict(rule(1, ends), [*never, *again]) == ("quiet", 13.0 + 4 * QUIET_S)


def test_a_partition_that_looks_empty_is_given_more_time() -> None:
    seen: list[tuple[float, dict[int, Position]]] = [(float(n), {0: (9, 10), 1: (-1, -1)}) for n in range(30)]

    assert first_verdict(rule(2), seen) == ("quiet", 4 * QUIET_S)


def test_the_first_row_of_a_topic_is_waited_for_and_a_server_without_tasks_says_nothing() -> None:
    assert rule(1, {0: Offsets(0, 1, 0)}).decide({0: (-1, 0)}, 0) is None
    assert rule(1).decide({}, 0) is None
    assert first_verdict(rule(1), [(float(n), {0: (-1, 0)}) for n in range(9)]) == ("quiet", QUIET_S)


@pytest.mark.parametrize(("bookmark", "quiet_at"), [
    ({0: 100}, QUIET_S),
    ({0: 100, 1: 0}, QUIET_S),
    ({0: 100, 1: 7}, 4 * QUIET_S),
    ({}, 4 * QUIET_S),
])  # fmt: skip
def test_a_partition_that_never_had_a_row_is_given_no_more_time_once_the_others_are_read(
    bookmark: dict[int, int], quiet_at: float
) -> None:
    seen = [(float(n), {0: (99, 100), 1: (-1, -1)}) for n in range(20)]

    assert first_verdict(rule(2, bookmark=bookmark), seen) == ("quiet", quiet_at)


@pytest.mark.parametrize(("bookmark", "at", "idle_at"), [
    ({0: 100}, (99, 100), 0.0),
    ({}, (99, 100), 0.8),
    ({0: 100}, (99, 99), None),  # fetched, not processed
    ({0: 200}, (99, 100), None),  # before the bookmark
    ({}, (-1, -1), 0.8),
])  # fmt: skip
def test_a_scan_is_idle_when_it_is_past_its_bookmarks_or_stands_still(
    bookmark: dict[int, int], at: Position, idle_at: float | None
) -> None:
    stopping, found = rule(1, bookmark=bookmark), list[float]()

    for now in (0.0, 0.4, 0.8, 1.2):
        assert stopping.decide({0: at}, now) is None
        found += [now] if stopping.idle else []

    assert found[:1] == ([] if idle_at is None else [idle_at])


def test_a_scan_that_has_more_to_do_is_idle_no_longer() -> None:
    stopping = rule(1, bookmark={0: 100})
    stopping.decide({0: (99, 100)}, 0.0)

    stopping.decide({0: (1099, 100)}, 0.4)

    assert not stopping.idle
