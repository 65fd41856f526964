"""Where the warehouse is and who asks: one frozen value, and what it means for TLS and the socket."""

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
    """Where the warehouse is, who asks, and how long for what.

    `socket` is taken instead of host and port. `password_command` prints the password, for each connection. `ssl_ca`
    turns on TLS with verification of certificate and host name, `ssl_cert` and `ssl_key` are the client's own, where a
    server asks for them. `timeout_s` is for connecting, `stall_s` for one answer, however long its statement runs,
    `lock_wait_s` for a lock that another session holds.
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
        """This server with what is `given` of its fields.

        A host or a port counts more than the socket that it has, a password more than the command that prints one.
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
    """Why a file cannot be used: the operating system's words, not the library's."""
    if isinstance(error, ssl.SSLError) or not error.errno:
        return "it is not a PEM file of the right kind"
    return os.strerror(error.errno)


def tune_socket(raw: Any) -> None:
    """What the driver (26.10) has no options for.

    A file ends with two small packets: the second would wait 40 ms until the first is acknowledged. A machine that
    vanishes in the middle of a statement is noticed after two minutes, not only when the answer is overdue.
    """
    opened = raw._socket.sock
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, option):  # not everywhere
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
