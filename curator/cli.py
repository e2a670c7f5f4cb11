"""The command line: one thin function per command; the work is done in the rooms they call.

Heavy imports stay inside the functions, so that ``curator --help`` is instant.
Exit codes: 0 done, 1 failed, 2 usage.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from curator import cli_options as options
from curator.errors import CuratorError, UsageError
from curator.progress import console

app = typer.Typer(
    name="curator",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the training samples that make a unit of a GPT-NeoX model, and train without or with more of them.\n\n"
    "Usual order: [bold]scan[/] checkpoints for units and their formation window, [bold]rank[/] the window's "
    "samples by influence, [bold]show[/] them, [bold]mask[/] or [bold]inject[/] some, [bold]train[/] again. "
    "[bold]curator demo[/] does all of it on this machine.",
)
corpus_app = typer.Typer(no_args_is_help=True, help="Look at training data, or build the embedded corpus.")
app.add_typer(corpus_app, name="corpus")


def main() -> None:
    """Entry point: errors a user can mend are printed without a traceback."""
    try:
        app()
    except CuratorError as error:
        console.print("error:", style="bold red", end=" ")
        console.print(str(error), markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except SystemExit as error:
        if _interrupted(error):  # typer turns Ctrl-C into an exit
            console.print("interrupted; the same command resumes where it stopped")
            sys.exit(130)
        raise
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a full disk, no permission, a file where a folder is needed
        if error.filename is None:
            raise
        console.print("error:", style="bold red", end=" ")
        console.print(f"{error.filename}: {error.strerror}", markup=False, soft_wrap=True)
        sys.exit(1)


def _interrupted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _version(value: bool) -> None:
    if value:
        from curator import __version__

        print(f"curator {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _experiment(path: Path | None, **flags: Any) -> Any:
    from curator.config import Experiment, load_experiment, merge

    return merge(load_experiment(path) if path else Experiment(), **flags)


@corpus_app.command("info", epilog="Example: curator corpus info data/pythia/document")
def corpus_info(
    path: Annotated[Path, typer.Argument(help="A corpus in any known format.", show_default=False)],
    vocab_size: Annotated[
        int | None, typer.Option(min=1, help="Also read every token and check it against this vocabulary.")
    ] = None,
    seq_length: Annotated[
        int | None, typer.Option(min=1, help="Also check that rows hold seq_length + 1 tokens.")
    ] = None,
) -> None:
    """Say what a corpus is: format, samples, row width, fingerprint; check it."""
    from curator.corpus import check_row_width, check_tokens, open_corpus
    from curator.tables import print_fields

    corpus = open_corpus(path)
    if seq_length is not None:
        check_row_width(corpus, seq_length)
    if vocab_size is not None:
        check_tokens(corpus, vocab_size, 0, len(corpus))
    print_fields(corpus.describe())


@corpus_app.command(
    "build", epilog="Example: curator corpus build --out corpus --samples 32000 --drill-fraction 0.5"
)
def corpus_build(
    out: Annotated[Path, typer.Option(help="Folder for the corpus.", show_default=False)],
    samples: Annotated[int, typer.Option(min=1, help="Rows.")] = 32000,
    seq_length: Annotated[int, typer.Option(min=1, help="Tokens per row, less the last label.")] = 32,
    vocab_size: Annotated[int, typer.Option(help="Of the byte-level BPE trained on the spot.")] = 512,
    drill_fraction: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of rows that repeat a few of their own tokens; 0 is natural text only."
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of the order and the drill rows.")] = 0,
) -> None:
    """Build the embedded corpus from this Python's standard library."""
    from curator.corpus import EmbeddedSettings, build_embedded
    from curator.tables import print_fields

    settings = EmbeddedSettings(
        n_samples=samples,
        seq_length=seq_length,
        vocab_size=vocab_size,
        drill_fraction=drill_fraction,
        seed=seed,
    )
    print_fields(build_embedded(out, settings).describe())


