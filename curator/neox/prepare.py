"""From what is asked for an arm to what it is made of: what the checkpoint is, and whether the plan fits it.

Config files and corpus are the baseline's own where they are not given: GPT-NeoX copies the files into every
checkpoint, and a patched run records its corpus. `curator arm` and a study make their arms here.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError, UsageError
from curator.models.neox import checkpoint_folder
from curator.models.neox_settings import config_files
from curator.neox.arm import Arm, read_arm
from curator.neox.arm_settings import changes_of, missing_data, read_baseline
from curator.neox.records import Start, Stretch, read_run, step_of
from curator.neox.settings import ArmSettings
from curator.neox.standing import Standing, check_goes_on, standing_of
from curator.plan.plan import Plan


def prepare_arm(asked: ArmSettings) -> tuple[Arm, list[str]]:
    """(the arm, ready to be written; notes for whoever asked).

    Raises:
        CuratorError: its folder is not empty, or checkpoint, plan, corpus and config files do not fit together.
    """
    out, configs, neox = asked.out, asked.config, asked.neox
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CuratorError(f"{out}: is not empty; choose another --out, or remove it")
    checkpoint = None if asked.start_from is None else _checkpoint(asked.start_from)
    step = 0 if checkpoint is None else step_of(checkpoint.name) or 0
    standing = None
    if checkpoint is not None:
        standing = standing_of(
            checkpoint.parent, step, insisted=frozenset(asked.insist), command="curator arm --insist"
        )
    before = None if checkpoint is None else _last_start(checkpoint)
    files = list(configs) or ([] if checkpoint is None else config_files(checkpoint / "configs"))
    base = read_baseline(files, checkpoint)

    plan = None if asked.plan is None else Plan.load(asked.plan)
    corpus = _corpus(asked.corpus, before, plan, standing)
    out = Path(os.path.abspath(out))
    steps = int(base["train_iters"]) if configs or checkpoint is None else _baseline_steps(checkpoint, base)
    changed, notes = changes_of(base, steps, out, plan, asked.changes, from_start=checkpoint is None)
    settings = {**base, **changed}
    now = _stretch(settings, corpus, plan, standing)
    if standing is not None and checkpoint is not None:
        check_goes_on(checkpoint, standing.stretches, step, now, plan)
    if plan is not None and corpus is not None:
        _check_plan(plan, corpus, now, int(settings["train_iters"]))
    patch: dict[str, Any] = {
        "neox": os.path.abspath(neox) if neox and Path(neox).is_dir() else neox,
        "corpus": None if corpus is None else os.path.abspath(corpus.path),
        "plan": None if asked.plan is None else os.path.abspath(asked.plan),
    }
    if plan is None and corpus is not None and not corpus.neox_order and now.batch_size is not None:
        epochs = -(-int(settings["train_iters"]) * now.batch_size // len(corpus))
        patch["epochs"] = epochs if epochs > 1 else None  # a plan says it itself
    folder = Path(before.folder if before is not None and before.folder else os.getcwd())
    command = (
        f"cd {quote(str(folder))} && python -m neox_patches --patch {quote(str(out / 'patch.yml'))} deepy.py train.py "
        f"{quote(str(out / 'train.yml'))}"
    )
    arm = Arm(
        out=out,
        checkpoint=checkpoint,
        standing=standing,
        now=now,
        patch={key: value for key, value in patch.items() if value is not None},
        settings=settings,
        changed=changed,
        configs=tuple(files),
        baseline_steps=steps,
        command=command,
    )
    return arm, [*(() if standing is None else standing.notes), *notes, *missing_data(settings, folder)]


def _checkpoint(given: Path) -> Path:
    given = Path(os.path.abspath(given.expanduser()))
    if not given.is_dir():
        raise CuratorError(
            f"{given}: no such folder; --from takes SAVE/global_step{{N}}, or SAVE for its latest"
        )
    if step_of(given.name) is None and not (given / "latest").is_file():
        raise CuratorError(
            f"{given}: no checkpoint of GPT-NeoX; --from takes SAVE/global_step{{N}}, or SAVE for its latest"
        )
    checkpoint = given if step_of(given.name) is not None else checkpoint_folder(given)
    if not step_of(checkpoint.name):
        raise CuratorError(
            f"{checkpoint}: nothing was trained yet, and v1.0 cannot load a checkpoint of step 0; leave --from out, "
            "and give the config files with --config: the same seed begins with the same weights"
        )
    return checkpoint


def _last_start(checkpoint: Path) -> Start | None:
    """The start that trained to the checkpoint, or that was to go on from it, as far as its folder says."""
    step = step_of(checkpoint.name) or 0
    for folder in dict.fromkeys((checkpoint.parent, checkpoint.resolve().parent)):
        run = read_run(folder)
        starts = [] if run is None else [start for start in run.starts if start.from_ <= step]
        if starts:
            return ([start for start in starts if start.from_ < step] or starts)[-1]
    return None


def _baseline_steps(checkpoint: Path, base: Mapping[str, Any]) -> int:
    """For how many steps the baseline trains; of an arm that is an arm's, without the extra steps of that one."""
    there = read_arm(checkpoint.parent) or {}
    return int(there.get("baseline_steps", base["train_iters"]))


def _corpus(
    given: Path | None, before: Start | None, plan: Plan | None, standing: Standing | None
) -> Corpus | None:
    """The corpus given, else the one that the checkpoint's run named."""
    needed = plan is not None or (standing is not None and standing.stretches[-1].serves_rows)
    path = given
    if path is None and before is not None and before.corpus and (needed or Path(before.corpus).exists()):
        path = Path(before.corpus)
    if path is None:
        if needed:
            raise UsageError(
                "'corpus' is missing: give --corpus, whose samples "
                + ("the plan names" if plan is not None else "the checkpoint was trained on, row by row")
            )
        return None
    return open_corpus(path)


def _stretch(
    settings: Mapping[str, Any], corpus: Corpus | None, plan: Plan | None, standing: Standing | None
) -> Stretch:
    """How the arm trains. How many GPUs there will be is not known: the batch size is the plan's, or what was."""
    batch = settings.get("train_batch_size")
    if not isinstance(batch, int):
        batch = None
    if batch is None and plan is not None:
        batch = plan.batch_size
    if batch is None and standing is not None:
        batch = standing.stretches[-1].batch_size
    return Stretch(
        batch_size=batch,
        seq_length=int(settings["seq_length"]),
        corpus_fingerprint=None if corpus is None else corpus.fingerprint(),
        plan_fingerprint=None if plan is None else plan.fingerprint(),
        first_edited_step=None if plan is None else plan.first_edited_slot() // plan.batch_size,
        serves_rows=corpus is not None and not corpus.neox_order,
    )


def _check_plan(plan: Plan, corpus: Corpus, now: Stretch, steps: int) -> None:
    if corpus.row_width != int(now.seq_length or 0) + 1:
        raise CuratorError(
            f"{corpus.path}: rows are {corpus.row_width} tokens wide, but the trainer's seq_length {now.seq_length} "
            f"needs {(now.seq_length or 0) + 1}"
        )
    batch = now.batch_size or plan.batch_size
    plan.check(corpus.fingerprint(), batch, steps * batch, "train_iters")
