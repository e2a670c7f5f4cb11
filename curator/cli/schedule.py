"""Dense checkpoint schedules, as one more config file for GPT-NeoX.

GPT-NeoX saves at every iteration of its own setting extra-save-iters, beside those of checkpoint-factor, so that a
window is covered densely without a patch. A schedule is that one line of YAML.
"""

from collections.abc import Iterable

from curator.artifacts.fields import require, written_out
from curator.artifacts.files import save_text
from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.errors import CuratorError, UsageError
from curator.neox.settings import ScheduleSettings

MOST = 10_000
"""More checkpoints than this are taken for a mistake."""


def dense_steps(window: tuple[int, int], every: int, also: Iterable[int] = ()) -> list[int]:
    """The steps to save, rising, each once: every ``every`` steps of the window, both its ends, and ``also``.

    Raises:
        UsageError: more than ``MOST`` steps.
    """
    first, last = window
    count = (last - first) // every + 1
    if count > MOST:
        raise UsageError(
            f"--every {every} over steps {first} to {last} makes {count} checkpoints, more than {MOST}; "
            "give a larger --every, or a shorter window"
        )
    return sorted({*range(first, last + 1, every), last, *also})


def as_yaml(steps: list[int]) -> str:
    """GPT-NeoX's setting, with what to know about it as comments."""
    return (
        "# One more config file for GPT-NeoX. It takes the place of any other that sets extra-save-iters, such as\n"
        "# configs/neox/schedule.yml: give the other's steps with --also. keep-last-n-checkpoints,\n"
        f"# where it is set, would remove the older of these {len(steps)} checkpoints again.\n"
        f"extra-save-iters: [{', '.join(map(str, steps))}]\n"
    )


def run_schedule(settings: ScheduleSettings) -> None:
    """`curator schedule`."""
    steps = dense_steps(require(settings, "window"), settings.every, written_out(settings.also))
    out = settings.out
    text = as_yaml(steps)
    if out is None:
        say(text, end="")
        return
    if out.exists() and (not out.is_file() or out.read_text() != text):
        raise CuratorError(
            f"{out}: exists already and says something else; choose another --out, or remove it"
        )
    save_text(out, text)
    say(
        f"{len(steps)} checkpoints, steps {steps[0]} to {steps[-1]}.\n"
        f"Written: {out}. Give it to GPT-NeoX after the other config files."
    )
    next_step("python", "deepy.py", "train.py", "MODEL.yml", out)
