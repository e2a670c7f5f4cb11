"""The embedded trainer's run: check what fits together, resume or begin, update, save.

What one update computes is in update.py. Training without a plan is training with the identity plan.
On a CPU the result is bit-identical for equal inputs, interrupted or not, on one machine with one number
of threads (``torch.get_num_threads()``); nothing is drawn after the initial weights, as there is no dropout.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GPTNeoXForCausalLM

import curator
from curator.artifacts.files import load_array, save_array
from curator.corpus import check_tokens
from curator.errors import CuratorError
from curator.models.hf import model_fingerprint
from curator.plan.plan import Plan
from curator.plan.rows import PlannedRows, open_sources
from curator.progress import progress
from curator.training.checkpoint import (
    check_same_run,
    read_checkpoint,
    read_run,
    trained_checkpoints,
    write_checkpoint,
)
from curator.training.config import TrainingConfig
from curator.training.model import build_model, build_optimizer
from curator.training.update import update

if TYPE_CHECKING:
    from curator.corpus.base import Corpus


def train(
    config: TrainingConfig,
    corpus: "Corpus",
    out: Path,
    *,
    plan: Plan | None = None,
    start_from: Path | None = None,
    checkpoint_steps: Sequence[int],
    stop_step: int | None = None,
    device: str = "cpu",
    epochs: int = 1,
    on_step: Callable[[int, GPTNeoXForCausalLM], object] | None = None,
) -> None:
    """Train, or go on with the run in ``out`` until every checkpoint asked for is there.

    Writes ``out/step{N}/`` (see checkpoint.py) and ``out/losses.npy``, float32 [steps]: entry t is the mean
    loss per token, in nats, over the tokens of update t that count, before it; NaN where nothing was trained on.

    Args:
        config: architecture and recipe.
        corpus: the training tokens in training order.
        out: folder of the run; one that holds another run is refused.
        plan: what each slot holds, of the corpus or of an injected set; without one, slot s holds sample s.
            With extra steps it is longer than the corpus: raise ``config.steps`` by their number to reach its end.
        start_from: a checkpoint of the same config and corpus to begin from, at its step, with its optimizer
            state. Its plan may be another, but this run's plan may not edit slots before that step; its number of
            steps may be another where ``decay_steps`` gives both the same learning rates.
        checkpoint_steps: N for the weights after N updates; 0 is the initial model. The last step is saved
            always.
        stop_step: last update of this run; the schedule still spans ``config.steps``.
        device: where to train.
        epochs: without a plan, at most so many passes over the corpus: slot s holds sample s modulo its length. A plan
            says it itself.
        on_step: called with (N, model) after each update, and once with the model that the run begins with; what is
            true of an update ends the run there.

    Raises:
        CuratorError: corpus, plan, config and checkpoints do not fit together, or the loss is not finite.
    """
    stop = config.steps if stop_step is None else stop_step
    if plan is None:
        plan = _unedited(config, corpus, epochs)
    _check_inputs(config, corpus, plan, stop)
    rows = _open_rows(config, corpus, plan)
    model: Any = build_model(config)  # Any: transformers' annotation of .to() takes no device
    model.to(device)
    optimizer = build_optimizer(model, config)

    run: dict[str, Any] = {"config": config.to_dict(), "corpus_fingerprint": corpus.fingerprint()}
    first, started_from = 0, None
    if start_from is not None:
        first = _start(start_from, run, plan, model, optimizer)
        started_from = {"step": first, "weights": model_fingerprint(model)}
    run |= {"plan_fingerprint": plan.fingerprint(), "started_from": started_from}

    wanted = {*checkpoint_steps, stop}
    _check_steps(wanted, first, stop)
    saved = trained_checkpoints(out)
    for folder in saved.values():
        check_same_run(folder, read_run(folder), run, "Give another output folder, or remove this one.")
    missing = sorted(wanted - set(saved))
    if not missing:
        return
    # The newest checkpoint; an older one where steps are asked for now that were not before.
    begin = max((step for step in saved if step < missing[0]), default=None)
    if begin is not None:
        read_checkpoint(saved[begin], model, optimizer)
    model.train()
    losses = _losses(out, config.steps)
    made_with = {
        "curator": curator.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }

    def save(step: int) -> None:
        if step in missing:
            save_array(out / "losses.npy", losses)
            write_checkpoint(out, step, model, optimizer, {**run, "made_with": made_with})

    if begin is None:
        begin = first
        if on_step:
            on_step(begin, model)
        save(begin)
    with progress("training", missing[-1], unit="steps", done=begin) as advance:
        for step in range(begin, missing[-1]):
            losses[step] = update(model, optimizer, config, rows, step)
            is_over = on_step is not None and bool(on_step(step + 1, model))
            if is_over:
                missing.append(step + 1)
            save(step + 1)
            advance(1, f"loss {losses[step]:.3f}")
            if is_over:
                break


def _unedited(config: TrainingConfig, corpus: "Corpus", epochs: int) -> Plan:
    n_slots = config.steps * config.batch_size
    epoch_samples = len(corpus) if len(corpus) < n_slots <= epochs * len(corpus) else None
    return Plan.identity(n_slots, config.batch_size, corpus.fingerprint(), epoch_samples=epoch_samples)


def _check_inputs(config: TrainingConfig, corpus: "Corpus", plan: Plan, stop: int) -> None:
    if not 1 <= stop <= config.steps:
        raise CuratorError(f"stop_step is {stop}; expected 1 .. steps ({config.steps})")
    if corpus.row_width != config.seq_length + 1:
        raise CuratorError(
            f"{corpus.path}: its rows hold {corpus.row_width} tokens, but seq_length = {config.seq_length} "
            f"needs {config.seq_length + 1}; set seq_length to {corpus.row_width - 1}"
        )
    if corpus.vocab_size is not None and corpus.vocab_size > config.vocab_size:
        raise CuratorError(
            f"{corpus.path}: its vocabulary has {corpus.vocab_size} ids, but vocab_size is "
            f"{config.vocab_size}; set vocab_size to {corpus.vocab_size} or more"
        )
    plan.check(corpus.fingerprint(), config.batch_size, stop * config.batch_size, "train.steps")
    if plan.highest_sample() >= len(corpus):
        raise CuratorError(
            f"{corpus.path}: training reaches sample {plan.highest_sample()} "
            f"({plan.n_slots // plan.batch_size} steps of {plan.batch_size}), but the corpus "
            f"ends with sample {len(corpus) - 1}; at most {len(corpus) // plan.batch_size} steps fit "
            f"(--epochs {-(-plan.n_slots // len(corpus))} passes over it again)"
        )
    corpus.check_index()


def _open_rows(config: TrainingConfig, corpus: "Corpus", plan: Plan) -> PlannedRows:
    """The plan's rows; the tokens of its injected sets are checked, as far as the plan reads them."""
    sources = open_sources(plan, corpus)
    for number, source in enumerate(sources, 1):
        check_tokens(source, config.vocab_size, 0, plan.highest_sample(number) + 1)
    return PlannedRows(plan, corpus, sources)


