"""docs/neox.md, followed literally: its commands are taken from the page and run in a fresh folder, in one shell.

Other than on the page are the values of its first block, and what stands in $CONFIGS: a two-layer model that trains on
the CPU. The text is the standard library's, the tokenizer is made of it.
"""

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from commands import done
from neox_runs import HERE, ROOT, TINY, Trainer, cpu_environment, free_port, library_texts, start_ranks
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from curator.corpus import open_corpus
from curator.neox.records import checkpoint_folder, latest_step, read_record
from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking
from curator.scan.scan import Scan

WALK = "From a clone to a masked Pythia-14M run"
PAGE = ROOT / "docs" / "neox.md"
BATCH, FIRST, LAST = 4, 4, 8
VALUES = {
    "git clone": "",
    "git -C gpt-neox": "",
    "export NEOX_HOME=": "export NEOX_HOME={home}",
    "CONFIGS=": "CONFIGS=$PWD/configs",
    "TOKENIZER=": "TOKENIZER=$PWD/tokenizer.json",
    "BATCH=": f"BATCH={BATCH} FIRST={FIRST} LAST={LAST} EVERY=2",
    "UNIT=": "UNIT=induction:1.0 DEVICE=cpu",
}
"""Beginning of a line of the first block -> the line that is run in its place."""


def commands(*sections: str) -> list[str]:
    """Every bash block of these sections of the page, in their order."""
    text = PAGE.read_text()
    blocks = []
    for section in sections:
        start = text.index(f"\n## {section}\n")
        part = text[start : text.index("\n## ", start + 1)]
        blocks += re.findall(r"```bash\n(.*?)```", part, re.DOTALL)
    return blocks


def with_values(block: str, home: Path) -> str:
    """The first block with the values of `VALUES`; every one of them must be found once."""
    lines = block.splitlines()
    for beginning, line in VALUES.items():
        (place,) = [number for number, there in enumerate(lines) if there.startswith(beginning)]
        lines[place] = line.format(home=home)
    return "\n".join(lines)


def follow(
    folder: Path,
    home: Path,
    texts: dict[str, Sequence[str]],
    tokenizer: Tokenizer,
    model: dict[str, Any],
    blocks: Sequence[str],
) -> str:
    """Run these blocks of the page in ``folder``; returns the script's output."""
    folder.mkdir()
    for part, documents in texts.items():
        (folder / f"{part}.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in documents)
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "configs").mkdir()
    (folder / "configs" / "pythia-14m.yml").write_text(yaml.safe_dump(model))
    script = "\n".join(["set -euo pipefail -x", with_values(blocks[0], home), *blocks[1:]])
    (folder / "script.sh").write_text(script)
    environment = cpu_environment(home) | {"HOME": str(folder)}
    with open(folder / "log.txt", "w") as log:
        done = subprocess.run(
            ["bash", "script.sh"], cwd=folder, env=environment, stdout=log, stderr=log, timeout=1800
        )
    text = (folder / "log.txt").read_text(errors="replace")
    assert done.returncode == 0, text[-6000:]
    return text


def tiny_model() -> dict[str, Any]:
    launched = {
        "global_num_gpus": 1,
        "num_gpus": 1,
        "master_port": free_port(),
        "hostfile": "/nonexistent",
        "tokenizer-type": "HFTokenizer",
        "train-iters": 40,
        "lr-decay-iters": 40,
    }
    return TINY | launched


def made_tokenizer(texts: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()  # type: ignore[assignment]
    special = ["<|endoftext|>", "<|padding|>"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, special_tokens=special))
    return tokenizer


def followed(trainer: Trainer, folder: Path, blocks: Sequence[str]) -> str:
    """The log of these blocks, followed with texts of the standard library."""
    texts = library_texts()
    parts = {"train": texts[20:], "valid": texts[:20]}
    return follow(folder, trainer.home, parts, made_tokenizer(texts), tiny_model(), blocks)


def test_the_page_is_followed_from_a_clone_to_arms_and_online_scores(
    trainer_for: Callable[[str], Trainer], tmp_path: Path
) -> None:
    """The whole page, with v1.0."""
    folder = tmp_path / "study"
    log = followed(trainer_for("v1.0"), folder, commands(WALK, "Emissions"))

    assert latest_step(folder / "baseline") == LAST
    ranking = Ranking.open(folder / "ranking")
    assert ranking.samples.tolist() == list(range(BATCH * FIRST, BATCH * LAST))
    plan = Plan.load(folder / "plan-top")
    masked = plan.masked_slots()
    scores = ranking.unit_scores("induction:1.0")
    assert masked.tolist() == sorted(BATCH * FIRST + np.argsort(scores)[-len(masked) :]) and len(masked)
    for arm, plan_folder, last in (("masked", "plan-top", LAST), ("added", "plan-in", LAST + 2)):
        fingerprint = Plan.load(folder / plan_folder).fingerprint()
        assert f"from step {FIRST}, plan {fingerprint}" in log
        record = read_record(checkpoint_folder(folder / arm, LAST))
        assert record is not None and record.stretches[-1].plan_fingerprint == fingerprint
        assert f"exiting the program at iteration {last}" in log
    assert Scan.open(folder / "scan-masked").steps[0] == FIRST
    online = Ranking.open(folder / "ranking-online")
    assert online.samples.tolist() == ranking.samples.tolist()
    first = online.unit_scores("induction:1.0")[:BATCH]  # the same weights gave these in both
    np.testing.assert_allclose(first, scores[:BATCH], rtol=0, atol=1e-4 * np.abs(scores).max())


def test_the_page_is_followed_with_head_to_the_baseline(head: Trainer, tmp_path: Path) -> None:
    """As far as the commands meet the checkout by themselves: its tool, its deepy.py, data, names of checkpoints.

    An arm of this baseline is then made and trained as the page has it, without DeepSpeed's launcher.
    """
    folder = tmp_path / "study"
    *blocks, training = commands(WALK)[:4]
    training, found, _ = training.partition("curator scan")
    assert found and "deepy.py train.py" in training
    followed(head, folder, [*blocks, training])
    assert latest_step(folder / "baseline") == LAST
    corpus = max((folder / "data").glob("train_text_document*_train_*_shuffle_idx.npy"))
    plan = Plan.identity(BATCH * LAST, BATCH, open_corpus(corpus).fingerprint())
    plan = plan.mask(np.array([BATCH * FIRST]))
    plan.save(folder / "plan")
    words = ["--from", folder / "baseline" / f"global_step{FIRST}", "--corpus", corpus]
    done("arm", "--plan", folder / "plan", *words, "--out", folder / "masked")
    arm = [
        "--patch",
        folder / "masked" / "patch.yml",
        HERE / "train_direct.py",
        folder / "masked" / "train.yml",
    ]
    (process,) = start_ranks(head.home, ["-m", "neox_patches", *arm], folder / "arm", 1, {})
    said = (folder / "arm-0.txt") if process.wait(240) == 0 else Path("failed")
    assert f"from step {FIRST}, plan {plan.fingerprint()}" in said.read_text()
