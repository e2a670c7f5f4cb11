"""Whether a plan is what it says: against the corpus and sets that it names, and against the records in its folder.

The bits of token masks are worked out again from the rows that the slots hold.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.artifacts.manifests import load_manifest
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.plan.edits import slots_of
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources
from curator.plan.rules import some_of
from curator.planning.account import Account, account_of
from curator.planning.inject import FORMAT
from curator.planning.tokens import ROW_RULES, chunks, counted
from curator.progress import progress
from curator.ranking.selection import Selection

MEND = "make the plan again"


@dataclass(frozen=True)
class Checked:
    """What a check found to be right.

    Attributes:
        account: what the plan does; found: one sentence per check.
    """

    account: Account
    found: tuple[str, ...]


def check_plan(folder: Path, corpus: Corpus) -> Checked:
    """Check the plan in ``folder``.

    Raises:
        CuratorError: it is of another corpus, its sets are not there or other ones, or it does something else than the
            records beside it say; names both sides.
    """
    plan = Plan.load(folder)
    plan.check(corpus.fingerprint(), plan.batch_size, plan.n_slots)
    corpus.check_index()
    if plan.highest_sample() >= len(corpus):
        raise CuratorError(
            f"{folder}: a slot holds sample {plan.highest_sample()}, but {corpus.path} ends with sample "
            f"{len(corpus) - 1}"
        )
    rows = PlannedRows(plan, corpus, open_sources(plan, corpus))
    account = account_of(plan)
    sets = "" if not plan.sources else f", and its {len(plan.sources)} injected sets are there unchanged"
    found = [f"The plan is of {corpus.path}{sets}."]
    found += _check_selection(folder, plan, rows)
    found += _check_injected(folder, account)
    if plan.row_targets is not None:
        found.append(_said_tokens(plan, rows))
    return Checked(account, tuple(found))


def _check_selection(folder: Path, plan: Plan, rows: PlannedRows) -> list[str]:
    """The samples that ``selection.json`` says were masked, or whose tokens were."""
    if not (folder / "selection.json").is_file() or (folder / "injected.json").is_file():
        return []
    chosen = Selection.open(folder)
    slots, _ = slots_of(plan, chosen.samples)
    tokens = chosen.description.get("tokens")
    if tokens is None:
        trained = slots[plan.lookup(slots).weight > 0]
        if len(trained):
            raise CuratorError(
                f"{folder}: selection.json says that {len(chosen)} samples are masked, but slot {some_of(trained)} "
                f"trains on one of them; {MEND}"
            )
        return [f"All {len(slots)} slots that hold the {len(chosen)} chosen samples are masked."]
    for some in chunks(slots[plan.lookup(slots).weight > 0], rows.row_width):
        samples = plan.lookup(some).sample
        expected = counted(tokens, rows.rows(some), samples, chosen.description.get("token_seed", 0))
        there = plan.counted(some)
        wrong = np.argwhere(~expected if there is None else there & ~expected)
        if len(wrong):
            row, token = wrong[0]
            raise CuratorError(
                f"{folder}: selection.json says that {tokens} tokens do not count, but token {token + 1} of slot "
                f"{some[row]} does; {MEND}"
            )
    return [
        f"The {tokens} tokens of all {len(slots)} slots that hold the {len(chosen)} chosen samples are masked."
    ]


def _check_injected(folder: Path, account: Account) -> list[str]:
    """What ``injected.json`` says was put in."""
    file = folder / "injected.json"
    if not file.is_file():
        return []
    said = load_manifest(
        file, FORMAT, MEND, ("samples", "repeat", "edited_plan", "steps.before", "steps.after")
    )
    if said["edited_plan"] is not None:
        return ["What the plan that was edited put in is counted with the rest."]
    rows = said["samples"] * said["repeat"]
    added = said["steps"]["after"] - said["steps"]["before"]
    there = {"extra steps": account.extra_steps, "rows put in": sum(put.slots for put in account.put)}
    ours = {"extra steps": added, "rows put in": rows}
    if there != ours:
        raise CuratorError(f"{file}: it says {ours}, but the plan has {there}; {MEND}")
    return [f"As injected.json says, {rows} rows were put in, and {added} steps added."]


def _said_tokens(plan: Plan, rows: PlannedRows) -> str:
    """How many of the slots with token masks leave out just what a rule of tokens names."""
    as_rule: Counter[str] = Counter()
    with progress("token masks", len(plan.mask_slots)) as advance:
        for some in chunks(np.asarray(plan.mask_slots), rows.row_width):
            there, tokens = plan.counted(some), rows.rows(some)
            assert there is not None
            for name, rule in ROW_RULES.items():
                as_rule[name] += int((~rule(tokens)[:, 1:] == there).all(1).sum())
            advance(len(some))
    rules = ", ".join(f"of {number} just the {name} tokens" for name, number in as_rule.items())
    return f"{plan.masked_tokens()} tokens of {len(plan.mask_slots)} slots do not count: {rules} of the row there."
