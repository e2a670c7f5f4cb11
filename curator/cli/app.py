"""The command line: one thin function per command; the work is done in the rooms they call.

Heavy imports stay inside the functions, so that ``curator --help`` is instant.
Exit codes: 0 done, 1 failed, 2 usage.
"""

from pathlib import Path
from typing import Annotated

import typer

from curator.cli import corpus as cli_corpus
from curator.cli import options
from curator.cli import plans as cli_plans
from curator.cli.running import Commands, run_app

app = typer.Typer(
    name="curator",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the training samples that make a unit of a GPT-NeoX model, and train without or with more of them.\n\n"
    "Usual order: [bold]scan[/] checkpoints for units and their formation window, [bold]rank[/] the window's "
    "samples by influence, [bold]show[/] them, [bold]mask[/] or [bold]inject[/] some, [bold]train[/] again. "
    "[bold]curator demo[/] does all of it on this machine.",
)
app.add_typer(cli_corpus.app, name="corpus")


def main() -> None:
    """Entry point: errors a user can mend are printed without a traceback."""
    run_app(app)


def _version(value: bool) -> None:
    if value:
        from curator import __version__
        from curator.cli.printing import say

        say(f"curator {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: curator scan --checkpoints runs/baseline --out scan")
def scan(
    experiment: options.Experiment = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="Folder of step{N}, checkpoint-{N} or global_step{N}; or a hub model's revisions, such as "
            "EleutherAI/pythia-14m@step1000..step2000 (both included; ..step2000:100 for every hundredth).",
            show_default=False,
        ),
    ] = None,
    out: options.Out = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Kind of unit to measure; repeatable. \\[default: all]", show_default=False),
    ] = None,
    unit_module: options.UnitModules = None,
    steps: Annotated[
        str | None, typer.Option(help="Only checkpoints of steps FIRST:LAST.", show_default=False)
    ] = None,
    sequences: Annotated[
        int | None, typer.Option(help="Sequences per metric. \\[default: 100]", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the drawn sequences. \\[default: 0]", show_default=False)
    ] = None,
    probe_ids: options.ProbeIds = None,
    tokenizer: options.Tokenizer = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="The training tokens: where no tokenizer is found, sequences are drawn from the ids that occur there.",
            show_default=False,
        ),
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
    """Measure every unit at every checkpoint; find the best units and when they form."""
    from curator.cli.commands import run_scan

    settings = options.merged(
        experiment,
        checkpoints=checkpoints,
        device=device,
        tokenizer=tokenizer,
        corpus=corpus,
        unit_modules=unit_module,
    )
    flags = {
        "out": out,
        "kinds": kind,
        "steps": options.span(steps, "--steps"),
        "sequences": sequences,
        "noise_floor": noise_floor,
        "attribution": attribution,
        "sufficiency": sufficiency,
    }
    run_scan(settings, flags, {"seed": seed, "ids": probe_ids})


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
    epochs: options.Epochs = None,
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
    probe_ids: options.ProbeIds = None,
    tokenizer: options.Tokenizer = None,
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
    queries_of: Annotated[
        Path | None,
        typer.Option(
            help="Ranking whose queries score this corpus, under its model, units and settings; nothing is fitted.",
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
    from curator.cli.commands import run_rank

    settings = options.merged(
        experiment,
        model=model,
        corpus=corpus,
        units=unit,
        unit_modules=unit_module,
        tokenizer=tokenizer,
        window=options.span(window, "--window"),
        batch_size=batch_size,
        epochs=epochs,
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
        "ids": probe_ids,
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
        "queries_of": queries_of,
    }
    # not of the section, but decided by given queries
    also = {"window": window, "dtype": dtype, "tokenizer": tokenizer}
    run_rank(settings, probe, flags, options.worker(worker), queries_only, also)


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
    from curator.cli.commands import run_collect

    run_collect(emission, out, options.span(samples, "--samples"))


@app.command(epilog="Example: curator show ranking --top 5")
def show(
    path: Annotated[
        Path,
        typer.Argument(
            help="A ranking, an audit of rendered rows, or a corpus of any format: rendered rows, too.",
            show_default=False,
        ),
    ],
    unit: Annotated[
        str | None, typer.Option(help="Unit of the ranking. \\[default: its only one]", show_default=False)
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="Show the N highest scores. \\[default of a ranking: 5]", show_default=False),
    ] = None,
    bottom: Annotated[int | None, typer.Option(help="Show the N lowest scores.", show_default=False)] = None,
    random: Annotated[
        int | None, typer.Option(help="Show N samples drawn at random.", show_default=False)
    ] = None,
    first: Annotated[
        int | None,
        typer.Option(
            help="Show the N first ones, as they lie. \\[default of a corpus: 5]", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    corpus: options.Corpus = None,
    tokenizer: options.Tokenizer = None,
    batch_size: options.BatchSize = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write them to this Markdown file.", show_default=False)
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            help="Also write them to this JSON file, their text as it is shown.", show_default=False
        ),
    ] = None,
) -> None:
    """Show samples of a ranking as text, repeated spans highlighted, with score, loss and provenance.

    Of a corpus, rows with their provenance: rendered rows say which pattern, generator and candidate they are of.
    """
    from curator.cli.show import run_show

    counts = {"top": top, "bottom": bottom, "random": random, "first": first}
    run_show(path, unit, counts, seed, corpus, tokenizer, batch_size, markdown, json)


for _command, _example in cli_plans.EXAMPLES.items():
    app.command(epilog=f"Example: {_example}")(_command)


@app.command(
    epilog="Example: curator train -e configs/tiny.yml --plan plan-top --start-from runs/base/step150 --out runs/masked"
)
def train(
    experiment: options.Experiment = None,
    corpus: options.Corpus = None,
    epochs: options.Epochs = None,
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
    from curator.cli.commands import run_train

    settings = options.merged(experiment, corpus=corpus, epochs=epochs, device=device)
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
    from curator.cli.export import run_export

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
def doctor(
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="Also look at this folder of checkpoints: which have equal weights.", show_default=False
        ),
    ] = None,
) -> None:
    """Say what this machine has, what is missing for what, and how to get it."""
    from curator.cli.doctor import report
    from curator.cli.tables import print_checks

    checks = report()
    if checkpoints is not None:
        from curator.cli.doctor_checkpoints import checkpoint_checks

        checks += checkpoint_checks(checkpoints)
    print_checks(checks)


if __name__ == "__main__":
    main()
