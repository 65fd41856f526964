"""F9: places that cannot be reached, written or trusted: one sentence, a hint, the exit code, and nothing lost.

Every case takes a trial, like those of `odd_sources`; those that need a MySQL find its settings in `trial.mysql`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import trustme

from demo.private_mysql import running_mariadb
from ksqldb_emulator.testing import running
from tests.expected import lake_rows
from tests.support import folder_of, lake_at
from tests.torture.failing_disk import failing_writes
from tests.torture.figures import Figure
from tests.torture.trial import PROMISES, Case, Trial, try_case
from tests.torture.victim import make_dataset, stopwatch

_NOBODY = "65534"
_WRITERS = (
    ("export_to_data_lake", "--all"),
    ("metadata_utils", "expire"),
    ("manage_feeds", "disable", "events"),
)
_NOWHERE = "no-such-host.invalid"


def broken_places(folder: Path, full: bool = False, every: int = 31) -> Figure:
    """Tries every case, and lets every write fail; `full` with more error numbers, at each step."""
    figure = Figure("F9", "places that cannot be reached, written or trusted; writes that fail", PROMISES)
    started = time.monotonic()
    home = folder / "mariadb"
    home.mkdir()
    with running_mariadb(home) as server:
        mysql = {"MYSQL_HOST": server.host, "MYSQL_PORT": str(server.port), "MYSQL_USER": server.user}
        for case in CASES:
            try_case(case, figure, folder, full, mysql=mysql)
    figure.details = ", ".join(case.__name__.replace("_", " ") for case in CASES)
    errors = (errno.ENOSPC, errno.EIO, errno.EACCES) if full else (errno.ENOSPC,)
    failing_writes(folder, figure, errors, 1 if full else every)
    figure.seconds = stopwatch(started)
    return figure


def read_only_lake(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    trial.stage.add_rows(9)
    with _read_only(trial) as env:
        for script, *arguments in _WRITERS:
            done = trial.run(*arguments, script=script, **env)
            trial.expect_error(done, 1, "the lake cannot be written")
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def permission_denied(trial: Trial) -> None:
    """As a user who may read the lake and not write it."""
    trial.expect_done(trial.run("--all"))
    trial.stage.add_rows(9)
    with _open_to_all(trial) as env:
        for script, *arguments in _WRITERS:
            done = trial.run(*arguments, script=script, **env)
            trial.expect_error(done, 1, "the lake cannot be written", "Permission denied")
        trial.expect_done(trial.run("verify", "--deep", script="metadata_utils", **env))
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def lake_that_may_not_be_read(trial: Trial) -> None:
    """An unreadable list of feeds is not an empty one."""
    trial.expect_done(trial.run("--all"))
    for closed, command in (("feeds", "export_to_data_lake --all"), ("feeds/active", "metadata_utils --report")):
        script, *arguments = command.split()
        with _open_to_all(trial, closed) as env:
            listed = trial.run("list", script="manage_feeds", **env)
            trial.expect_error(listed, 1, "the lake cannot be", "Permission denied")
            trial.expect_error(trial.run(*arguments, script=script, **env), 1, "Permission denied")
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def file_in_the_place_of_a_folder(trial: Trial) -> None:
    (trial.stage.root / "streams").write_text("not a folder", encoding="utf-8")
    trial.expect_error(trial.run("--all"), 1, "the lake cannot be used")
    (trial.stage.root / "streams").unlink()
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def data_files_that_are_lost(trial: Trial) -> None:
    """One of each feed is deleted, then changed: each is reported and repaired, and every row is there once again."""
    trial.expect_done(trial.run("--all"))
    for how in ("deleted", "changed"):
        trial.stage.add_rows(9)
        trial.expect_done(trial.run("--all"))
        for feed in (trial.stage.stream, trial.stage.table):
            table = lake_at(trial.stage.root).table(feed)
            victim = folder_of(table) / max(table.files, key=lambda file: file.row_count).path
            if how == "deleted":
                victim.unlink()
            else:
                victim.write_bytes(victim.read_bytes()[:-9])
            for dry in (["verify", "--deep", feed.name], ["repair", feed.name]):
                done = trial.run(*dry, script="metadata_utils")
                if done.code != 1 or "Traceback" in done.err or victim.name not in done.out:
                    trial.wrong("reported wrongly", f"exit code {done.code}; said {done.out!r} {done.err!r}")
            trial.expect_done(trial.run("repair", feed.name, "--yes", script="metadata_utils"), "out of the log")
        trial.expect_done(trial.run("verify", "--deep", script="metadata_utils"))
        trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def wrong_password_of_ksqldb(trial: Trial) -> None:
    options = trial.stage.emulator.options
    options.user, options.password = "reader", "right"
    wrong = trial.run("--all", KSQLDB_USER="reader", KSQLDB_PASSWORD="wr0ng-secret")
    trial.expect_error(wrong, 1, "refuses these credentials", "KSQLDB_PASSWORD")
    token = trial.run("--all", KSQLDB_TOKEN="wr0ng-secret")
    trial.expect_error(token, 1, "refuses these credentials", "KSQLDB_TOKEN")
    trial.expect_done(trial.run("--all", KSQLDB_USER="reader", KSQLDB_PASSWORD="right"))
    trial.expect_hidden("wr0ng-secret")
    trial.expect_complete()


def ksqldb_away(trial: Trial) -> None:
    trial.expect_done(trial.run("--all"))
    done = trial.run("--all", KSQLDB_URL="http://127.0.0.1:9")
    trial.expect_error(done, 75, "cannot be reached: Connection refused", "KSQLDB_URL")
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def ksqldb_at_a_name_that_nobody_has(trial: Trial) -> None:
    done = trial.run("--all", KSQLDB_URL=f"http://{_NOWHERE}:8088")
    trial.expect_error(done, 1, "there is no host of the name", "KSQLDB_URL")
    trial.expect_done(trial.run("--all"))
    trial.expect_complete()


def ksqldb_with_the_wrong_authority(trial: Trial) -> None:
    right, wrong, folder = trustme.CA(), trustme.CA(), trial.folder
    right.cert_pem.write_to_path(folder / "right.pem")
    wrong.cert_pem.write_to_path(folder / "wrong.pem")
    issued = right.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    with running(make_dataset(300), tls=(str(folder / "cert.pem"), str(folder / "key.pem"))) as server:
        for ca_file in ("", str(folder / "wrong.pem")):
            done = trial.run("--all", KSQLDB_URL=server.url, KSQLDB_CA_FILE=ca_file)
            trial.expect_error(done, 1, "TLS certificate", "is not trusted", "KSQLDB_CA_FILE")
        missing = trial.run("--all", KSQLDB_URL=server.url, KSQLDB_CA_FILE="/nowhere.pem")
        trial.expect_error(missing, 1, "a TLS file cannot be used")
        other_name = server.url.replace("127.0.0.1", "localhost")
        done = trial.run("--all", KSQLDB_URL=other_name, KSQLDB_CA_FILE=str(folder / "right.pem"))
        trial.expect_error(done, 1, "is not trusted")
        trial.expect_done(trial.run("--all", KSQLDB_URL=server.url, KSQLDB_CA_FILE=str(folder / "right.pem")))
    trial.expect_complete()


def wrong_password_of_mysql(trial: Trial) -> None:
    before = _lake_with_a_star(trial)
    wrong = trial.sync(MYSQL_USER="nobody-here", MYSQL_PASSWORD="wr0ng-secret")
    trial.expect_error(wrong, 1, "refuses the user 'nobody-here' or its password", "MYSQL_PASSWORD")
    trial.expect_hidden("wr0ng-secret")
    trial.expect_rows(trial.stage.table, before)
    trial.expect_done(trial.sync("--init-schema"), "Loaded as snapshot 1")
    trial.expect_done(trial.sync(), "nothing was changed")


def mysql_away(trial: Trial) -> None:
    before = _lake_with_a_star(trial)
    trial.expect_error(trial.sync(MYSQL_PORT="9"), 75, "MySQL at 127.0.0.1:9 cannot be reached", "MYSQL_HOST")
    trial.expect_error(trial.sync(MYSQL_HOST=_NOWHERE), 1, f"no host '{_NOWHERE}'", "MYSQL_HOST")
    socket = trial.sync(MYSQL_SOCKET="/nowhere.sock")
    trial.expect_error(socket, 75, "MySQL at /nowhere.sock cannot be reached")
    trial.expect_rows(trial.stage.table, before)
    trial.expect_done(trial.sync("--init-schema"), "Loaded as snapshot 1")


CASES: tuple[Case, ...] = (
    read_only_lake,
    permission_denied,
    lake_that_may_not_be_read,
    file_in_the_place_of_a_folder,
    data_files_that_are_lost,
    wrong_password_of_ksqldb,
    ksqldb_away,
    ksqldb_at_a_name_that_nobody_has,
    ksqldb_with_the_wrong_authority,
    wrong_password_of_mysql,
    mysql_away,
)


def _lake_with_a_star(trial: Trial) -> Counter[str]:
    """Exports everything; returns the table's rows."""
    trial.expect_done(trial.run("--all"))
    return lake_rows(trial.stage.root, trial.stage.table)


