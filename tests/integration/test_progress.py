"""Progress of long work: what is counted, and how it is shown on a terminal, elsewhere, and with --quiet."""

from __future__ import annotations

import contextlib
import copy
import importlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ksqldb_emulator.dataset import Dataset, Record, Source
from ksqldb_emulator.testing import Emulator, running
from pipeline import cli, display
from pipeline.progress import Meter, Progress
from tests.integration.commands import ran
from tests.integration.small_sources import START_MS, a_stream, columns, reader_of
from tests.support import PATIENCE_S, feed_for, folder_of, lake_at, wait_until
from tests.terminal import run_on_terminal

_CONTROLS = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")
_LINE = re.compile(r"[-\d]{10}T[:.\d]{12}Z payments: reading 5 of 10 rows, [\d,]+ rows/s, 800 B, \d:\d\d")


@pytest.fixture
def stream() -> Source:
    return a_stream([Record(0, n, START_MS, {"ID": n, "TEXT": "x"}) for n in range(6)])


@pytest.fixture
def server(stream: Source) -> Iterator[Emulator]:
    rows = [Record(0, 0, START_MS, {"ID": 1, "TEXT": "one"})]
    table = Source("T", "TABLE", columns(ID="BIGINT KEY", TEXT="STRING"), "t", 1, rows)
    with running(Dataset([stream, reader_of(stream), table])) as emulator:
        yield emulator


@pytest.fixture
def lake(lake_root: Path, server: Emulator, stream: Source, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KSQLDB_URL", server.url)
    for feed in (feed_for(stream), feed_for(server.source("T"))):
        lake_at(lake_root).feeds.add(feed)
    return lake_root


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Meter]:
    """What the commands have counted, in the order in which they began."""
    found, real = list[Meter](), Progress.at

    @contextlib.contextmanager
    def at(self: Progress, name: str, doing: str) -> Iterator[Meter]:
        with real(self, name, doing) as meter:
            found.append(meter)
            yield meter

    monkeypatch.setattr(Progress, "at", at)
    return found


def figures(counted: list[Meter]) -> list[tuple[str, str, int, int | None]]:
    """Of each piece of work: feed, last step, rows done and due; and forgets it."""
    found = sorted((one.name, one.doing, one.rows, one.due_rows) for one in counted)
    counted.clear()
    return found


def test_every_long_command_counts_its_rows(lake: Path, stream: Source, counted: list[Meter]) -> None:
    ran(lake, "export_to_data_lake", "--all", "--then-verify")
    assert figures(counted) == [
        ("s", "reading", 6, 6), ("s", "verifying", 6, 6), ("t", "reading again", 1, None), ("t", "verifying", 1, 1)
    ]  # fmt: skip

    stream.records += [Record(0, n, START_MS, {"ID": n, "TEXT": "y"}) for n in range(6, 9)]
    ran(lake, "export_to_data_lake", "--stream", "s")
    assert figures(counted) == [("s", "reading", 3, 3)]

    ran(lake, "metadata_utils", "verify", "--deep", "s", "--source")
    assert figures(counted) == [("s", "comparing", 9, 9), ("s", "verifying", 9, 9)]

    ran(lake, "metadata_utils", "compact", "s")
    assert figures(counted) == [("s", "compacting", 9, 9)]

    table = lake_at(lake).table(feed_for(stream))
    (folder_of(table) / table.files[0].path).unlink()
    ran(lake, "metadata_utils", "repair", "s", "--yes")
    assert [one for one in figures(counted) if one[1] == "reading"] == [("s", "reading", 9, 9)]

    ran(lake, "export_to_data_lake", "--stream", "s", "--full")
    assert figures(counted) == [("s", "reading", 9, 9)]

    ran(lake, "export_to_data_lake", "--stream", "s", "--date", "2025-11-20")
    assert [one[:3] for one in figures(counted)] == [("s", "reading", 9)]