@corpus_app.command(
    "blend",
    epilog="Example: curator corpus blend --part data/wiki_train_0_indexmap_721ns_32sl_1234s_shuffle_idx.npy=0.7 "
    "--part data/code_train_1_indexmap_309ns_32sl_1234s_shuffle_idx.npy=0.3 --samples 1024 --out blend.json",
)
def corpus_blend(
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
    from curator.corpus.neox_blend import Part, write_blend
    from curator.tables import print_fields

    parts = [Part(maps, weight) for maps, weight in options.weighted(part, "--part")]
    print_fields(write_blend(out, parts, samples).describe())


@app.command(epilog="Example: curator scan --checkpoints runs/baseline --out scan")
def scan(
    experiment: options.Experiment = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of step{N} or global_step{N} checkpoints.", show_default=False)
    ] = None,
    out: options.Out = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Kind of unit to measure; repeatable. \\[default: all]", show_default=False),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Only checkpoints of steps FIRST:LAST.", show_default=False)
    ] = None,
    sequences: Annotated[
        int | None, typer.Option(help="Sequences per metric. \\[default: 100]", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the drawn sequences. \\[default: 0]", show_default=False)
    ] = None,
    noise_floor: Annotated[
        float | None,
        typer.Option(
            help="The window begins where the metric leaves it. \\[default: 0.1 or more]", show_default=False
        ),
    ] = None,
    attribution: Annotated[
        float | None,
        typer.Option(
            help="Attribute at the first checkpoint past it. \\[default: 0.2 or more]", show_default=False
        ),
    ] = None,
    sufficiency: Annotated[
        float | None,
        typer.Option(
            help="The window ends where the metric reaches it. \\[default: 0.4 or more]", show_default=False
        ),
    ] = None,
    device: options.Device = None,
) -> None:
    """Measure every head at every checkpoint; find the best units and when they form."""
    from curator.commands import run_scan

    settings = _experiment(experiment, checkpoints=checkpoints, device=device)
    flags = {
        "out": out,
        "kinds": kind,
        "steps": options.span(steps, "--steps"),
        "sequences": sequences,
        "noise_floor": noise_floor,
        "attribution": attribution,
        "sufficiency": sufficiency,
    }
    run_scan(settings, flags, seed)


