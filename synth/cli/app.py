"""The command line of `synth`: one thin function per command; the work is done in the rooms they call.

Heavy imports stay inside the functions, so that ``synth --help`` is instant.
Exit codes: 0 done, 1 failed, 2 usage, 130 interrupted.
"""

from pathlib import Path
from typing import Annotated

import typer

from curator.cli import options as cli_options
from curator.cli.running import Commands, run_app
from synth.cli import options
from synth.cli import render as cli_render


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
    no_args_is_help=True,
    help="Test patterns before, and rows after they are generated, on what they should do.",
)
app.add_typer(audit, name="audit")


def main() -> None:
    """Entry point: errors a user can mend are printed without a traceback."""
    run_app(app)


@app.command(epilog="Example: synth distill ranking --engine builtin --out patterns")
def distill(
    ranking: Annotated[Path, typer.Argument(help="Folder of a ranking.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for registry.json and the cache.", show_default=False)],
    engine: options.Engine = "llm",
    unit: Annotated[
        str | None, typer.Option(help="Unit of the ranking. \\[default: its only one]", show_default=False)
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            min=1, help="So many samples of highest influence, of those with a positive score (paper: 2000)."
        ),
    ] = 2000,
    holdout: Annotated[
        float, typer.Option(min=0, help="Share of them held out for `synth audit patterns`.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Of the held-out draw.")] = 0,
    similar: Annotated[
        float, typer.Option(min=0, max=1, help="Similarity from which two patterns are merged.")
    ] = 0.85,
    least: Annotated[
        int,
        typer.Option(
            min=1, help="builtin: samples that must show a pattern.", rich_help_panel="Engine builtin"
        ),
    ] = 3,
    most: Annotated[
        int, typer.Option(min=1, help="builtin: repeated strings to keep.", rich_help_panel="Engine builtin")
    ] = 200,
    per_request: Annotated[
        int, typer.Option(min=1, help="llm: samples in one request.", rich_help_panel=options.LLM)
    ] = 10,
    max_chars: Annotated[
        int, typer.Option(min=100, help="llm: longer samples are cut here.", rich_help_panel=options.LLM)
    ] = 6000,
    prompt: options.Prompt = None,
    tries: options.Tries = 2,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="llm: show the prompts and an estimate, ask nothing.",
            rich_help_panel=options.LLM,
        ),
    ] = False,
    base_url: options.BaseUrl = options.DEFAULTS.base_url,
    model: options.Model = options.DEFAULTS.model,
    key_env: options.KeyEnv = options.DEFAULTS.api_key_env,
    json_mode: options.JsonMode = options.DEFAULTS.json_mode,
    temperature: options.Temperature = options.DEFAULTS.temperature,
    max_tokens: options.MaxTokens = options.DEFAULTS.max_tokens,
    timeout: options.Timeout = options.DEFAULTS.timeout_s,
    retries: options.Retries = options.DEFAULTS.max_retries,
    concurrency: options.Concurrency = options.DEFAULTS.concurrency,
    budget: options.Budget = None,
    price_in: options.PriceIn = None,
    price_out: options.PriceOut = None,
    corpus: cli_options.Corpus = None,
    tokenizer: cli_options.Tokenizer = None,
) -> None:
    """Turn the samples of highest influence into JSON patterns (paper, section 6.1 and appendix J).

    An interrupted run goes on with the same command: every answer is kept in OUT/cache.
    """
    from synth.cli.commands import run_distill

    run_distill(
        ranking,
        out,
        engine,
        {
            "unit": unit,
            "top": top,
            "holdout": holdout,
            "seed": seed,
            "corpus": corpus,
            "tokenizer": tokenizer,
        },
        similar,
        {"least": least, "most": most},
        {
            "per_request": per_request,
            "max_chars": max_chars,
            "prompt": prompt,
            "tries": tries,
            "dry_run": dry_run,
        },
        options.chat_settings(
            base_url,
            model,
            key_env,
            json_mode,
            temperature,
            max_tokens,
            timeout,
            retries,
            concurrency,
            budget,
            price_in,
            price_out,
        ),
    )


