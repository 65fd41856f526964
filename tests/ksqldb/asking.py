"""A client that waits for nothing, what a test asks it for, and answers of a server in pieces."""

from __future__ import annotations

from typing import Any

from pipeline.ksqldb.client import Client
from pipeline.ksqldb.connection import Connection
from pipeline.ksqldb.framing import Ending, Framing
from tests.decode.rows import tuples
from tests.ksqldb.replay import Scripted

INFO = b'{"KsqlServerInfo":{"version":"7.6.13","kafkaClusterId":"c","ksqlServiceId":"s_","serverStatus":"RUNNING"}}'
HEAD = b'[{"queryId":"transient_X_1","columnNames":["A"],"columnTypes":["INTEGER"]}'
READY = Scripted(200, [HEAD, b",[1]]"])
STARTING = Scripted(503, [b'{"@type":"generic_error","error_code":50302,"message":"Server initializing"}'])


def impatient(url: str, **options: Any) -> Client:
    return Client(Connection(url, **({"retry_s": 0} | options)))


def info(client: Client) -> Any:
    return client.server_version()


def show_tables(client: Client) -> Any:
    return client.ksql("SHOW TABLES;")


def pull(client: Client, sql: str = "SELECT * FROM X;") -> list[Any]:
    with client.query(sql, Framing.PLAIN_ARRAY, Ending.BRACKET) as answer:
        return [row for part in answer.rows() for row in tuples(part.batch)]
