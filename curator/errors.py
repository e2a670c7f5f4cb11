"""Errors that a user can mend: the CLI prints their text alone, without a traceback.

A message says what was wrong, where, what was expected, and how to mend it.
"""


class CuratorError(Exception):
    """The work cannot be done with what was given (exit code 1)."""


class UsageError(CuratorError):
    """The command, a flag or an experiment file asks for something that does not exist (exit code 2)."""
