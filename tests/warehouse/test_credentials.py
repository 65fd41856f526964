"""How a password, an option file or a socket reaches the connection, which of them counts, and that none is shown."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import sync_to_mysql
import test_setup
from data_lake_config import Settings
from demo.private_mysql import PrivateServer
from pipeline.errors import OptionFileInvalid
from pipeline.warehouse.option_file import read_option_file
from pipeline.warehouse.server import Server
from tests.warehouse.accounts import PASSWORD, SYNC
from tests.warehouse.history_command import command

WRONG_IN_FILE = "[client]\npassword=of another account\n"


@pytest.fixture
def cloud_sql_socket(private_server: PrivateServer) -> Iterator[str]:
    """Where Cloud SQL's proxy would have it; a short path, since a socket's has a limit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cloudsql" / "project-1:europe-west1:lake"
        path.parent.mkdir()
        path.symlink_to(private_server.socket)
        yield str(path)


@pytest.mark.mysql
def test_a_socket_with_colons_in_its_path_is_taken_instead_of_host_and_port(
    warehouse: Server, cloud_sql_socket: str
) -> None:
    account = {"MYSQL_USER": SYNC, "MYSQL_PASSWORD": PASSWORD, "MYSQL_DATABASE": warehouse.database}

    by_environment = command(MYSQL_SOCKET=cloud_sql_socket, MYSQL_HOST="nowhere.example", **account)
    by_option = command("--mysql-socket", cloud_sql_socket, MYSQL_HOST="nowhere.example", **account)
    gone = command(MYSQL_SOCKET=cloud_sql_socket + "-2", **account)

    assert (by_environment.exit_code, by_option.exit_code) == (0, 0), by_environment.output + by_option.output
    assert gone.exit_code == 75
    assert f"MySQL at {cloud_sql_socket}-2 cannot be reached" in gone.stderr


@pytest.mark.mysql
def test_a_host_on_the_command_line_counts_more_than_a_socket_in_the_settings(warehouse: Server) -> None:
    where = ["--mysql-host", warehouse.host, "--mysql-port", str(warehouse.port), "--database", warehouse.database]

    result = command(*where, MYSQL_SOCKET="/nowhere.sock", MYSQL_USER=SYNC, MYSQL_PASSWORD=PASSWORD)

    assert result.exit_code == 0, result.output


