"""The command line: one thin function per command; the work is done in the rooms they call.

Heavy imports stay inside the functions, so that ``curator --help`` is instant.
Exit codes: 0 done, 1 failed, 2 usage.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli import corpus as cli_corpus
from curator.cli import options
from curator.cli import plans as cli_plans
from curator.cli.running import Commands, run_app

if TYPE_CHECKING:
    from curator.ranking.settings import RankSettings
    from curator.scan.settings import ScanSettings

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


@options.stage(app, "scan", "curator scan --checkpoints runs/baseline --out scan")
def scan(settings: "ScanSettings") -> None:
    """Measure every unit at every checkpoint; find the best units and when they form."""
    from curator.cli.commands import run_scan

    run_scan(settings)


@options.stage(
    app,
    "rank",
    "curator rank --model runs/baseline/step450 --corpus corpus --unit induction:1.0 --samples 4800:19840 "
    "--out ranking",
)
def rank(
    settings: "RankSettings",
    given: list[str],
    worker: Annotated[
        str,
        typer.Option(help="R/W: share the work among W processes; start one for each R."),
        options.After("shard_size"),
    ] = "0/1",
    queries_only: Annotated[
        bool,
        typer.Option(
            "--queries-only",
            help="Stop after the queries, for emit.scores of the trainer; without it, the same command goes on.",
        ),
        options.After("queries_of"),
    ] = False,
) -> None:
    """Score every sample by its EK-FAC influence on one or more units.

    Positive = training on the sample raises the unit's probe. A killed run goes on with the same command.
    """
    from curator.cli.commands import run_rank

    run_rank(settings, options.worker(worker), queries_only, given)


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
    if _command in (cli_plans.mask, cli_plans.inject):
        options.stage(app, _command.__name__, _example)(_command)
    else:
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
    from curator.cli.demo import run_demo

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
