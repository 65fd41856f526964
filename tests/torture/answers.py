"""F3: an answer that ends too early is never taken, wherever and however it ends; a good one always is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ksqldb_emulator.faults import Fault
from ksqldb_emulator.testing import Emulator, running
from pipeline.errors import PipelineError
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.framing import Ending, Framing
from tests.torture.figures import Figure
from tests.torture.victim import make_dataset, stopwatch

_QUESTIONS = (
    (Framing.PLAIN_ARRAY, Ending.BRACKET, "SELECT K FROM LATEST;", "pull"),
    (Framing.STREAMED_ROWS, Ending.COMPLETED, "SELECT N FROM EVENTS;", "pull"),
)
_HARMLESS: tuple[dict[str, object], ...] = (
    {},
    {"chunk_bytes": 1},
    {"chunk_bytes": 7},
    {"unchunked": True},
    {"keep_alive": True},
    {"trailing_comma": True},
    {"first_byte_s": 0.05},
)


def cut_answers(rows: int, every: int) -> Figure:
    """Cuts answers of `rows` rows at every `every`-th byte: by FIN, by RST and cleanly, chunked and not."""
    what = f"an answer of {rows:,} rows cut at its bytes, in both framings"
    figure = Figure("F3", what, ("truncated answers taken", "good answers refused"), unit="cuts")
    started, taken = time.monotonic(), 0
    dataset = make_dataset(rows, keys=rows)
    with running(dataset) as emulator, Client(Connection(emulator.url, retry_s=0, stall_s=10)) as client:
        for framing, ending, sql, kind in _QUESTIONS:
            size = _read(client, sql, framing, ending)[1]
            for fault in _cuts(kind, range(0, size, every)):
                emulator.faults.add(fault)
                figure.tried += 1
                if _is_taken(client, sql, framing, ending):
                    figure.count("truncated answers taken", f"{framing.name} {fault}")
            for options in _HARMLESS:
                taken += 1
                _expect_good(client, emulator, figure, (framing, ending, sql), Fault(kind, **options))  # type: ignore[arg-type] # fields of Fault
            for bad in (Fault(kind, error_after=rows // 2), Fault(kind, no_bracket=True)):
                emulator.faults.add(bad)
                figure.tried += 1
                if _is_taken(client, sql, framing, ending):
                    figure.count("truncated answers taken", f"{framing.name} {bad}")
    where = "at every byte" if every == 1 else f"at one byte in {every}"
    figure.details = f"{where}; {taken} good answers in odd pieces were all taken"
    figure.seconds = stopwatch(started)
    return figure


def _cuts(kind: str, places: Sequence[int]) -> Iterator[Fault]:
    for place in places:
        yield Fault(kind, cut_at=place)
        yield Fault(kind, cut_at=place, reset=True)
        yield Fault(kind, cut_at=place, clean=True)
        yield Fault(kind, cut_at=place, unchunked=True)


def _read(client: Client, sql: str, framing: Framing, ending: Ending) -> tuple[int, int]:
    """Rows and bytes of the whole answer."""
    with client.query(sql, framing, ending) as answer:
        rows = sum(part.batch.num_rows for part in answer.rows())
        return rows, answer.byte_count


def _is_taken(client: Client, sql: str, framing: Framing, ending: Ending) -> bool:
    try:
        _read(client, sql, framing, ending)
    except PipelineError:
        return False
    return True


def _expect_good(
    client: Client, emulator: Emulator, figure: Figure, question: tuple[Framing, Ending, str], fault: Fault
) -> None:
    framing, ending, sql = question
    emulator.faults.add(fault)
    try:
        _read(client, sql, framing, ending)
    except PipelineError as error:
        figure.count("good answers refused", f"{framing.name} {fault}: {error}")
