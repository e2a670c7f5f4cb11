"""What a real GPT-NeoX saves is read back as the very model it trained: equal logits on the same tokens."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from neox_runs import HERE, PP1_ZERO1, SEQ, Trainer, start_ranks
from typer.testing import CliRunner

from curator.cli.app import app
from curator.errors import CuratorError
from curator.models import hf, list_checkpoints, load_model, model_fingerprint

STEPS = 4
FP16 = {"precision": None, "fp16": {"enabled": True, "initial_scale_power": 4}}
CASES: dict[str, dict[str, Any]] = {
    "single": {},
    "pipeline": PP1_ZERO1,
    "tied": {"no-weight-tying": False},
    "tied-pipeline": {"no-weight-tying": False, **PP1_ZERO1},
    "fused-gelu": {"bias-gelu-fusion": True, "gpt-j-residual": False},
    "tied-norms-swish": {"gpt-j-tied": True, "activation": "swish"},
    "tensor-parallel": {"model-parallel-size": 2},
    "tensor-parallel-pipeline": {"model-parallel-size": 2, **PP1_ZERO1},
    "tensor-parallel-sequential": {"model-parallel-size": 2, "gpt-j-residual": False},
    "fp16": FP16,
    "fp16-pipeline": {**FP16, **PP1_ZERO1},
}
TRAINED = {
    "HEAD": [
        "single",
        "pipeline",
        "tied-pipeline",
        "fused-gelu",
        "tied-norms-swish",
        "tensor-parallel",
        "tensor-parallel-pipeline",
        "fp16",
    ],
    "v1.0": ["single", "pipeline", "tied", "fused-gelu", "tensor-parallel-sequential", "fp16-pipeline"],
    "2.x": ["single", "pipeline", "fp16"],
}
"""What is trained with which generation; every case passes with HEAD and v1.0 both, but each run takes 5 to 10 s."""
RUNS = [(generation, case) for generation, cases in TRAINED.items() for case in cases]


class Saved:
    """A finished run: its config, its save folder, and what GPT-NeoX's own model says to some tokens."""

    def __init__(self, trainer: Trainer, case: str, folder: Path):
        self.trainer, self.folder, self.save = trainer, folder, folder / "save"
        self.checkpoint = self.save / f"global_step{STEPS}"
        self.ranks = CASES[case].get("model-parallel-size", 1)
        changes = {"rotary-pct": 0.5, "train-iters": STEPS, "extra-save-iters": [0, 2], **CASES[case]}
        config = {**trainer.config(), **changes, "save": str(self.save)}
        self.config = {key: value for key, value in config.items() if value is not None}
        trainer.run(folder, self.config, ranks=self.ranks)
        self.tokens = np.random.default_rng(0).integers(0, 128, (4, SEQ))
        np.save(folder / "tokens.npy", self.tokens)

    def trainer_logits(self, **environment: str) -> np.ndarray:
        """[4, SEQ, vocabulary] float32, of the model that GPT-NeoX builds and loads itself, in float32."""
        config = {key: value for key, value in self.config.items() if key not in ("save", "fp16")}
        config |= {"load": str(self.save), "precision": "fp32", "no_load_optim": True}
        # an optimizer that DeepSpeed need not compile: where none is loaded, DeepSpeed makes its own
        config["optimizer"] = {
            "type": "Adam",
            "params": {**config["optimizer"]["params"], "torch_adam": True},
        }
        config |= {"global_num_gpus": self.ranks, "num_gpus": self.ranks}
        (self.folder / "logits.yml").write_text(yaml.safe_dump(config))
        script = [HERE / "plain.py", self.trainer.home, HERE / "trainer_logits.py"]
        words = [*script, self.folder / "logits.yml", self.folder / "tokens.npy", self.folder / "logits"]
        processes = start_ranks(self.trainer.home, words, self.folder / "logits", self.ranks, environment)
        try:
            codes = [process.wait(600) for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert not any(codes), (self.folder / "logits-0.txt").read_text()[-4000:]
        return np.concatenate([np.load(self.folder / f"logits-{rank}.npy") for rank in range(self.ranks)], -1)


SavedRun = Callable[[str, str], Saved]


@pytest.fixture(scope="module")
def saved_run(trainer_for: Callable[[str], Trainer], tmp_path_factory: pytest.TempPathFactory) -> SavedRun:
    """(generation, case) -> its run, made once."""

    @cache
    def make(generation: str, case: str) -> Saved:
        return Saved(trainer_for(generation), case, tmp_path_factory.mktemp(f"{generation}-{case}"))

    return make


def difference(saved: Saved, model: torch.nn.Module, **environment: str) -> float:
    """Largest difference of any logit."""
    theirs = saved.trainer_logits(**environment)
    ours = model(torch.from_numpy(saved.tokens)).logits.numpy()
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max())


