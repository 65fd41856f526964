"""Every error that a person is meant to read, grouped by what that person should do next.

An error says what happened to which thing (`message`) and one act or one command that helps (`hint`). The scripts
print both and exit with the class's `exit_code`; anything that is not one of these is a fault of ours and shows a
traceback. Secrets never enter a message.
"""

from __future__ import annotations

from collections.abc import Iterable

_MOST_CHARACTERS = 4000


def printable(text: str, most: int = _MOST_CHARACTERS) -> str:
    """`text` with nothing in it that a terminal or a reader of a log would obey, in one line and not endless.

    What a server, a file or a user has called something may be in a message: line ends become blanks, other control
    characters (marks that turn the direction of text among them) are shown as escapes.
    """
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode() for c in text)


class PipelineError(Exception):
    """What happened, to which thing, and what to do about it; both are `printable`."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(self.message)


class ActionNeeded(PipelineError):
    """A person must act before a new run can succeed; nothing was lost."""

    exit_code = 1


class WrongUsage(PipelineError):
    """The command's own arguments are wrong; nothing was done."""

    exit_code = 2


class OutputLost(ActionNeeded):
    """The result could not be printed; what the command did stands."""


class TryLater(PipelineError):
    """Nothing changed; the same command may well succeed later."""

    exit_code = 75


def common_exit_code(errors: Iterable[PipelineError]) -> int:
    """0 without errors; the code that they have in common, or 1: a person must act."""
    codes = {error.exit_code for error in errors}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 else 1
