"""Frames: the plain text that passes between us and a locked process, the same in both directions.

A frame is one line ``word number length`` and then that many bytes of UTF-8. There is nothing in it to unfold: what a
locked process sends can be refused by its length before it is read, is never parsed, and is at most a wrong text.
Used on both sides, and so with no imports.
"""

LONGEST_HEADER = 64
"""Bytes of the line before the text, at most."""


def frame(word: str, number: int, data: bytes) -> bytes:
    """The bytes of a frame; ``data`` is UTF-8."""
    return b"%s %d %d\n%s" % (word.encode("ascii"), number, len(data), data)


def parse_header(line: bytes) -> tuple[str, int, int]:
    """(word, number, length of the text in bytes).

    Raises:
        ValueError: the line is no header.
    """
    parts = line.removesuffix(b"\n").split(b" ")
    if len(line) > LONGEST_HEADER or len(parts) != 3 or not all(parts):
        raise ValueError("not a header")
    word, number, length = parts
    if not (word.isalpha() and number.isdigit() and length.isdigit()):
        raise ValueError("not a header")
    return word.decode("ascii"), int(number), int(length)


def to_lines(values: dict[str, str]) -> bytes:
    """One ``key value`` per line; neither may hold a line break."""
    return "".join(f"{key} {' '.join(value.split())}\n" for key, value in values.items()).encode()


def from_lines(data: bytes) -> dict[str, str]:
    """The inverse of `to_lines`."""
    pairs = (line.partition(" ") for line in data.decode().splitlines())
    return {key: value for key, _, value in pairs}
