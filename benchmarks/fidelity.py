"""What rows of the builtin engine keep of natural text, and what its searches cost: this version, or another one.

Corpora of ``natural_corpus.py``, one per seed; `synth distill`, `generate` and `render` of the code in ``--checkout``
(this one unless said), `synth audit patterns` of this one, which opens the folders of earlier versions, so that both
are measured alike. Rows are then held against the samples of their pattern (``synth/audit/fidelity.py``).

    python benchmarks/fidelity.py --out FOLDER
    git worktree add ../before COMMIT && python benchmarks/fidelity.py --out FOLDER --checkout ../before

Intervals: 95 %, percentiles of 10 000 draws of as many patterns with replacement; they say how much depends on which
patterns a corpus gives.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from natural_corpus import ROWS, WIDTH, natural

from curator.artifacts.files import load_json
from curator.corpus import open_corpus
from curator.ranking.ranking import Ranking
from synth.audit.fidelity import fidelity, statistics
from synth.distill.run import Top
from synth.distill.settings import DistillSettings
from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern
from synth.patterns.registry import Registry
from synth.patterns.samples import decode
from synth.render.folder import Rows

HERE = Path(__file__).parents[1]
ROWS_OF_A_PATTERN = 60
TOP = 1000
RANDOM_ROWS = 200
DRAWS = 10_000
KEYS = ("repeated", "copyable", "compression", "found")
NAMES = ("tokens in repeated 4-grams", "copyable tokens", "lzma ratio", "13-grams found in the samples")
MEMORY = """
from pathlib import Path
from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern
words = {"type": "random_text", "values_or_rules": "words", "count": [1, 1000], "scope": "text"}
pattern = Pattern.from_json({"pattern_id": "p", "pattern_name": "x", "anchor_tokens": [], "template": "{a}Q{b}R",
    "length_control": "", "fields": [{"name": name, **words} for name in "ab"]})
def peak():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM:")).split()[1]) / 1024
used = peak()
for name, text in (("100,000 Q", "Q" * 100_000), ("1,000 times 99 Q and R", ("Q" * 99 + "R") * 1000)):
    found = Matcher(pattern).occurs(text)
    list(Matcher(pattern).complaints(text))
    print(f"{{a}}Q{{b}}R searched for and followed in {name}: {found}, highest {peak() - used:.0f} MiB above the start")
