"""``curator plan``: what a plan does, counted; and whether that is so."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.cli.running import Commands

if TYPE_CHECKING:
    from curator.plan.plan import Plan
    from curator.planning.account import Account

app = typer.Typer(
    cls=Commands, no_args_is_help=True, help="What a plan does, counted, and whether that is so."
)
PlanFolder = Annotated[
    Path, typer.Argument(metavar="PLAN", help="A folder with plan.json.", show_default=False)
]


@app.command("show", epilog="Example: curator plan show plan-top")
def show(plan: PlanFolder) -> None:
    """Count what a plan does: steps, rows put in, rows and tokens masked."""
    from curator.cli.next_steps import next_step
    from curator.plan.plan import Plan
    from curator.planning.account import account_of

    opened = Plan.load(plan)
    _print(opened, account_of(opened))
    next_step("curator", "plan", "check", plan, "--corpus", "CORPUS")


@app.command("check", epilog="Example: curator plan check plan-top --corpus corpus")
def check(
    plan: PlanFolder,
    corpus: Annotated[
        Path, typer.Option(help="The training tokens that the plan is of.", show_default=False)
    ],
) -> None:
    """Prove a plan's account: against the corpus, its injected sets, and what its folder says was done.

    Every row of the run without the plan must be where it should be, every row put in is counted, and masked tokens are
    worked out again from the rows.
    """
    from curator.cli.commands import how_to_follow
    from curator.cli.printing import say
    from curator.corpus import open_corpus
    from curator.plan.plan import Plan
    from curator.planning.check import check_plan

    checked = check_plan(plan, open_corpus(corpus))
    _print(Plan.load(plan), checked.account)
    say("\n".join(checked.found))
    say(how_to_follow(plan))


def _print(plan: "Plan", account: "Account") -> None:
    from curator.cli.tables import print_fields

    put = {
        f"put in from {one.name}": f"{one.slots:,} rows, {one.different:,} different ones"
        for one in account.put
    }
    fields = {
        "batch_size": plan.batch_size,
        "steps_without_the_plan": account.steps,
        "extra_steps": account.extra_steps,
        "rows_where_they_would_be": account.at_home,
        "rows_replaced": account.replaced,
        **put,
        "rows_masked": account.masked,
        "rows_of_another_weight": account.weighted,
        "rows_with_masked_tokens": account.token_slots,
        "masked_tokens": account.masked_tokens,
    }
    if account.row_targets is not None:
        share = account.masked_tokens / (plan.n_slots * account.row_targets)
        fields["masked_tokens"] = (
            f"{account.masked_tokens:,}, {100 * share:.1f} % of all (beside those of masked rows)"
        )
    print_fields({**fields, "divisor": plan.divisor, "fingerprint": plan.fingerprint()})
