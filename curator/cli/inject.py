"""What `curator inject` says: what stands in the plan now, and what to set in the trainer."""

from curator.artifacts.fields import require
from curator.artifacts.files import load_json
from curator.cli.commands import how_to_follow, said_epochs
from curator.cli.printing import say
from curator.planning.settings import InjectSettings


def run_inject(settings: InjectSettings) -> None:
    """`curator inject`."""
    from curator.planning.inject import inject

    plan, out = inject(settings), require(settings, "out")
    described = load_json(out / "injected.json")
    before, after = described["steps"]["before"], described["steps"]["after"]
    chosen = settings.rows is None
    times = f", {settings.repeat} times each" if settings.repeat > 1 else ""
    listed = "injected.json"
    listed += ", samples.npy, selection.json" if chosen else ""
    listed += (
        "; replaced.npy lists the samples that stood in slots.npy" if settings.replace is not None else ""
    )
    say(
        f"Injected {described['samples']} {'rows' if not chosen else 'samples'}{times}, {_where(settings)}."
        f"{said_epochs(plan)}\n"
        f"{what_to_set(before, after)}\n"
        f"Written to {out}/: plan.json and its arrays, and what was injected: {listed}.\n"
        f"{how_to_follow(out)}"
    )


def what_to_set(before: int, after: int) -> str:
    """What the user of a trainer must now set, for a plan that had ``before`` steps and has ``after``."""
    k = after - before
    if not k:
        return "The number of steps stays as it is: set nothing else in the trainer."
    return (
        f"The plan has {k} extra steps: {after} instead of {before}. Raise the number of steps by {k}: train-iters "
        f"in GPT-NeoX (curator arm does it), train.steps for curator train; otherwise training ends {k} steps before "
        "the data do.\n"
        "The learning rate follows the trainer's own count of iterations: an extra step uses the rate of its "
        f"iteration, and everything behind it comes {k} iterations later. To keep the curve as it was, leave "
        "lr-decay-iters (GPT-NeoX) or train.decay_steps (curator train) at the number of the run without "
        "insertions; unset, it is the number of steps, and GPT-NeoX then refuses to go on from a checkpoint of that "
        "run. To stretch the curve, train from the start with a larger number."
    )


def _where(settings: InjectSettings) -> str:
    if settings.after is not None:
        return f"as a burst of extra steps after {settings.after} steps"
    if settings.spread is not None:
        return f"as extra steps spread over steps {settings.spread[0]} to {settings.spread[1] - 1}"
    first, last = settings.replace or (0, 0)
    return f"in place of samples of steps {first} to {last - 1}"
