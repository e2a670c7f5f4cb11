"""What `synth render` does with its settings."""

from curator.artifacts.flags import flag_name
from curator.cli.next_steps import after_rendering, next_step
from curator.cli.printing import say
from curator.cli.tables import print_rows
from curator.errors import CuratorError, UsageError
from synth.render import run
from synth.render import verify as again
from synth.render.folder import Rows
from synth.render.settings import RenderSettings


def render(settings: RenderSettings) -> None:
    """`synth render`."""
    print_summary(run.render(settings))


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


HEEDED = ("generators", "seed", "unsafe_sandbox")
"""By --verify."""


def verify(settings: RenderSettings, count: int) -> None:
    """`synth render --verify`."""
    idle = [f"--{flag_name(RenderSettings, name)}" for name in settings.given() if name not in HEEDED]
    if idle:
        raise UsageError(
            f"--verify looks at rendered rows, as their manifest says, and writes nothing: leave out {', '.join(idle)}"
        )
    path = settings.generators
    rows = Rows.open(path)
    done = again.verify(rows, count, settings.seed, settings.unsafe_sandbox)
    if done.differ:
        named = ", ".join(map(str, done.differ[:10]))
        raise CuratorError(
            f"{path}: {len(done.differ)} of {done.rows} rows came out otherwise: {named}; see 'versions' in its "
            "manifest for the Python and tokenizers they were made with"
        )
    say(f"{done.rows} rows of {path} were made again from its manifest; all are the same to the bit.")
    next_step(*after_rendering(rows.corpus))
