"""A start without a patch file: training is not changed, unless the folder was trained with patches.

A forgotten ``--patch`` would go on, on other data, and nothing in the result would show it. So such a start is refused;
where it is insisted on, the records say from which step on training went without patches. Where nothing was patched
before, nothing is wrapped but ``pretrain``, and nothing is written.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curator.errors import CuratorError
from curator.neox.records import Stretch, read_run
from curator.neox.standing import COMMAND, UNPATCHED, UNRECORDED, check_latest, needs_patches
from curator.visible import note
from neox_patches.resume import Bookkeeper, step_to_load
from neox_patches.together import rank


def install(training: Any, insisted: frozenset[str]) -> None:
    """Wrap ``megatron.training`` of a start that has no patch file, or an empty one."""
    pretrain = training.pretrain

    @functools.wraps(pretrain)
    def checked(neox_args: Any, *args: Any, **kwargs: Any) -> Any:
        save = Path(neox_args.save) if neox_args.save else None
        load = Path(neox_args.load) if neox_args.load else None
        iteration = getattr(neox_args, "iteration", None)
        step = step_to_load(neox_args, iteration)
        reason = needs_patches(load, save, step)
        if reason is not None and UNPATCHED not in insisted:
            raise CuratorError(
                f"{reason}, but this start has no patch file, or an empty one: it would train on other data, or "
                "emit nothing. Give --patch FILE before the script; or set another save, and a load that was "
                f"trained without patches; or insist: {COMMAND} {UNPATCHED} ..."
            )
        if load is not None and iteration is None and any(map(read_run, filter(None, (save, load)))):
            check_latest(load, save, insisted)
        if reason is not None:
            _keep_books(training, neox_args, insisted)
        return pretrain(neox_args, *args, **kwargs)

    training.pretrain = checked


def _keep_books(training: Any, neox_args: Any, insisted: frozenset[str]) -> None:
    """Let the records say that training goes on without patches."""
    now = Stretch(
        trained="unpatched",
        batch_size=int(neox_args.train_batch_size),
        seq_length=int(neox_args.seq_length),
    )
    paths: dict[str, str | None] = {"patch_file": None, "corpus": None, "plan": None}
    books = Bookkeeper(now, None, insisted | {UNPATCHED, UNRECORDED}, paths, _say)
    setup, step, save = training.setup_model_and_optimizer, training.train_step, training.save_checkpoint

    def setup_model_and_optimizer(*args: Any, **kwargs: Any) -> Any:
        books.check(neox_args, kwargs.get("iteration"))
        result = setup(*args, **kwargs)
        books.attach(result[0], int(neox_args.iteration or 0))
        return result

    def begun(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def begin_first(*args: Any, **kwargs: Any) -> Any:
            books.begin()
            return function(*args, **kwargs)

        return begin_first

    training.setup_model_and_optimizer = setup_model_and_optimizer
    training.train_step, training.save_checkpoint = begun(step), begun(save)
    _say("training goes on without patches, as insisted; the records say so")


def _say(text: str) -> None:
    if rank() == 0:
        note(f"neox_patches: {text}")
