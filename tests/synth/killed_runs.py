"""Commands of `synth` in processes of their own that die by SIGKILL at a file of their folder, or from outside.

An importable module, as a new process needs.
"""

import itertools
import json
import signal
from pathlib import Path
from typing import Any

from forked import command, die, finish


def _die_at(place: int | str, moment: str) -> None:
    new = itertools.count(1)

    def hits(target: Path) -> bool:
        if isinstance(place, int):
            return not target.exists() and next(new) == place
        return place in str(target)

    die(hits, moment)


def start(words: list[Any], cwd: Path, die_at: tuple[int | str, str] | None = None) -> Any:
    """``die_at``: (number of the new file it moves into place, or a part of a file's path; before or after)."""
    if die_at is None:
        return command("synth", *words, cwd=cwd)
    return command("synth", *words, cwd=cwd, prepare=_die_at, given=die_at)


def die_at_every_file(words: list[Any], cwd: Path, out: Path) -> int:
    """Run ``words`` again and again, one file further each time and killed there, until it ends well.

    By turns behind a file, and before the next one, whose half-written neighbour is then left. How often it died.
    """
    died = 0
    while True:
        code = finish(start(words, cwd, [(1, "after"), (2, "before")][died % 2]))
        if code == 0:
            return died
        assert code == -signal.SIGKILL, (cwd / "errors.txt").read_text()
        died += 1
        assert died < 200, "it does not get on"
        assert died % 2 or temporaries(out), "nothing was left half-written, so that nothing is tested"


def temporaries(out: Path) -> list[str]:
    """What was left half-written; the ledger's lock is beside it for good, for all runs that share the cache."""
    found = [str(path.relative_to(out)) for path in out.rglob(".*.tmp")]
    return [name for name in found if name != "cache/.spent.tmp"]


def contents(out: Path) -> dict[str, Any]:
    """Every file and what is in it, but for the time of answers and the names of entries in a ledger."""
    found: dict[str, Any] = {}
    for path in out.rglob("*"):
        name = str(path.relative_to(out))
        if not path.is_file() or name.endswith(("spent.jsonl", ".spent.tmp")):
            continue
        found[name] = path.read_bytes()
        if name.startswith("cache/"):
            found[name] = {**json.loads(found[name]), "time": None}
    return found
