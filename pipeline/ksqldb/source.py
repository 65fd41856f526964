"""The streams and tables of one ksqlDB server, as sources of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline.errors import KafkaSettingsInvalid
from pipeline.feeds import ReadFrom
from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.describe import find_source, list_sources
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.ksqldb.stream import KsqldbStream


@dataclass(frozen=True)
class KsqldbSources:
    """See `pipeline.source.Sources`."""

    client: Client
    place: str

    @contextlib.contextmanager
    def apart(self) -> Iterator[KsqldbSources]:
        with self.client.apart() as client:
            yield replace(self, client=client)

    def list(self) -> Mapping[str, str]:
        return list_sources(self.client)

    def find(self, name: str, read_from: ReadFrom = "") -> KsqldbStream | KsqldbTable:
        source = find_source(self.client, name)
        if read_from == "kafka":
            raise KafkaSettingsInvalid(
                f"{source.name} is to be read from Kafka, and no brokers are set",
                "set KAFKA_BOOTSTRAP_SERVERS, or: python manage_feeds.py update FEED --read-from ksqldb",
            )
        return (KsqldbStream if source.kind == "stream" else KsqldbTable)(self.client, source)


@contextlib.contextmanager
def connected(connection: Connection, wait: bool = True) -> Iterator[KsqldbSources]:
    """The sources of a running and supported server; without `wait` a server that is not ready now is an error."""
    with Client(connection if wait else replace(connection, retry_s=0)) as client:
        yield KsqldbSources(client, f"{client.server_version()} at {connection.url}")
