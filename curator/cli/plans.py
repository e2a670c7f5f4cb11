"""The commands that say what is trained on: mask, inject, arms of it, and which checkpoints are kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from curator.cli import options


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
    epochs: options.Epochs = None,
    corpus: options.Corpus = None,
    out: options.Out = None,
) -> None:
    """Choose samples from rankings and write the plan that masks them in training."""
    from curator.cli.commands import run_mask

    settings = options.merged(experiment, batch_size=batch_size, epochs=epochs, corpus=corpus)
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
    epochs: options.Epochs = None,
    corpus: options.Corpus = None,
    out: options.Out = None,
) -> None:
    """Write the plan that puts samples into training: extra steps, or in place of others.

    Extra steps make training longer, and the learning rate follows the trainer's own count of iterations: an extra
    step uses the rate of its iteration. The command says what to set so that the curve stays as it was.
    """
    from curator.cli.inject import run_inject

    settings = options.merged(experiment, batch_size=batch_size, epochs=epochs, corpus=corpus)
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
    from curator.cli.schedule import run_schedule

    span = options.span(window, "--window")
    run_schedule(options.merged(experiment), span, every, options.step_list(also, "--also") or (), out)


def arm(
    out: Annotated[
        Path, typer.Option(help="New folder, which the arm loads from and saves to.", show_default=False)
    ],
    plan: Annotated[
        Path | None, typer.Option(help="The plan to follow. \\[default: none]", show_default=False)
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="GPT-NeoX checkpoint to start from, SAVE/global_step{N}, or SAVE for its latest; it is copied. "
            "\\[default: anew, from step 0]",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            help="Config file of the baseline; repeatable. \\[default: those that GPT-NeoX copied into the "
            "checkpoint]",
            show_default=False,
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Another setting of GPT-NeoX for this arm; repeatable.",
            show_default=False,
        ),
    ] = None,
    neox: Annotated[
        str | None,
        typer.Option(
            help="The checkout to train with: a folder, or HEAD, v1.0. \\[default: $NEOX_HOME]",
            show_default=False,
        ),
    ] = None,
    insist: Annotated[
        list[str] | None,
        typer.Option(
            help="unrecorded: take a checkpoint although its record is missing, or is of other files.",
            show_default=False,
        ),
    ] = None,
    experiment: options.Experiment = None,
    corpus: options.Corpus = None,
) -> None:
    """Prepare one more GPT-NeoX run: patch file, settings, start checkpoint, and the command that starts it.

    The command goes on where the arm stopped, however often it is started. The settings are the baseline's, but for
    where it saves, how long it trains (extra steps of the plan count), and --set.
    """
    from curator.cli.arm import run_arm

    settings = options.merged(experiment, corpus=corpus)
    run_arm(settings, out, plan, start_from, config or (), change or (), neox, insist or ())


EXAMPLES: dict[Callable[..., None], str] = {
    mask: "curator mask --ranking ranking --select top --percent 10 --batch-size 32 --out plan-top",
    inject: "curator inject --ranking ranking --select top --count 320 --batch-size 32 --after 150 --out plan-inject",
    arm: "curator arm --plan plan-top --from checkpoints/baseline/global_step1000 --out checkpoints/masked",
    schedule: "curator schedule --window 700:2000 --every 20 --also 0,1,2,4,8 --out save.yml",
}
"""The commands of this file, in the order of the help, each with its example."""
