"""A hash of rows: their order does not count, everything else does."""

from __future__ import annotations

import pyarrow as pa

from pipeline import fingerprint
from pipeline.fingerprint import ContentHash, sum_in_python, sum_of_hashes
from tests.decode.engines import needs_native


def of(*rows: str, tag: bytes = b"") -> ContentHash:
    content = ContentHash()
    content.add_lines(pa.array(rows, pa.string()), tag)
    return content


def test_the_order_of_rows_does_not_count_and_their_number_does() -> None:
    assert of("a\n", "b\n").hexdigest() == of("b\n", "a\n").hexdigest()
    assert of("a\n", "a\n").hexdigest() != of("a\n").hexdigest()
    assert of("a\n", tag=b"1").hexdigest() != of("a\n", tag=b"2").hexdigest()


def test_parts_that_are_merged_are_the_whole() -> None:
    part, whole = of("a\n"), of("b\n", "a\n")
    part.merge(of("b\n"))

    assert (part.hexdigest(), part.row_count) == (whole.hexdigest(), 2)


def test_rows_with_far_dates_inside_can_be_hashed() -> None:
    first, second = ContentHash(), ContentHash()
    for digest, day in ((first, 2_932_897), (second, 2_932_898)):
        days = pa.array([[0, day], None], pa.list_(pa.int32())).view(pa.list_(pa.date32()))
        digest.add_batch(pa.RecordBatch.from_arrays([days], ["c"]))

    assert first.hexdigest() != second.hexdigest()


@needs_native
def test_the_sum_is_the_same_natively_and_in_python() -> None:
    lines = pa.array([f"{number}\t{'é' * (number % 300)}\n" for number in range(1000)], pa.string())

    assert fingerprint._sum is sum_of_hashes
    for some in (lines, lines.slice(300, 257), lines.slice(999), lines[:0], pa.array(["\n"])):
        for tag in (b"", b"reject"):
            assert sum_of_hashes(some, tag) == sum_in_python(some, tag)