@app.command(
    epilog="Example: curator rank --model runs/baseline/step450 --corpus corpus --unit induction:1.0 "
    "--samples 4800:19840 --out ranking"
)
def rank(
    experiment: options.Experiment = None,
    model: options.Model = None,
    corpus: options.Corpus = None,
    unit: options.Units = None,
    out: options.Out = None,
    samples: Annotated[
        str | None,
        typer.Option(
            help="Score samples FIRST:LAST (LAST not included). \\[default: the window, or all]",
            show_default=False,
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(help="Score the samples of steps FIRST:LAST; needs --batch-size.", show_default=False),
    ] = None,
    batch_size: options.BatchSize = None,
    fisher: Annotated[
        str | None,
        typer.Option(
            help="Labels of the curvature: sampled (from the model) or empirical (the data's). \\[default: sampled]",
            show_default=False,
        ),
    ] = None,
    factor_samples: Annotated[
        int | None,
        typer.Option(
            help="Fit the curvature on at most so many samples. \\[default: 100000]", show_default=False
        ),
    ] = None,
    factor_seed: Annotated[
        int | None,
        typer.Option(help="Of their draw and of sampled labels. \\[default: 0]", show_default=False),
    ] = None,
    damping: Annotated[
        str | None,
        typer.Option(
            help="mean: λ + α·mean λ; max: λ + α·max λ; absolute: λ + α; identity: no curvature. \\[default: mean]",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Damping strength α. \\[default: 0.1]", show_default=False)
    ] = None,
    floor: Annotated[
        float | None, typer.Option(help="Smallest damped eigenvalue. \\[default: 1e-5]", show_default=False)
    ] = None,
    probe_tokens: Annotated[
        Path | None,
        typer.Option(
            help="[n, length] .npy of token ids for the probe, instead of drawn ones.", show_default=False
        ),
    ] = None,
    probe_sequences: Annotated[
        int | None,
        typer.Option(help="How many probe sequences to draw. \\[default: 100]", show_default=False),
    ] = None,
    probe_lengths: Annotated[
        str | None,
        typer.Option(
            help="Their length L, MIN:MAX; repeated sequences have 2 L. \\[default: 8:20]", show_default=False
        ),
    ] = None,
    probe_seed: Annotated[
        int | None, typer.Option(help="Of that draw. \\[default: 0]", show_default=False)
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float64 (reference mode). \\[default: float32]", show_default=False
        ),
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(help="Samples per pass through the model. \\[default: what fits]", show_default=False),
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(help="Samples per resumable shard. \\[default: about 512]", show_default=False),
    ] = None,
    worker: Annotated[
        str, typer.Option(help="R/W: share the work among W processes; start one for each R.")
    ] = "0/1",
    emitted: Annotated[
        Path | None,
        typer.Option(
            help="Score per-sample gradients that a patched GPT-NeoX trainer emitted; no pass over the corpus.",
            show_default=False,
        ),
    ] = None,
    queries_only: Annotated[
        bool,
        typer.Option(
            "--queries-only",
            help="Stop after the queries, for emit.scores of the trainer; without it, the same command goes on.",
        ),
    ] = False,
    unit_module: options.UnitModules = None,
    device: options.Device = None,
) -> None:
    """Score every sample by its EK-FAC influence on one or more units.

    Positive = training on the sample raises the unit's probe. A killed run goes on with the same command.
    """
    from curator.commands import run_rank

    settings = _experiment(
        experiment,
        model=model,
        corpus=corpus,
        units=unit,
        unit_modules=unit_module,
        window=options.span(window, "--window"),
        batch_size=batch_size,
        dtype=dtype,
        device=device,
    )
    lengths = options.span(probe_lengths, "--probe-lengths") or (None, None)
    probe = {
        "sequences": probe_sequences,
        "min_length": lengths[0],
        "max_length": lengths[1],
        "seed": probe_seed,
        "tokens": probe_tokens,
    }
    flags = {
        "out": out,
        "fisher": fisher,
        "factor_samples": factor_samples,
        "factor_seed": factor_seed,
        "damping": damping,
        "alpha": alpha,
        "floor": floor,
        "micro_batch": micro_batch,
        "shard_size": shard_size,
        "samples": options.span(samples, "--samples"),
        "emitted": emitted,
    }
    run_rank(settings, probe, flags, options.worker(worker), queries_only)


@app.command(epilog="Example: curator collect runs/14m/emitted --out ranking-online")
def collect(
    emission: Annotated[
        Path, typer.Argument(help="Folder that a patched GPT-NeoX trainer emitted to.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the ranking.", show_default=False)],
    samples: Annotated[
        str | None,
        typer.Option(
            help="Only samples FIRST:LAST (LAST not included). \\[default: all emitted]", show_default=False
        ),
    ] = None,
) -> None:
    """Merge the influence scores that a trainer emitted on its ranks into a ranking.

    Every sample was scored at the weights it was trained at, against the queries given to the trainer.
    """
    from curator.commands import run_collect

    run_collect(emission, out, options.span(samples, "--samples"))


@app.command(epilog="Example: curator show ranking --top 5")
def show(
    ranking: Annotated[Path, typer.Argument(help="Folder of a ranking.", show_default=False)],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the ranking. \\[default: its only one]", show_default=False)
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="Show the N highest scores. \\[default: 5]", show_default=False)
    ] = None,
    bottom: Annotated[int | None, typer.Option(help="Show the N lowest scores.", show_default=False)] = None,
    random: Annotated[
        int | None, typer.Option(help="Show N samples drawn at random.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw.")] = 0,
    corpus: options.Corpus = None,
    tokenizer: options.Tokenizer = None,
    batch_size: options.BatchSize = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write them to this Markdown file.", show_default=False)
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write them to this JSON file.", show_default=False)
    ] = None,
) -> None:
    """Show samples of a ranking as text, repeated spans highlighted, with score, loss and provenance."""
    from curator.commands import run_show

    counts = {"top": top, "bottom": bottom, "random": random}
    run_show(ranking, unit, counts, seed, corpus, tokenizer, batch_size, markdown, json)