def _start(
    start_from: Path,
    run: dict[str, Any],
    plan: Plan,
    model: GPTNeoXForCausalLM,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Put the checkpoint ``start_from`` into model and optimizer; returns its step."""
    there = read_run(start_from)
    check_same_run(
        start_from,
        _schedule_of(there),
        _schedule_of(run),
        "Start from a checkpoint with this run's config and corpus; where extra steps make this run longer, "
        "decay_steps keeps the schedule of before.",
    )
    step: int = there["step"]
    edited = plan.first_edited_slot()
    if edited < step * plan.batch_size and there["plan_fingerprint"] != plan.fingerprint():
        raise CuratorError(
            f"{start_from}: it has done {step} steps, but the plan edits slot {edited}, of step "
            f"{edited // plan.batch_size}: that edit would never be trained on; start from a checkpoint "
            "before it, or plan edits of later steps alone"
        )
    read_checkpoint(start_from, model, optimizer)
    return step


def _schedule_of(run: dict[str, Any]) -> dict[str, Any]:
    """``run`` without its length: what a checkpoint and the run that starts from it must share."""
    config = dict(run.get("config", {}))
    steps = config.pop("steps", None)
    return {**run, "config": {**config, "decay_steps": config.get("decay_steps") or steps}}


def _check_steps(wanted: set[int], first: int, stop: int) -> None:
    outside = sorted(step for step in wanted if not first <= step <= stop)
    if outside:
        raise CuratorError(
            f"checkpoint steps {', '.join(map(str, outside))} lie outside this run, which goes from step "
            f"{first} to step {stop}"
        )


def _losses(out: Path, steps: int) -> np.ndarray:
    path = out / "losses.npy"
    if not path.exists():
        return np.full(steps, np.nan, np.float32)
    losses = np.array(load_array(path, mmap=False))
    if losses.shape != (steps,) or losses.dtype != np.float32:
        raise CuratorError(
            f"{path}: holds {losses.dtype} {losses.shape}, expected float32 ({steps},); remove it"
        )
    return losses
