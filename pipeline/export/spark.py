"""Executors of Spark that stage tasks, each as a job of one task; this process commits as for any other engine.

Spark starts with the first stream that has tasks for several, and ends with the run. A task whose executor is lost is
staged again by another one, and Spark may stage a task twice: each attempt has files of its own, and what no answer
names is removed by the next run. Connections, secrets too, go to executors as the data of a task, which Spark keeps in
no event log, page or configuration, and on disks only encrypted.

Facts: PySpark 4.2; it writes the data of `parallelize` to a file of the driver unless `spark.io.encryption.enabled`.
"""

from __future__ import annotations

import itertools
import os
import pickle
import re
import threading
import zipfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, SparkUnusable, WorkerLost
from pipeline.export.stage import Staged
from pipeline.export.worker import ENDED, Assignment
from pipeline.lake.staging import Staging
from pipeline.process import mask_of_rights
from pipeline.scratch import scratch_folder
from pipeline.start import leave_out_pandas

_CODE = Path(__file__).parent.parent
_OURS = {"spark.app.name": "ksqldb-lake", "spark.io.encryption.enabled": "true"}
_ALONE = {
    "spark.master": "local[*]",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""Where no master is named: without spark-submit, on this machine."""
_OF_PYTHON = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception): .*)$", re.MULTILINE)
_UNFIT = ("ModuleNotFoundError", "ImportError", "PYTHON_VERSION_MISMATCH", "Cannot run program")
_NUMBERS = itertools.count(1)


class Spark:
    """See `engine.Engine`. `workers` is how many tasks are staged at once; 0: as many as Spark's default parallelism.

    Raises SparkUnusable where PySpark is missing.
    """

    def __init__(self, workers: int = 0) -> None:
        if find_spec("pyspark") is None:
            raise SparkUnusable(
                "EXPORT_ENGINE is spark, and the package pyspark is not installed",
                "python -m pip install -c requirements.lock '.[spark]'",
            )
        self._asked, self._mask = workers, mask_of_rights()
        self._context: Any = None
        self._starts, self._held = threading.Lock(), ExitStack()

    @property
    def workers(self) -> int:
        return self._asked or int(self._started().defaultParallelism)

    def start(self) -> Executor:
        return Executor(self._started(), self._mask)

    def close(self) -> None:
        with self._starts:
            if self._context is not None:
                with suppress(*_failures()):
                    self._context.stop()
                self._context = None
            self._held.close()

    def _started(self) -> Any:
        """Spark's context. Raises SparkUnusable."""
        with self._starts:
            if self._context is None:
                self._context = _start()
                code = self._held.enter_context(scratch_folder()) / "pipeline.zip"
                with zipfile.PyZipFile(str(code), "w") as packed:  # so that executors run this very code
                    packed.writepy(str(_CODE))
                self._context.addPyFile(str(code))
            return self._context


class Executor:
    """See `engine.Worker`: a thread that has Spark stage one task at a time, on whichever executor is free."""

    def __init__(self, context: Any, mask: int) -> None:
        self.connection, theirs = Pipe()
        self._context, self._mask, self._group = context, mask, f"ksqldb-lake-{next(_NUMBERS)}"
        threading.Thread(target=self._serve, args=(theirs,), name=self._group, daemon=True).start()

    def lost(self) -> WorkerLost:
        return _lost("its thread has ended")

    def stop(self) -> None:
        self.connection.close()
        with suppress(*_failures()):  # Spark itself may be gone
            self._context.cancelJobGroup(self._group)

    def _serve(self, driver: Connection) -> None:
        try:
            with driver:
                while True:
                    assignment, left_s = driver.recv()
                    parts, failed = self._staged(assignment, left_s)
                    for part in parts:
                        driver.send(part)
                        if part.goes_on:
                            driver.recv()
                    driver.send(failed or ENDED)
        except (EOFError, OSError):
            return  # stopped

    def _staged(self, assignment: Assignment, left_s: float | None) -> tuple[list[Staged], PipelineError | None]:
        sent, what = pickle.dumps((assignment, left_s, self._mask)), f"{assignment.task.feed}: {assignment.name}"
        try:
            self._context.setJobGroup(self._group, what, interruptOnCancel=True)
            (answer,) = self._context.parallelize([sent], 1).map(stage_here).collect()
        except _failures() as error:
            return [], _of_spark(error)
        staged: tuple[list[Staged], PipelineError | None] = pickle.loads(answer)
        return staged


def stage_here(sent: bytes) -> bytes:
    """Stages a task in an executor; returns its parts, and the error that ended it, if one did."""
    from pyspark import TaskContext

    leave_out_pandas()
    assignment, left_s, mask = pickle.loads(sent)
    os.umask(mask)
    attempt, parts = TaskContext.get().taskAttemptId(), list[Staged]()
    try:
        with assignment.staging.elsewhere() as staging:
            own = replace(assignment.within(left_s), staging=staging, name=f"{assignment.name}-{attempt}")
            for part in own.parts():
                parts.append(_handed_over(part, staging))
    except PipelineError as error:
        return pickle.dumps((parts, error))
    return pickle.dumps((parts, None))


def _handed_over(part: Staged, staging: Staging) -> Staged:
    kept = staging.kept.place.hand_over(part.unreadable_files) if staging.kept else ()
    return replace(part, files=staging.place.hand_over(part.files), unreadable_files=kept)


def _start() -> Any:
    """Raises SparkUnusable."""
    from pyspark import SparkConf, SparkContext

    try:
        SparkContext._ensure_initialized()  # without it a configuration does not know what spark-submit was given
        conf = SparkConf()
        is_alone = not conf.contains("spark.master")
        for name, value in (_OURS | _ALONE if is_alone else _OURS).items():
            conf.setIfMissing(name, value)
        context = SparkContext(conf=conf)
    except _failures() as error:
        raise SparkUnusable(
            f"Spark does not start: {_reason(error)}",
            "it needs Java 17, found by JAVA_HOME or PATH, and a master that answers: docs/spark.md",
        ) from None
    if is_alone:
        context.setLogLevel("ERROR")
    return context


def _failures() -> tuple[type[Exception], ...]:
    """What PySpark raises where Spark fails, or is gone."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return Py4JError, PySparkException, OSError


def _of_spark(error: Exception) -> PipelineError:
    """The failure of a job, which is none of ours: those are values."""
    reason = _reason(error)
    if any(word in reason for word in _UNFIT):
        return SparkUnusable(
            f"Spark's executors cannot stage rows: {reason}",
            "give executors the Python and the packages of this one: docs/spark.md",
        )
    return _lost(reason)


def _lost(reason: str) -> WorkerLost:
    return WorkerLost(
        f"Spark lost a task that staged rows: {reason}; what was committed before stays",
        "run the same command again; where that happens again, look at the executors' logs and their memory",
    )


def _reason(error: Exception) -> str:
    """Spark's words in one line: the last error of Python among them, where there is one."""
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage() if java is not None else error).strip()
    of_python = _OF_PYTHON.findall(text.partition("Traceback (most recent call last)")[2])
    return str(of_python[-1]) if of_python else text.partition("\n")[0]
