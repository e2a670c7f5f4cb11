"""The runs of a study as runs of an unmodified GPT-NeoX, patched, each in a folder that `curator arm` would write.

The patches serve the study's corpus row by row, as the embedded trainer does, so that samples, rankings and plans are
of the same rows with either. A killed run goes on at its latest checkpoint. Refused: GPT-NeoX's own shuffled order, in
which two trainers of one study would see other samples under the same numbers.
"""

import importlib.metadata
import os
import re
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from curator.artifacts.files import load_json, save_json, save_text
from curator.artifacts.workers import run_tied
from curator.corpus import EmbeddedCorpus
from curator.errors import CuratorError
from curator.evaluate.curves import Measured
from curator.models import load_model
from curator.neox.arm import write_arm
from curator.neox.checkout import choose_checkout
from curator.neox.data_set import write_data_set
from curator.neox.prepare import prepare_arm
from curator.neox.recipe import settings_of
from curator.neox.records import checkpoint_folder, checkpoints_in
from curator.neox.settings import ArmSettings
from curator.neox.standing import recorded_checkpoints
from curator.plan.plan import Plan
from curator.study.study import Study
from curator.study.trainer import Run

ERRORS = re.compile(r"^(?:\[rank\d+\]: )?(?:error: (.+)|(\w+(?:Error|Exception): .+))", re.MULTILINE)
"""Lines of a log that say what went wrong: the patches', and Python's."""

CONFIGS = ("train.yml", "launch.yml")
"""What GPT-NeoX is started with."""


