"""What `curator arm` does: a baseline's settings, changed where the arm differs, for `curator.neox_arm` to write.

The config files become one complete file, since GPT-NeoX refuses a key that stands in two, and overlooks one that the
other spells with hyphens. They come from the checkpoint itself, to which GPT-NeoX copies them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from curator.config import Experiment
from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError, UsageError
from curator.models.neox import checkpoint_folder
from curator.models.neox_settings import config_files, merge_files
from curator.neox_arm import Arm, write_arm
from curator.neox_records import Start, Stretch, read_run, step_of
from curator.neox_resume import INSIST, UNRECORDED, Standing, check_goes_on, standing_of
from curator.plan import Plan

OWN_FOLDER = ("save", "load")
DATA = ("train_data_paths", "valid_data_paths", "test_data_paths", "data_path", "vocab_file", "merge_file")
"""Settings of GPT-NeoX that name files; relative ones start where it is started."""


def run_arm(
    experiment: Experiment,
    out: Path,
    plan_folder: Path | None,
    start_from: Path | None,
    configs: Sequence[Path],
    changes: Sequence[str],
    neox: str | None,
    insist: Sequence[str],
) -> None:
    """`curator arm`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CuratorError(f"{out}: is not empty; choose another --out, or remove it")
    if unknown := sorted(set(insist) - {UNRECORDED}):
        raise UsageError(f"--insist {', '.join(unknown)}: expected {UNRECORDED}, to {INSIST[UNRECORDED]}")
    checkpoint = None if start_from is None else _checkpoint(start_from)
    step = 0 if checkpoint is None else step_of(checkpoint.name) or 0
    standing = None
    if checkpoint is not None:
        standing = standing_of(
            checkpoint.parent, step, insisted=frozenset(insist), command="curator arm --insist"
        )
    before = None if checkpoint is None else _last_start(checkpoint)
    files = list(configs) or ([] if checkpoint is None else config_files(checkpoint / "configs"))
    base = _settings(files, checkpoint)

    plan = None if plan_folder is None else Plan.load(plan_folder)
    corpus = _corpus(experiment.corpus, before, plan, standing)
    out = Path(os.path.abspath(out))
    changed, notes = _changes(base, out, plan, changes, from_start=checkpoint is None)
    settings = {**base, **changed}
    now = _stretch(settings, corpus, plan, standing)
    if standing is not None and checkpoint is not None:
        check_goes_on(checkpoint, standing.stretches, step, now, plan)
    if plan is not None and corpus is not None:
        _check_plan(plan, corpus, now, int(settings["train_iters"]))
    patch = {
        "neox": os.path.abspath(neox) if neox and Path(neox).is_dir() else neox,
        "corpus": None if corpus is None else os.path.abspath(corpus.path),
        "plan": None if plan_folder is None else os.path.abspath(plan_folder),
    }
    folder = Path(before.folder if before is not None and before.folder else os.getcwd())
    command = (
        f"cd {quote(str(folder))}\npython -m neox_patches --patch {quote(str(out / 'patch.yml'))} deepy.py train.py "
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
        command=command,
    )
    write_arm(arm)
    for note in (*(() if standing is None else standing.notes), *notes, *_missing_data(settings, folder)):
        print(f"note: {note}")
    begins = "anew, from step 0" if checkpoint is None else f"from step {step}, a copy of {checkpoint}"
    print(
        f"The arm starts {begins}, {'with no plan' if plan is None else f'with the plan {plan.fingerprint()}'}, and "
        f"trains to step {settings['train_iters']}.\nWritten to {out}/, its save and load folder: patch.yml, "
        f"train.yml (changed: {', '.join(changed)}), arm.json"
        f"{'' if checkpoint is None else f', {checkpoint.name}, latest'}.\n"
        f"Next, and again after whatever stops it, with HEAD, v1.0 or 2.x:\n{command}"
    )


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
    """The start that trained to the checkpoint, as far as its folder says."""
    step = step_of(checkpoint.name) or 0
    for folder in dict.fromkeys((checkpoint.parent, checkpoint.resolve().parent)):
        run = read_run(folder)
        starts = [start for start in run.starts if start.from_ <= step] if run is not None else []
        if starts:
            return starts[-1]
    return None


