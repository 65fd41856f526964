"""The address of a ksqlDB server, credentials and time limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.errors import AddressNotUsable


@dataclass(frozen=True)
class Connection:
    """The address of the server, credentials and time limits.

    `ca_file` and `client_cert` are paths of PEM files. `timeout_s` limits connecting and each admin request, `retry_s`
    the wait for a server that refuses for now, `stall_s` a read without a byte.
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
        except ValueError:  # an open bracket, or an invalid port
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
