"""Where MySQL is: what no server can have is refused when it is read; the rest is named by its setting."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from demo.private_process import free_port
from pipeline.errors import PipelineError, ServerInvalid, WarehouseRefused, WarehouseUnreachable
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.server import Server


@pytest.mark.parametrize(
    ("fields", "said", "hint"),
    [
        ({"host": ""}, "MYSQL_HOST is empty", "set MYSQL_HOST to the server's name, or MYSQL_SOCKET"),
        ({"host": "localhost:33063"}, "more than a host", "set MYSQL_HOST=localhost and MYSQL_PORT=33063"),
        ({"host": "[::1]:33063"}, "more than a host", "set MYSQL_HOST=::1 and MYSQL_PORT=33063"),
        ({"host": "[::1]"}, "more than a host", "set MYSQL_HOST=::1"),
        ({"host": "mysql://db"}, "no host name", "set it to the server's name"),
        ({"host": "d b"}, "no host name", "set it to the server's name"),
        ({"host": "db\x1b[2J"}, "no host name", "set it to the server's name"),
        ({"port": 0}, "MYSQL_PORT is 0", "set it to a port from 1 to 65535; MySQL's own is 3306"),
        ({"port": 99_999}, "MYSQL_PORT is 99999", "set it to a port from 1 to 65535; MySQL's own is 3306"),
    ],
)
def test_an_address_that_no_server_can_have_is_refused(fields: dict[str, object], said: str, hint: str) -> None:
    with pytest.raises(ServerInvalid, match=said) as raised:
        Server(**fields)  # type: ignore[arg-type] # of mixed types

    assert (raised.value.exit_code, raised.value.hint) == (1, hint)
    assert "\x1b" not in raised.value.message


@pytest.mark.parametrize("host", ["db.example", "127.0.0.1", "::1", "fe80::1%eth0", "db_1", "bücher.example"])
def test_names_and_addresses_of_both_kinds_are_taken(host: str) -> None:
    assert Server(host=host).place == f"{host}:3306"


def test_a_socket_needs_no_host() -> None:
    assert Server(host="", port=0, socket="/run/mysqld.sock").place == "/run/mysqld.sock"


def refusal(server: Server) -> PipelineError:
    with pytest.raises(PipelineError) as raised:
        Connection(server)
    return raised.value


def test_a_socket_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    raised = refusal(Server(socket=str(tmp_path / "sql.sock")))

    assert isinstance(raised, WarehouseUnreachable)
    assert raised.message == f"MySQL at {tmp_path / 'sql.sock'} cannot be reached: No such file or directory"
    assert "MYSQL_SOCKET" in raised.hint and "MYSQL_HOST" not in raised.hint


def test_a_file_that_is_no_socket_will_never_be_one(tmp_path: Path) -> None:
    (tmp_path / "my.cnf").write_text("[client]")

    raised = refusal(Server(socket=str(tmp_path / "my.cnf")))

    assert isinstance(raised, WarehouseRefused)
    assert (raised.exit_code, raised.message) == (1, f"{tmp_path / 'my.cnf'} is no socket")


def test_a_server_that_is_down_is_reported_in_plain_words() -> None:
    port = free_port()

    raised = refusal(Server(host="127.0.0.1", port=port))

    assert raised.message == f"MySQL at 127.0.0.1:{port} cannot be reached: Connection refused"
    assert raised.exit_code == 75


def test_a_host_that_does_not_exist_is_no_passing_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # what the resolver says, wherever the tests run

    raised = refusal(Server(host="no-such-host.invalid"))

    assert (raised.exit_code, raised.message) == (1, "there is no host 'no-such-host.invalid'")


def test_a_server_of_another_kind_is_reported_without_its_bytes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n\x1b[2J")

        thread = threading.Thread(target=answer)
        thread.start()
        raised = refusal(Server(host="127.0.0.1", port=port, timeout_s=5))
        thread.join()

    assert "HTTP" not in raised.message
    assert "\x1b" not in raised.message
