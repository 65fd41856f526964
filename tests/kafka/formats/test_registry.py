"""The registry's own client against a small registry over HTTP, and what is said when it gives no schema."""

from __future__ import annotations

import base64
import http.server
import json
import pickle
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import PipelineError, RegistryRefused, RegistryUnreachable, SchemaUnknown
from pipeline.kafka.connection import Registry
from pipeline.kafka.registry import Reference, RegisteredSchema, RegistryClient

INNER, OUTER = '{"type": "fixed", "name": "I", "size": 1}', '{"type": "array", "items": "I"}'
ANSWERS: dict[str, tuple[int, Any]] = {
    "/schemas/ids/1": (200, {"schema": OUTER, "references": [{"name": "I", "subject": "s", "version": 3}]}),
    "/subjects/s/versions/3": (200, {"subject": "s", "version": 3, "id": 2, "schema": INNER}),
    "/schemas/ids/2": (404, {"error_code": 40403, "message": "Schema not found"}),
    "/schemas/ids/3": (403, {"error_code": 40301, "message": "User is denied"}),
    "/schemas/ids/4": (200, None),
}


class _Handler(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        status, answer = ANSWERS[path]
        if self.headers.get("Authorization") != f"Basic {base64.b64encode(b'reader:secret').decode()}":
            status, answer = 401, {"error_code": 40101, "message": "Unauthorized"}
        body = b"<html>" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def served() -> Iterator[tuple[str, list[str]]]:
    """A registry's URL, and the paths that it is asked for."""
    handler = type("Handler", (_Handler,), {"asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler.asked
    server.shutdown()
    server.server_close()


def test_a_schema_comes_with_what_it_refers_to_and_is_fetched_once(served: tuple[str, list[str]]) -> None:
    url, asked = served
    client = pickle.loads(pickle.dumps(RegistryClient(Registry(url, "reader", "secret"))))

    first, second = client.schema(1), client.schema(1)

    assert first == second == RegisteredSchema(OUTER, (Reference("I", RegisteredSchema(INNER)),))
    assert asked == ["/schemas/ids/1", "/subjects/s/versions/3"]


@pytest.mark.parametrize(
    ("number", "user", "kind", "code"),
    [(2, "reader", SchemaUnknown, 1), (3, "reader", RegistryRefused, 1), (1, "", RegistryRefused, 1),
     (4, "reader", RegistryRefused, 1)],
)  # fmt: skip
def test_a_person_is_told_why_there_is_no_schema(
    served: tuple[str, list[str]], number: int, user: str, kind: type[PipelineError], code: int
) -> None:
    url, _ = served

    with pytest.raises(kind) as error:
        RegistryClient(Registry(url, user, "secret")).schema(number)

    assert error.value.exit_code == code
    assert url in error.value.message
    assert "secret" not in error.value.message + error.value.hint


def test_a_registry_that_does_not_answer_is_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kafka.registry._RETRIES", 0)
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        with pytest.raises(RegistryUnreachable) as error:
            RegistryClient(Registry(url)).schema(1)

    assert error.value.exit_code == 75
    assert f"{url} cannot be reached" in error.value.message


def test_a_certificate_file_that_is_not_there_is_named_by_its_setting() -> None:
    with pytest.raises(RegistryRefused) as error:
        RegistryClient(Registry("https://127.0.0.1:1", ca_file="/no/such/file")).schema(1)

    assert "SCHEMA_REGISTRY_CA_FILE" in error.value.hint