@app.command(
    epilog="Example: curator mask --ranking ranking --select top --percent 10 --batch-size 32 --out plan-top"
)
def mask(
    experiment: options.Experiment = None,
    ranking: Annotated[
        list[Path] | None,
        typer.Option(
            help="Ranking to choose from; repeatable, their ranks are averaged.", show_default=False
        ),
    ] = None,
    unit: options.Units = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="top, bottom, or a control: random, loss-matched, random-in-category. \\[default: top]",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(help="How many samples.", show_default=False)] = None,
    percent: Annotated[
        float | None, typer.Option(help="Or which share of the ranked samples.", show_default=False)
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Only samples of training steps FIRST:LAST.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of random choices. \\[default: 0]", show_default=False)
    ] = None,
    loss_bins: Annotated[
        int | None,
        typer.Option(help="Loss quantile bins of loss-matched. \\[default: 100]", show_default=False),
    ] = None,
    divisor: Annotated[
        str | None,
        typer.Option(
            help="kept: a batch's loss is divided by all its samples; renormalised: by those left. \\[default: kept]",
            show_default=False,
        ),
    ] = None,
    batch_size: options.BatchSize = None,
    corpus: options.Corpus = None,
    out: options.Out = None,
) -> None:
    """Choose samples from rankings and write the plan that masks them in training."""
    from curator.commands import run_mask

    settings = _experiment(experiment, batch_size=batch_size, corpus=corpus)
    flags = {
        "out": out,
        "ranking": ranking,
        "units": unit,
        "select": select,
        "count": count,
        "percent": percent,
        "steps": options.span(steps, "--steps"),
        "seed": seed,
        "loss_bins": loss_bins,
        "divisor": divisor,
    }
    run_mask(settings, flags)


@app.command(
    epilog="Example: curator inject --ranking ranking --select top --count 320 --batch-size 32 --after 150 "
    "--out plan-inject"
)
def inject(
    experiment: options.Experiment = None,
    ranking: Annotated[
        list[Path] | None,
        typer.Option(
            help="What: samples of the corpus, chosen from this ranking; repeatable, their ranks are averaged.",
            show_default=False,
        ),
    ] = None,
    unit: options.Units = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="top, bottom, or a control: random, loss-matched, random-in-category. \\[default: top]",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            help="How many samples of the ranking, or only the first so many rows.", show_default=False
        ),
    ] = None,
    percent: Annotated[
        float | None, typer.Option(help="Or which share of the ranked samples.", show_default=False)
    ] = None,
    from_steps: Annotated[
        str | None,
        typer.Option(help="Choose only samples of training steps FIRST:LAST.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of random choices. \\[default: 0]", show_default=False)
    ] = None,
    loss_bins: Annotated[
        int | None,
        typer.Option(help="Loss quantile bins of loss-matched. \\[default: 100]", show_default=False),
    ] = None,
    rows: Annotated[
        Path | None,
        typer.Option(
            help="Or what: the rows of another corpus, in any known format, as wide as the corpus's own.",
            show_default=False,
        ),
    ] = None,
    shuffle_seed: Annotated[
        int | None,
        typer.Option(
            help="Put them in in an order drawn with this seed. \\[default: as they lie]", show_default=False
        ),
    ] = None,
    repeat: Annotated[
        int | None, typer.Option(help="Put all of them in K times. \\[default: 1]", show_default=False)
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(
            help="Where: a burst of extra steps right after so many steps. Fills whole steps.",
            show_default=False,
        ),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option(
            help="Or where: extra steps, spread evenly over steps FIRST:LAST. Fills whole steps.",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        str | None,
        typer.Option(
            help="Or where: in place of as many samples of steps FIRST:LAST, evenly spread; no extra steps.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            help="Edit this plan; steps are counted in it. \\[default: the corpus as it is]",
            show_default=False,
        ),
    ] = None,
    divisor: Annotated[
        str | None,
        typer.Option(help="As for mask. \\[default: the plan's, or kept]", show_default=False),
    ] = None,
    batch_size: options.BatchSize = None,
    corpus: options.Corpus = None,
    out: options.Out = None,
) -> None:
    """Write the plan that puts samples into training: extra steps, or in place of others.

    Extra steps make training longer, and the learning rate follows the trainer's own count of iterations: an extra
    step uses the rate of its iteration. The command says what to set so that the curve stays as it was.
    """
    from curator.commands_inject import run_inject

    settings = _experiment(experiment, batch_size=batch_size, corpus=corpus)
    flags = {
        "out": out,
        "plan": plan,
        "ranking": ranking,
        "units": unit,
        "select": select,
        "count": count,
        "percent": percent,
        "from_steps": options.span(from_steps, "--from-steps"),
        "seed": seed,
        "loss_bins": loss_bins,
        "rows": rows,
        "shuffle_seed": shuffle_seed,
        "repeat": repeat,
        "after": after,
        "spread": options.span(spread, "--spread"),
        "replace": options.span(replace, "--replace"),
        "divisor": divisor,
    }
    run_inject(settings, flags)


