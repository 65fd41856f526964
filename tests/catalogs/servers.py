"""The catalogs' servers, and how pyiceberg reaches each: by its own settings, as a user has them."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from demo.environment import python_of
from demo.private_process import PrivateProcess, ServerMissing, free_port
from tests.support import ROOT

_HERE = Path(__file__).parent
_SETTINGS = {
    "javax.jdo.option.ConnectionURL": "jdbc:derby:memory:metastore;create=true",
    "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
    "datanucleus.schema.autoCreateAll": "true",
    "metastore.schema.verification": "false",
    "metastore.thrift.bind.host": "127.0.0.1",
    "metastore.event.db.notification.api.auth": "false",
    "metastore.housekeeping.threads.on": "false",
    "metastore.expression.proxy": "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
    "metastore.task.threads.always": "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
}


@dataclass
class Server(PrivateProcess):
    """A server that is ready when it accepts connections."""

    started_by = ("setpriv", "--pdeathsig", "KILL")

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def sql(folder: Path) -> Iterator[Mapping[str, str]]:
    """A catalog in an SQLite file."""
    yield {"TYPE": "sql", "URI": f"sqlite:///{folder}/catalog.db"}


@contextlib.contextmanager
def glue(folder: Path) -> Iterator[Mapping[str, str]]:
    """AWS Glue as moto plays it."""
    port = free_port()
    moto = [str(python_of("catalogs")), "-I", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _running(folder, moto, port):
        keys = {"GLUE__ACCESS_KEY_ID": "any", "GLUE__SECRET_ACCESS_KEY": "any", "GLUE__REGION": "eu-west-1"}
        yield {"TYPE": "glue", "GLUE__ENDPOINT": f"http://127.0.0.1:{port}", **keys}


@contextlib.contextmanager
def rest(folder: Path) -> Iterator[Mapping[str, str]]:
    """The REST catalog of Apache Iceberg's own tests. Raises ServerMissing without Java and Maven."""
    port = free_port()
    server = ["java", "-cp", f"{_jars('rest')}/*", str(_HERE / "RestCatalog.java"), str(port), str(folder)]
    with _running(folder, server, port):
        yield {"TYPE": "rest", "URI": f"http://127.0.0.1:{port}"}


@contextlib.contextmanager
def hive(folder: Path) -> Iterator[Mapping[str, str]]:
    """A Hive metastore with its database in memory. Raises ServerMissing without Java and Maven."""
    port = free_port()
    places = {
        "metastore.warehouse.dir": f"{folder}/warehouse",
        "metastore.warehouse.external.dir": f"{folder}/external",
    }
    values = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>"
        for name, value in (_SETTINGS | places).items()
    )
    (folder / "metastore-site.xml").write_text(f"<configuration>{values}</configuration>", encoding="utf-8")
    main = "org.apache.hadoop.hive.metastore.HiveMetaStore"
    log = f"-Dderby.stream.error.file={folder}/derby.log"
    with _running(folder, ["java", log, "-cp", f"{folder}:{_jars('hive')}/*", main, "-p", str(port)], port):
        yield {"TYPE": "hive", "URI": f"thrift://127.0.0.1:{port}"}


def _jars(name: str) -> Path:
    """The folder with the jars of a pom of that name. Raises ServerMissing without Java and Maven."""
    if not shutil.which("java") or not shutil.which("mvn"):
        raise ServerMissing(f"the catalog {name} needs Java 17 and Maven")
    jars = ROOT / "build" / f"catalog_{name}"
    copy = ["mvn", "-q", "-B", "-f", str(_HERE / f"{name}.xml"), "dependency:copy-dependencies"]
    subprocess.run([*copy, f"-DoutputDirectory={jars}"], check=True)
    return jars


@contextlib.contextmanager
def _running(folder: Path, command: list[str], port: int) -> Iterator[None]:
    server = Server(folder, command, port)
    try:
        server.start()
        yield
    finally:
        server.stop()


CATALOGS: dict[str, Callable[[Path], AbstractContextManager[Mapping[str, str]]]] = {
    "SQL (SQLite)": sql,
    "Glue (moto)": glue,
    "REST (Apache Iceberg's own, 1.10)": rest,
    "Hive (metastore 3.1.3)": hive,
}