@pytest.mark.parametrize(("generation", "case"), RUNS, ids=map("-".join, RUNS))
def test_logits_equal_those_of_the_trainers_own_model(
    generation: str, case: str, saved_run: SavedRun, record_property: Any
) -> None:
    saved = saved_run(generation, case)
    pipeline = any(saved.checkpoint.glob("layer_*"))
    assert pipeline is (case.endswith("pipeline") and generation != "2.x")
    model = load_model(saved.checkpoint)
    assert model.dtype == torch.float32 and not model.training and not model.config.use_cache
    assert not any(parameter.requires_grad for parameter in model.parameters())
    largest = difference(saved, model, EXACT_ROTARY="1" if case.startswith("fp16") else "")
    record_property("largest_logit_difference", largest)
    print(f"{generation} {case}: largest logit difference {largest:.2g}")
    assert largest < 1e-5
    if case.startswith("fp16"):
        files = sorted(saved.checkpoint.glob("layer_*")) or [saved.checkpoint / "mp_rank_00_model_states.pt"]
        state = torch.load(files[-1], weights_only=False)
        weights = state.get("module", state)
        assert all(weight.dtype == torch.float16 for weight in weights.values())


def test_fused_gelu_is_the_tanh_approximation(saved_run: SavedRun) -> None:
    for generation in ("HEAD", "v1.0"):
        saved = saved_run(generation, "fused-gelu")
        model = load_model(saved.checkpoint)
        assert model.config.hidden_act == "gelu_pytorch_tanh"
        for layer in model.gpt_neox.layers:
            layer.mlp.act = torch.nn.GELU()
        assert difference(saved, model) > 3e-5  # so the test above tells the two apart


@pytest.mark.parametrize("generation", ["HEAD", "v1.0", "2.x"])
def test_the_whole_way_from_a_save_folder(generation: str, saved_run: SavedRun, tmp_path: Path) -> None:
    saved = saved_run(generation, "pipeline")
    steps = [(step, saved.save / f"global_step{step}") for step in (0, 2, STEPS)]
    assert [step for step in list_checkpoints(saved.save) if step[0] > 0] == steps[1:]
    latest = load_model(saved.save)  # through its file "latest"
    assert model_fingerprint(latest) == model_fingerprint(load_model(saved.checkpoint))

    out = tmp_path / "hf"
    result = CliRunner().invoke(app, ["export", str(saved.checkpoint), "--out", str(out)])
    assert result.exit_code == 0, result.output
    exported = hf.load_model(out)
    assert model_fingerprint(exported) == model_fingerprint(latest)
    for (name, ours), (_, theirs) in zip(latest.named_parameters(), exported.named_parameters(), strict=True):
        assert torch.equal(ours, theirs), name

    result = CliRunner().invoke(
        app, ["scan", "--checkpoints", str(saved.save), "--out", str(tmp_path / "scan"), "--sequences", "4"]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "scan" / "scan.json").is_file()


def test_a_run_without_config_files_says_what_is_missing(saved_run: SavedRun, tmp_path: Path) -> None:
    saved = saved_run("HEAD", "single")
    folder = tmp_path / "save" / "global_step4"
    folder.mkdir(parents=True)
    (folder / "mp_rank_00_model_states.pt").symlink_to(saved.checkpoint / "mp_rank_00_model_states.pt")
    with pytest.raises(CuratorError, match=r"missing pos-emb, rotary-pct, .*architecture\.yml"):
        load_model(folder)
    (tmp_path / "save" / "configs").mkdir()
    (tmp_path / "save" / "configs" / "architecture.yml").write_text(
        "{pos-emb: rotary, rotary-pct: 0.5, rotary-emb-base: 10000, gpt-j-residual: true, activation: gelu, "
        "bias-gelu-fusion: false, layernorm-epsilon: 1e-5}"
    )
    assert model_fingerprint(load_model(folder)) == model_fingerprint(load_model(saved.checkpoint))
