"""Requests and replies that are one JSON document: results, errors and refusals."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from ksqldb_emulator.sql import Refused
from ksqldb_emulator.values import to_json


def parse_body(text: str, required: str) -> dict[str, Any] | web.Response:
    try:
        body = json.loads(text)
    except ValueError as error:
        return error_reply(400, 40000, f"Invalid JSON in request: {error}")
    if not isinstance(body, dict) or required not in body:
        return error_reply(
            400, 40000, f"Invalid JSON in request: Missing required creator property '{required}' (index 0)"
        )
    return body


def json_reply(data: Any) -> web.Response:
    return web.Response(text=to_json(data), content_type="application/json")


def error_reply(status: int, code: int, message: str) -> web.Response:
    return web.Response(status=status, text=to_json({"@type": "generic_error", "error_code": code, "message": message}))


def refusal_reply(error: Refused) -> web.Response:
    body = {
        "@type": "statement_error",
        "error_code": error.code,
        "message": error.message,
        "statementText": error.statement,
        "entities": [],
    }
    return web.Response(status=error.code // 100, text=to_json(body))
