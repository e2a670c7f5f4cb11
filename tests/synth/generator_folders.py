"""Small folders of generators, as `synth generate` would leave them, written from sources by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pattern_samples import pattern_json
from rankings import TOKENIZER

from curator.artifacts.files import save_json, save_text
from curator.artifacts.fingerprints import fingerprint
from synth.generate.generators import FORMAT, Generators
from synth.patterns.pattern import Pattern
from synth.render.settings import Rendering, RenderSettings

LINES = """
def {function}(rng, target_tokens):
    words = ["alpha", "beta", "gamma", "delta", "river", "stone", "light", "cloud"]
    text = ""
    while len(text) < 2 * target_tokens:
        text += "{mark}-" + str(rng.randint(0, 99)) + ": " + " ".join(rng.choices(words, k=3)) + "\\n"
    return text
"""
"""Plain lines; every text is another."""
FEW = """
def {function}(rng, target_tokens):
    return ("{mark} " + str(rng.randint(0, 9)) + " ") * target_tokens
"""
"""Ten texts in all."""
ONE = """
def {function}(rng, target_tokens):
    return "{mark} river " * target_tokens
"""
"""The same text always."""
SHORT = """
def {function}(rng, target_tokens):
    return "{mark} " + str(rng.randint(0, 99999)) + " apple\\n"
"""
"""A few tokens, whatever is asked for."""
SETS = """
WORDS = {{"alpha", "beta", "gamma", "delta", "river", "stone", "light", "cloud"}}
def {function}(rng, target_tokens):
    return "{mark} " + " ".join(word + str(rng.randint(0, 99)) for word in WORDS for _ in range(9))
"""
"""In the order of a set: what a check refuses."""
EMPTY = """
def {function}(rng, target_tokens):
    return ""
"""
RAISES = """
def {function}(rng, target_tokens):
    if rng.random() < {share}:
        raise ValueError("no such river")
    return "{mark} " + " ".join(str(rng.randint(0, 9)) for _ in range(target_tokens))
"""
"""Fails at a share of its seeds."""


def rendering(generators: Generators, **given: Any) -> Rendering:
    """What `synth render` makes of flags."""
    return Rendering.resolve(RenderSettings(generators=generators.path, out="rows", **given), generators)


def write_generators(
    folder: Path, sources: Mapping[str, str], seq_length: int = 32, length_low: float = 1.0, **values: Any
) -> Generators:
    """A folder with a generator per id; ``{function}`` and ``{mark}`` in its source are filled in."""
    entries = []
    for pattern_id, source in sources.items():
        pattern = Pattern.from_json(pattern_json(pattern_id=pattern_id, pattern_name=f"Lines {pattern_id}"))
        text = source.format(function=pattern.function, mark=pattern_id, **values)
        save_text(folder / f"{pattern_id}.py", text)
        entries.append(
            {
                "pattern": pattern.to_json(),
                "function": pattern.function,
                "file": f"{pattern_id}.py",
                "fingerprint": fingerprint(text),
                "samples": 1,
                "checks": {"length_low": length_low},
                "provenance": {"engine": "own"},
            }
        )
    manifest = {"format": FORMAT, "generators": entries, "set_aside": []}
    manifest |= {"tokenizer": str(TOKENIZER), "seq_length": seq_length}
    save_json(folder / "manifest.json", manifest)
    return Generators.open(folder)
