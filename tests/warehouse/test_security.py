"""Who may do what, over which wire: rights, TLS, Unix sockets, option files, and passwords that nobody sees."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

import sync_to_mysql
import test_setup
from data_lake_config import Settings
from demo.private_mysql import PrivateServer, running_mariadb
from pipeline.errors import OptionFileInvalid, PipelineError, WarehouseRefused
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.option_file import read_option_file
from pipeline.warehouse.server import Server
from pipeline.warehouse.target import NEEDED_RIGHTS
from tests.warehouse.accounts import PASSWORD, SYNC, documented

WRONG_IN_FILE = "[client]\npassword=of another account\n"


@dataclasses.dataclass(frozen=True)
class Certificates:
    """PEM files: a CA with a certificate of 127.0.0.1 and one of a client, and a CA that signed none of them."""

    ca: str
    cert: str
    key: str
    client_cert: str
    client_key: str
    other_ca: str


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ca = trustme.CA()
    server, client = ca.issue_cert("127.0.0.1"), ca.issue_cert("client@example.com")
    parts = {
        "ca": ca.cert_pem, "cert": server.cert_chain_pems[0], "key": server.private_key_pem,
        "client_cert": client.cert_chain_pems[0], "client_key": client.private_key_pem,
        "other_ca": trustme.CA().cert_pem,
    }  # fmt: skip
    for name, blob in parts.items():
        blob.write_to_path(folder / name)
    return Certificates(**{name: str(folder / name) for name in parts})


@pytest.fixture(scope="module")
def mariadb_tls(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    own = [f"--ssl-ca={certificates.ca}", f"--ssl-cert={certificates.cert}", f"--ssl-key={certificates.key}"]
    with running_mariadb(tmp_path_factory.mktemp("mariadb_tls"), own) as server:
        yield Server(server.host, server.port)


@pytest.fixture(scope="module")
def mysql_tls(certificates: Certificates, mysql: PrivateServer) -> Iterator[Server]:
    """The shared MySQL, which changes its certificates while it runs."""
    server = Server(mysql.host, mysql.port)
    before = tls_settings(server)
    set_tls(server, {"ssl_ca": certificates.ca, "ssl_cert": certificates.cert, "ssl_key": certificates.key})
    yield server
    set_tls(server, before)


@pytest.fixture(params=["mariadb_tls", "mysql_tls"])
def tls(request: pytest.FixtureRequest) -> Server:
    server = request.getfixturevalue(request.param)
    assert isinstance(server, Server)
    return server


@pytest.fixture
def without_tls(private_server: PrivateServer, is_mariadb: bool) -> Iterator[Server]:
    """The shared servers; MySQL goes on without TLS when it is to use certificates that are not there."""
    server = Server(private_server.host, private_server.port)
    if is_mariadb:
        yield server
        return
    before = tls_settings(server)
    set_tls(server, before | {"ssl_cert": "/nowhere.pem"}, " NO ROLLBACK ON ERROR")
    yield server
    set_tls(server, before)


def tls_settings(server: Server) -> dict[str, str]:
    with Connection(server, with_database=False) as connection:
        ((ca, cert, key),) = connection.rows("SELECT @@GLOBAL.ssl_ca, @@GLOBAL.ssl_cert, @@GLOBAL.ssl_key")
    return {"ssl_ca": ca, "ssl_cert": cert, "ssl_key": key}


def set_tls(server: Server, settings: dict[str, str], how: str = "") -> None:
    with Connection(server, with_database=False) as connection:
        for name, value in settings.items():
            connection.run(f"SET GLOBAL {name} = %s", (value,))
        connection.run("ALTER INSTANCE RELOAD TLS" + how)


def refusal(server: Server) -> PipelineError:
    with pytest.raises(PipelineError) as raised:
        Connection(server, with_database=False)
    assert raised.value.hint
    return raised.value


def cipher(server: Server) -> str:
    with Connection(server, with_database=False) as connection:
        return str(connection.rows("SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1])


def command(*words: str, **env: str) -> Result:
    return CliRunner().invoke(sync_to_mysql.main, [*words, "history"], env=env)


# rights


def test_the_documented_rights_are_those_that_test_setup_asks_for() -> None:
    grants = [sql for sql in documented() if sql.startswith("GRANT")]

    assert [re.findall(r"TO '(\w+)'", sql) for sql in grants] == [["lake"], ["lake_schema"]]
    assert re.sub(r"GRANT (.*) ON .*", r"\1", grants[0]).split(", ") == list(NEEDED_RIGHTS)
    assert "*.*" not in " ".join(grants)


@pytest.mark.mysql
def test_the_account_that_loads_can_do_no_more(warehouse: Server) -> None:
    with Connection(warehouse) as connection:
        for beyond in (
            "CREATE TABLE mine (id INT)", "DROP TABLE etl_rejects", "ALTER TABLE dim_users ADD COLUMN age INT",
            "CREATE USER more", "SELECT 1 FROM mysql.user", "SET GLOBAL local_infile = 0",
        ):  # fmt: skip
            with pytest.raises(WarehouseRefused, match="lacks a right"):
                connection.run(beyond)


# TLS


@pytest.mark.mysql
def test_with_the_servers_ca_the_wire_is_encrypted(tls: Server, certificates: Certificates) -> None:
    assert cipher(dataclasses.replace(tls, ssl_ca=certificates.ca))


@pytest.mark.mysql
def test_a_certificate_of_another_ca_or_another_name_is_refused(tls: Server, certificates: Certificates) -> None:
    other_ca = refusal(dataclasses.replace(tls, ssl_ca=certificates.other_ca))
    other_name = refusal(dataclasses.replace(tls, ssl_ca=certificates.ca, host="localhost"))

    assert other_ca.message.startswith(f"the certificate of MySQL at {tls.place} is not trusted: ")
    assert "MYSQL_SSL_CA" in other_ca.hint
    assert other_name.message == f"the certificate of MySQL at localhost:{tls.port} is for another host name"
    assert "MYSQL_HOST" in other_name.hint
    assert (other_ca.exit_code, other_name.exit_code) == (1, 1)


@pytest.mark.mysql
def test_a_server_without_tls_is_refused_where_a_ca_is_given(without_tls: Server, certificates: Certificates) -> None:
    assert cipher(without_tls) == ""

    error = refusal(dataclasses.replace(without_tls, ssl_ca=certificates.ca))

    assert error.message == f"MySQL at {without_tls.place} offers no TLS, which MYSQL_SSL_CA asks for"


@pytest.mark.mysql
def test_an_account_that_asks_for_a_client_certificate_gets_it(tls: Server, certificates: Certificates) -> None:
    with Connection(tls, with_database=False) as connection:
        connection.run("CREATE USER IF NOT EXISTS with_certificate IDENTIFIED BY 'x' REQUIRE X509")
    without = dataclasses.replace(tls, user="with_certificate", password="x", ssl_ca=certificates.ca)

    assert "MYSQL_SSL_CERT" in refusal(without).hint
    assert cipher(dataclasses.replace(without, ssl_cert=certificates.client_cert, ssl_key=certificates.client_key))


def test_tls_files_that_cannot_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")

    def message(**files: str) -> str:
        return refusal(Server(port=1, **files)).message

    assert message(ssl_ca="/nowhere.pem") == "the TLS file /nowhere.pem cannot be used: No such file or directory"
    assert message(ssl_ca=str(garbage)).startswith(f"the TLS file {garbage} cannot be used: ")
    assert str(garbage) in message(ssl_ca=certificates.ca, ssl_cert=certificates.client_cert, ssl_key=str(garbage))
    assert "belong together" in message(ssl_ca=certificates.ca, ssl_cert=certificates.client_cert)
    assert "need MYSQL_SSL_CA" in message(ssl_cert=certificates.client_cert, ssl_key=certificates.client_key)


@pytest.mark.mysql
def test_the_command_takes_tls_from_options_and_from_the_environment(tls: Server, certificates: Certificates) -> None:
    where = ["--mysql-host", tls.host, "--mysql-port", str(tls.port)]

    by_option = command(*where, "--mysql-ssl-ca", certificates.other_ca, MYSQL_SSL_CA=certificates.ca)
    by_environment = command(*where, MYSQL_SSL_CA=certificates.other_ca)

    for result in (by_option, by_environment):
        assert result.exit_code == 1
        assert re.fullmatch(r"error: the certificate of MySQL .*\nhint: set MYSQL_SSL_CA .*\n", result.stderr)


# sockets


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


# passwords and option files


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
