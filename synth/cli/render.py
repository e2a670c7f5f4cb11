"""Flags of ``synth render`` and ``synth audit data``; ``app.py`` registers the functions."""

from pathlib import Path
from typing import Annotated

import typer

from curator.cli import options as cli_options
from curator.errors import UsageError
from synth.cli import options

EXAMPLES = {
    "render": "synth render generators --count 1000 --out rows",
    "audit_data": "synth audit data rows --ranking ranking --out audit",
}


def render(
    generators: Annotated[
        Path,
        typer.Argument(
            help="Folder of generators (synth generate); with --verify, a folder of rendered rows.",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the rows.", show_default=False)] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="How many rows, exactly.", show_default=False)
    ] = None,
    seq_length: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows are one token longer. \\[default: the generators' manifest]", show_default=False
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="tokenizer.json. \\[default: the generators' manifest]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every text, and of the rows' order.")] = 0,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="PATTERN_ID=WEIGHT, repeatable, or a JSON file of them; 0 leaves a pattern out. One not named weighs "
            "as many as the samples in which it was found, or 1 with --weights equal.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        Path | None,
        typer.Option(
            help="audit.json or kept.json of `synth audit data`: only the patterns that it keeps.",
            show_default=False,
        ),
    ] = None,
    fill: Annotated[
        str,
        typer.Option(
            help="packed: texts of one pattern, the separator between them, the last one cut; padded: one text, cut "
            "or filled up (GPT-NeoX trains on the padding like on any token)."
        ),
    ] = "packed",
    separator_id: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Token between texts. \\[default: <|endoftext|> of the tokenizer, or none]",
            show_default=False,
        ),
    ] = None,
    pad_id: Annotated[
        int | None,
        typer.Option(min=0, help="Token of the padding. \\[default: the separator]", show_default=False),
    ] = None,
    task_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Rows per resumable piece of work. \\[default: up to 512]", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. \\[default: one per core]", show_default=False)
    ] = None,
    unsafe_sandbox: options.UnsafeSandbox = False,
    verify: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead: make so many rows of the folder again, drawn at random, and compare.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Turn generators into training rows: a weighted mix, an exact count, no row twice.

    The folder is a corpus like any other: `curator inject --rows OUT`. A killed run goes on with the same command.
    """
    from synth.cli.render_command import run_render, run_verify

    if verify is not None:
        if out is not None or count is not None:
            raise UsageError(
                "--verify looks at rendered rows and writes nothing: leave out --out and --count"
            )
        run_verify(generators, verify, seed, unsafe_sandbox)
        return
    run_render(
        generators,
        out,
        {
            "count": count,
            "seq_length": seq_length,
            "tokenizer": tokenizer,
            "seed": seed,
            "fill": fill,
            "separator_id": separator_id,
            "pad_id": pad_id,
            "task_size": task_size,
        },
        weights or [],
        only,
        workers,
        unsafe_sandbox,
    )


def audit_data(
    rows: Annotated[Path, typer.Argument(help="Folder of rendered rows (synth render).", show_default=False)],
    ranking: Annotated[
        Path,
        typer.Option(
            help="Ranking of natural samples; its queries and checkpoint score the rows.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the result.", show_default=False)],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the ranking. \\[default: its only one]", show_default=False)
    ] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Rows scored per pattern, drawn by seed; 0 scores all.")
    ] = 100,
    random: Annotated[int, typer.Option(min=1, help="Natural samples drawn as the control.")] = 1000,
    threshold: Annotated[
        float,
        typer.Option(min=0, max=100, help="Percentile among natural samples that a pattern must pass."),
    ] = 50.0,
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 0,
    corpus: cli_options.Corpus = None,
    model: Annotated[
        str | None,
        typer.Option(help="The ranking's checkpoint, where it has moved.", show_default=False),
    ] = None,
    device: cli_options.Device = None,
) -> None:
    """Score rendered rows as the natural ones were scored, and keep the patterns that carry influence.

    A pattern is kept when at least 10 of its rows are scored, the 95 % interval (bootstrap over rows) of their
    median percentile among the natural samples lies above --threshold, and they score higher than the same rows
    with their tokens shuffled (median of the differences above 0). The same command resumes.
    """
    from synth.cli.audit import run_audit_data

    run_audit_data(
        rows,
        ranking,
        out,
        {
            "unit": unit,
            "sample": sample,
            "random": random,
            "threshold": threshold,
            "seed": seed,
        },
        corpus,
        model,
        device or "cpu",
    )
