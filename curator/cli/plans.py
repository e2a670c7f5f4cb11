"""The commands that say what is trained on: mask, inject, arms of it, and which checkpoints are kept."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli import options

if TYPE_CHECKING:
    from curator.planning.settings import InjectSettings, MaskSettings


def mask(settings: "MaskSettings") -> None:
    """Choose samples from rankings and write the plan that masks them in training."""
    from curator.cli.commands import run_mask

    run_mask(settings)


def inject(settings: "InjectSettings") -> None:
    """Write the plan that puts samples into training: extra steps, or in place of others.

    Extra steps make training longer, and the learning rate follows the trainer's own count of iterations: an extra
    step uses the rate of its iteration. The command says what to set so that the curve stays as it was.
    """
    from curator.cli.inject import run_inject

    run_inject(settings)


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
