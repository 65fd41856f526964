"""A user's MySQL option file (`~/.my.cnf`): its group [client], read by the rules of the `mysql` client.

Rules: https://dev.mysql.com/doc/refman/8.4/en/option-files.html. The driver's own reader is not used: it takes quotes
and comments after a password as a part of it.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from pipeline.errors import OptionFileInvalid

_NAMES = ("host", "port", "user", "password", "socket", "ssl_ca", "ssl_cert", "ssl_key")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", "'": "'", '"': '"'}


def read_option_file(file: str) -> dict[str, str]:
    """The options in [client] for a connection: host, port, user, password, socket, ssl_ca, ssl_cert, ssl_key.

    Raises OptionFileInvalid, whose message has no text from the file.
    """
    path = Path(file).expanduser()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise OptionFileInvalid(
            f"MYSQL_OPTION_FILE: {path}: {error.strerror}", "name a file that can be read"
        ) from None
    except UnicodeDecodeError:
        raise OptionFileInvalid(f"MYSQL_OPTION_FILE: {path} is not UTF-8", "write it in UTF-8") from None
    found: dict[str, str] = {}
    group = ""
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith("!"):
            raise OptionFileInvalid(f"{path}, line {number}: includes are not followed", "name the file with [client]")
        if match := re.match(r"\[\s*(.*?)\s*\]", line):
            group = match[1]
        elif group == "client" and line and line[0] not in "#;":
            name, _, text = line.partition("=")
            name = name.strip().lower().replace("-", "_")
            if name in _NAMES:
                found[name] = _value(text)
    return found


def password_is_open(file: str) -> bool:
    """Whether the file has a password and every account of this machine may read it."""
    path = Path(file).expanduser()
    return bool(file) and "password" in read_option_file(file) and bool(path.stat().st_mode & stat.S_IROTH)


def _value(text: str) -> str:
    """A value without comment, blanks, outer quotes and escapes, as my_default.c of both servers reads it."""
    quote, escaped, end = "", False, len(text)
    for place, character in enumerate(text):
        if character in "'\"" and not escaped:
            quote = "" if quote == character else quote or character
        if character == "#" and not quote:
            end = place
            break
        escaped = bool(quote) and character == "\\" and not escaped
    value = text[:end].strip()
    if len(value) > 1 and value[0] in "'\"" and value[0] == value[-1]:
        value = value[1:-1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), value)
