"""Our own JSON files, read back: what was cut short, edited, or is another's is refused, with how to mend it.

A manifest says what it is under ``format``, and where formats are counted apart from their names under ``version``.
Every format is a constant beside its one reader: a name, or the pairs that its writer puts first. Refused: a check of
these pairs anywhere else.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.artifacts.files import load_json
from curator.errors import CuratorError

Format = str | Mapping[str, Any]
"""The name of a format, or the pairs that say it: its name, then perhaps ``version``."""


def load_manifest(
    file: Path, expected: Format, mend: str, needed: Sequence[str] = (), *, older: Sequence[int] = ()
) -> dict[str, Any]:
    """The object in ``file``, which says that it is of the format ``expected``.

    Args:
        needed: as of `load_object`; older: versions besides that of ``expected`` which are read.
        mend: what the user can do about a damaged one.

    Raises:
        CuratorError: it is something else; says what is there and what was expected.
    """
    content = load_object(file, mend)
    key, name = _name(expected)
    found = content.get(key)
    if found != name:
        other = "is it another folder that you mean? Otherwise " if isinstance(found, str) else ""
        raise CuratorError(f"{file}: {key} is {found!r}, expected {name!r}; {other}{mend}")
    known = () if isinstance(expected, str) or "version" not in expected else (*older, expected["version"])
    if known and content.get("version") not in known:
        raise CuratorError(
            f"{file}: it has version {content.get('version')!r}, known {'are' if older else 'is'} "
            f"{' and '.join(map(str, known))}: edited, or written by another version; {mend}"
        )
    _check_keys(file, content, needed, mend)
    return content


def load_object(file: Path, mend: str, needed: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON object in ``file``, a file of ours that needs no format, since it lies in a folder that has one.

    Args:
        needed: its keys, at least (``a.b``: b within a; ``a[]``: a list).
        mend: what the user can do about a damaged one.

    Raises:
        CuratorError: it is something else, or lacks some of these.
    """
    try:
        content = load_json(file)
    except (CuratorError, ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        said = f"{file}: nested too deeply" if isinstance(error, RecursionError) else str(error)
        said = said if isinstance(error, CuratorError | RecursionError) else f"{file}: {said}"
        raise CuratorError(f"{said}; {mend}") from error
    if not isinstance(content, dict):
        raise CuratorError(f"{file}: holds a {type(content).__name__}, expected an object; {mend}")
    _check_keys(file, content, needed, mend)
    return content


def is_manifest(file: Path, expected: Format) -> bool:
    """Whether ``file`` is there and says that it is of this format, in whatever version.

    Raises:
        CuratorError: it is not JSON.
    """
    content = load_json(file) if file.is_file() else None
    key, name = _name(expected)
    return isinstance(content, dict) and _unversioned(content.get(key)) == _unversioned(name)


def _unversioned(name: Any) -> Any:
    """A format's name without the number of its version, ``curator-ranking-1``."""
    return re.sub(r"-\d+$", "", name) if isinstance(name, str) else name


def _name(expected: Format) -> tuple[str, str]:
    """The key that says the format, which comes first, and the format's name."""
    return ("format", expected) if isinstance(expected, str) else next(iter(expected.items()))


def _check_keys(file: Path, content: dict[str, Any], needed: Sequence[str], mend: str) -> None:
    missing = [key for key in needed if not _holds(content, key)]
    if missing:
        raise CuratorError(f"{file}: lacks {', '.join(missing)}, so it was edited; {mend}")


def _holds(content: Any, key: str) -> bool:
    for name in key.removesuffix("[]").split("."):
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return not key.endswith("[]") or isinstance(content, list)
