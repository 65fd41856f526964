"""A Galera cluster is named by the sync and by test_setup.py: what is promised holds for a single primary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from data_lake_config import PROJECT_ROOT, load_settings
from demo.private_mysql import PrivateServer, running_mariadb
from demo.private_process import ServerMissing, install_packages
from pipeline.readiness import check_mysql
from pipeline.warehouse.connection import Connection
from pipeline.warehouse.migrations import init_schema
from pipeline.warehouse.server import Server
from pipeline.warehouse.target import is_galera, others_need_key_checks
from tests.support import lake_at
from tests.warehouse.history import make_history
from tests.warehouse.lakes import write_lake
from tests.warehouse.samples import FEEDS
from tests.warehouse.test_sync_command import command

pytestmark = pytest.mark.mysql

PROVIDERS = [Path("/usr/lib/galera/libgalera_smm.so"), Path("/usr/lib64/galera-4/libgalera_smm.so")]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A cluster of one node, which calls nobody."""
    try:
        install_packages("Galera", ["galera-4"], lambda: any(path.exists() for path in PROVIDERS))
    except ServerMissing as error:
        pytest.skip(str(error))
    provider = next(path for path in PROVIDERS if path.exists())
    options = [
        "--wsrep-on=ON", f"--wsrep-provider={provider}", "--wsrep-cluster-address=gcomm://", "--binlog-format=ROW",
        "--wsrep-node-address=127.0.0.1", "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:0",
        "--innodb-autoinc-lock-mode=2",
    ]  # fmt: skip
    try:
        with running_mariadb(tmp_path_factory.mktemp("galera"), options) as server:
            yield as_server(server)
    except ServerMissing as error:
        pytest.skip(str(error))


def as_server(private: PrivateServer) -> Server:
    return Server(host=private.host, port=private.port, user=private.user, password=private.password)


def test_a_node_of_a_cluster_is_known_and_a_single_server_is_none(node: Server, private_server: PrivateServer) -> None:
    with Connection(node, with_database=False) as clustered:
        assert is_galera(clustered)
        assert others_need_key_checks(clustered)
    with Connection(as_server(private_server), with_database=False) as single:
        assert not is_galera(single)


def test_a_sync_and_the_setup_check_warn_and_go_on(
    node: Server, lake_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_schema(node, PROJECT_ROOT / "sql")
    write_lake(lake_root, make_history(users=3)[:1])
    feed = FEEDS["payment_method_totals"]
    (lake_root / "feeds" / "active").mkdir(parents=True)
    (lake_root / "feeds" / "active" / f"{feed.name}.json").write_text(feed.model_dump_json())

    done = command(node, lake_root, "--source", "lake")
    for name, value in {"MYSQL_HOST": node.host, "MYSQL_PORT": str(node.port), "MYSQL_USER": node.user}.items():
        monkeypatch.setenv(name, value)
    checks = {
        check.name: check
        for check in check_mysql(load_settings().mysql_server(), lake_at(lake_root), PROJECT_ROOT / "sql")
    }

    assert (done.exit_code, "Loaded as snapshot 1." in done.stdout) == (0, True), done.output
    assert "warning: this server is a node of a Galera cluster (wsrep_on)" in done.stderr
    assert checks["mysql galera"].state == "warning"
