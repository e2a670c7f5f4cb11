"""Adam's second moments as they lie in checkpoints: the embedded trainer's, and GPT-NeoX's made by hand and damaged.

What real runs of GPT-NeoX save is read in tests/neox_patches/trainer/test_neox_moments.py.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import neox_checkpoints
import pytest
import torch
from neox_checkpoints import HEADS, LAYERS, change, original, shard, write
from safetensors.torch import load_file, save_file
from tiny_runs import CONFIG, make_corpus
from torch import Tensor

from curator.artifacts.files import load_json, save_json
from curator.errors import CuratorError
from curator.models import load_model
from curator.models.moments import Moment, moments_fingerprint
from curator.models.optimizer import read_moments
from curator.training import train

NAME = "gpt_neox.layers.1.attention.dense.weight"
STEPS = 4


# -- the embedded trainer -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """step0 and step1 of a run without clipping."""
    out = tmp_path_factory.mktemp("run")
    corpus: Any = make_corpus()
    train(CONFIG.changed(gradient_clip=0.0), corpus, out, checkpoint_steps=[0, 1], stop_step=1)
    return out


def test_after_one_update_the_moment_is_the_squared_gradient(run: Path) -> None:
    """v̂ of step 1, bias-corrected, is the square of the first batch's mean gradient, by autograd at step 0."""
    model = load_model(run / "step0", torch.float32).requires_grad_(True)
    rows = torch.from_numpy(make_corpus().rows(slice(0, CONFIG.batch_size)).astype("int64"))
    logits = model(input_ids=rows[:, :-1], use_cache=False).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
    for name, moment in read_moments(
        run / "step1", [NAME, "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"]
    ).items():
        gradient = model.get_parameter(name).grad
        assert gradient is not None and moment.step == 1 and (moment.beta2, moment.eps) == (0.95, 1e-8)
        expected = gradient.double().abs() + 1e-8
        torch.testing.assert_close(moment.denominator(), expected, rtol=1e-3, atol=1e-7)


def test_the_bias_is_corrected_by_the_number_of_updates() -> None:
    moment = Moment(torch.tensor([[0.19]]), 2, 0.9, 0.5)  # 0.1 (0.9 g² + g²) of g = 1
    torch.testing.assert_close(moment.denominator(), torch.tensor([[1.5]], dtype=torch.float64))


def test_a_fingerprint_is_of_all_that_decides() -> None:
    moment = Moment(torch.ones(2, 2), 3, 0.95, 1e-8)
    others = [Moment(torch.ones(2, 2) * 2, 3, 0.95, 1e-8), Moment(torch.ones(2, 2), 4, 0.95, 1e-8)]
    others += [Moment(torch.ones(2, 2), 3, 0.9, 1e-8), Moment(torch.ones(2, 2), 3, 0.95, 1e-6)]
    marks = {moments_fingerprint({"w": one}) for one in (moment, *others)}
    assert len(marks) == 5 and moments_fingerprint({"v": moment}) not in marks


def remove_state(folder: Path) -> None:
    (folder / "optimizer.safetensors").unlink()


