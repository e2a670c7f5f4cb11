"""Tokens as text that is safe to show, cut at token boundaries.

A byte-level BPE token may hold part of a UTF-8 character, so decoding spans one by one would lose characters
at their borders. Here tokens become bytes first; a border inside a character moves behind it; then every
piece is decoded. Bytes that are no UTF-8, and characters that act or are not seen (``visible.py``), are written as
escapes, so that what is shown is what is there.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from curator.errors import CuratorError
from curator.visible import visible


class TokenText:
    """Turns token ids into pieces of text, with a tokenizer or its file, or as numbers without one.

    Raises:
        CuratorError: the file is missing or not a tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer | Path | None):
        self.tokenizer = read_tokenizer(tokenizer) if isinstance(tokenizer, Path) else tokenizer

    def pieces(self, tokens: np.ndarray, borders: Sequence[int]) -> list[str]:
        """The text of ``tokens`` [n], cut before each position in ``borders`` (rising, within 1 … n - 1)."""
        starts, stops = [0, *borders], [*borders, len(tokens)]
        if self.tokenizer is None:
            numbers = [f"{token} " for token in tokens.tolist()]
            numbers[-1:] = [number.rstrip() for number in numbers[-1:]]
            return ["".join(numbers[a:b]) for a, b in zip(starts, stops)]
        if not self._is_byte_level:
            decoded = [self._decode(tokens[a:b].tolist()) for a, b in zip(starts, stops)]
            return [visible(text) for text in decoded]
        chunks = [self._bytes(token) for token in tokens.tolist()]
        ends = np.concatenate([[0], np.cumsum([len(chunk) for chunk in chunks])]).tolist()
        everything = b"".join(chunks)
        cuts = [_behind_character(everything, ends[border]) for border in borders]
        return [
            visible(everything[a:b].decode("utf-8", errors="backslashreplace"))
            for a, b in zip([0, *cuts], [*cuts, len(everything)])
        ]

    def _decode(self, tokens: list[int]) -> str:
        assert self.tokenizer is not None
        return self.tokenizer.decode(tokens, skip_special_tokens=False)

    def _bytes(self, token: int) -> bytes:
        """The bytes of one token of a byte-level tokenizer; an id it does not know is named."""
        assert self.tokenizer is not None
        text = self.tokenizer.id_to_token(token)
        if text is None:
            return f"⟨token {token}⟩".encode()
        if token in self._added:
            return text.encode()
        letters = _byte_letters()
        return b"".join(bytes([letters[c]]) if c in letters else c.encode() for c in text)

    @cached_property
    def _added(self) -> frozenset[int]:
        """Special and added tokens, which stand in the file as they are written."""
        assert self.tokenizer is not None
        return frozenset(self.tokenizer.get_added_tokens_decoder())

    @cached_property
    def _is_byte_level(self) -> bool:
        assert self.tokenizer is not None
        decoder = json.loads(self.tokenizer.to_str()).get("decoder") or {}
        parts = [decoder, *decoder.get("decoders", [])]
        return any(part.get("type") == "ByteLevel" for part in parts)


def read_tokenizer(file: Path) -> Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        CuratorError: no such file, or not a tokenizer.
    """
    if not file.is_file():
        raise CuratorError(f"{file}: no such tokenizer; give a tokenizer.json")
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise CuratorError(f"{file}: not a tokenizer.json ({error})") from error


def _behind_character(data: bytes, cut: int) -> int:
    """The first position from ``cut`` that does not lie inside a UTF-8 character."""
    while cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut += 1
    return cut


_letters: dict[str, int] = {}


def _byte_letters() -> dict[str, int]:
    """GPT-2's alphabet: which character of a byte-level vocabulary stands for which byte."""
    if not _letters:
        printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), 256)]
        others = [byte for byte in range(256) if byte not in printable]
        _letters.update({chr(byte): byte for byte in printable})
        _letters.update({chr(256 + number): byte for number, byte in enumerate(others)})
    return _letters
