"""Our own JSON files, read back: a file that was cut short, edited or is another's is refused, and how to mend it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curator.artifacts.storage import load_json
from curator.errors import CuratorError


def load_manifest(file: Path, expected: str, mend: str, needed: Sequence[str] = ()) -> dict[str, Any]:
    """The object in ``file``.

    Args:
        expected: its format; needed: its keys, at least (``a.b``: b within a; ``a[]``: a list).
        mend: what the user can do about a damaged one.

    Raises:
        CuratorError: it is something else.
    """
    try:
        content = load_json(file)
    except (CuratorError, ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        said = f"{file}: nested too deeply" if isinstance(error, RecursionError) else str(error)
        said = said if isinstance(error, CuratorError | RecursionError) else f"{file}: {said}"
        raise CuratorError(f"{said}; {mend}") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != expected:
        other = "; is it another folder that you mean?" if isinstance(found, str) else f"; {mend}"
        raise CuratorError(f"{file}: format is {found!r}, expected {expected!r}{other}")
    missing = [key for key in needed if not _holds(content, key)]
    if missing:
        raise CuratorError(f"{file}: lacks {', '.join(missing)}, so it was edited; {mend}")
    return dict(content)


def _holds(content: Any, key: str) -> bool:
    for name in key.removesuffix("[]").split("."):
        if not isinstance(content, dict) or name not in content:
            return False
        content = content[name]
    return not key.endswith("[]") or isinstance(content, list)
