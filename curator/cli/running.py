"""How a command runs: its progress on the terminal; and how it ends: what a user can mend in one line, no traceback."""

import errno
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from curator.cli.options import completed, refuse_twice
from curator.cli.printing import console, say_traceback
from curator.errors import CuratorError, UsageError
from curator.progress import Advance, Lines, Progress, reporting
from curator.visible import visible


class Commands(TyperGroup):
    """The commands of a program; what it says of a wrong command line repeats the user's words as `visible` text."""

    def make_context(self, *given: Any, **named: Any) -> Any:
        """As ever."""
        with _visible_usage():
            return super().make_context(*given, **named)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As ever; the options of the command that is called are made now."""
        name, command, rest = super().resolve_command(ctx, args)
        command = completed(command)
        if not isinstance(command, TyperGroup):
            refuse_twice(command, rest)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """As ever."""
        with _visible_usage():
            return super().invoke(ctx)


@contextmanager
def _visible_usage() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's, of whichever package it uses
            said = visible(error.format_message())
            error.format_message = lambda: said
        raise


class Terminal(Progress):
    """Progress of a command: bars where standard error is a terminal, else lines."""

    def task(
        self, description: str, total: int, unit: str = "samples", done: int = 0
    ) -> AbstractContextManager[Advance]:
        """As ever."""
        if not console.is_terminal:
            return Lines().task(description, total, unit, done)
        from curator.cli.bars import bar

        return bar(description, total, unit, done)

    def remark(self, line: str) -> None:
        """As ever."""
        console.print(line, soft_wrap=True)


def run_app(app: typer.Typer) -> None:
    """Run a command line and exit: 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        with reporting(Terminal()):
            app()
    except CuratorError as error:
        _say_error(str(error))
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except SystemExit as error:
        if _interrupted(error):  # typer turns Ctrl-C into an exit
            console.print("interrupted; the same command resumes where it stopped")
            sys.exit(130)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a full disk, no permission, a file where a folder is needed
        if error.filename is None:
            sys.excepthook = say_traceback
            raise
        said = error.strerror or error.args[0]  # of a short write numpy gives words alone
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            said += "; make room, then the same command goes on where it stopped"
        _say_error(f"{error.filename}: {said}")
        sys.exit(1)
    except Exception:
        sys.excepthook = say_traceback
        raise


def _say_error(text: str) -> None:
    console.print("error:", style="bold red", end=" ")
    console.print(text, soft_wrap=True)


def _interrupted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
