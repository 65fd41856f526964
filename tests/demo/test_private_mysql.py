"""A private server beside others: it keeps to its own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.private_mysql import ServerMissing, running_mariadb


@pytest.mark.mysql
def test_a_starting_mariadb_leaves_the_temporary_tables_of_other_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    own.mkdir()
    table_of_another = shared / "#sql-temptable-1d6d-2f-15.MAI"
    table_of_another.touch()
    monkeypatch.setenv("TMPDIR", str(shared))

    try:
        with running_mariadb(own):
            pass
    except ServerMissing as error:
        pytest.skip(str(error))

    assert table_of_another.exists()