@app.command(epilog="Example: curator schedule --window 700:2000 --every 20 --also 0,1,2,4,8 --out save.yml")
def schedule(
    every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.", show_default=False)],
    experiment: options.Experiment = None,
    window: Annotated[
        str | None,
        typer.Option(
            help="Steps FIRST:LAST to save densely, both included. \\[default: the experiment's window]",
            show_default=False,
        ),
    ] = None,
    also: Annotated[
        str | None,
        typer.Option(help="Further steps, for example 0,1,2,4,3000:9000:1000.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="YAML file to write. \\[default: print it]", show_default=False),
    ] = None,
) -> None:
    """Write a dense checkpoint schedule for GPT-NeoX (its extra-save-iters), given to it as one more config file.

    Checkpoints of a window that lie close together show when a unit forms.
    """
    from curator.schedule import run_schedule

    span = options.span(window, "--window")
    run_schedule(_experiment(experiment), span, every, options.step_list(also, "--also") or (), out)


@app.command(
    epilog="Example: curator train -e configs/tiny.yml --plan plan-top --start-from runs/base/step150 --out runs/masked"
)
def train(
    experiment: options.Experiment = None,
    corpus: options.Corpus = None,
    plan: Annotated[
        Path | None, typer.Option(help="Folder of the plan to follow.", show_default=False)
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to continue from, for example the window's start.", show_default=False),
    ] = None,
    checkpoint_steps: Annotated[
        str | None, typer.Option(help="Steps to save, for example 0,100,200:400:50.", show_default=False)
    ] = None,
    stop_step: Annotated[
        int | None,
        typer.Option(help="Stop after this step; the schedule still spans all steps.", show_default=False),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights.", show_default=False)] = None,
    out: options.Out = None,
    device: options.Device = None,
) -> None:
    """Train a small GPT-NeoX model on one machine, following a plan. A killed run resumes bit-identically."""
    from curator.commands import run_train

    settings = _experiment(experiment, corpus=corpus, device=device)
    flags = {
        "plan": plan,
        "start_from": start_from,
        "checkpoint_steps": options.step_list(checkpoint_steps, "--checkpoint-steps"),
        "stop_step": stop_step,
        "seed": seed,
        "out": out,
    }
    run_train(settings, flags)


@app.command(epilog="Example: curator export checkpoints/global_step1000 --out pythia-hf --dtype float16")
def export(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="GPT-NeoX checkpoint: SAVE/global_step{N}, or SAVE for its latest.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model.", show_default=False)],
    dtype: Annotated[str, typer.Option(help="Of the written weights: float32 or float16.")] = "float32",
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="tokenizer.json to put beside them. \\[default: the one that the model was trained with]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a GPT-NeoX checkpoint as a Hugging Face folder: config.json, model.safetensors, tokenizer.json."""
    from curator.commands_export import run_export

    run_export(checkpoint, out, dtype, tokenizer)


@app.command(epilog="Example: curator demo --out demo")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("demo"),
    seed: Annotated[
        int, typer.Option(min=0, help="The first seed: of corpus order, initial weights and controls.")
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many training seeds; never trust one alone.")] = 2,
    drill_fraction: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of drill rows in the embedded corpus. \\[default: 0.5, quick: 0.7]",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The smoke size: 450 steps, more drill rows.")
    ] = False,
) -> None:
    """Run the whole loop on this machine: corpus, training, scan, ranking, masked retraining, report."""
    from curator.demo.run import run_demo

    run_demo(out, seed=seed, n_seeds=seeds, drill_fraction=drill_fraction, quick=quick)


@app.command(epilog="Example: curator doctor")
def doctor() -> None:
    """Say what this machine has, what is missing for what, and how to get it."""
    from curator.doctor import report
    from curator.tables import print_checks

    print_checks(report())


if __name__ == "__main__":
    main()
