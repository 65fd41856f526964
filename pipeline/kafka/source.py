"""The streams and tables of a ksqlDB server, read from their topics in Kafka; the server is asked what they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline.errors import StatementRefused
from pipeline.feeds import ReadFrom
from pipeline.kafka.connection import Brokers, Registry
from pipeline.kafka.declaration import declared, declared_table
from pipeline.kafka.formats.deserializer import deserializer
from pipeline.kafka.registry import RegistryClient
from pipeline.kafka.stream import KafkaStream
from pipeline.kafka.table import KafkaTable
from pipeline.kafka.topic import look_at
from pipeline.ksqldb import source as ksqldb
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.columns import columns_of
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import find_source
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.ksqldb.stream import KsqldbStream
from pipeline.source import Source

_WRAPS = "ksql.persistence.wrap.single.values"


@dataclass(frozen=True)
class KafkaSources:
    """See `pipeline.source.Sources`. Feeds with `read_from` ksqldb are read from there."""

    client: Client
    place: str
    brokers: Brokers
    registry: RegistryClient | None

    @contextlib.contextmanager
    def apart(self) -> Iterator[KafkaSources]:
        with self.client.apart() as client:
            yield replace(self, client=client)

    def list(self) -> Mapping[str, str]:
        return ksqldb.KsqldbSources(self.client, self.place).list()

    def find(self, name: str, read_from: ReadFrom = "") -> KafkaStream | KafkaTable | KsqldbStream | KsqldbTable:
        described = find_source(self.client, name)
        of_stream = described.kind == "stream"
        if read_from == "ksqldb":
            return (KsqldbStream if of_stream else KsqldbTable)(self.client, described)
        columns = columns_of(self.client, described, positions=of_stream)
        declaration = (declared if of_stream else declared_table)(described, columns, self._wraps)
        for payload in (declaration.key, declaration.value):
            deserializer(payload, self.registry)  # raises now for types that it cannot read or a missing registry
        topic = look_at(self.brokers, described.topic)
        source = Source(described.name, described.kind, topic.name, len(topic.offsets), topic_id=topic.id)
        if of_stream:
            return KafkaStream(source, declaration, self.brokers, self.registry)
        lag = KsqldbTable(self.client, described).state().lag if described.pullable else None
        return KafkaTable(source, declaration, self.brokers, self.registry, lag, holds_all=described.pullable)

    def _wraps(self) -> bool:
        """Whether the server wraps single values by default; true where this account may not ask it."""
        try:
            answer = self.client.ksql("SHOW PROPERTIES;")
        except StatementRefused:
            return True
        listed = [entry for entity in answer for entry in entity.get("properties") or ()]
        return all(str(entry.get("value")).lower() != "false" for entry in listed if entry.get("name") == _WRAPS)


@contextlib.contextmanager
def connected(
    connection: Connection, brokers: Brokers, registry: Registry | None, wait: bool = True
) -> Iterator[KafkaSources]:
    """The sources of a running and supported server; the brokers are contacted when a source is looked up."""
    with ksqldb.connected(connection, wait) as sources:
        place = f"{sources.place}, rows from Kafka at {brokers.servers}"
        yield KafkaSources(sources.client, place, brokers, RegistryClient(registry) if registry else None)
