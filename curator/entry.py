"""How a command line ends: what a user can mend is said in one line, without a traceback."""

import errno
import sys

import typer

from curator.errors import CuratorError, UsageError
from curator.progress import console


def run_app(app: typer.Typer) -> None:
    """Run a command line and exit: 0 done, 1 failed, 2 usage, 130 interrupted."""
    try:
        app()
    except CuratorError as error:
        console.print("error:", style="bold red", end=" ")
        console.print(str(error), markup=False, soft_wrap=True)
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
            raise
        console.print("error:", style="bold red", end=" ")
        said = error.strerror or error.args[0]  # of a short write numpy gives words alone
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            said += "; make room, then the same command goes on where it stopped"
        console.print(f"{error.filename}: {said}", markup=False, soft_wrap=True)
        sys.exit(1)


def _interrupted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
