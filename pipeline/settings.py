"""Where settings come from: the lines of `.env`, the variables of the environment, and files that hold a secret.

A line of `.env` that is not NAME=VALUE is reported by its number, and a name that is nearly a setting's is reported
with the right one: a misspelled setting would have no effect and give no sign.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from pipeline.errors import SettingsInvalid
from pipeline.validation import nearest

_OURS = ("LAKE_", "KSQLDB_", "SNAPSHOT_", "EXPIRE_", "SCD2_", "COMMIT_", "QUIET_", "STALL_", "MYSQL_", "KAFKA_",
         "SCHEMA_REGISTRY_", "HEALTH_")  # fmt: skip
_SHARED = "KAFKA_"  # brokers and many of their clients have variables that begin so
_SUBJECTS = frozenset(("KSQL", "KSQLDB", "LAKE", "MYSQL", "MARIADB", "KAFKA"))
_OTHER_WORDS = {
    "KSQL": "KSQLDB",
    "MARIADB": "MYSQL",
    "PASSWD": "PASSWORD",
    "PASS": "PASSWORD",
    "DB": "DATABASE",
    "URI": "URL",
    "ENDPOINT": "URL",
    "USERNAME": "USER",
    "BROKERS": "BOOTSTRAP_SERVERS",
}
# Variables of other programs that begin like ours: of MySQL's and Kafka's images, and of a Kubernetes service.
_THEIRS = re.compile(
    r"(MYSQL|MARIADB)_(HOME|PWD|ROOT_.*|TCP_PORT|UNIX_PORT|PS1|HISTFILE|HISTIGNORE|GROUP_SUFFIX|TEST_LOGIN_FILE|VERSION|MAJOR"
    r"|ALLOW_EMPTY_PASSWORD|RANDOM_ROOT_PASSWORD|INITDB_.*|ONETIME_PASSWORD|CHARSET|SHELL_VERSION)"
    r"|KAFKA_SASL_ENABLED_MECHANISMS|.*_(SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_[0-9]+_.*)"
)


def gather(
    names: Collection[str],
    secrets: Collection[str],
    env_file: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
) -> dict[str, str]:
    """The settings of these `names`, by name in capitals, from `.env` and from the environment, which wins.

    Names that are no settings are reported to `tell`. Raises SettingsInvalid for a file that cannot be read.
    """
    known = {*names, *(f"{name}_FILE" for name in secrets)}
    file, variables = read_env_file(env_file), {name.upper(): value for name, value in environment.items()}
    for sentence in (*unknown_in_file(file, known, env_file), *unknown_in_environment(variables, known)):
        tell(sentence)
    folder = env_file.parent
    given = with_secrets(file, secrets, folder) | with_secrets(variables, secrets, folder)
    return {name: value for name, value in given.items() if name in names}


def read_env_file(path: Path) -> dict[str, str]:
    """The settings in `.env`, by their names in capitals; none where there is no such file.

    Raises SettingsInvalid naming the line; values are not repeated, they may be secrets.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        raise SettingsInvalid(
            f"{path} cannot be read: {error.strerror}", f"make {path} readable for this user"
        ) from None
    if "\0" in text:
        raise SettingsInvalid(f"{path} is not UTF-8 text", "save it as UTF-8")
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            written = binding.original.string
            number = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
            raise SettingsInvalid(f"line {number} of {path} is not NAME=VALUE", "correct that line, or begin it with #")
    return {name.upper(): value or "" for name, value in dotenv_values(stream=io.StringIO(text)).items()}


def with_secrets(given: Mapping[str, str], secrets: Iterable[str], folder: Path) -> dict[str, str]:
    """The settings, with `secrets` that are given as NAME_FILE read from the file; paths are relative to `folder`."""
    found = dict(given)
    for name in secrets:
        file = found.pop(f"{name}_FILE", "")
        if not file or found.get(name):
            continue
        path = folder / Path(file).expanduser()
        try:
            found[name] = path.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise SettingsInvalid(f"{name}_FILE: {path}: {error.strerror}", "name a file that can be read") from None
        except ValueError:
            raise SettingsInvalid(f"{name}_FILE: {path} is not UTF-8 text", "save it as UTF-8") from None
    return found


def unknown_in_file(given: Iterable[str], known: Collection[str], path: Path) -> list[str]:
    """A sentence for each name in `.env` that is no setting."""
    return [f"{name} in {path} is not a setting{_meant(name, known, 0.6)}" for name in given if name not in known]


def unknown_in_environment(given: Iterable[str], known: Collection[str]) -> list[str]:
    """A sentence for each variable that begins like our settings or is nearly one; not for other programs' own."""
    sentences = []
    for name in given:
        if name in known or _THEIRS.fullmatch(name):
            continue
        ours, shared = name.startswith(_OURS), name.startswith(_SHARED)
        if not ours and _SUBJECTS.isdisjoint(name.split("_")):
            continue  # before names are compared, which takes long
        meant = _meant(name, known, 0.6 if ours and not shared else 0.8 if shared else 0.85)
        ours_for_sure = ours and not shared and not name.startswith("MYSQL_")
        if ours_for_sure or meant:
            sentences.append(f"the environment's {name} is not a setting{meant}")
    return sentences


def _meant(name: str, known: Collection[str], likeness: float) -> str:
    """`; did you mean X?`, where words that other programs use for our settings count as ours."""
    words = [_OTHER_WORDS.get(word, word) for word in name.removeprefix("DATA_").split("_")]
    return nearest("_".join(words), known, likeness)
