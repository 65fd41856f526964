"""Tasks that Spark's executors stage, in processes of their own: whatever becomes of these, each row comes once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from demo.private_process import ServerMissing
from ksqldb_emulator.testing import comes_true
from pipeline.errors import LakeNotWritable, PipelineError, ReadStalled, SparkUnusable, WorkerLost
from pipeline.export.run import ExportRequest, FeedResult, export_feeds
from pipeline.export.spark import Spark
from pipeline.feeds import Feed
from pipeline.lake.access import StoreAccess
from pipeline.lake.bucket import Bucket
from pipeline.lake.files import parquet_files
from pipeline.lake.lake import Lake
from pipeline.lake.staging import Place, Staging
from pipeline.prerequisites import ok
from pipeline.readiness import check_spark
from pipeline.source import Bookmark
from tests.export.odd_toys import How, OddToy
from tests.export.toy_lake import rows_there
from tests.export.toy_run import STREAM, a_run, rows
from tests.export.toy_source import STREAM_COLUMNS, ToySource, ToyStream
from tests.private_seaweedfs import PrivateSeaweedfs
from tests.private_spark import environment
from tests.support import lake_at

pytestmark = [
    pytest.mark.spark,
    # py4j leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]
PLACE = (0, 8)
SECRET = "only for the brokers"


class Staying(Spark):
    """Spark that starts once for all tests."""

    def close(self) -> None:
        """Ended by the fixture."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="module")
def spark(home: Path) -> Iterator[Staying]:
    with pytest.MonkeyPatch.context() as patched:
        try:
            given = environment(home, conf={"spark.task.maxFailures": "2"})
        except ServerMissing as error:
            pytest.skip(str(error))
        for name, value in given.items():
            patched.setenv(name, value)
        patched.setattr(sys, "path", [*sys.path, given["PYTHONPATH"].rpartition(":")[2]])
        engine = Staying(workers=2)
        yield engine
        Spark.close(engine)


@dataclass(frozen=True)
class SecretToy(OddToy):
    """A stream that a secret is needed for."""

    password: str = SECRET


def odd(folder: Path, how: How, place: tuple[int, int] = PLACE) -> ToySource:
    return ToySource(SecretToy(rows(24), True, folder=folder, place=place, how=how))


def seeking(count: int = 24) -> ToySource:
    return ToySource(ToyStream(rows(count), seeks=True))


def export(engine: Spark, lake: Lake, source: ToySource, *feeds: Feed, number: int = 0) -> list[FeedResult]:
    run, holder = replace(a_run(number), engine=engine, commit_rows=8), {"command": "test", "pid": str(os.getpid())}
    return export_feeds(source, lake, feeds or [STREAM], run, ExportRequest(), holder, lambda _: None)


def error_of(results: list[FeedResult]) -> PipelineError | None:
    return results[0].error


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def staged_there(root: Path) -> list[Path]:
    return list((root / "streams" / "toy" / "_staging").rglob("*.staged"))


def test_executors_stage_what_can_be_read_in_pieces_and_the_driver_the_rest(
    spark: Staying, lake_root: Path, tmp_path: Path
) -> None:
    lake, by_scan = lake_at(lake_root, 0), ToyStream(tuple(row for row in rows(13) if row[1] == 0))
    scanned = STREAM.model_copy(update={"name": "scanned"})
    pieces = export(spark, lake, odd(tmp_path, "names its process", (9, 9)))
    driver = ToySource(OddToy(by_scan.rows, folder=tmp_path, how="names its process", place=(9, 9)))
    one_scan = export(spark, lake, driver, scanned, number=1)

    assert [result.error for result in (*pieces, *one_scan)] == [None, None]
    assert rows_there(lake_root) == Counter(rows(24))
    assert rows_there(lake_root, scanned) == Counter(by_scan.rows)
    processes = {path.name.rpartition("-")[2] for path in tmp_path.glob("process-*")}
    assert str(os.getpid()) in processes
    assert len(processes) > 1
    assert lake.table(STREAM).bookmarks() == {
        0: Bookmark(23, rows(24)[22][0]),
        1: Bookmark(23, rows(24)[23][0]),
    }


def test_an_executor_that_is_killed_costs_no_row_and_nothing_shows_a_secret(
    spark: Staying, lake_root: Path, tmp_path: Path, home: Path
) -> None:
    written = dict[Path, bytes]()

    def kill() -> None:
        assert comes_true((tmp_path / "hangs").exists)
        written.update((path, path.read_bytes()) for path in home.rglob("*") if path.is_file())
        (tmp_path / "done").touch()
        python = int((tmp_path / "hangs").read_text())
        os.kill(parent_of(parent_of(python)), signal.SIGKILL)

    killer = meanwhile(kill)
    error = error_of(export(spark, lake_at(lake_root, 0), odd(tmp_path, "hangs")))
    killer.join()

    assert error is None
    assert rows_there(lake_root) == Counter(rows(24))
    assert [path for path, data in written.items() if b"toy: 20261120" in data]  # the event log has the tasks' names
    assert [path for path, data in written.items() if SECRET.encode() in data] == []