def _settings(files: Sequence[Path], checkpoint: Path | None) -> dict[str, Any]:
    if not files:
        where = "" if checkpoint is None else f" (GPT-NeoX left none in {checkpoint / 'configs'})"
        raise UsageError(f"the trainer's config files are missing{where}: give each with --config FILE")
    for file in files:
        if not file.is_file():
            raise UsageError(f"--config {file}: no such file")
    values = merge_files(files).values
    names = ", ".join(map(str, files))
    if not isinstance(values.get("train_iters"), int):
        raise CuratorError(
            f"{names}: train_iters is {values.get('train_iters')!r}, expected a whole number of steps (train_epochs "
            "gives none); give every config file of the run with --config"
        )
    if not isinstance(values.get("seq_length"), int):
        raise CuratorError(f"{names}: no seq_length; give every config file of the run with --config")
    return values


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


def _changes(
    base: Mapping[str, Any], out: Path, plan: Plan | None, given: Sequence[str], from_start: bool
) -> tuple[dict[str, Any], list[str]]:
    """What the arm's settings change in the baseline's, and what a user should know of it."""
    steps = int(base["train_iters"])
    changed: dict[str, Any] = {"save": str(out), "load": str(out)}
    asked = _given(given)
    if "train_iters" in asked:
        extra = 0
    else:
        try:
            extra = 0 if plan is None else plan.steps_for(steps) - steps
        except CuratorError as error:
            raise CuratorError(f"{error}; give --set train_iters=N") from error
    changed["train_iters"] = steps + extra
    changed["lr_decay_iters"] = (
        base.get("lr_decay_iters") or steps
    )  # else it is train_iters, and the curve another
    if base.get("finetune"):
        changed["finetune"] = False  # it would count from step 0 at every start
    if base.get("iteration") is not None:
        changed["iteration"] = None  # it would load this step at every start
    if from_start and 0 in (base.get("extra_save_iters") or []):
        changed["extra_save_iters"] = [save for save in base["extra_save_iters"] if save]
    for key, name in (("log_dir", "logs"), ("tensorboard_dir", "tensorboard")):
        if base.get(key):
            changed[key] = str(out / name)
    changed |= asked
    notes = []
    if "extra_save_iters" in changed and "extra_save_iters" not in asked:
        notes.append(
            "step 0 is not saved: it is the baseline's, and v1.0 cannot go on from a checkpoint of step 0"
        )
    if extra:
        notes.append(f"train_iters is {steps} and the {extra} extra steps of the plan")
        if base.get("exit_interval") and "exit_interval" not in asked:
            notes.append(
                f"exit_interval stays {base['exit_interval']}: extra steps before it count, so the arm stops as many "
                "steps of the corpus before the baseline; --set exit_interval=N changes it"
            )
        if changed["train_iters"] > changed["lr_decay_iters"] and base.get("lr_decay_style") == "cosine":
            notes.append(
                f"training ends behind lr_decay_iters, {changed['lr_decay_iters']}: v1.0 and 2.x keep the lowest "
                "learning rate there, HEAD's cosine rises again"
            )
    return changed, notes


def _given(words: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        name = key.strip().replace("-", "_")
        if not equals or not name:
            raise UsageError(f"--set takes KEY=VALUE, for example exit_interval=2000, not '{word}'")
        if name in OWN_FOLDER:
            raise UsageError(f"--set {word}: save and load are the arm's folder; choose it with --out")
        try:
            given[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {word}: the value is not valid YAML") from error
    for name in ("train_iters", "seq_length"):
        if name in given and type(given[name]) is not int:
            raise UsageError(f"--set {name}={given[name]}: expected a whole number")
    return given


def _check_plan(plan: Plan, corpus: Corpus, now: Stretch, steps: int) -> None:
    if corpus.row_width != int(now.seq_length or 0) + 1:
        raise CuratorError(
            f"{corpus.path}: rows are {corpus.row_width} tokens wide, but the trainer's seq_length {now.seq_length} "
            f"needs {(now.seq_length or 0) + 1}"
        )
    plan.check(corpus.fingerprint(), now.batch_size or plan.batch_size, steps * plan.batch_size)


def _missing_data(settings: Mapping[str, Any], folder: Path) -> list[str]:
    """A note for every file that GPT-NeoX will be asked to open and that is not there now."""
    missing = []
    for key in DATA:
        value = settings.get(key)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and not any((folder / f"{name}{end}").is_file() for end in ("", ".bin")):
                missing.append(f"{key}: {name} is not there (relative paths start in {folder})")
    return missing
