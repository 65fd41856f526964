"""F8: what a ksqlDB server can do to its readers, each recognised and handled as documented.

Every case takes a trial with 300 rows of a stream in three topic partitions and a table of 50 keys, and counts there
what was not as promised.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from ksqldb_emulator.faults import Fault
from ksqldb_emulator.testing import FOR_EVER_S
from tests.expected import expected_rows, lake_rows
from tests.torture import changed_sources, dying_nodes
from tests.torture.changed_sources import STREAM, TABLE
from tests.torture.figures import Figure
from tests.torture.trial import PROMISES, Case, Trial, try_case
from tests.torture.victim import stopwatch


def odd_sources(folder: Path, full: bool = False) -> Figure:
    """Tries every case; `full` pauses the reader for a real minute."""
    figure = Figure("F8", "what a server can do to its readers, from a lost node to a changed schema", PROMISES)
    figure.unit, started = "cases", time.monotonic()
    for case in CASES:
        try_case(case, figure, folder, full)
    figure.details = ", ".join(case.__name__.replace("_", " ") for case in CASES)
    figure.seconds = stopwatch(started)
    return figure


def short_first_table_pull(trial: Trial) -> None:
    trial.stage.emulator.faults.add(Fault("pull", keep_share=0.66))
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def short_later_table_pull(trial: Trial) -> None:
    """Of a later snapshot the second pull is the short one: two more have to agree."""
    trial.expect_done(trial.run("--all"))
    trial.stage.emulator.faults.add(Fault("pull", chunk_bytes=100))
    trial.stage.emulator.faults.add(Fault("pull", keep_share=0.66))
    trial.expect_done(trial.run(*TABLE), "read 4 times before it was believed")
    trial.expect_complete()


def table_pull_that_stays_short(trial: Trial) -> None:
    """A whole cluster returns a smaller table twice: rows were deleted, or are lost where nothing shows it."""
    trial.expect_done(trial.run("--all"))
    trial.stage.emulator.faults.add(Fault("pull", keep_share=0.5, count=0))
    trial.expect_error(trial.run(*TABLE), 1, "more than 20% are gone", "really deleted", "--allow-shrink")
    trial.expect_complete()
    trial.expect_done(trial.run(*TABLE, "--allow-shrink"), "25 rows; version 2")


def table_pull_that_shrinks_at_each_read(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    for share in range(95, 5, -5):
        trial.stage.emulator.faults.add(Fault("pull", keep_share=share / 100))
    trial.expect_error(trial.run(*TABLE, SNAPSHOT_WAIT_S="0.5"), 75, "within 0.5 s: it had fewer rows at each read")
    trial.expect_complete()
    trial.stage.emulator.faults.clear()
    trial.expect_done(trial.run(*TABLE))


def table_pull_that_breaks(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    trial.stage.emulator.faults.add(Fault("pull", error_after=20))
    trial.stage.emulator.faults.add(Fault("pull", cut_at=900))
    trial.expect_done(trial.run(*TABLE))
    trial.expect_complete()
    trial.stage.emulator.faults.add(Fault("pull", error_after=20, count=0))
    trial.expect_error(trial.run(*TABLE), 75, "run the same command again")
    trial.expect_complete()


def table_pull_that_hangs(trial: Trial) -> None:
    """Left after KSQLDB_TIMEOUT_S, and asked again: nobody waits for STALL_S."""
    trial.expect_done(trial.run("--all"))
    trial.stage.emulator.faults.add(Fault("pull", idle_after=20))
    started = time.monotonic()
    trial.expect_done(trial.run(*TABLE, KSQLDB_TIMEOUT_S="2", STALL_S="600"))
    if time.monotonic() - started > 300:
        trial.wrong("reported wrongly", "the hanging pull was waited for")
    trial.expect_complete()


def duplicated_rows_of_a_stream(trial: Trial) -> None:
    trial.stage.emulator.faults.add(Fault("push", replay_rows=40))
    trial.expect_done(trial.run("--all"), "rows came again and were dropped")
    trial.expect_complete()


def duplicated_rows_of_a_table(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    doubled = trial.stage.emulator.faults.add(Fault("pull", replay_rows=7))
    trial.expect_done(trial.run(*TABLE))
    trial.expect_complete()
    doubled.count = 0
    trial.stage.emulator.faults.add(doubled)
    trial.expect_error(trial.run(*TABLE), 75, "7 of its rows have a key that another row has too")
    trial.expect_complete()


def stalled_push(trial: Trial) -> None:
    trial.stage.emulator.faults.add(Fault("push", idle_after=100))
    trial.expect_error(trial.run(*STREAM, STALL_S="3"), 75, "stalled: no progress for 3 s")
    if lake_rows(trial.stage.root, trial.stage.stream).total() != 100:
        trial.wrong("lost rows", "the rows that came before the stall were not kept")
    trial.expect_no_query()
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def server_restarting_in_the_middle(trial: Trial) -> None:
    """The stream's answer breaks off, then 503, then refused pulls: the table waits, the stream is for the next run."""
    _slow(trial, polls=5, pause_s=FOR_EVER_S)
    running = trial.start("--all", KSQLDB_RETRY_S="60")
    trial.wait_for_rows("EVENTS")
    trial.stage.emulator.restart(starting_s=0.5, refuse_pulls_s=0.5)
    trial.expect_error(running(), 75, "the connection broke", "run the same command again")
    trial.expect_rows(trial.stage.table, expected_rows(trial.stage.emulator.source("LATEST")))
    trial.stage.emulator.options.poll_pause_s = 0
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def tasks_that_move_between_threads(trial: Trial) -> None:
    """Without the property that forbids it tasks vanish from the progress and come back with positions of -1."""
    _slow(trial, polls=4, pause_s=0.7)
    _read_by_nobody(trial)
    trial.stage.emulator.options.denied_properties = ("ksql.streams.num.stream.threads",)
    trial.expect_done(trial.run("--all"), "end: quiet")
    trial.expect_complete()


