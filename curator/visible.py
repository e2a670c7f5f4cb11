r"""Text that others wrote, as it may be shown: what would act on a terminal, or stay unseen, stands there as an escape.

Samples, patterns, generated code, answers of servers and names of files can hold terminal escapes, characters that turn
the direction of a line, and such that take no room. All that is printed goes through here (``printing.py``), and so
does what `curator show` writes; data files keep data as it is. `note` needs no more than this module, for the trainer.
"""

import sys
import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories: control, format, surrogate, private, unassigned, line and paragraph separators."""
_UNSEEN = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, 0xFFA0))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
"""Of other categories, and yet nothing to see: joiners, fillers, selectors (Default_Ignorable_Code_Point)."""


def visible(text: str) -> str:
    r"""``text`` with control, direction, invisible and unassigned characters as escapes such as ``\x1b`` or ``\u202e``.

    Newlines and tabs stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _is_hidden(c) else _escape(c) for c in text)


def note(line: str) -> None:
    """Print a line of what is under way on standard error."""
    print(visible(line), file=sys.stderr, flush=True)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN or character in _UNSEEN


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
