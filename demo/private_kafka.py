"""A private Kafka: one process that is broker and controller, own folder, loopback, free ports, stopped by its id.

Maven resolves Apache Kafka's jars from `demo/kafka/pom.xml` into build/kafka, once for all uses; an interrupted
download is started again. With root rights and no Java or Maven on the machine, Debian's packages are installed. A
broker ends when the thread that started it does, so a killed test or demo leaves none behind. It does not sync to disk:
its process may be killed, but not the machine.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined] # not in its own list

from demo.private_process import PrivateProcess, ServerMissing, free_port, install_packages

PACKAGES = ("default-jre-headless", "maven")
USERS = ("reader", "stranger")
LARGEST_RECORD_BYTES = 20_000_000
_ROOT = Path(__file__).resolve().parent.parent
_POM = _ROOT / "demo" / "kafka" / "pom.xml"
_PATIENCE_S = 300
_JAVA = ("java", "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_PROPERTIES = f"""\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
auto.create.topics.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
message.max.bytes={LARGEST_RECORD_BYTES}
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
num.network.threads=1
num.io.threads=2
background.threads=2
log.initial.task.delay.ms=500
log.retention.ms=-1
log.retention.check.interval.ms=500
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=8000000
log.segment.delete.delay.ms=1000
"""


@dataclass(frozen=True)
class Listener:
    """A further listener of a broker: its protocol in Kafka's words, and its own properties."""

    protocol: str
    properties: Mapping[str, str] = field(default_factory=dict)


_LISTENERS = {"PLAINTEXT": Listener("PLAINTEXT"), "CONTROLLER": Listener("PLAINTEXT")}


def _for_users() -> Listener:
    known = " ".join(f'user_{name}="{name}"' for name in USERS)
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    jaas = f"{module} required {known};"
    return Listener("SASL_PLAINTEXT", {"sasl.enabled.mechanisms": "PLAIN", "plain.sasl.jaas.config": jaas})


@dataclass
class PrivateKafka(PrivateProcess):
    """A running broker. A record may have `LARGEST_RECORD_BYTES`.

    At `servers` whoever asks may do everything; at `servers_for_users` one of `USERS`, with its name as password, may
    do what a rule allows. What was written stays through `stop` and `start`, at the same addresses.
    """

    started_by = ("setpriv", "--pdeathsig", "KILL")
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def servers_for_users(self) -> str:
        return self.servers_at("USERS")

    def servers_at(self, listener: str) -> str:
        return f"127.0.0.1:{self.ports[listener]}"

    def answers(self) -> bool:
        with contextlib.suppress(KafkaException):
            admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0, "reconnect.backoff.max.ms": 200})
            return bool(admin.list_topics(timeout=1).brokers)
        return False


@contextlib.contextmanager
def running_kafka(folder: Path, more: Mapping[str, Listener] = {}) -> Iterator[PrivateKafka]:
    """A new, empty broker in `folder` until the block ends, with `more` listeners by their names.

    Raises ServerMissing where there can be none.
    """
    install_java()
    jars = resolved_jars(_ROOT / "build" / "kafka", _POM)
    listeners = {**_LISTENERS, "USERS": _for_users(), **more}
    ports = {name: free_port() for name in listeners}
    properties = folder / "server.properties"
    properties.write_text(
        f"{_PROPERTIES}log.dirs={folder / 'data'}\n{_of_listeners(listeners, ports)}", encoding="utf-8"
    )
    java = [*_JAVA, "-cp", f"{jars}/*"]
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    form = [*java, "kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}", f"-c={properties}"]
    made = subprocess.run(form, capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"Kafka could not make its data folder: {(made.stderr or made.stdout)[-2000:]}")
    broker = PrivateKafka(folder, [*java, "kafka.Kafka", str(properties)], ports["PLAINTEXT"], ports)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop(signal.SIGKILL)  # nothing of it is needed any more


def install_java() -> None:
    """Java and Maven, as Debian's packages where they are missing. Raises ServerMissing."""
    install_packages("Java and Maven", PACKAGES, lambda: bool(shutil.which("java") and shutil.which("mvn")))


def _of_listeners(listeners: Mapping[str, Listener], ports: Mapping[str, int]) -> str:
    addresses = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    protocols = ",".join(f"{name}:{listener.protocol}" for name, listener in listeners.items())
    own = [
        f"listener.name.{name.lower()}.{property}={value}"
        for name, listener in listeners.items()
        for property, value in listener.properties.items()
    ]
    return "\n".join([
        f"listeners={addresses}",
        f"advertised.listeners={addresses}",
        f"listener.security.protocol.map={protocols}",
        f"controller.quorum.bootstrap.servers=127.0.0.1:{ports['CONTROLLER']}",
        *own,
    ]) + "\n"  # fmt: skip


def resolved_jars(home: Path, pom: Path) -> Path:
    """The folder with the jars that a pom names; Maven fetches them (Kafka's: 43 MB) where they are not there yet.

    Raises ServerMissing where they cannot be had.
    """
    jars, complete, wanted = home / "jars", home / "complete", pom.read_text(encoding="utf-8")
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists() or complete.read_text(encoding="utf-8") != wanted:
            complete.unlink(missing_ok=True)
            shutil.rmtree(jars, ignore_errors=True)
            fetch = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
            done = subprocess.run(fetch, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServerMissing(f"the jars of {pom} cannot be fetched: {(done.stdout or done.stderr)[-500:]}")
            complete.write_text(wanted, encoding="utf-8")
    return jars


def create_topic(servers: str, name: str, partitions: int = 1, **config: str) -> None:
    """Makes an empty topic; the names in `config` have underscores where Kafka's have dots."""
    given = {option.replace("_", "."): value for option, value in config.items()}
    admin = AdminClient({"bootstrap.servers": servers})  # what is asked ends with the client, so it is held
    admin.create_topics([NewTopic(name, partitions, 1, config=given)])[name].result(_PATIENCE_S)
