"""`sync_to_mysql.py history`, run as a person does: the shortest command that connects."""

from __future__ import annotations

from click.testing import CliRunner, Result

import sync_to_mysql


def command(*words: str, **env: str) -> Result:
    return CliRunner().invoke(sync_to_mysql.main, [*words, "history"], env=env)
