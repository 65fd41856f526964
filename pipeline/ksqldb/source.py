"""The streams and tables of one ksqlDB server, as sources of rows."""

from __future__ import annotations

from pipeline.ksqldb.client import Client
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