@dataclass(frozen=True)
class NeoxRuns:
    """A `curator.study.trainer.Trainer`."""

    study: Study

    def check(self) -> None:
        """Raises:
        CuratorError: no checkout, no DeepSpeed, or a model that the checkout cannot make.
        """
        checkout, shape = choose_checkout(self.study.neox.home), self.study.train
        if shape.d_mlp != 4 * shape.d_model and checkout.generation != "HEAD":
            raise CuratorError(
                f"train.d_mlp is {shape.d_mlp}, but GPT-NeoX {checkout.generation} has four times d_model, "
                f"{4 * shape.d_model}; HEAD has any"
            )
        try:
            importlib.metadata.version("deepspeed")
        except importlib.metadata.PackageNotFoundError as error:
            raise CuratorError(
                "deepspeed is not installed, with which GPT-NeoX trains: make neox, or as the head of "
                "constraints.txt says (curator doctor)"
            ) from error

    def checkpoint(self, run: Path, step: int) -> Path:
        """``global_step{N}``."""
        return checkpoint_folder(run, step)

    def train(self, run: Run, measured: Measured) -> None:
        """Train, or go on, and measure the saved checkpoints.

        Raises:
            CuratorError: GPT-NeoX failed; with its last error, and where its log is.
        """
        stop = run.config.steps if run.plan is None else run.last + run.extra
        every = self.study.measure_every
        wanted = range(-(-run.first // every) * every, stop + 1, every)
        needed = {*wanted, stop} - {0}  # whose record tells of no training; where a later one is, it is whole
        asked = self._asked(run, stop)
        if not self._goes_on(run, asked, needed):
            shutil.rmtree(run.folder, ignore_errors=True)
            arm, _ = prepare_arm(asked)
            write_arm(arm)
            save_json(run.folder / "asked.json", _identity(asked))
        if not needed <= set(_whole(run)):
            self._launch(run.folder)
        for step in wanted:
            measured(step, load_model(checkpoint_folder(run.folder, step)))

    def tidy(self, run: Run) -> None:
        """Keep of an arm its last checkpoint alone."""
        if run.plan is not None:
            shutil.rmtree(self._place(run))
            for step in sorted(checkpoints_in(run.folder))[:-1]:
                shutil.rmtree(checkpoint_folder(run.folder, step))

    def _place(self, run: Run) -> Path:
        """What it is made of lies here: of each apart, since GPT-NeoX writes index maps beside its data."""
        return run.seed_folder / "neox" / run.name

    def _asked(self, run: Run, stop: int) -> ArmSettings:
        """What `curator arm` would be asked for; the baseline is an arm from step 0, without a plan."""
        assert isinstance(run.corpus, EmbeddedCorpus)
        place = self._place(run)
        tokenizer = run.corpus.tokenizer_file
        assert tokenizer is not None
        if not (place / "text.idx").is_file():
            write_data_set(place / "text", run.corpus.rows(slice(0, run.config.batch_size)))
        base = settings_of(
            run.config,
            place.absolute() / "text",
            tokenizer.absolute(),
            self.study.neox.set,
            is_on_gpu(),
        )
        save_text(place / "base.yml", yaml.safe_dump(base, sort_keys=False))
        first, every, plan = run.first, self.study.checkpoint_every, None
        saved = [0] if not first else []
        if run.plan is not None:
            every, saved = self.study.measure_every, [*saved, stop]
            plan = run.seed_folder / "plans" / run.name
            run.plan.save(plan)
        changes = [f"checkpoint_factor={every}", f"extra_save_iters={saved}"]
        if stop < run.config.steps + run.extra:
            changes.append(f"exit_interval={stop}")
        return ArmSettings(
            out=run.folder,
            plan=plan,
            start_from=checkpoint_folder(run.seed_folder / "baseline", first) if first else None,
            config=(place / "base.yml",),
            changes=tuple(changes),
            neox=self.study.neox.home,
            corpus=run.seed_folder / "corpus",
        )

    def _goes_on(self, run: Run, asked: ArmSettings, needed: set[int]) -> bool:
        """Whether what is there is this run, with all checkpoints that it needs up to the newest that is whole.

        That becomes its latest; what a kill cut short goes. v1.0 cannot go on from step 0.
        """
        folder, file = run.folder, run.folder / "asked.json"
        if not file.is_file() or load_json(file) != _identity(asked):
            return False
        whole = _whole(run)
        newest = max(whole, default=0)
        if not newest or not {step for step in needed if step <= newest} <= set(whole):
            return False
        for step in checkpoints_in(folder):
            if step > newest:
                shutil.rmtree(checkpoint_folder(folder, step))
        save_text(folder / "latest", checkpoint_folder(folder, newest).name)
        return True

    def _launch(self, folder: Path) -> None:
        """As the command of `curator arm` does, on a port of its own, since runs stand side by side."""
        save_text(folder / "launch.yml", yaml.safe_dump({"master_port": _free_port()}))
        log = folder / "log.txt"
        words = ["--patch", "patch.yml", "deepy.py", "train.py", *CONFIGS]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}  # one thread per run, as all runs of a study
        code = run_tied([sys.executable, "-m", "neox_patches", *words], folder, environment, log)
        if code:
            said = ERRORS.findall(log.read_text(errors="replace"))
            raise CuratorError(
                f"{log}: GPT-NeoX ended with {code}: {''.join(said[-1]) if said else 'it says why'}"
            )


def _whole(run: Run) -> list[int]:
    """Steps of the checkpoints that have a record and, which GPT-NeoX writes last, their copies of the config files."""
    told = (run.folder / "train.yml").read_text()
    whole = []
    for step in recorded_checkpoints(run.folder):
        configs = checkpoint_folder(run.folder, step) / "configs"
        files = [configs / name for name in CONFIGS]
        if step == run.first or (all(map(Path.is_file, files)) and files[0].read_text() == told):
            whole.append(step)
    return whole


def _identity(asked: ArmSettings) -> dict[str, Any]:
    """What tells a run from another, as JSON."""
    return {
        "base": [file.read_text() for file in asked.config],
        "changes": list(asked.changes),
        "plan": None if asked.plan is None else Plan.load(asked.plan).fingerprint(),
    }


def is_on_gpu() -> bool:
    """Whether GPT-NeoX would train on a GPU."""
    return torch.distributed.is_nccl_available() and torch.cuda.is_available()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
