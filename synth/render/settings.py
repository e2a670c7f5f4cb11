"""Which rows are wanted: the flags of `synth render`; and what decides them, all of it in the manifest."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator
from tokenizers import Tokenizer

from curator.artifacts.conditions import Only
from curator.artifacts.fields import Count, Index, Seed
from curator.artifacts.files import load_json
from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.flags import Flag, flag_name, flag_words
from curator.artifacts.schema import GivenPath, Many, Settings
from curator.corpus.token_text import read_tokenizer
from curator.errors import CuratorError, UsageError
from synth.fields import UnsafeSandbox, Workers
from synth.generate.generators import Generators

LAYOUT = 1
"""Raised when the same settings would give other rows."""
END_OF_TEXT = "<|endoftext|>"
EQUAL = "equal"
"""The word that makes patterns weigh the same."""
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


def _in_words(weights: Any) -> Any:
    """As flags give them."""
    return (
        [f"{name}={weight!r}" for name, weight in weights.items()]
        if isinstance(weights, Mapping)
        else weights
    )


class RenderSettings(Settings):
    """Which rows are wanted of which generators."""

    generators: Annotated[GivenPath, Flag(argument=True)]
    """Folder of generators (synth generate); with --verify, a folder of rendered rows."""
    out: GivenPath | None = None
    """Folder for the rows."""
    count: Count | None = None
    """How many rows, exactly."""
    seq_length: Annotated[Count | None, Flag(default="the generators' manifest")] = None
    """Rows are one token longer."""
    tokenizer: Annotated[GivenPath | None, Flag(default="the generators' manifest")] = None
    """tokenizer.json."""
    seed: Seed = 0
    """Of every text, and of the rows' order."""
    weights: Annotated[Many[str], BeforeValidator(_in_words)] = ()
    """PATTERN_ID=WEIGHT, repeatable, or a JSON file of them; 0 leaves a pattern out. One not named weighs as many as
    the samples in which it was found, or 1 with --weights equal."""
    only: GivenPath | None = None
    """audit.json or kept.json of `synth audit data`: only the patterns that it keeps."""
    fill: Literal["packed", "padded"] = "packed"
    """packed: texts of one pattern, the separator between them, the last one cut; padded: one text, cut or filled up
    (GPT-NeoX trains on the padding like on any token)."""
    separator_id: Annotated[Index | None, Flag(default="<|endoftext|> of the tokenizer, or none")] = None
    """Token between texts."""
    pad_id: Annotated[Index | None, Only("fill", "padded"), Flag(default="the separator")] = None
    """Token of the padding."""
    task_size: Annotated[Count | None, Flag(default="up to 512")] = None
    """Rows per resumable piece of work."""
    workers: Workers = None
    unsafe_sandbox: UnsafeSandbox = False

    def check(self) -> None:
        """Padded rows have no separator, which stands for a missing 'pad_id' alone."""
        if self.fill == "padded" and self.pad_id is not None and self.separator_id is not None:
            raise ValueError("'separator_id' says nothing to padded rows beside 'pad_id'; give one")


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """One rendering; `resolve` makes it from what the user gave.

    Attributes:
        asked: what the user gave.
        weights: of the patterns that take part, in the order of the generators, all above 0.
        task_size: candidates per piece of work, which is also what further candidates are asked for in.
        dtype: of the tokens; the tokenizer decides it.
    """

    asked: RenderSettings
    out: Path
    count: int
    filling: Filling
    tokenizer: Path
    dtype: str
    weights: dict[str, float]
    task_size: int

    @staticmethod
    def resolve(settings: RenderSettings, generators: Generators) -> "Rendering":
        """Fill in what the generators' manifest and the tokenizer say.

        Raises:
            UsageError: something is missing or unknown.
        """
        manifest = generators.manifest
        out, count, seq_length = (
            settings.out,
            settings.count,
            settings.seq_length or manifest.get("seq_length"),
        )
        if out is None or count is None:
            raise UsageError("synth render needs --count and --out, or --verify with a folder of rows")
        if seq_length is None:
            raise UsageError(f"{generators.path}: its manifest names no seq_length; give --seq-length")
        weights = read_weights([word for word in settings.weights if word != EQUAL])
        if settings.only is not None:
            weights = kept_alone(generators, weights, settings.only)
        file = settings.tokenizer or (Path(manifest["tokenizer"]) if manifest.get("tokenizer") else None)
        if file is None:
            raise UsageError(f"{generators.path}: its manifest names no tokenizer; give --tokenizer")
        file = file / "tokenizer.json" if file.is_dir() else file
        known = read_tokenizer(file)
        for name in ("separator_id", "pad_id"):
            given = getattr(settings, name)
            if given is not None and known.id_to_token(given) is None:
                raise UsageError(f"--{flag_name(RenderSettings, name)} {given}: {file} has no such token")
        separator = settings.separator_id
        separator = known.token_to_id(END_OF_TEXT) if separator is None else separator
        pad = separator if settings.pad_id is None else settings.pad_id
        packed = settings.fill == "packed"
        if not packed and pad is None:
            raise UsageError(f"{file} has no {END_OF_TEXT} to pad with; give --pad-id")
        return Rendering(
            asked=settings,
            out=out,
            count=count,
            filling=Filling(
                width=seq_length + 1,
                fill=settings.fill,
                separator=separator if packed else None,
                pad=None if packed else pad,
                seed=settings.seed,
            ),
            tokenizer=file,
            dtype=token_dtype(known),
            weights=_weights(generators, weights, EQUAL in settings.weights),
            task_size=settings.task_size or min(512, max(64, -(-count // 64))),
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

    def command(self, generators: Generators) -> str:
        """The command that asks for the same again."""
        filling = self.filling
        each = ((g.pattern_id, self.weights.get(g.pattern_id, 0.0), g.samples) for g in generators.generators)
        whole = self.asked.changed(
            seq_length=filling.width - 1,
            tokenizer=self.tokenizer.absolute(),
            separator_id=filling.separator,
            pad_id=filling.pad,
            task_size=self.task_size,
            weights={pattern_id: weight for pattern_id, weight, samples in each if weight != samples},
        )
        return shlex.join(["synth", "render", *flag_words(whole, ("only", "workers", "unsafe_sandbox"))])


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