def test_the_terminal_shows_a_table_and_the_lines_above_it_whole(lake: Path, server: Emulator) -> None:
    name = "n" * 60
    lake_at(lake).feeds.add(feed_for(server.source("S"), name=name))
    env = {"LAKE_ROOT": str(lake), "KSQLDB_URL": server.url, "NO_COLOR": "1"}
    env |= {"SNAPSHOT_RECHECK_S": "1"}  # so long the table is on the terminal at least

    code, sent = run_on_terminal("export_to_data_lake.py", "--all", env=env)

    shown = _CONTROLS.sub("", sent)
    assert code == 0
    assert re.search(r"^feed +rows +rows/s +size +time +left", shown, re.MULTILINE)
    assert re.search(r"^t +(?:waiting|reading|reading again) +\d", shown, re.MULTILINE)
    # Not broken at 80 columns: what is copied has no line end.
    assert re.search(rf"{name}: 6 rows; 1 file, [\d.]+ kB; end: exact \([\d.]+ s\)\n", shown)
    assert sent.endswith("3 feeds exported, 13 rows\n")
    assert not re.search(r"\x1b\[(?:\d+;)*[349]\d?m", sent), "a color"
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h") == 1, "the cursor is shown again"


def test_quiet_and_a_terminal_that_can_do_nothing_show_no_table(lake: Path, server: Emulator) -> None:
    env = {"LAKE_ROOT": str(lake), "KSQLDB_URL": server.url}
    quiet = run_on_terminal("export_to_data_lake.py", "--all", "--quiet", env=env)
    dumb = run_on_terminal("export_to_data_lake.py", "--all", env=env | {"TERM": "dumb"})

    assert "\x1b" not in quiet[1] + dumb[1]
    assert quiet[1].splitlines()[0].startswith("feed ")
    assert dumb[1].splitlines()[0].startswith("ksqlDB ")


@pytest.fixture
def context() -> Iterator[click.Context]:
    with click.Context(click.Command("work")) as context:
        yield context


def test_elsewhere_there_is_a_dated_line_at_intervals(
    context: click.Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "LINE_EVERY_S", 0.01)
    progress, told = Progress(), [""]

    def is_told() -> bool:
        told[0] += capsys.readouterr().err
        return _LINE.search(told[0]) is not None

    with display.watched(context), display.showing(progress), progress.at("payments", "reading") as meter:
        meter.begin("reading", due_rows=10)
        meter.add(5, 800)
        wait_until(is_told, "a line of progress")

    assert "progress" not in {thread.name for thread in threading.enumerate()}
    assert progress.meters() == []


def test_nothing_is_told_with_quiet(
    context: click.Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked = threading.Event()

    class Quiet:
        def __bool__(self) -> bool:
            looked.set()
            return True

    monkeypatch.setattr(display, "LINE_EVERY_S", 0.001)
    context.meta[cli.QUIET] = Quiet()
    with display.watched(context), display.showing(Progress()):
        assert looked.wait(PATIENCE_S)

    assert capsys.readouterr().err == ""


SCRIPTS = ("export_to_data_lake", "manage_feeds", "metadata_utils", "sync_to_mysql", "test_setup")


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_command_works_in_silence(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of a script, with a wait for its first line in the place of what it does."""
    monkeypatch.setattr(display, "LINE_EVERY_S", 0.001)
    main, said = importlib.import_module(script).main, threading.Event()
    monkeypatch.setattr(display, "line_of", lambda meter: said.set() or f"{meter.name}: {meter.doing}")

    def waiting(command: click.Command) -> click.Command:
        other = copy.copy(command)
        other.params, other.callback = [], lambda: said.clear() or said.wait(PATIENCE_S)
        return other

    group = waiting(main)
    subcommands = getattr(main, "commands", {})
    group.commands = {name: waiting(one) for name, one in subcommands.items()}  # type: ignore[attr-defined] # as it is
    for words in [[name] for name in subcommands] + [[]] * (script != "manage_feeds"):
        done = CliRunner().invoke(group, words, prog_name=f"{script}.py")
        assert f"Z {' '.join([f'{script}.py', *words])}: working\n" in done.stderr


def test_a_line_has_what_is_known() -> None:
    meter = Meter("rates", "reading")
    assert re.fullmatch(r"rates: reading, 0:00", display.line_of(meter))

    meter.begin("verifying", due_bytes=4000)
    meter.add(10, 2000)
    assert re.fullmatch(
        r"rates: verifying 10 rows, [\d,]+ rows/s, 2.0 kB of 4.0 kB, 0:00, 0:00 left", display.line_of(meter)
    )
    assert [display.duration_text(seconds) for seconds in (0, 59.6, 3599, 3600, 90_061)] == [
        "0:00", "1:00", "59:59", "1:00:00", "25:01:01"
    ]  # fmt: skip
