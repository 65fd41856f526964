"""Where a ksqlDB server is, and how it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.errors import AddressNotUsable


@dataclass(frozen=True)
class Connection:
    """Where the server is and how to speak to it.

    `ca_file` and `client_cert` are paths of PEM files. `timeout_s` bounds connecting and each admin request, `retry_s`
    the waiting for a server that refuses for now, `stall_s` a read that brings no byte.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca_file: str = ""
    client_cert: str = ""
    timeout_s: float = 30
    retry_s: float = 90
    stall_s: float = 120

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a bracket that is not closed, a port that is none
            raise _no_address() from None
        if parts.username or parts.password:
            raise AddressNotUsable(
                "the ksqlDB address holds a user or password, which would end up in logs",
                "give them as KSQLDB_USER and KSQLDB_PASSWORD",
            )
        if not whole or parts.query or parts.fragment or not self.url.isprintable() or " " in self.url:
            raise _no_address()


def _no_address() -> AddressNotUsable:
    return AddressNotUsable(
        "the ksqlDB address is not an http:// or https:// URL of a host and a port",
        "set KSQLDB_URL, e.g. http://localhost:8088",
    )
