"""A Schema Registry over HTTP that has some schemas and is asked for them by their numbers."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def served_schemas(schemas: Mapping[int, str], user: str = "", password: str = "") -> Iterator[str]:
    """The registry's URL until the block ends; with a `user` it asks for Basic authentication."""
    wanted = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}" if user else None

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = self.path.partition("?")[0].removeprefix("/schemas/ids/")
            status, answer = 404, dict[str, Any](error_code=40403, message="Schema not found")
            if self.headers.get("Authorization") != wanted:
                status, answer = 401, {"error_code": 40101, "message": "Unauthorized"}
            elif number.isdecimal() and int(number) in schemas:
                status, answer = 200, {"schema": schemas[int(number)]}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