def progress_that_looks_caught_up(trial: Trial) -> None:
    """All that was fetched is processed, again and again, in the middle of the scan."""
    _slow(trial, polls=5, pause_s=0.5)
    _read_by_nobody(trial)
    trial.expect_done(trial.run("--all", QUIET_S="3"), "end: quiet")
    trial.expect_complete()


def reader_paused(trial: Trial) -> None:
    """For half of the time that counts as a stall, as a minute is half of STALL_S; a full try takes the minute."""
    pause_s, stall_s = (60, 120) if trial.full else (3, 6)
    _slow(trial, polls=5)
    running = trial.start("--all", STALL_S=str(stall_s))
    trial.wait_for_rows("EVENTS")
    os.kill(running.process.pid, signal.SIGSTOP)
    running.process.join(pause_s)
    if running.process.exitcode is None:
        os.kill(running.process.pid, signal.SIGCONT)
    else:
        trial.wrong("reported wrongly", "the scene is not set: the paused reader was ended, or continued, by another")
    trial.expect_done(running())
    trial.expect_complete()
    trial.expect_no_query()


def client_killed_without_closing_its_query(trial: Trial) -> None:
    """The server ends the abandoned query some time later; until then it may be one too many for the next run."""
    options = trial.stage.emulator.options
    options.linger_s, options.max_push_queries = FOR_EVER_S, 1
    _slow(trial, polls=5, pause_s=FOR_EVER_S)
    running = trial.start(*STREAM)
    trial.wait_for_rows("EVENTS")
    running.process.kill()
    running.process.join()
    options.poll_pause_s = 0
    if not trial.stage.emulator.open_queries:
        trial.wrong("reported wrongly", "the scene is not set: the abandoned query is gone at once")
    trial.expect_error(trial.run(*STREAM, KSQLDB_RETRY_S="0"), 75, "number of active, push queries")
    options.linger_s = 1
    trial.expect_done(trial.run("--all", KSQLDB_RETRY_S="60"))
    trial.expect_complete()
    trial.expect_no_query()


CASES: tuple[Case, ...] = (
    short_first_table_pull,
    short_later_table_pull,
    table_pull_that_stays_short,
    table_pull_that_shrinks_at_each_read,
    table_pull_that_breaks,
    table_pull_that_hangs,
    *dying_nodes.CASES,
    duplicated_rows_of_a_stream,
    duplicated_rows_of_a_table,
    stalled_push,
    server_restarting_in_the_middle,
    tasks_that_move_between_threads,
    progress_that_looks_caught_up,
    reader_paused,
    client_killed_without_closing_its_query,
    *changed_sources.CASES,
)


def _slow(trial: Trial, polls: int, pause_s: float = 0.3) -> None:
    """Makes the stream's scan take several fetches of 1,000 records, with pauses between them."""
    trial.stage.add_rows(1000 * polls - 300)
    trial.stage.emulator.options.poll_pause_s = pause_s


def _read_by_nobody(trial: Trial) -> None:
    """Without a query that reads it the stream's true end is not known."""
    source = trial.stage.emulator.source("EVENTS")
    trial.stage.emulator.replace_source(replace(source, read_queries=()))
