"""Errors whose message is written for the person at the keyboard.

Each says the value that was wrong, where it stands, and the next command to run. `cli.py` prints the message and
exits with `exit_code`; anything else that escapes is a bug and exits with 1.
"""


class UserError(Exception):
    """Something the user can put right. `hint` is the next command to run, or None."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        """Keep the message and the hint apart, so that `--json` can print both."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(UserError):
    """The command was given something that it cannot take."""

    exit_code = 2


class MissingError(UserError):
    """A thing the command needs is not there: a workspace, a policy, a file, candidates."""

    exit_code = 4


class InvalidDataError(UserError):
    """Input was read and is wrong: a line of a log, a policy, a review file, a damaged database."""

    exit_code = 5


class ProviderError(UserError):
    """Somebody else's service failed or refused: the judge's endpoint, Argilla, a spent budget."""

    exit_code = 6