@contextlib.contextmanager
def _read_only(trial: Trial) -> Iterator[dict[str, str]]:
    """Mounts the lake read-only; where that is not allowed its files are another user's."""
    root = trial.stage.root
    if shutil.which("mount") is None or subprocess.run(["mount", "--bind", root, root], check=False).returncode:
        with _open_to_all(trial) as env:
            yield env
        return
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", root], check=True)
        yield {}
    finally:
        subprocess.run(["umount", root], check=True)


@contextlib.contextmanager
def _open_to_all(trial: Trial, closed: str = "") -> Iterator[dict[str, str]]:
    """Moves the lake to where every user can read it; yields the settings of a run that may do no more.

    Into the folder `closed` such a run may not even look.
    """
    root = trial.stage.root
    with tempfile.TemporaryDirectory() as public:
        Path(public).chmod(0o755)
        place = Path(public) / "lake"
        shutil.move(root, place)
        modes = {path: path.stat().st_mode for path in [place, *place.rglob("*")]}
        for path in modes:
            path.chmod(0o555 if path.is_dir() else 0o444)
        if closed:
            (place / closed).chmod(0)
        try:
            yield {"LAKE_ROOT": str(place)} | ({"RUN_AS": _NOBODY} if os.geteuid() == 0 else {})
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
            shutil.move(place, root)