def cut_state(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def forget_betas(folder: Path) -> None:
    save_json(folder / "trainer.json", {**load_json(folder / "trainer.json"), "config": {}})


def spoil_state(folder: Path) -> None:
    state = load_file(folder / "optimizer.safetensors")
    state[f"{NAME}.exp_avg_sq"][2, 3] = float("nan")
    save_file(state, folder / "optimizer.safetensors")


def rename_state(folder: Path) -> None:
    state = {
        key.replace("dense", "other"): value
        for key, value in load_file(folder / "optimizer.safetensors").items()
    }
    save_file(state, folder / "optimizer.safetensors")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            remove_state,
            r"step1: no state of an optimizer, there is no optimizer\.safetensors in it; --preconditioner",
        ),
        (cut_state, r"optimizer\.safetensors: cannot be read .*take another checkpoint"),
        (forget_betas, r"trainer\.json: does not say with which betas"),
        (spoil_state, r"the second moment of .*1\.attention\.dense\.weight is nan at \[2, 3\]"),
        (rename_state, r"has no second moment of gpt_neox\.layers\.1\.attention\.dense\.weight"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    damage: Callable[[Path], None], said: str, run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(run / "step1", tmp_path / "step1")
    damage(folder)
    with pytest.raises(CuratorError, match=said):
        read_moments(folder, [NAME])


def test_before_the_first_update_and_on_the_hub_there_are_none(run: Path) -> None:
    with pytest.raises(
        CuratorError, match=r"holds no moments, the checkpoint is from before the first update"
    ):
        read_moments(run / "step0", [NAME])
    with pytest.raises(
        CuratorError, match=r"pythia-14m@step1000: no state of an optimizer, models of the hub have none"
    ):
        read_moments("EleutherAI/pythia-14m@step1000", [NAME])


# -- GPT-NeoX, as its trainer saves it without ZeRO ---------------------------------------------------------------


def moment_of(weight: Tensor) -> Tensor:
    """A second moment that every entry of a weight has for itself."""
    return weight.float().square() + 0.01


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Two tensor-parallel shards, each with the state of its parameters: matrices, then vectors."""
    model = original()
    folder = write(tmp_path / "global_step5", model, shards=2, settings=neox_checkpoints.SETTINGS)
    for number in range(2):

        def put(content: dict[str, Any]) -> None:
            weights = list(content["module"].values())
            groups = [[w for w in weights if w.ndim > 1], [w for w in weights if w.ndim == 1]]
            states = [
                {"step": STEPS, "exp_avg": w, "exp_avg_sq": moment_of(w)} for group in groups for w in group
            ]
            n = len(groups[0])
            numbers = [list(range(n)), list(range(n, len(states)))]
            made = [{"params": own, "betas": (0.9, 0.95), "eps": 1e-8} for own in numbers]
            content["optimizer"] = {"state": dict(enumerate(states)), "param_groups": made}

        change(folder / f"mp_rank_{number:02}_model_states.pt", put)
    return folder


def test_shards_are_joined_as_those_of_the_weights(saved: Path) -> None:
    """Rows of query_key_value, columns of the attention's output: entry by entry where the weight has it."""
    model = original()
    names = [
        f"gpt_neox.layers.{layer}.{name}.weight"
        for layer in range(LAYERS)
        for name in ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    ]
    found = read_moments(saved, [*names, "lm_head.weight"])
    assert list(found) == [*names, "lm_head.weight"] and HEADS == 4
    for name, moment in found.items():
        torch.testing.assert_close(moment.exp_avg_sq, moment_of(model.get_parameter(name)), rtol=0, atol=0)
        assert (moment.step, moment.beta2) == (STEPS, 0.95)
    assert shard("attention.dense.weight", torch.zeros(4, 4), 0, 2, False, False).shape == (4, 2)


def state_of(content: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return content["optimizer"]["state"]  # type: ignore[no-any-return]


def turn_order(content: dict[str, Any]) -> None:
    states = state_of(content)
    states[0], states[1] = states[1], states[0]


DAMAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "none": (
        lambda c: c.update(optimizer=None),
        r"no state of an optimizer, neither \*_optim_states\.pt nor an",
    ),
    "empty": (lambda c: c["optimizer"].update(state={}), r"is empty: no update was made"),
    "scale alone": (
        lambda c: c.update(optimizer={"cur_scale": 1.0}),
        r"no param_groups in it, expected what DeepSpeed",
    ),
    "sgd": (
        lambda c: [s.pop("exp_avg_sq") for s in state_of(c).values()],
        r"the optimizer is no Adam, it keeps step, exp_avg of a parameter",
    ),
    "another step": (
        lambda c: [s.update(step=9) for s in state_of(c).values()],
        r"disagree \(step 4.*; step 9",
    ),
    "another order": (turn_order, r"not in the order of GPT-NeoX's own groups.*zero_optimization stage 1"),
    "one too few": (
        lambda c: c["optimizer"]["param_groups"][1]["params"].pop(),
        r"\d+ parameters, the model \d+",
    ),
    "amsgrad": (
        lambda c: c["optimizer"]["param_groups"][0].update(amsgrad=True),
        r"is no Adam, it keeps amsgrad",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_that_does_not_say_it_is_refused(damage: str, saved: Path) -> None:
    edit, said = DAMAGES[damage]
    change(saved / "mp_rank_01_model_states.pt", edit)
    with pytest.raises(CuratorError, match=said):
        read_moments(saved, [NAME])


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return print, ("run",)


def test_law_9_a_state_that_would_run_code_is_refused(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"optimizer_state_dict": Evil()}, saved / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    with pytest.raises(CuratorError, match=r"optim_states\.pt: refused, its pickle asks for .*print"):
        read_moments(saved, [NAME])
    assert not capsys.readouterr().out
