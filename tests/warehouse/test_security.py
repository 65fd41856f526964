"""Who may do what, over which wire: rights, TLS, Unix sockets, option files, and passwords that nobody sees."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from demo.private_mysql import PrivateServer, running_mariadb
from pipeline.errors import PipelineError, WarehouseRefused
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.password_command import password_from
from pipeline.warehouse.server import Server
from pipeline.warehouse.target import NEEDED_RIGHTS
from tests.warehouse.accounts import documented
from tests.warehouse.history_command import command


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


# rights


def test_the_documented_rights_are_those_that_test_setup_asks_for() -> None:
    grants = [sql for sql in documented() if sql.startswith("GRANT")]

    assert [re.findall(r"TO '(\w+)'", sql) for sql in grants] == [["lake"], ["lake"], ["lake_schema"]]
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


# a password that a command prints


@pytest.mark.mysql
def test_a_command_prints_the_password_at_each_connect_so_one_that_expires_is_never_used(
    tls: Server, certificates: Certificates, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    account = dataclasses.replace(
        tls, user="by_token", password_command=f"cat '{token}'", ssl_ca=certificates.ca, database="mysql"
    )
    for number in range(3):
        token.write_text(f"token {number} of 'cloud'\n")
        with Connection(tls, with_database=False) as root:
            root.run("CREATE USER IF NOT EXISTS by_token")
            root.run("ALTER USER by_token IDENTIFIED BY %s", (token.read_text().strip(),))

        assert cipher(account)

    settings = {"MYSQL_HOST": tls.host, "MYSQL_PORT": str(tls.port), "MYSQL_USER": "by_token", "MYSQL_DATABASE": "none"}
    settings |= {"MYSQL_PASSWORD_COMMAND": account.password_command, "MYSQL_SSL_CA": certificates.ca}
    whole_command = command(**settings)
    token.write_text("an older token\n")
    expired = command(**settings)

    assert "refuses the user" not in whole_command.stderr
    assert "refuses the user 'by_token' or its password" in expired.stderr
    assert "token" not in (whole_command.output + expired.output).replace("by_token", "").replace(str(token), "")


def test_the_password_of_a_command_goes_to_a_verified_server_only() -> None:
    assert "MYSQL_SSL_CA" in refusal(Server(password_command="echo x")).hint
    with pytest.raises(PipelineError, match="are both set"):
        Server(password="x", password_command="echo x")
    assert Server(password_command="echo x").with_options({"password": "y"}).password_command == ""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'no session' >&2; exit 3", "sh ended with 3 and said: no session"),
        ("printf ''", "sh printed no password"),
        ("echo s3cret; echo s3cret", "sh printed 2 lines"),
        (r"printf '\377'", "sh printed something that is no UTF-8 text"),
    ],
)
def test_a_command_that_prints_no_password_is_named_with_its_reason(script: str, reason: str) -> None:
    with pytest.raises(PipelineError) as raised:
        password_from(shlex.join(["sh", "-c", script]), 30)

    assert raised.value.message == f"MYSQL_PASSWORD_COMMAND: {reason}"
    assert raised.value.exit_code == 1


def test_a_command_that_cannot_be_run_is_named() -> None:
    for words, reason in [
        ("/no/such --x", "/no/such cannot be run: No such"),
        ("'a", "its quotes"),
        (" ", "it is empty"),
    ]:
        with pytest.raises(PipelineError, match=f"MYSQL_PASSWORD_COMMAND: {reason}"):
            password_from(words, 30)


def test_a_command_that_hangs_is_ended_with_what_it_has_started(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    reader = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(PipelineError) as raised:
        password_from(shlex.join(["sh", "-c", f"sleep 600 > '{alive}' & exec sleep 600 > '{alive}'"]), 0.3)

    assert raised.value.exit_code == 75
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # which comes when no process has it open for writing any more
    os.close(reader)
