"""The command line: one thin function per command; the work is done in the rooms they call.

Heavy imports stay inside the functions, so that ``curator --help`` is instant.
Exit codes: 0 done, 1 failed, 2 usage.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli import corpus as cli_corpus
from curator.cli import options
from curator.cli import plan as cli_plan
from curator.cli import study as cli_study
from curator.cli.running import Commands, run_app

if TYPE_CHECKING:
    from curator.evaluate.settings import CurvesSettings
    from curator.models.settings import ExportSettings
    from curator.neox.settings import ArmSettings, ScheduleSettings
    from curator.planning.settings import InjectSettings, MaskSettings
    from curator.ranking.settings import CollectSettings, CombineSettings, RankSettings
    from curator.report.settings import ShowSettings
    from curator.scan.settings import ScanSettings
    from curator.statistics.settings import StatisticsSettings
    from curator.training.settings import TrainSettings

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
app.add_typer(cli_study.app, name="study")
app.add_typer(cli_plan.app, name="plan")


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
    "curves",
    "curator curves runs/baseline runs/masked --measure metric --measure ablation --out curves",
    "curator.evaluate.settings:CurvesSettings",
    experiment=True,
)
def curves(settings: "CurvesSettings") -> None:
    """Measure what every checkpoint of one or more runs can do, into one tidy table (curves.parquet).

    Metrics, probes, ablation of every head, in-context learning, held-out loss: a row per run, step, quantity, unit.
    """
    from curator.cli.curves import run_curves

    run_curves(settings)


@options.stage(
    app,
    "rank",
    "curator rank --model runs/baseline/step450 --corpus corpus --unit induction:1.0 --samples 4800:19840 "
    "--out ranking",
)
def rank(
    settings: "RankSettings",
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

    run_rank(settings, options.worker(worker), queries_only)


@options.stage(
    app, "statistics", "curator statistics --corpus corpus --window 150:620 --batch-size 32 --out statistics"
)
def statistics(settings: "StatisticsSettings") -> None:
    """Score every sample by statistics that need no gradient: what an influence ranking must be better than.

    The result is a ranking, for show, mask and inject: units statistic:copyable, statistic:compression ...
    """
    from curator.cli.statistics import run_statistics

    run_statistics(settings)


@options.stage(
    app,
    "combine",
    "curator combine --ranking ranking-0 --ranking ranking-1 --ranking ranking-2 --out combined",
    "curator.ranking.settings:CombineSettings",
)
def combine(settings: "CombineSettings") -> None:
    """Make one ranking of several: at more checkpoints, or of other seeds.

    Their mean has a standard error, which mask --significant can ask for.
    """
    from curator.cli.commands import run_combine

    run_combine(settings)


@options.stage(
    app,
    "collect",
    "curator collect runs/14m/emitted --out ranking-online",
    "curator.ranking.settings:CollectSettings",
)
def collect(settings: "CollectSettings") -> None:
    """Merge the influence scores that a trainer emitted on its ranks into a ranking.

    Every sample was scored at the weights it was trained at, against the queries given to the trainer.
    """
    from curator.cli.commands import run_collect

    run_collect(settings)


@options.stage(app, "show", "curator show ranking --top 5", "curator.report.settings:ShowSettings")
def show(settings: "ShowSettings") -> None:
    """Show samples of a ranking as text, repeated spans highlighted, with score, loss and provenance.

    Of a corpus, rows with their provenance: rendered rows say which pattern, generator and candidate they are of.
    """
    from curator.cli.show import run_show

    run_show(settings)


@options.stage(
    app,
    "mask",
    "curator mask --ranking ranking --select top --percent 10 --batch-size 32 --out plan-top",
)
def mask(settings: "MaskSettings") -> None:
    """Choose samples and write the plan that masks them in training, or some of their tokens.

    With [bold]--tokens[/] a sample stays in training, and the loss of these tokens of it is left out.
    """
    from curator.cli.commands import run_mask

    run_mask(settings)


@options.stage(
    app,
    "inject",
    "curator inject --ranking ranking --select top --count 320 --batch-size 32 --after 150 --out plan-inject",
)
def inject(settings: "InjectSettings") -> None:
    """Write the plan that puts samples into training: extra steps, or in place of others.

    Extra steps make training longer, and the learning rate follows the trainer's own count of iterations: an extra
    step uses the rate of its iteration. The command says what to set so that the curve stays as it was.
    """
    from curator.cli.inject import run_inject

    run_inject(settings)


@options.stage(
    app,
    "arm",
    "curator arm --plan plan-top --from checkpoints/baseline/global_step1000 --out checkpoints/masked",
    "curator.neox.settings:ArmSettings",
    experiment=True,
)
def arm(settings: "ArmSettings") -> None:
    """Prepare one more GPT-NeoX run: patch file, settings, start checkpoint, and the command that starts it.

    The command goes on where the arm stopped, however often it is started. The settings are the baseline's, but for
    where it saves, how long it trains (extra steps of the plan count), and --set.
    """
    from curator.cli.arm import run_arm

    run_arm(settings)


@options.stage(
    app,
    "schedule",
    "curator schedule --window 700:2000 --every 20 --also 0,1,2,4,8 --out save.yml",
    "curator.neox.settings:ScheduleSettings",
    experiment=True,
)
def schedule(settings: "ScheduleSettings") -> None:
    """Write a dense checkpoint schedule for GPT-NeoX (its extra-save-iters), given to it as one more config file.

    Checkpoints of a window that lie close together show when a unit forms.
    """
    from curator.cli.schedule import run_schedule

    run_schedule(settings)


@options.stage(
    app,
    "train",
    "curator train -e configs/tiny.yml --plan plan-top --start-from runs/base/step150 --out runs/masked",
)
def train(settings: "TrainSettings", given: list[str]) -> None:
    """Train a small GPT-NeoX model on one machine, following a plan. A killed run resumes bit-identically."""
    from curator.cli.commands import run_train

    run_train(settings, "checkpoint_steps" in given)


@options.stage(
    app,
    "export",
    "curator export checkpoints/global_step1000 --out pythia-hf --dtype float16",
    "curator.models.settings:ExportSettings",
)
def export(settings: "ExportSettings") -> None:
    """Write a GPT-NeoX checkpoint as a Hugging Face folder: config.json, model.safetensors, tokenizer.json."""
    from curator.cli.export import run_export

    run_export(settings)


app.command(epilog="Example: curator validate natural --out study --seeds 2")(cli_study.validate)


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