def option_file(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return str(path)


@pytest.mark.mysql
@pytest.mark.parametrize("password", [PASSWORD, "wr0ng&secret"])
def test_a_password_comes_by_every_way_and_is_never_shown(warehouse: Server, tmp_path: Path, password: str) -> None:
    where = ["--mysql-host", warehouse.host, "--mysql-port", str(warehouse.port)]
    file = option_file(tmp_path / "file", password + "\n")
    options = option_file(tmp_path / "my.cnf", f'[client]\nuser=lake\npassword="{password}"  # ours\n')
    ways: dict[str, tuple[list[str], dict[str, str]]] = {
        "prompt": (["--mysql-password"], {}),
        "option": (["--mysql-password", password], {}),
        "environment": ([], {"MYSQL_PASSWORD": password}),
        "file": ([], {"MYSQL_PASSWORD_FILE": file, "MYSQL_OPTION_FILE": option_file(tmp_path / "x", WRONG_IN_FILE)}),
        "option file": ([], {"MYSQL_OPTION_FILE": options}),
    }
    for way, (words, env) in ways.items():
        result = CliRunner().invoke(
            sync_to_mysql.main, [*words, *where, "history"], input=password + "\n" if way == "prompt" else None,
            env=env | {"MYSQL_USER": SYNC, "MYSQL_DATABASE": warehouse.database},
        )  # fmt: skip

        assert result.exit_code == (0 if password == PASSWORD else 1), way + result.output
        assert password not in result.output
        assert ("on the command line" in result.stderr) == (way == "option")
    assert password not in repr(warehouse) + repr(Settings(mysql_password=password))


@pytest.mark.mysql
def test_the_command_line_counts_more_than_the_environment_and_that_more_than_the_option_file(
    warehouse: Server, tmp_path: Path
) -> None:
    in_file = {"host": warehouse.host, "port": str(warehouse.port), "user": "from_file", "password": "none"}
    path = option_file(tmp_path / "my.cnf", "[client]\n" + "".join(f"{k}={v}\n" for k, v in in_file.items()))

    by_file = command(MYSQL_OPTION_FILE=path)
    by_environment = command(MYSQL_OPTION_FILE=path, MYSQL_USER="from_environment")
    by_option = command("--mysql-user", "from_option", MYSQL_OPTION_FILE=path, MYSQL_USER="from_environment")
    socket_in_file = option_file(
        tmp_path / "socket.cnf", "[client]\nsocket=/nowhere.sock\nuser=from_file\npassword=none\n"
    )
    host_in_environment = command(
        MYSQL_OPTION_FILE=socket_in_file, MYSQL_HOST=warehouse.host, MYSQL_PORT=str(warehouse.port)
    )

    for result, user in [
        (by_file, "from_file"), (by_environment, "from_environment"), (by_option, "from_option"),
        (host_in_environment, "from_file"),
    ]:  # fmt: skip
        assert f"MySQL at {warehouse.place} refuses the user '{user}'" in result.stderr


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_password_in_an_option_file_that_others_can_read_is_warned_of(
    tmp_path: Path, mode: int, warned: bool, lake_root: Path
) -> None:
    path = option_file(tmp_path / "my.cnf", "[client]\nport=1\npassword=s3cret\n", mode)
    harmless = option_file(tmp_path / "other.cnf", "[client]\nport=1\nuser=s3cret\n", mode)

    said = command("--mysql-host", "127.0.0.1", MYSQL_OPTION_FILE=path).stderr
    setup = CliRunner().invoke(
        test_setup.main, ["--no-mysql"], env={"MYSQL_OPTION_FILE": path, "LAKE_ROOT": str(lake_root)}
    )

    assert (f"warning: others can read the password in {path}: chmod 600 it" in said) == warned
    assert (f"others can read the password in {path}" in setup.stdout.replace("\n         ", " ")) == warned
    assert "warning" not in command("--mysql-host", "127.0.0.1", MYSQL_OPTION_FILE=harmless).stderr


ODD_VALUES = [
    "a#b", "'a#b'  # c", "\"a'b\"", r"a\sb\\c\qd\n|", r"'it\'s'", "a b  c   ", "a'b#c", "'a'b", "", '"a" "b"', "'abc",
    r'"a\\"', r"a\#b", '"é#ü" # x', "1 ; 2", r'"a\"b"', r"\"x", "= x", r"a\\", "' a '", "'",
]  # fmt: skip


@pytest.mark.mysql
@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("value", ODD_VALUES)
def test_values_of_an_option_file_are_read_as_the_servers_own_program_reads_them(tmp_path: Path, value: str) -> None:
    text = f"[mysql]\nhost=no\n\n# c\n; c\n  [client]\nloose-x=1\nhost=first\nhost = {value}\n[client2]\nhost=no\n"
    path = option_file(tmp_path / "my.cnf", text)

    printed = subprocess.run(
        ["my_print_defaults", f"--defaults-file={path}", "client"], capture_output=True, text=True, check=True
    ).stdout

    assert printed == f"--loose-x=1\n--host=first\n--host={read_option_file(path)['host']}\n"


def test_an_option_file_that_cannot_be_used_is_told_and_nothing_of_it_repeated(tmp_path: Path) -> None:
    include = option_file(tmp_path / "include.cnf", "[client]\npassword=s3cret\n!includedir /etc/mysql/s3cret\n")
    (tmp_path / "latin.cnf").write_bytes(b"[client]\npassword=s3cr\xe9t\n")

    for path, reason in [
        ("/nowhere.cnf", "No such file"), (include, "line 3: includes are not followed"),
        (str(tmp_path / "latin.cnf"), "is not UTF-8"),
    ]:  # fmt: skip
        result = command(MYSQL_OPTION_FILE=path)
        assert result.exit_code == OptionFileInvalid.exit_code == 1
        assert re.search(f"error: .*{reason}.*\nhint: ", result.stderr)
        assert "s3cr" not in result.output.replace(path, "")