"""


@dataclass(frozen=True)
class Kept:
    """One pattern: how many samples, whether it carries, in how many of its samples it occurs, and both sides."""

    samples: int
    carries: bool
    occurs: int
    sides: dict[str, Any]


class Version:
    """The commands of a checkout."""

    def __init__(self, checkout: Path):
        self.checkout = checkout.resolve()  # started there, so that its own modules are found first

    def synth(self, *words: object) -> float:
        """Run one; seconds it took, all its processes at once."""
        program = "import sys; from synth.cli.app import main; sys.argv[0] = 'synth'; main()"
        begun = time.monotonic()
        command = [sys.executable, "-c", program, *map(str, words)]
        done = subprocess.run(command, cwd=self.checkout, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"synth {' '.join(map(str, words))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return time.monotonic() - begun

    def memory(self) -> str:
        """What a search adds to its process at the highest point (Linux)."""
        done = subprocess.run(
            [sys.executable, "-c", MEMORY], cwd=self.checkout, capture_output=True, text=True
        )
        return done.stdout.strip() or done.stderr[-300:]


def run(version: Version, here: Version, corpus: Path, out: Path) -> dict[str, float]:
    """All steps into ``out``; seconds of each."""
    shutil.rmtree(out, ignore_errors=True)
    patterns, generators = out / "patterns", out / "generators"
    engine = ("--engine", "builtin")
    seconds = {"distill": version.synth("distill", corpus, *engine, "--top", TOP, "--out", patterns)}
    seconds["generate"] = version.synth("generate", patterns, *engine, "--all", "--out", generators)
    count = ROWS_OF_A_PATTERN * len(load_json(generators / "manifest.json")["generators"])
    words = ("--weights", "equal", "--count", count)
    seconds["render"] = version.synth("render", generators, *words, "--out", out / "rows")
    seconds["audit patterns"] = here.synth("audit", "patterns", patterns)
    return seconds


def compare(corpus: Path, out: Path) -> list[Kept]:
    """Every pattern that has rows, beside its samples."""
    top = Top.open(DistillSettings(ranking=corpus, out=out, top=TOP))
    registry, rows = Registry.open(out / "patterns"), Rows.open(out / "rows")
    carries = {
        one["pattern_id"]: one["carries"] for one in load_json(out / "patterns" / "audit.json")["patterns"]
    }
    kept = []
    for entry in registry.entries:
        name, samples = entry.pattern.pattern_id, entry.provenance["samples"]
        made = np.flatnonzero(rows.row_patterns == rows.patterns.index(name)) if name in rows.patterns else []
        if len(made) and samples:
            own = top.corpus.rows(np.array(samples))
            occurs = _occurs(entry.pattern, decode(top.tokenizer, own))
            kept.append(Kept(len(samples), carries[name], occurs, fidelity(rows.corpus.rows(made), own)))
    return kept


def _occurs(pattern: Pattern, texts: list[str]) -> int:
    matcher = Matcher(pattern)
    return sum(matcher.occurs(text) is True for text in texts)


def table(kept: list[Kept], random: list[dict[str, Any]]) -> None:
    """The figures, weighted by samples and all patterns alike."""
    for title, some in (("that carry", [one for one in kept if one.carries]), ("all", kept)):
        if not some:
            continue
        for how, weights in (
            ("weighted by samples", np.array([float(one.samples) for one in some])),
            ("alike", np.ones(len(some))),
        ):
            print(f"\nPatterns {title} ({len(some)}), {how}:\n\n| | originals | rows | ratio | random rows |")
            print("|---|---|---|---|---|")
            for key, name in zip(KEYS, NAMES):
                print(f"| {name} | {_line(some, weights, key)} | {_random(random, key)} |")
    nowhere = sum(one.occurs == 0 for one in kept)
    print(f"\n{nowhere} of {len(kept)} patterns occur in none of their own samples.")


def _line(kept: list[Kept], weights: np.ndarray, key: str) -> str:
    sides = [(one.sides["natural"][key], one.sides["rendered"][key]) for one in kept]
    known = np.array([k for k, pair in enumerate(sides) if None not in pair])
    values, of = np.array([sides[k] for k in known], float), weights[known]
    natural, rendered = of @ values / of.sum()
    digits = 1 if key == "compression" else 2
    shown = f"{natural:.{digits}f} | {rendered:.{digits}f} |"
    if key == "found":
        return f"{shown} "
    drawn = np.random.default_rng(0).integers(0, len(known), (DRAWS, len(known)))
    sums = np.einsum("dk,dkc->dc", of[drawn], values[drawn])
    low, high = np.percentile(sums[:, 1] / sums[:, 0], [2.5, 97.5])
    return f"{shown} {rendered / natural:.2f} [{low:.2f}, {high:.2f}]"


def _random(random: list[dict[str, Any]], key: str) -> str:
    if key not in random[0]:
        return ""
    return f"{np.mean([one[key] for one in random]):.{1 if key == 'compression' else 2}f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for corpora (kept) and results (made anew)"
    )
    parser.add_argument("--checkout", type=Path, default=HERE, help="the version to measure")
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the corpora; none: measure memory alone"
    )
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--width", type=int, default=WIDTH, help="tokens of a row")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json; else one is trained on the corpus")
    asked = parser.parse_args()
    version, here = Version(asked.checkout), Version(HERE)
    print(
        f"{asked.checkout.resolve().name}; {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}"
    )
    kept, random = [], []
    for seed in asked.seeds:
        folder = asked.out.resolve() / f"corpus-{seed}"
        if not (folder / "ranking").is_dir():
            natural(asked.rows, asked.width, asked.tokenizer, seed).ranking(folder)
        out = asked.out.resolve() / f"{asked.checkout.resolve().name}-{seed}"
        seconds = run(version, here, folder / "ranking", out)
        kept += compare(folder / "ranking", out)
        corpus = open_corpus(folder / "rows.npy")
        there = len(Ranking.open(folder / "ranking"))
        drawn = np.random.default_rng(seed).choice(there, min(RANDOM_ROWS, there), replace=False)
        random.append(statistics(corpus.rows(np.sort(drawn)), ROWS_OF_A_PATTERN))
        audit = load_json(out / "patterns" / "audit.json")
        one = audit["patterns"][0]["odds"]
        texts = sum(o["counts"][3] for o in one.values()) + one["random"]["counts"][1]
        given_up = sum(n for pattern in audit["patterns"] for n in pattern["undecided"].values())
        took = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
        print(
            f"seed {seed}: corpus {corpus.fingerprint()}, {len(audit['patterns'])} patterns searched for in {texts} "
            f"texts, {given_up} searches given up; seconds: {took}",
            flush=True,
        )
    if kept:
        table(kept, random)
    print(f"\n{version.memory()}")


if __name__ == "__main__":
    main()
