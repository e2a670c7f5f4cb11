"""The settings of an arm: a baseline's, in one complete file, changed where the arm differs.

GPT-NeoX refuses a key that stands in two config files, and overlooks one that the other spells with hyphens; so nothing
is put beside the baseline's files, they are merged.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from curator.artifacts.schema import yaml_value
from curator.errors import CuratorError, UsageError
from curator.models.neox_settings import merge_files
from curator.plan.plan import Plan

OWN_FOLDER = ("save", "load")
DATA = ("train_data_paths", "valid_data_paths", "test_data_paths", "data_path", "vocab_file", "merge_file")
"""Settings of GPT-NeoX that name files; relative ones start where it is started."""


def read_baseline(files: Sequence[Path], checkpoint: Path | None) -> dict[str, Any]:
    """What the baseline's config files say together; keys with underscores.

    Raises:
        CuratorError: none are there, they contradict each other, or they do not say for how many steps.
    """
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


def changes_of(
    base: Mapping[str, Any], steps: int, out: Path, plan: Plan | None, given: Sequence[str], from_start: bool
) -> tuple[dict[str, Any], list[str]]:
    """What the arm's settings change in the baseline's, and what a user should know of it.

    Args:
        steps: of the baseline, without extra ones; given: KEY=VALUE each.
    """
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
    changed["lr_decay_iters"] = base.get("lr_decay_iters") or steps  # unset, it is train_iters
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
        end = {**base, **changed}.get("exit_interval") or changed["train_iters"]
        if end > changed["lr_decay_iters"] and base.get("lr_decay_style") == "cosine":
            notes.append(
                f"training ends behind lr_decay_iters, {changed['lr_decay_iters']}: v1.0 and 2.x keep the lowest "
                "learning rate there, HEAD's cosine rises again"
            )
    return {key: value for key, value in changed.items() if key not in base or base[key] != value}, notes


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
            given[name], theirs = yaml_value(text), yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"--set {word}: the value is not valid YAML") from error
        if given[name] != theirs and not isinstance(theirs, str):
            raise UsageError(
                f"--set {word}: GPT-NeoX's YAML 1.1 takes this for {theirs!r}, YAML 1.2 for {given[name]!r}; write "
                "what you mean: true, false, a plain number, or a text in quotes"
            )
    for name in ("train_iters", "seq_length"):
        if name in given and type(given[name]) is not int:
            raise UsageError(f"--set {name}={given[name]}: expected a whole number")
    return given


def missing_data(settings: Mapping[str, Any], folder: Path) -> list[str]:
    """A note for every file that GPT-NeoX will be asked to open and that is not there now."""
    missing = []
    for key in DATA:
        value = settings.get(key)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str) and not any((folder / f"{name}{end}").is_file() for end in ("", ".bin")):
                missing.append(f"{key}: {name} is not there (relative paths start in {folder})")
    return missing
