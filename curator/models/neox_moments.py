"""Second moments out of what DeepSpeed saves of its optimizer, put together as the weights are.

Two ways it keeps them:

* ZeRO (stage 1 or 2) and bfloat16: ``[bf16_]zero_pp_rank_DD_mp_rank_MM_optim_states.pt``, of each group of parameters
  the part of data-parallel rank DD, flat; ``param_slice_mappings`` says which pieces of which parameters lie where;
* else in ``mp_rank_MM_model_states.pt``: one state per parameter, or (fp16) one flat state per group, numbered in the
  order in which GPT-NeoX hands over its parameters: those that decay, then biases and norms, each in the model's order.

What is found takes the place of the weights in a `Checkpoint`, so that `hf_matrices` joins tensor-parallel shards.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from curator.errors import CuratorError
from curator.models.moments import WANTED, Moment
from curator.models.neox_files import EMBEDDING, FREQUENCIES, Checkpoint, read_checkpoint
from curator.models.neox_weights import hf_matrices
from curator.models.safe_pickle import read_pickle

if TYPE_CHECKING:
    from torch import Tensor

_ZERO = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_optim_states\.pt")
_NAME = re.compile(r"(?:sequential\.|module\.)*(\d+)\.(.+)")
_ON_DISK = {"lm_head.weight": "embed_out.weight"}
"""What Hugging Face calls a parameter in memory -> in its files."""
_TIED = re.compile(r"tied_modules\.[^.]+\.(.+)")
"""The embedding of a pipeline whose output is tied to it."""


@dataclass(frozen=True)
class _Recipe:
    """What is the same for all parameters: (step, beta2, eps)."""

    step: int
    beta2: float
    eps: float


Pieces = dict[tuple[int, str], list["Tensor"]]
"""(module, name) -> the flat second moment of each tensor-parallel shard."""


def neox_moments(folder: Path, names: Collection[str]) -> dict[str, Moment]:
    """See `curator.models.optimizer.read_moments`; ``folder`` is one checkpoint."""
    checkpoint = read_checkpoint(folder)
    files: dict[int, dict[int, Path]] = {}
    for path in folder.glob("*zero_pp_rank_*_optim_states.pt"):
        if match := _ZERO.fullmatch(path.name):
            files.setdefault(int(match[2]), {})[int(match[1])] = path
    if files:
        pieces, recipes = _of_zero(folder, files)
    else:
        pieces, recipes = _of_ranks(checkpoint)
    if len(recipes) != 1:
        said = "; ".join(
            f"step {one.step}, beta2 {one.beta2}, eps {one.eps}" for one in sorted(recipes, key=repr)
        )
        raise CuratorError(
            f"{folder}: parts of the optimizer's state disagree ({said}): copy all files of one step there"
        )
    (recipe,) = recipes
    if recipe.step < 1:
        raise CuratorError(f"{folder}: the optimizer has made no update yet; {WANTED}, after an update")
    on_disk = {name: _ON_DISK.get(name, name) for name in names}
    merged = hf_matrices(_in_place_of_weights(checkpoint, pieces), on_disk.values())
    missing = [name for name, there in on_disk.items() if there not in merged]
    if missing:
        raise CuratorError(f"{folder}: has no second moment of {missing[0]}, which is no matrix of the model")
    return {
        name: Moment(merged[there], recipe.step, recipe.beta2, recipe.eps) for name, there in on_disk.items()
    }


def _in_place_of_weights(checkpoint: Checkpoint, pieces: Pieces) -> Checkpoint:
    modules: dict[int, list[dict[str, Tensor]]] = {}
    for module, shards in checkpoint.modules.items():
        modules[module] = [{} for _ in shards]
        for number, shard in enumerate(shards):
            for name, weight in shard.items():
                if name == FREQUENCIES:
                    continue
                found = pieces.get((module, name), [])
                if len(found) <= number or found[number].numel() != weight.numel():
                    there = "none" if len(found) <= number else f"{found[number].numel()} entries"
                    raise CuratorError(
                        f"{checkpoint.folder}: of {checkpoint.saved_name(module, name)} (shard {number}, "
                        f"{weight.numel()} entries) the optimizer's state has {there}: files of two checkpoints, or "
                        "parameters that were not trained; copy all files of one step there"
                    )
                modules[module][number][name] = found[number].view(weight.shape)
    return replace(checkpoint, modules=modules)


# -- ZeRO, bfloat16 -----------------------------------------------------------------------------------------


def _of_zero(folder: Path, files: Mapping[int, Mapping[int, Path]]) -> tuple[Pieces, set[_Recipe]]:
    import torch

    pieces: Pieces = {}
    recipes: set[_Recipe] = set()
    for shard, ranks in sorted(files.items()):
        parts: dict[tuple[int, str], list[Tensor]] = {}
        states = {
            path: _section(path, read_pickle(path), "optimizer_state_dict")
            for _, path in sorted(ranks.items())
        }
        for path, state in states.items():
            expected = max(state.get("partition_count") or [len(ranks)])
            if sorted(ranks) != list(range(expected)):
                raise CuratorError(
                    f"{folder}: the optimizer's state is of {expected} data-parallel ranks, of shard {shard} there are "
                    f"files of {', '.join(map(str, sorted(ranks)))}: copy all *_optim_states.pt of the step there"
                )
            mappings = state.get("param_slice_mappings")
            if not isinstance(mappings, Sequence):
                raise CuratorError(
                    f"{path}: does not say which parameter lies where (no param_slice_mappings): it was saved by a "
                    "DeepSpeed before 0.7.3; load the checkpoint with a newer one and save it again"
                )
            flats = _states(path, _section(path, state, "base_optimizer_state"), len(mappings), recipes)
            for mapping, flat in zip(mappings, flats, strict=True):
                for name, place in mapping.items():
                    values = flat.flatten()[place.start : place.start + place.numel]
                    parts.setdefault(_place_of(path, name), []).append(values)
        for place, found in parts.items():
            pieces.setdefault(place, []).append(torch.cat(found) if len(found) > 1 else found[0])
    return pieces, recipes


def _place_of(path: Path, name: str) -> tuple[int, str]:
    if match := _NAME.fullmatch(name):
        return int(match[1]), match[2]
    if match := _TIED.fullmatch(name):
        return EMBEDDING, match[1]
    raise CuratorError(
        f"{path}: a parameter called {name}, expected <number>.<name>: this is no GPT-NeoX model"
    )


# -- beside the weights -------------------------------------------------------------------------------------


def _of_ranks(checkpoint: Checkpoint) -> tuple[Pieces, set[_Recipe]]:
    ranks = checkpoint.layout.ranks
    if not ranks:
        _no_state(checkpoint.folder, "there is no mp_rank_00_model_states.pt in it")
    if len(ranks) != checkpoint.n_shards:
        raise CuratorError(
            f"{checkpoint.folder}: the optimizer's state of several pipeline stages without ZeRO does not name its "
            "parameters; train with zero_optimization stage 1"
        )
    pieces: Pieces = {}
    recipes: set[_Recipe] = set()
    for shard, path in sorted(ranks.items()):
        saved = read_pickle(path).get("optimizer")
        if not isinstance(saved, Mapping):
            _no_state(checkpoint.folder, f"neither *_optim_states.pt nor an 'optimizer' in {path.name}")
        saved = saved.get("optimizer_state_dict", saved)  # of fp16
        groups = _section(path, saved, "param_groups")
        expected = list(_by_group(checkpoint, shard, len(groups)))
        states = _states(path, saved, None, recipes)
        if len(states) == len(groups):  # flat, one per group
            states = [
                part
                for flat, group in zip(states, expected, strict=True)
                for part in _split(path, flat, [weight.numel() for _, weight in group])
            ]
        order = [one for group in expected for one in group]
        if len(order) != len(states):
            _other_order(path, f"{len(states)} parameters, the model {len(order)}")
        for (place, weight), values in zip(order, states, strict=True):
            if values.numel() != weight.numel() or (values.ndim > 1 and values.shape != weight.shape):
                _other_order(path, f"{list(values.shape)} where {place[1]} has {list(weight.shape)}")
            pieces.setdefault(place, []).append(values.flatten())
    return pieces, recipes


def _by_group(
    checkpoint: Checkpoint, shard: int, groups: int
) -> Iterator[list[tuple[tuple[int, str], "Tensor"]]]:
    """The parameters of one shard as GPT-NeoX groups them: matrices, then vectors; all in one without weight decay."""
    every = [
        ((module, name), weight)
        for module, shards in sorted(checkpoint.modules.items())
        for name, weight in shards[shard].items()
        if name != FREQUENCIES
    ]
    if groups == 1:
        yield every
    else:
        yield [one for one in every if one[1].ndim > 1]
        yield [one for one in every if one[1].ndim == 1]


def _split(path: Path, flat: "Tensor", sizes: Sequence[int]) -> "Sequence[Tensor]":
    if flat.numel() < sum(sizes):
        _other_order(path, f"a group of {flat.numel()} entries, the model one of {sum(sizes)}")
    return flat.flatten()[: sum(sizes)].split(list(sizes))


def _other_order(path: Path, what: str) -> NoReturn:
    raise CuratorError(
        f"{path}: the optimizer's state has {what}: its parameters are not in the order of GPT-NeoX's own groups, so "
        "that nothing says which is which; train with zero_optimization stage 1, whose files name them"
    )


# -- what both have in common -------------------------------------------------------------------------------


def _states(path: Path, saved: Any, count: int | None, recipes: set[_Recipe]) -> "list[Tensor]":
    """The second moments in the order of their numbers; adds what was trained with to ``recipes``."""
    groups, states = _section(path, saved, "param_groups"), _section(path, saved, "state")
    if not states:
        _no_state(path.parent, f"the optimizer's state in {path.name} is empty: no update was made")
    found = []
    for group in groups:
        for number in group["params"]:
            state = states.get(number, {})
            values = state.get("exp_avg_sq")
            if values is None or group.get("amsgrad"):
                kept = "amsgrad" if group.get("amsgrad") else ", ".join(map(str, state)) or "nothing"
                raise CuratorError(
                    f"{path}: the optimizer is no Adam, it keeps {kept} of a parameter; --preconditioner adam needs "
                    "exp_avg_sq: take another preconditioner"
                )
            step = state.get("step", group.get("step"))
            if step is None:
                raise CuratorError(f"{path}: does not say how many updates are in the moments (no 'step')")
            beta2 = float(group["betas"][1]) if group.get("bias_correction", True) else 0.0
            recipes.add(_Recipe(int(step), beta2, float(group["eps"])))
            found.append(values)
    if count is not None and len(found) != count:
        raise CuratorError(
            f"{path}: has moments of {len(found)} groups and names the parameters of {count}: it was edited or cut "
            "short"
        )
    return found


def _section(path: Path, value: Any, key: str) -> Any:
    found = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(found, Mapping | list):
        raise CuratorError(
            f"{path}: no {key} in it, expected what DeepSpeed saves of its optimizer; copy it again"
        )
    return found


def _no_state(folder: Path, what: str) -> NoReturn:
    raise CuratorError(f"{folder}: no state of an optimizer, {what}; {WANTED} (with its *_optim_states.pt)")