def test_a_task_whose_process_is_killed_is_staged_again(spark: Staying, lake_root: Path, tmp_path: Path) -> None:
    assert error_of(export(spark, lake_at(lake_root, 0), odd(tmp_path, "dies"))) is None

    assert (tmp_path / "done").exists()
    assert rows_there(lake_root) == Counter(rows(24))


def test_a_task_that_was_staged_twice_leaves_files_that_the_next_run_removes(
    spark: Staying, tmp_path: Path, seaweedfs: PrivateSeaweedfs
) -> None:
    lake = Lake("s3://lakes/twice", lambda _: None, 0, access=seaweedfs.access)

    def staged() -> list[str]:
        return list(Bucket("s3", "lakes", seaweedfs.access).all_below("twice/streams/toy/_staging/"))

    assert error_of(export(spark, lake, odd(tmp_path, "dies with its answer"))) is None
    table = lake.table(STREAM)

    assert (tmp_path / "done").exists()
    assert Counter(tuple(row.values()) for batch in table.read_batches(table.files) for row in batch.to_pylist()) == (
        Counter(rows(24))
    )
    assert len(staged()) == 3  # its rows are of three days
    assert error_of(export(spark, lake, seeking(), number=1)) is None
    assert staged() == []
    assert set(parquet_files(table.store)) == {file.path for file in table.files}


def test_a_task_that_is_lost_for_good_fails_the_feed_and_the_next_run_goes_on(
    spark: Staying, lake_root: Path, tmp_path: Path
) -> None:
    error = error_of(export(spark, lake_at(lake_root, 0), odd(tmp_path, "dies each time")))

    assert isinstance(error, WorkerLost)
    assert error.message.startswith("Spark lost a task that staged rows: ")
    assert "\n" not in error.message
    assert "look at the executors' logs" in error.hint
    assert error.exit_code == 75
    assert not [row for row in rows_there(lake_root) if row[1] == PLACE[0] and row[2] >= PLACE[1]]
    assert error_of(export(spark, lake_at(lake_root, 0), seeking(), number=1)) is None
    assert rows_there(lake_root) == Counter(rows(24))
    assert staged_there(lake_root) == []


@pytest.mark.parametrize(
    ("how", "kind", "message", "hint", "code"),
    [
        ("stalls", ReadStalled, "no more comes", "look at the brokers", 75),
        ("lacks a package", SparkUnusable, "executors cannot stage rows: ModuleNotFoundError", "docs/spark.md", 1),
    ],
)
def test_what_fails_in_an_executor_is_told_in_our_words(
    spark: Staying,
    lake_root: Path,
    tmp_path: Path,
    how: How,
    kind: type[PipelineError],
    message: str,
    hint: str,
    code: int,
) -> None:
    error = error_of(export(spark, lake_at(lake_root, 0), odd(tmp_path, how)))

    assert isinstance(error, kind)
    assert message in error.message
    assert hint in error.hint
    assert error.exit_code == code


def test_rows_come_once_in_a_bucket_and_nothing_stays_staged(spark: Staying, seaweedfs: PrivateSeaweedfs) -> None:
    lake = Lake("s3://lakes/by-spark", lambda _: None, 0, access=seaweedfs.access)

    for number, count in enumerate((13, 24)):
        assert error_of(export(spark, lake, seeking(count), number=number)) is None

    table = lake.table(STREAM)
    there = Counter(tuple(row.values()) for batch in table.read_batches(table.files) for row in batch.to_pylist())
    assert there == Counter(rows(24))
    assert list(Bucket("s3", "lakes", seaweedfs.access).all_below("by-spark/streams/toy/_staging/")) == []


def test_a_machine_without_the_lake_s_disk_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path / "staged", str(tmp_path / "of another machine"), StoreAccess())

    with (
        pytest.raises(LakeNotWritable, match="does not see the lake's folder") as raised,
        Staging(place, STREAM_COLUMNS, "rowtime").elsewhere(),
    ):
        pass
    assert "object store" in raised.value.hint


def test_the_setup_check_starts_spark_as_an_export_would(spark: Staying) -> None:
    assert check_spark(spark) == ok("spark", "starts, and has room for 2 tasks at once")


def test_without_pyspark_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.export.spark.find_spec", lambda _: None)

    with pytest.raises(SparkUnusable, match="pyspark is not installed") as raised:
        Spark()
    assert raised.value.hint == "python -m pip install -c requirements.lock '.[spark]'"
    assert raised.value.exit_code == 1


def test_a_spark_that_does_not_start_is_told_in_our_words(home: Path, spark: Staying) -> None:
    assert spark.workers == 2
    begin = "from pipeline.export.spark import Spark; Spark(2).start()"
    env = os.environ | {"JAVA_HOME": str(home)}

    done = subprocess.run([sys.executable, "-c", begin], env=env, capture_output=True, text=True, check=False)

    assert "SparkUnusable: Spark does not start: " in done.stderr.splitlines()[-1]
