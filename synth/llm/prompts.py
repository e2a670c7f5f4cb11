"""Prompts are files, versioned by name and known by their hash; a user may bring another.

A prompt file is Markdown with a line ``# System`` and a line ``# User``; what stands above the first is for readers.
``<<name>>`` stands for a value and is filled in one pass, so that nothing within a value is taken for a placeholder.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.errors import UsageError

FOLDER = Path(__file__).parent.parent / "prompts"
_PLACEHOLDER = re.compile(r"<<([A-Za-z_]+)>>")
_HEADING = re.compile(r"^# +(System|User)[ \t]*$", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """A prompt; ``sha256`` is of the whole file."""

    name: str
    system: str
    user: str
    sha256: str

    def messages(self, **values: str) -> list[dict[str, str]]:
        """The conversation's beginning with ``values`` in place."""

        def fill(text: str) -> str:
            return _PLACEHOLDER.sub(lambda match: values[match[1]], text)

        return [
            {"role": "system", "content": fill(self.system)},
            {"role": "user", "content": fill(self.user)},
        ]

    def describe(self) -> dict[str, str]:
        """For manifests."""
        return {"name": self.name, "sha256": self.sha256}


def load_prompt(name_or_path: str | Path, needed: Sequence[str], allowed: Sequence[str] = ()) -> Prompt:
    """A prompt of this package by name, or a user's file.

    Args:
        needed: placeholders that must stand in the user part; allowed: others that may stand in either.

    Raises:
        UsageError: no such file, or a part or placeholder is missing, unknown or there twice.
    """
    path = FOLDER / f"{name_or_path}.md" if isinstance(name_or_path, str) else name_or_path
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.md")))
        raise UsageError(f"{path}: no such prompt file (those of this version: {known})")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    parts = _HEADING.split(text)[1:]
    if [part.lower() for part in parts[::2]] != ["system", "user"]:
        raise UsageError(
            f"{path}: expected one line '# System' and behind it one line '# User', each with text below"
        )
    system, user = parts[1].strip(), parts[3].strip()
    if not system or not user:
        raise UsageError(f"{path}: the system or the user part is empty")
    missing = set(needed) - set(_PLACEHOLDER.findall(user))
    if missing:
        raise UsageError(
            f"{path}: the user part lacks {', '.join(f'<<{name}>>' for name in sorted(missing))}"
        )
    unknown = set(_PLACEHOLDER.findall(system + user)) - {*needed, *allowed}
    if unknown:
        raise UsageError(
            f"{path}: unknown placeholder {', '.join(f'<<{name}>>' for name in sorted(unknown))}; there are "
            + ", ".join(f"<<{name}>>" for name in (*needed, *allowed))
        )
    return Prompt(path.stem, system, user, hashlib.sha256(text.encode()).hexdigest())


def delimited(texts: Sequence[str]) -> tuple[str, str]:
    """(the texts between boundary lines, the boundary), which stands in none of them.

    The boundary follows from the texts, so the same texts make the same request. Characters that would not survive as
    UTF-8 or would act on a terminal are written as escapes.
    """
    shown = [printable(text) for text in texts]
    salt = 0
    while True:
        digest = hashlib.sha256("\0".join([str(salt), *shown]).encode()).hexdigest()[:24]
        boundary = f"SAMPLE-{digest}"
        if not any(digest in text for text in shown):
            break
        salt += 1
    lines = []
    for number, text in enumerate(shown, 1):
        lines += [f"----- BEGIN {boundary} {number} -----", text, f"----- END {boundary} {number} -----"]
    return "\n".join(lines), boundary


def printable(text: str) -> str:
    """``text`` with control characters and half characters as escapes such as ``\\x1b``."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", lambda m: ascii(m[0])[1:-1], text)
