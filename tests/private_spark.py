"""A private Spark: PySpark in an environment of its own (build/spark), its folders temporary, on loopback alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from demo.environment import python_of
from demo.private_kafka import install_java
from tests.support import ROOT

EXECUTORS = "local-cluster[2,1,512]"
"""Two processes that are executors, of one core each, beside the driver's."""


def packages() -> Path:
    """The folder that Python finds PySpark in; installed (510 MB) at the first use. Raises ServerMissing."""
    install_java()
    (found,) = python_of("spark").parent.parent.glob("lib/python*/site-packages")
    return found


def environment(folder: Path, master: str = EXECUTORS, conf: Mapping[str, str] = {}) -> dict[str, str]:
    """Variables by which a process of this Python and these sources starts Spark, with this `conf` besides.

    Spark writes below `folder`: its events to `events`, its executors' files and logs to `work` and `local`.
    """
    there, home = packages(), folder / "spark"
    for part in ("events", "local", "spark"):
        (folder / part).mkdir()
    for part in ("bin", "jars"):
        (home / part).symlink_to(there / "pyspark" / part)
    wanted = {
        "spark.executor.memory": "512m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": f"file://{folder / 'events'}",
        "spark.local.dir": str(folder / "local"),
    } | dict(conf)
    words = [f"--master {master}", *(f"--conf {name}={value}" for name, value in wanted.items()), "pyspark-shell"]
    return {
        "PYSPARK_SUBMIT_ARGS": " ".join(words),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": f"{ROOT}:{there}",
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
