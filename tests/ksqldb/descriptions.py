"""Recorded descriptions of sources, to be changed by a test, and what a server was asked."""

from __future__ import annotations

import json
from typing import Any

from tests.ksqldb.replay import ReplayServer, Scripted
from tests.vectors import recorded


def described(name: str, extended: bool = False) -> dict[str, Any]:
    """A recorded description, to be changed by a test."""
    own, name = name.startswith("own: ") * "own: ", name.removeprefix("own: ")
    body = recorded(f"{own}DESCRIBE {name}{' EXTENDED' if extended else ''}")["response"]["body"]
    answer: dict[str, Any] = json.loads(body)[0]["sourceDescription"]
    return answer


def say_described(server: ReplayServer, *answer: dict[str, Any]) -> None:
    entities = ([{"@type": "sourceDescription", "statementText": "", "sourceDescription": each}] for each in answer)
    server.say(*(Scripted(200, [json.dumps(entity).encode()]) for entity in entities))


def asked(server: ReplayServer) -> list[str]:
    return [request.body["ksql"] for request in server.asked]
