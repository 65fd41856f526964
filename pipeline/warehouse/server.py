"""The address of the warehouse's server, credentials and time limits as one value; its TLS and socket options."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import ServerInvalid

_HOST = re.compile(r"[^\s/@:\[\]]+|[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")  # a name, or an address of either kind
_WITH_PORT = re.compile(r"(?:\[(?P<address>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d+))?")


@dataclass(frozen=True)
class Server:
    """The address of the warehouse's server, credentials and time limits.

    `socket` is used instead of host and port. `password_command` is run for each connection and prints the password.
    `ssl_ca` turns on TLS with verification of certificate and host name; `ssl_cert` and `ssl_key` are the client's own,
    for servers that require them. `timeout_s` limits connecting, `stall_s` the wait for a statement's answer,
    `lock_wait_s` the wait for a lock that another session holds.
    """

    host: str = "localhost"
    port: int = 3306
    socket: str = ""
    user: str = "root"
    password: str = field(default="", repr=False)
    password_command: str = ""
    database: str = "data_warehouse"
    ssl_ca: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""
    timeout_s: float = 30
    stall_s: float = 3600
    lock_wait_s: float = 50

    def __post_init__(self) -> None:
        """Raises ServerInvalid for a password given in two ways, and for an address that no server can have."""
        if self.password and self.password_command:
            raise ServerInvalid("MYSQL_PASSWORD and MYSQL_PASSWORD_COMMAND are both set", "leave one of them out")
        if self.socket:
            return
        if not self.host:
            raise ServerInvalid("MYSQL_HOST is empty", "set MYSQL_HOST to the server's name, or MYSQL_SOCKET")
        parts = _WITH_PORT.fullmatch(self.host)
        if parts and (parts["port"] or parts["address"]):
            port = f" and MYSQL_PORT={parts['port']}" if parts["port"] else ""
            raise ServerInvalid(
                f"MYSQL_HOST is {self.host!r}, which is more than a host",
                f"set MYSQL_HOST={parts['address'] or parts['name']}{port}",
            )
        if not (_HOST.fullmatch(self.host) and self.host.isprintable()):
            raise ServerInvalid(f"MYSQL_HOST is {self.host!r}, which is no host name", "set it to the server's name")
        if not 1 <= self.port <= 65_535:
            raise ServerInvalid(f"MYSQL_PORT is {self.port}", "set it to a port from 1 to 65535; MySQL's own is 3306")

    @property
    def place(self) -> str:
        return self.socket or f"{self.host}:{self.port}"

    def with_options(self, given: Mapping[str, Any]) -> Server:
        """This server with the `given` fields replaced.

        A given host or port replaces the socket, a given password the command that prints one.
        """
        instead: dict[str, Any] = {"socket": ""} if given.keys() & {"host", "port"} else {}
        if "password" in given:
            instead["password_command"] = ""
        return dataclasses.replace(self, **(instead | dict(given)))


def tls_options(server: Server) -> dict[str, Any]:
    """The driver's TLS options; it trusts the system's CAs besides the given one.

    Raises ServerInvalid naming the file that cannot be used, and where a command's password would go to a server that
    is not verified: cloud databases take it as it is, not as a hash.
    """
    if not server.ssl_ca:
        if server.password_command:
            raise ServerInvalid(
                "MYSQL_PASSWORD_COMMAND needs MYSQL_SSL_CA: its password goes over the wire as it is",
                "set MYSQL_SSL_CA to the PEM file with the server's CA, or use MYSQL_SOCKET",
            )
        if server.ssl_cert or server.ssl_key:
            raise ServerInvalid("MYSQL_SSL_CERT and MYSQL_SSL_KEY need MYSQL_SSL_CA", "name the server's CA too")
        return {}
    if bool(server.ssl_cert) != bool(server.ssl_key):
        raise ServerInvalid("MYSQL_SSL_CERT and MYSQL_SSL_KEY belong together", "give both, or none")
    options: dict[str, Any] = {"ssl_ca": server.ssl_ca, "ssl_verify_cert": True, "ssl_verify_identity": True}
    tried = server.ssl_ca
    try:
        context = ssl.create_default_context(cafile=server.ssl_ca)
        if server.ssl_cert:
            tried = f"{server.ssl_cert} with {server.ssl_key}"
            context.load_cert_chain(server.ssl_cert, server.ssl_key, password="")  # never asks for one
            options |= {"ssl_cert": server.ssl_cert, "ssl_key": server.ssl_key}
    except OSError as error:  # ssl.SSLError is one
        raise ServerInvalid(
            f"the TLS file {tried} cannot be used: {_reason(error)}",
            "it must be readable, and PEM without password",
        ) from error
    return options


def _reason(error: OSError) -> str:
    """Why a file cannot be used, in the operating system's words instead of the TLS library's."""
    if isinstance(error, ssl.SSLError) or not error.errno:
        return "it is not a PEM file of the right kind"
    return os.strerror(error.errno)


def tune_socket(raw: Any) -> None:
    """Sets socket options that the driver (26.10) does not offer: TCP_NODELAY and keep-alive.

    A file ends with two small packets: without TCP_NODELAY the second waits 40 ms for the acknowledgement of the first.
    With keep-alive a server that disappears during a statement is noticed after two minutes, not only at `stall_s`.
    """
    opened = raw._socket.sock
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, option):  # not everywhere
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
