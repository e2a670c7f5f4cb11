"""The command line of `synth`: one thin function per command; the work is done in the rooms they call.

Heavy imports stay inside the functions, so that ``synth --help`` is instant.
Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli.options import After, stage
from curator.cli.running import Commands, run_app

if TYPE_CHECKING:
    from synth.audit.settings import AuditDataSettings, AuditPatternsSettings
    from synth.distill.settings import DistillSettings
    from synth.generate.settings import GenerateSettings
    from synth.render.settings import RenderSettings


class InOrder(Commands):
    """Lists the commands in the order in which they are used; a group would come last otherwise."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return ["distill", "audit", "generate", "render", "demo", "doctor"]


app = typer.Typer(
    name="synth",
    cls=InOrder,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Distill patterns from the samples a ranking puts on top, and make new training data of them.\n\n"
    "Usual order: [bold]distill[/] patterns, [bold]audit patterns[/] on held-out samples, [bold]generate[/] one Python "
    "function per pattern, [bold]render[/] rows, [bold]audit data[/], then [bold]curator inject --rows[/]. "
    "With --engine builtin nothing needs a key or a network.",
)
audit = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Test patterns before, and rows after they are generated, on what they should do.",
)
app.add_typer(audit, name="audit")


def main() -> None:
    """Entry point: errors a user can mend are printed without a traceback."""
    run_app(app)


@stage(
    app,
    "distill",
    "synth distill ranking --engine builtin --out patterns",
    "synth.distill.settings:DistillSettings",
)
def distill(
    settings: "DistillSettings",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="llm: show the prompts and an estimate, ask nothing."),
        After("tries"),
    ] = False,
) -> None:
    """Turn the samples of highest influence into JSON patterns (paper, section 6.1 and appendix J).

    An interrupted run goes on with the same command: every answer is kept in OUT/cache.
    """
    from synth.cli import commands

    commands.distill(settings, dry_run)


@stage(audit, "patterns", "synth audit patterns patterns", "synth.audit.settings:AuditPatternsSettings")
def audit_patterns(settings: "AuditPatternsSettings") -> None:
    """Ask of every pattern whether it occurs more often where influence is high.

    Held-out top samples against random and loss-matched ones: odds ratios with intervals, in PATTERNS/audit.json.
    """
    from synth.cli import commands

    commands.audit_patterns(settings)


@stage(
    app,
    "generate",
    "synth generate patterns --engine builtin --out generators",
    "synth.generate.settings:GenerateSettings",
)
def generate(settings: "GenerateSettings") -> None:
    """Write one Python function per pattern, and keep those that pass every check.

    The code runs in a sandbox alone (`synth doctor`). An interrupted run goes on with the same command.
    """
    from synth.cli import commands

    commands.generate(settings)


@stage(
    app,
    "render",
    "synth render generators --count 1000 --out rows",
    "synth.render.settings:RenderSettings",
)
def render(
    settings: "RenderSettings",
    verify: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead: make so many rows of the folder again, drawn at random, and compare.",
            show_default=False,
        ),
        After("unsafe_sandbox"),
    ] = None,
) -> None:
    """Turn generators into training rows: a weighted mix, an exact count, no row twice.

    The folder is a corpus like any other: `curator inject --rows OUT`. A killed run goes on with the same command.
    """
    from synth.cli import render as commands

    if verify is None:
        commands.render(settings)
    else:
        commands.verify(settings, verify)


@stage(
    audit,
    "data",
    "synth audit data rows --ranking ranking --out audit",
    "synth.audit.settings:AuditDataSettings",
)
def audit_data(settings: "AuditDataSettings") -> None:
    """Score rendered rows as the natural ones were scored, and keep the patterns that carry influence.

    A pattern is kept when at least 10 of its rows are scored, the 95 % interval (bootstrap over rows) of their
    median percentile among the natural samples lies above --threshold, and they score higher than the same rows
    with their tokens shuffled (median of the differences above 0). The same command resumes.
    """
    from synth.cli import audit as commands

    commands.audit_data(settings)


@app.command(epilog="Example: synth demo --seeds 5 --out synth-demo")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("synth-demo"),
    seed: Annotated[
        int, typer.Option(min=0, help="The first seed: of corpus order, initial weights and every draw.")
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many training seeds; fewer than 3 say little.")] = 3,
    quick: Annotated[
        bool, typer.Option("--quick", help="The smoke size: shorter training, one quantity, one schedule.")
    ] = False,
) -> None:
    """Run the whole of synth on this machine with the builtin engine, and retrain with what it made.

    Corpus, training and ranking as in `curator demo`; then distill, audit, generate, audit, render, and one training
    run per kind (random, top, rendered rows), number and schedule. A killed run goes on with the same command.
    """
    from synth.cli.demo import run_demo

    run_demo(out, seed=seed, n_seeds=seeds, quick=quick)


@app.command(epilog="Example: synth doctor")
def doctor() -> None:
    """Say which layers of the sandbox are active here, and what language model would be asked."""
    from curator.cli.tables import print_checks
    from synth.cli.doctor import report

    print_checks(report())


if __name__ == "__main__":
    main()
