"""Spark as a reader: of the Delta tables, and of the same files by their Iceberg metadata; one Spark for all states.

Run as `python -m tests.readers.by_spark ASKED OUT` in an environment of `tests.private_spark`: writes Arrow to OUT.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from demo.private_kafka import resolved_jars
from tests.private_spark import environment
from tests.readers.apart import NotRead
from tests.readers.lake import State
from tests.support import ROOT

NAMES = ("Spark, delta", "Spark, iceberg")
_POM = Path(__file__).parent / "pom.xml"


def read_by_spark(states: Sequence[State]) -> dict[str, list[pa.Table | NotRead]]:
    """By reader what it reads of each state, or why it does not. Raises CalledProcessError and ServerMissing."""
    jars = sorted(str(jar) for jar in resolved_jars(ROOT / "build" / "spark_readers", _POM).glob("*.jar"))
    with tempfile.TemporaryDirectory(prefix="spark-") as folder:
        out, asked = Path(folder) / "out", Path(folder) / "asked.json"
        out.mkdir()
        asked.write_text(json.dumps([(str(s.folder), s.iceberg, s.delta_version, s.snapshot) for s in states]))
        conf = {
            "spark.jars": ",".join(jars),
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        }
        given = environment(Path(folder), "local[2]", conf)
        command = [sys.executable, "-m", "tests.readers.by_spark", str(asked), str(out)]
        subprocess.run(command, env=os.environ | given, cwd=ROOT, check=True)
        return {name: [_found(out / f"{name} {n}") for n in range(len(states))] for name in NAMES}


def _found(path: Path) -> pa.Table | NotRead:
    if not path.exists():
        return NotRead(path.with_suffix(".error").read_text(encoding="utf-8"))
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as rows:
        return rows.read_all()


def main(asked: Path, out: Path) -> None:
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.getOrCreate()
    for number, (folder, iceberg, version, snapshot) in enumerate(json.loads(asked.read_text(encoding="utf-8"))):
        for name in NAMES:
            place = out / f"{name} {number}"
            try:
                read = spark.read.format(name.partition(", ")[2])
                if name == NAMES[0]:
                    rows = read.option("versionAsOf", version).load(folder).toArrow()
                else:
                    rows = read.option("versionAsOf", snapshot).load(iceberg).toArrow()
            except (PySparkException, Py4JJavaError) as error:
                place.with_suffix(".error").write_text(" ".join(str(error).splitlines()[:2]), encoding="utf-8")
                continue
            with pa.OSFile(str(place), "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
                writer.write_table(rows)
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