@audit.command("patterns", epilog="Example: synth audit patterns patterns")
def audit_patterns(
    patterns: options.Patterns,
    ranking: Annotated[
        Path | None,
        typer.Option(help="The ranking they were distilled from, where it has moved.", show_default=False),
    ] = None,
    corpus: cli_options.Corpus = None,
    tokenizer: cli_options.Tokenizer = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn controls.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. \\[default: one per core]", show_default=False)
    ] = None,
) -> None:
    """Ask of every pattern whether it occurs more often where influence is high.

    Held-out top samples against random and loss-matched ones: odds ratios with intervals, in PATTERNS/audit.json.
    """
    from synth.cli.commands import run_audit_patterns

    run_audit_patterns(patterns, ranking, corpus, tokenizer, seed, workers)


@app.command(epilog="Example: synth generate patterns --engine builtin --out generators")
def generate(
    patterns: options.Patterns,
    out: Annotated[Path, typer.Option(help="Folder for the generators.", show_default=False)],
    engine: options.Engine = "llm",
    only: Annotated[
        list[str] | None, typer.Option(help="Only this pattern_id; repeatable.", show_default=False)
    ] = None,
    carrying: Annotated[
        bool | None,
        typer.Option(
            "--carrying/--all",
            help="Only patterns that `synth audit patterns` found to carry, or all. "
            "\\[default: carrying, once audited]",
            show_default=False,
        ),
    ] = None,
    own: Annotated[
        Path | None,
        typer.Option(
            help="Folder of your own sources, PATTERN_ID_anything.py; checked like the others.",
            show_default=False,
        ),
    ] = None,
    target_tokens: Annotated[
        int | None,
        typer.Option(
            min=2, help="Length the checks ask for. \\[default: a row of the corpus]", show_default=False
        ),
    ] = None,
    tokenizer: cli_options.Tokenizer = None,
    prompt: options.Prompt = None,
    tries: options.Tries = 2,
    unsafe_sandbox: options.UnsafeSandbox = False,
    base_url: options.BaseUrl = options.DEFAULTS.base_url,
    model: options.Model = options.DEFAULTS.model,
    key_env: options.KeyEnv = options.DEFAULTS.api_key_env,
    json_mode: options.JsonMode = options.DEFAULTS.json_mode,
    temperature: options.Temperature = options.DEFAULTS.temperature,
    max_tokens: options.MaxTokens = options.DEFAULTS.max_tokens,
    timeout: options.Timeout = options.DEFAULTS.timeout_s,
    retries: options.Retries = options.DEFAULTS.max_retries,
    concurrency: options.Concurrency = options.DEFAULTS.concurrency,
    budget: options.Budget = None,
    price_in: options.PriceIn = None,
    price_out: options.PriceOut = None,
) -> None:
    """Write one Python function per pattern, and keep those that pass every check.

    The code runs in a sandbox alone (`synth doctor`). An interrupted run goes on with the same command.
    """
    from synth.cli.commands import run_generate

    run_generate(
        patterns,
        out,
        engine,
        {"only": only, "carrying": carrying},
        own,
        target_tokens,
        tokenizer,
        {"prompt": prompt, "tries": tries},
        unsafe_sandbox,
        options.chat_settings(
            base_url,
            model,
            key_env,
            json_mode,
            temperature,
            max_tokens,
            timeout,
            retries,
            concurrency,
            budget,
            price_in,
            price_out,
        ),
    )


app.command(epilog=f"Example: {cli_render.EXAMPLES['render']}")(cli_render.render)
audit.command("data", epilog=f"Example: {cli_render.EXAMPLES['audit_data']}")(cli_render.audit_data)


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
    from synth.cli.commands import run_doctor

    run_doctor()


if __name__ == "__main__":
    main()
