"""``curator corpus``: look at training data, describe a blend, or build the embedded corpus."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli import options
from curator.cli.running import Commands

if TYPE_CHECKING:
    from curator.corpus import EmbeddedSettings

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Look at training data, or build the embedded corpus."
)


@app.command("info", epilog="Example: curator corpus info data/pythia/document")
def info(
    path: Annotated[Path, typer.Argument(help="A corpus in any known format.", show_default=False)],
    vocab_size: Annotated[
        int | None,
        typer.Option(
            "--vocab",
            "--vocab-size",
            min=1,
            help="Also read every token and check it against this vocabulary; names the place of the first bad id.",
        ),
    ] = None,
    seq_length: Annotated[
        int | None, typer.Option(min=1, help="Also check that rows hold seq_length + 1 tokens.")
    ] = None,
) -> None:
    """Say what a corpus is: format, samples, row width, fingerprint; check it."""
    from curator.cli.next_steps import next_step
    from curator.cli.tables import print_fields
    from curator.corpus import check_row_width, check_tokens, open_corpus

    corpus = open_corpus(path)
    corpus.check_index()
    if seq_length is not None:
        check_row_width(corpus, seq_length)
    fields = corpus.describe()
    if vocab_size is not None:
        fields["highest_token_id"] = check_tokens(corpus, vocab_size)
    print_fields(fields)
    next_step("curator", "show", path)


@options.stage(
    app,
    "build",
    "curator corpus build --out corpus --samples 32000 --drill-fraction 0.5",
    "curator.corpus:EmbeddedSettings",
)
def build(
    settings: "EmbeddedSettings",
    out: Annotated[Path, typer.Option(help="Folder for the corpus.", show_default=False)],
) -> None:
    """Build the embedded corpus from this Python's standard library."""
    from curator.cli.next_steps import next_step
    from curator.cli.tables import print_fields
    from curator.corpus import build_embedded

    print_fields(build_embedded(out, settings).describe())
    next_step("curator", "show", out)


@app.command(
    "blend",
    epilog="Example: curator corpus blend --part data/wiki_train_0_indexmap_721ns_32sl_1234s_shuffle_idx.npy=0.7 "
    "--part data/code_train_1_indexmap_309ns_32sl_1234s_shuffle_idx.npy=0.3 --samples 1024 --out blend.json",
)
def blend(
    part: Annotated[
        list[str],
        typer.Option(
            help="MAPS=WEIGHT: the ..._shuffle_idx.npy of a data set, and its weight; repeat in the "
            "configuration's order.",
            show_default=False,
        ),
    ],
    samples: Annotated[
        int,
        typer.Option(min=1, help="Train-iters times the global batch size of the run.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="JSON file for the blend.", show_default=False)],
) -> None:
    """Blend several data sets by weight, as GPT-NeoX does, into one corpus in its training order."""
    from curator.cli.next_steps import next_step
    from curator.cli.tables import print_fields
    from curator.corpus.neox_blend import Part, write_blend

    parts = [Part(maps=maps, weight=weight) for maps, weight in options.weighted(part, "--part")]
    print_fields(write_blend(out, parts, samples).describe())
    next_step("curator", "corpus", "info", out)
