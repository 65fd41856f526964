"""The streams and tables of one ksqlDB server, as sources of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.ksqldb.client import Client, Connection
from pipeline.ksqldb.describe import find_source
from pipeline.ksqldb.pull import KsqldbTable
from pipeline.ksqldb.stream import KsqldbStream


class KsqldbSource:
    """See `pipeline.source.Sources`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, name: str) -> KsqldbStream | KsqldbTable:
        source = find_source(self._client, name)
        return (KsqldbStream if source.kind == "stream" else KsqldbTable)(self._client, source)


@contextlib.contextmanager
def connected(connection: Connection) -> Iterator[KsqldbSource]:
    """The sources of a server that was found to be there and to be supported."""
    with Client(connection) as client:
        client.server_version()
        yield KsqldbSource(client)
