"""What decides the rows, all of it in the manifest."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from curator.artifacts.files import load_json
from curator.artifacts.fingerprints import fingerprint
from curator.corpus.token_text import read_tokenizer
from curator.errors import CuratorError, UsageError
from synth.generate.generators import Generators

FILLS = ("packed", "padded")
LAYOUT = 1
"""Raised when the same settings would give other rows."""
END_OF_TEXT = "<|endoftext|>"
MOST_WEIGHT = 1e9
"""Above it, shares of a count are no longer exact, and at last no numbers."""


@dataclass(frozen=True, kw_only=True)
class Filling:
    """How texts become rows.

    Attributes:
        width: tokens in a row, ``seq_length + 1``.
        fill: ``packed`` or ``padded``.
        separator: token between two texts of a packed row; None puts none.
        pad: token that fills a padded row up; None when packed.
        seed: of all texts.
    """

    width: int
    fill: str
    separator: int | None
    pad: int | None
    seed: int


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """One rendering; `resolve` makes it from what the user gave.

    Attributes:
        weights: of the patterns that take part, in the order of the generators, all above 0.
        task_size: candidates per piece of work, which is also what further candidates are asked for in.
        dtype: of the tokens; the tokenizer decides it.
    """

    count: int
    filling: Filling
    tokenizer: Path
    dtype: str
    weights: dict[str, float]
    task_size: int

    @staticmethod
    def resolve(
        generators: Generators,
        *,
        count: int,
        seq_length: int | None = None,
        tokenizer: Path | None = None,
        seed: int = 0,
        weights: dict[str, float] | None = None,
        equal: bool = False,
        fill: str = "packed",
        separator_id: int | None = None,
        pad_id: int | None = None,
        task_size: int | None = None,
    ) -> "RenderSettings":
        """Fill in what the generators' manifest and the tokenizer say.

        Args:
            equal: patterns without a weight weigh 1, and not as many as the samples in which they were found.

        Raises:
            UsageError: something is missing, unknown, or contradicts itself.
        """
        manifest = generators.manifest
        if fill not in FILLS:
            raise UsageError(f"--fill {fill}: a row is {' or '.join(FILLS)}")
        if pad_id is not None and fill != "padded":
            raise UsageError("--pad-id is for --fill padded; packed rows have no padding")
        seq_length = seq_length or manifest.get("seq_length")
        if seq_length is None:
            raise UsageError(f"{generators.path}: its manifest names no seq_length; give --seq-length")
        file = tokenizer or (Path(manifest["tokenizer"]) if manifest.get("tokenizer") else None)
        if file is None:
            raise UsageError(f"{generators.path}: its manifest names no tokenizer; give --tokenizer")
        file = file / "tokenizer.json" if file.is_dir() else file
        known = read_tokenizer(file)
        for name, given in (("--separator-id", separator_id), ("--pad-id", pad_id)):
            if given is not None and known.id_to_token(given) is None:
                raise UsageError(f"{name} {given}: {file} has no such token")
        separator = known.token_to_id(END_OF_TEXT) if separator_id is None else separator_id
        pad = separator if pad_id is None else pad_id
        if fill == "padded" and pad is None:
            raise UsageError(f"{file} has no {END_OF_TEXT} to pad with; give --pad-id")
        return RenderSettings(
            count=count,
            filling=Filling(
                width=seq_length + 1,
                fill=fill,
                separator=separator if fill == "packed" else None,
                pad=pad if fill == "padded" else None,
                seed=seed,
            ),
            tokenizer=file,
            dtype=token_dtype(known),
            weights=_weights(generators, weights or {}, equal),
            task_size=task_size or min(512, max(64, -(-count // 64))),
        )

    def identity(self, generators: Generators) -> dict[str, Any]:
        """As JSON; paths are left out where a fingerprint stands for their content."""
        filling = self.filling
        return {
            "layout": LAYOUT,
            "generators": generators.fingerprint(),
            "tokenizer": fingerprint(self.tokenizer.read_bytes()),
            "count": self.count,
            "seq_length": filling.width - 1,
            "seed": filling.seed,
            "fill": filling.fill,
            "separator_id": filling.separator,
            "pad_id": filling.pad,
            "weights": self.weights,
            "task_size": self.task_size,
        }

    @property
    def row_bytes(self) -> int:
        """What a row takes on disk while the rows are put together: once in its part, once in its place."""
        return 2 * self.filling.width * np.dtype(self.dtype).itemsize

    def command(self, generators: Path, out: Path) -> str:
        """The command that asks for the same again."""
        filling = self.filling
        words = ["synth", "render", str(generators), "--count", str(self.count), "--out", str(out)]
        words += ["--seq-length", str(filling.width - 1), "--tokenizer", str(self.tokenizer.absolute())]
        words += ["--seed", str(filling.seed), "--fill", filling.fill, "--task-size", str(self.task_size)]
        if filling.separator is not None:
            words += ["--separator-id", str(filling.separator)]
        if filling.pad is not None:
            words += ["--pad-id", str(filling.pad)]
        for generator in Generators.open(generators).generators:
            pattern_id = generator.pattern_id
            weight = self.weights.get(pattern_id, 0.0)
            if weight != generator.samples:
                words += ["--weights", f"{pattern_id}={weight!r}"]
        return shlex.join(words)


def _weights(generators: Generators, given: dict[str, float], equal: bool) -> dict[str, float]:
    ids = [generator.pattern_id for generator in generators.generators]
    unknown = sorted(set(given) - set(ids))
    if unknown:
        raise UsageError(
            f"{generators.path}: no generator of {', '.join(unknown[:8])}; there are {', '.join(ids[:20])}"
        )
    usual = {g.pattern_id: 1 if equal else g.samples for g in generators.generators}
    weights = {}
    for pattern_id in ids:
        weight = given.get(pattern_id, usual[pattern_id])
        if not 0 <= weight <= MOST_WEIGHT:
            where = "" if pattern_id in given else f" (its samples in {generators.path}/manifest.json)"
            raise UsageError(
                f"the weight of {pattern_id} must be a number of at least 0 and at most {MOST_WEIGHT:g}, not "
                f"{str(weight)[:40]}{where}; weights count in proportion to each other, so smaller ones will do"
            )
        if weight > 0:
            weights[pattern_id] = float(weight)
    if not weights:
        raise UsageError(
            "all patterns weigh 0, so that none is left to render; one that was found in no sample weighs 0 unless "
            "--weights says otherwise (--weights equal)"
        )
    return weights


def read_weights(words: Sequence[str]) -> dict[str, float]:
    """Weights from ``pattern=weight`` words and JSON files of them; a later one wins.

    Raises:
        UsageError: neither.
    """
    weights: dict[str, float] = {}
    for word in words:
        pattern_id, equals, number = word.partition("=")
        if Path(word).is_file():
            try:
                value = load_json(Path(word))
            except (CuratorError, ValueError, RecursionError) as error:
                raise UsageError(
                    f"--weights: {error}; expected a JSON object of pattern_id: number"
                ) from error
            if not isinstance(value, dict) or not all(
                isinstance(v, int | float) and not isinstance(v, bool) for v in value.values()
            ):
                raise UsageError(f"--weights {word}: expected a JSON object of pattern_id: number")
            # through text, as the words are: a whole number may be too large for a float
            weights |= {str(key): float(str(weight)) for key, weight in value.items()}
            continue
        try:
            if not equals:
                raise ValueError
            weights[pattern_id] = float(number)
        except ValueError as error:
            raise UsageError(
                f"--weights {word}: expected PATTERN_ID=NUMBER, or a JSON file that exists"
            ) from error
    return weights


def kept_alone(generators: Generators, weights: dict[str, float], only: Path) -> dict[str, float]:
    """``weights`` with 0 for every pattern that ``only`` (audit.json or kept.json) does not keep.

    Raises:
        UsageError: not such a file.
        CuratorError: it keeps no pattern of these generators.
    """
    try:
        value = load_json(only)
    except CuratorError as error:
        raise UsageError(f"--only: {error}; give audit.json or kept.json of `synth audit data`") from error
    kept = value.get("kept") if isinstance(value, dict) else value
    if not isinstance(kept, list) or not all(isinstance(name, str) for name in kept):
        raise UsageError(f"--only {only}: expected audit.json or kept.json of `synth audit data`")
    ids = [generator.pattern_id for generator in generators.generators]
    if not set(kept) & set(ids):
        raise CuratorError(
            f"{only}: keeps {len(kept)} patterns, none of them in {generators.path}; nothing would be rendered"
        )
    return {**weights, **{pattern_id: 0.0 for pattern_id in ids if pattern_id not in kept}}


def token_dtype(tokenizer: Tokenizer) -> str:
    """The smallest of uint16 and uint32 that holds every id."""
    return "uint16" if max(tokenizer.get_vocab(with_added_tokens=True).values()) < 1 << 16 else "uint32"
