"""What `synth render` does with its flags."""

from pathlib import Path
from typing import Any

from curator.cli.next_steps import after_rendering, next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.errors import CuratorError, UsageError
from synth.generate.generators import Generators
from synth.render.folder import Rows
from synth.render.run import render
from synth.render.settings import RenderSettings, kept_alone, read_weights
from synth.render.verify import verify

EQUAL = "equal"
"""The word that makes patterns weigh the same."""


def run_render(
    path: Path,
    out: Path | None,
    given: dict[str, Any],
    weight_words: list[str],
    only: Path | None,
    workers: int | None,
    unsafe: bool,
) -> None:
    """`synth render`."""
    if out is None or given["count"] is None:
        raise UsageError("synth render needs --count and --out, or --verify with a folder of rows")
    generators = Generators.open(path)
    weights = read_weights([word for word in weight_words if word != EQUAL])
    if only is not None:
        weights = kept_alone(generators, weights, only)
    settings = RenderSettings.resolve(generators, weights=weights, equal=EQUAL in weight_words, **given)
    rows = render(generators, settings, out, workers, unsafe, only)
    print_summary(rows)


def print_summary(rows: Rows) -> None:
    """What was rendered, what was left out, and what to do next."""
    manifest = rows.manifest
    patterns = sorted(manifest["patterns"], key=lambda one: -one["rows"])
    table = [
        [
            one["pattern_id"],
            *(f"{one[key]:,}" for key in ("rows", "tried", "duplicates", "failed")),
            f"{one['texts'] / one['rows']:.2f}" if one["rows"] else "-",
        ]
        for one in patterns[:20]
    ]
    title = f"{manifest['rows']:,} rows of {manifest['row_width']} tokens, {len(patterns)} patterns"
    print_rows(title, ["pattern", "rows", "tried", "duplicates", "failed", "texts a row"], table)
    for one in patterns:
        if one["dropped"] is not None:
            reason = one["dropped"].splitlines()[0]
            say(f"Dropped: {one['pattern_id']}, its generator fails: {reason}. The others took its share.")
        elif one["exhausted"]:
            say(
                f"Exhausted: {one['pattern_id']} gave {one['rows']:,} distinct rows in {one['tried']:,} tries. The "
                "others took the rest of its share."
            )
    last = manifest["last_run"]
    say(
        f"{manifest['duplicates']:,} duplicates removed; {last['rows_made']:,} rows in {last['seconds']:.1f} s "
        f"({last['rows_per_second']:.0f}/s, {last['workers']} workers).\n"
        f"Written to {rows.path}/: rows (mmap-ninja), row_patterns.npy, row_candidates.npy, manifest.json."
    )
    next_step(*after_rendering(rows.corpus))


def run_verify(path: Path, count: int, seed: int, unsafe: bool) -> None:
    """`synth render --verify`."""
    rows = Rows.open(path)
    done = verify(rows, count, seed, unsafe)
    if done.differ:
        named = ", ".join(map(str, done.differ[:10]))
        raise CuratorError(
            f"{path}: {len(done.differ)} of {done.rows} rows came out otherwise: {named}; see 'versions' in its "
            "manifest for the Python and tokenizers they were made with"
        )
    say(f"{done.rows} rows of {path} were made again from its manifest; all are the same to the bit.")
    next_step(*after_rendering(rows.corpus))
