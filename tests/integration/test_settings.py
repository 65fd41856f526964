"""Settings as people write them: in `.env`, by variables, misspelled, and with values that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

import data_lake_config
from data_lake_config import PROJECT_ROOT, Settings, load_settings
from pipeline.errors import SettingsInvalid
from tests.integration.commands import ran

NUMBERS = [name for name, field in Settings.model_fields.items() if field.annotation in (int, float)]


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / ".env"
    monkeypatch.setattr(data_lake_config, "ENV_FILE", path)
    return path


def test_a_secret_in_a_file_is_found_from_the_env_file_too(tmp_path: Path, env_file: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n", encoding="utf-8")
    env_file.write_text(f"MYSQL_PASSWORD_FILE={tmp_path / 'secret'}\nKSQLDB_URL=http://k:1\n", encoding="utf-8")

    settings = load_settings()

    assert settings.mysql_password.get_secret_value() == "hunter2"
    assert settings.ksqldb_url == "http://k:1"


def test_the_environment_counts_more_than_the_env_file(
    tmp_path: Path, env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from the environment", encoding="utf-8")
    env_file.write_text("MYSQL_PASSWORD=from the file\nMYSQL_HOST=a\nMYSQL_USER=u\n", encoding="utf-8")
    monkeypatch.setenv("MYSQL_PASSWORD_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("MYSQL_HOST", "b")

    settings = load_settings()

    assert settings.mysql_password.get_secret_value() == "from the environment"
    assert (settings.mysql_host, settings.mysql_user) == ("b", "u")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"LAKE_ROOT=/a\nMYSQL_HOST\n", "line 2 of"),
        (b"# a comment\n\nMYSQL_USER='u\n", "line 3 of"),
        (b"LAKE_ROOT=/a\n=b\n", "line 2 of"),
        ("LAKE_ROOT=/a\n".encode("utf-16"), "is not UTF-8 text"),
        ("LAKE_ROOT=/a\n".encode("utf-16-le"), "is not UTF-8 text"),
        ("MYSQL_USER=Jürgen\n".encode("latin-1"), "is not UTF-8 text"),
        (b"MYSQL_PASSWORD_FILE=/nowhere/secret\n", "MYSQL_PASSWORD_FILE: /nowhere/secret: No such file"),
        (b"QUIET_S=\n", "QUIET_S must be a number"),
        (b"LAKE_ROOT=\n", "LAKE_ROOT: it is empty"),
        (b"LAKE_ROOT=~nobody-of-that-name/lake\n", "LAKE_ROOT: it begins with a user who is not known"),
    ],
)
def test_what_cannot_be_read_of_the_env_file_is_named(env_file: Path, written: bytes, said: str) -> None:
    env_file.write_bytes(written)

    with pytest.raises(SettingsInvalid) as raised:
        load_settings()

    assert said in raised.value.message
    assert raised.value.hint


def test_an_env_file_that_cannot_be_read_is_an_error(env_file: Path) -> None:
    env_file.mkdir()

    with pytest.raises(SettingsInvalid, match=r"\.env cannot be read: Is a directory"):
        load_settings()


def test_names_that_are_no_settings_are_reported_with_the_nearest_one(env_file: Path, lake_root: Path) -> None:
    env_file.write_text("LAKE_ROT=/a\nLUNCH=noon\n", encoding="utf-8")
    env = {"KSQLDB_ULR": "http://k", "MYSQL_HOTS": "h", "MYSQL_PWD": "p", "MYSQL_SERVICE_HOST": "k8s"}

    done = ran(lake_root, "manage_feeds", "list", code=1, env=env)
    setup = ran(lake_root, "test_setup", "--no-mysql", code=1, env=env)

    for name, meant in {"LAKE_ROT": "LAKE_ROOT", "KSQLDB_ULR": "KSQLDB_URL", "MYSQL_HOTS": "MYSQL_HOST"}.items():
        (warning,) = [line for line in done.stderr.splitlines() if name in line]
        assert warning.startswith("warning: ")
        assert warning.endswith(f"; did you mean {meant}?")
        assert f"{name} in" in setup.stdout or f"{name} is not a setting" in setup.stdout
    assert "LUNCH in" in done.stderr
    assert "MYSQL_PWD" not in done.stderr
    assert "SERVICE" not in done.stderr


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KSQL_URL", "KSQLDB_URL"),
        ("KSQLDB_URI", "KSQLDB_URL"),
        ("KSQL_PASS", "KSQLDB_PASSWORD"),
        ("MYSQL_PASSWD", "MYSQL_PASSWORD"),
        ("MYSQL_DB", "MYSQL_DATABASE"),
        ("MARIADB_HOST", "MYSQL_HOST"),
        ("KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_SASL_USERNAME", "KAFKA_USER"),
        ("SCHEMA_REGISTRY_URI", "SCHEMA_REGISTRY_URL"),
        ("LAKE_ROT", "LAKE_ROOT"),
        ("DATA_LAKE_ROOT", "LAKE_ROOT"),
    ],
)
@pytest.mark.parametrize("given_in", ["environment", "file"])
def test_a_name_of_another_program_for_a_setting_of_ours_is_reported(
    name: str, meant: str, given_in: str, env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if given_in == "file":
        env_file.write_text(f"{name}=x\n", encoding="utf-8")
    else:
        monkeypatch.setenv(name, "x")
    said: list[str] = []

    load_settings(said.append)

    (sentence,) = said
    assert name in sentence
    assert sentence.endswith(f"is not a setting; did you mean {meant}?")


@pytest.mark.parametrize(
    "name",
    [
        "KSQL_LISTENERS",
        "KSQL_OPTS",
        "KSQL_HOST_NAME",
        "MARIADB_ROOT_PASSWORD",
        "MYSQL_PWD",
        "KAFKA_HEAP_OPTS",
        "KAFKA_SASL_ENABLED_MECHANISMS",
        "KAFKA_ADVERTISED_LISTENERS",
        "DATA_LAKE_BUCKET",
        "QUIET",
    ],
)
def test_variables_of_other_programs_are_no_concern_of_ours(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    said: list[str] = []

    load_settings(said.append)

    assert said == []


def test_settings_are_shown_as_lines_of_an_env_file_that_fit_a_terminal(tmp_path: Path, env_file: Path) -> None:
    done = ran(tmp_path / "lake", "data_lake_config", env={"MYSQL_PASSWORD": "hunter2", "QUIET_S": "7.5"})

    settings, _, rest = done.stdout.partition("\n\n")
    env_file.write_text(settings, encoding="utf-8")

    assert load_settings().quiet_s == 7.5
    assert "hunter2" not in done.stdout
    short = [line for line in done.stdout.splitlines() if str(tmp_path) not in line and str(PROJECT_ROOT) not in line]
    assert max(map(len, short)) <= 80
    assert rest.endswith("python manage_feeds.py sync\n")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["inf", "1e30", "nan", "-1", "999999999999999999999999"])
def test_no_number_is_without_a_limit(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name.upper(), value)

    with pytest.raises(SettingsInvalid) as raised:
        load_settings()

    assert name.upper() in raised.value.message
    assert value not in raised.value.message


def test_a_relative_lake_is_in_the_folder_of_the_scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAKE_ROOT", "some/lake")

    assert load_settings().lake_root == str(PROJECT_ROOT / "some/lake")


def test_settings_that_cannot_be_used_are_a_check_of_the_setup(lake_root: Path) -> None:
    done = ran(lake_root, "test_setup", "--json", code=1, env={"QUIET_S": "soon"})

    assert "the settings cannot be used: QUIET_S must be a number" in done.stdout


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e30", "-1", "0"])
def test_a_runtime_without_a_limit_is_wrong_usage(lake_root: Path, seconds: str) -> None:
    ran(lake_root, "export_to_data_lake", "--all", "--max-runtime", seconds, code=2)
