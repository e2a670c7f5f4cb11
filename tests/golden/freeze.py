"""Folders of every kind, made by the command line, and a comparison of two such sets, for refactoring.

    python tests/golden/freeze.py make OUT          with the code as it is; OUT/neox too where checkouts are found
    python tests/golden/freeze.py compare OLD NEW   arrays, weights and texts to the bit, JSON key by key

On one machine the two sets are equal to the bit. Only commands are called and only files are compared, so that neither
side knows how the other is built. Left out is what tells runs apart: times, versions, paths, commands.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
EXPERIMENT = """
corpus: corpus
batch_size: 16
scan: {kinds: [induction, previous-token]}
probe: {name: paper, sequences: 20, min_length: 4, max_length: 8, seed: 0}
train: {n_layers: 2, d_model: 16, n_heads: 2, d_mlp: 16, vocab_size: 300, seq_length: 32, rotary_pct: 0.25,
  rotary_base: 100, steps: 40, batch_size: 16, learning_rate: 8e-3, warmup_steps: 5, weight_decay: 0.1,
  gradient_clip: 1.0, seed: 0, checkpoint_steps: [0, 10, 20, 40]}
"""
PLAIN = "curator rank -e tiny.yml --model base/step20 --batch-size 16 --window 10:30"
RANK = f"{PLAIN} --factor-samples 64"
MASK = "curator mask --batch-size 16 --corpus corpus"
INJECT = "curator inject --batch-size 16 --corpus corpus"
TOP = "--ranking rank --unit induction:1.0 --select top"
CONTROL = "--ranking rank --unit induction:1.0 --count 20"
ARM = "curator train -e tiny.yml --start-from base/step10 --checkpoint-steps 40"
COMMANDS = f"""
curator corpus build --out corpus --samples 800 --vocab-size 300 --drill-fraction 0.5
curator train -e tiny.yml --out base
curator scan -e tiny.yml --checkpoints base --out scan
{RANK} --unit induction:* --unit previous-token:0.0 --out rank
{RANK} --unit induction:1.* --dtype float64 --shard-size 48 --out rank64
{RANK} --unit induction:1.0 --fisher empirical --damping max --out rank-empirical
{RANK} --unit induction:1.0 --damping absolute --alpha 0.01 --out rank-absolute
{PLAIN} --unit induction:1.0 --preconditioner identity --out rank-identity
{RANK} --unit induction:1.0 --queries-only --out queries
curator rank --queries-of rank --corpus corpus --samples 0:64 --out rank-of
{MASK} {TOP} --percent 10 --out mask-top
{MASK} {TOP} --percent 10 --divisor renormalised --steps 12:28 --out mask-renormalised
{MASK} --ranking rank --ranking rank64 --unit induction:1.0 --select bottom --count 9 --out mask-bottom
{MASK} {CONTROL} --select random --out mask-random
{MASK} {CONTROL} --select loss-matched --loss-bins 20 --out mask-loss-matched
{MASK} {CONTROL} --select random-in-category --out mask-in-category
{MASK} {TOP} --percent 5 --epochs 2 --out mask-epochs
{INJECT} {TOP} --count 32 --after 12 --out inject-after
{INJECT} {TOP} --count 32 --spread 12:28 --repeat 2 --out inject-spread
{INJECT} {TOP} --count 24 --replace 12:28 --plan mask-top --out inject-replace
{INJECT} --rows own.npy --after 20 --shuffle-seed 3 --out inject-rows
{ARM} --plan mask-renormalised --out arm-renormalised
{ARM} --plan inject-replace --out arm-replace
{ARM} --plan inject-rows --out arm-rows
{ARM} --plan mask-epochs --out arm-epochs
curator show rank --unit induction:1.0 --top 3 --bottom 2 --random 2 --json shown.json --markdown shown.md
curator schedule --window 10:30 --every 5 --also 0,1,2 --out schedule.yml
synth distill rank --unit induction:1.0 --engine builtin --top 60 --out patterns
synth audit patterns patterns
synth generate patterns --engine builtin --all --out generators
synth render generators --count 24 --seq-length 32 --out rows
synth audit data rows --ranking rank --unit induction:1.0 --random 40 --sample 0 --out audit
{INJECT} --rows rows --spread 12:28 --count 16 --out inject-rendered
"""
VOLATILE = set(
    [
        "command",
        "versions",
        "version",
        "curator",
        "python",
        "torch",
        "numpy",
        "time",
        "seconds",
        "created",
        "host",
        "started",
        "ended",
        "wall_s",
        "cpu_s",
        "made_with",
        "paths",
        "path",
        "corpus_path",
        "folder",
        "run",
        "starts",
        "date",
        "rows_per_second",
        "ranking_fingerprint",
        "emitted_by",
        "emission",
    ]
)
"""Keys of JSON files whose values tell runs apart, not results."""
FOLLOWS_A_DATE = (
    r"(mask|inject)-.*/selection\.json.*\.fingerprint|rank-emitted-.*/manifest\.json\.fingerprint"
)
"""Fingerprints of manifests that say when they were written."""
SKIPPED = ("log", "txt", "yml", "md", "jsonl", "pyc", "lock", "png", "svg", "html", "idx", "py~")


def make(out: Path) -> None:
    """Run `COMMANDS` in ``out``, and the trainers of `make_neox`; what was done there before is left out."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "tiny.yml").write_text(EXPERIMENT)
    np.save(out / "own.npy", np.random.default_rng(7).integers(0, 300, (32, 33)).astype(np.uint16))
    for command in COMMANDS.strip().splitlines():
        run(out, command.split())
    make_neox(out)


def run(folder: Path, words: list[str]) -> None:
    """One command of this Python's environment, one thread."""
    done = folder / ".done"
    line = " ".join(words)
    if done.is_file() and line in done.read_text().splitlines():
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""}
    program = Path(sys.executable).parent / words[0]
    ran = subprocess.run(
        [str(program), *words[1:]], cwd=folder, env=environment, capture_output=True, text=True
    )
    print("+", line, flush=True)
    if ran.returncode:
        raise SystemExit(f"{line}\n{ran.stdout}{ran.stderr}")
    with open(done, "a") as file:
        file.write(f"{line}\n")


def make_neox(out: Path) -> None:
    """Checkpoints and emissions of every checkout under a plan that masks, inserts and replaces."""
    sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "neox_patches" / "trainer"), str(HERE.parent)]
    from neox_runs import PP1_ZERO1, TESTED, Trainer

    from curator.neox.checkout import find_checkouts

    homes = {checkout.generation: checkout.home for checkout in find_checkouts()}
    rng = np.random.default_rng(5)
    np.save(out / "chars.npy", rng.integers(32, 127, (64, 33)).astype(np.uint16))
    np.save(out / "others.npy", rng.integers(32, 127, (8, 33)).astype(np.uint16))
    steps = ["--batch-size", "4", "--corpus", "chars.npy", "--rows", "others.npy"]
    run(out, ["curator", "inject", *steps, "--count", "4", "--after", "3", "--out", "neox-after"])
    run(
        out,
        [
            "curator",
            "inject",
            *steps,
            "--count",
            "4",
            "--replace",
            "1:6",
            "--plan",
            "neox-after",
            "--out",
            "neox-plan",
        ],
    )
    for generation in TESTED:
        if generation not in homes:
            print(f"no checkout of GPT-NeoX {generation}: left out", flush=True)
            continue
        trainer = Trainer(generation, homes[generation], out / "chars")
        for name, layout in (("pp0", {}), ("pp1", PP1_ZERO1)):
            folder = out / f"neox-{generation}-{name}"
            data = tiny_data(out, trainer)
            config = trainer.config(**layout, save=str(folder / "save"), train_iters=8, checkpoint_factor=4)
            config |= {f"{split}-data-paths": [str(data)] for split in ("train", "valid", "test")}
            emit = {"out": str(folder / "emitted"), "steps": [2, 6, 7], "units": ["induction:1.*"]}
            emit |= {"gradients": {}, "factors": {}}
            study = {"corpus": str(out / "chars.npy"), "plan": str(out / "neox-plan"), "emit": emit}
            trainer.run(folder, config, study)
            print("+", generation, name, flush=True)
        ranked = [
            "--model",
            f"neox-{generation}-pp0/save",
            "--corpus",
            "chars.npy",
            "--unit",
            "induction:1.0",
        ]
        ranked += [
            "--samples",
            "20:28",
            "--probe-lengths",
            "4:8",
            "--probe-sequences",
            "8",
            "--probe-ids",
            "all",
            "--probe",
            "paper",
        ]
        emitted = ["--emitted", f"neox-{generation}-pp0/emitted", "--out", f"rank-emitted-{generation}"]
        run(out, ["curator", "rank", *ranked, *emitted])
        run(out, ["curator", "export", f"neox-{generation}-pp1/save", "--out", f"export-{generation}"])


def tiny_data(out: Path, trainer: Any) -> Path:
    """Some data that the trainer opens beside the corpus that is served."""
    from neox_runs import library_texts, preprocess

    folder = out / f"data-{trainer.generation}"
    if not folder.exists():
        folder.mkdir()
        preprocess(trainer.home, folder / "text", library_texts()[:40])
    return next(folder.glob("*.bin")).with_suffix("")


def compare(old: Path, new: Path) -> int:
    """Say every difference; returns how many there are."""
    roots = (str(old.resolve()), str(new.resolve()))
    names = [{str(path.relative_to(root)) for path in files(root)} for root in (old, new)]
    differences = [f"{name}: only in {old}" for name in sorted(names[0] - names[1])]
    differences += [f"{name}: only in {new}" for name in sorted(names[1] - names[0])]
    both = sorted(names[0] & names[1])
    for name in both:
        a, b = old / name, new / name
        if a.suffix == ".json":
            left, right = (json.loads(path.read_text()) for path in (a, b))
            differences += in_json(left, right, name, roots)
        elif a.suffix == ".pt":
            differences += [f"{name}: weights differ"] * (weights(a) != weights(b))
        elif a.read_bytes() != b.read_bytes():
            differences.append(f"{name}: bytes differ")
    print(*differences, f"{len(both)} files compared, {len(differences)} differences", sep="\n")
    return len(differences)


def files(root: Path) -> Iterator[Path]:
    """All files whose content is a result."""
    hidden = (".", "data-", "configs", "logs")
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if (
            path.is_file()
            and path.suffix.lstrip(".") not in SKIPPED
            and not any(p.startswith(hidden) for p in parts)
        ):
            yield path


def in_json(a: Any, b: Any, place: str, roots: tuple[str, str]) -> list[str]:
    """The places at which two JSON values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        found = []
        for key in sorted(set(a) | set(b)):
            if key not in VOLATILE:
                there = (a.get(key, "(nothing)"), b.get(key, "(nothing)"))
                found += in_json(*there, f"{place}.{key}", roots)
        return found
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [line for n, pair in enumerate(zip(a, b)) for line in in_json(*pair, f"{place}[{n}]", roots)]
    if re.fullmatch(FOLLOWS_A_DATE, place):
        return []
    if isinstance(a, str) and isinstance(b, str):
        a, b = a.replace(roots[0], "OUT"), b.replace(roots[1], "OUT")
    return [] if a == b else [f"{place}: {a!r:.80} != {b!r:.80}"]


def weights(path: Path) -> str:
    """A digest of all tensors of a checkpoint of the trainer."""
    import torch

    found = hashlib.sha256()

    def visit(name: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.update(f"{name}{value.dtype}{list(value.shape)}".encode())
            found.update(value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                visit(f"{name}.{key}", value[key])
        elif isinstance(value, (list, tuple)):
            for number, item in enumerate(value):
                visit(f"{name}.{number}", item)

    visit("", torch.load(path, map_location="cpu", weights_only=False))
    return found.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="run the commands in a new folder")
    making.add_argument("out", type=Path)
    comparing = commands.add_parser("compare", help="compare two such folders")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    given = parser.parse_args()
    if given.command == "make":
        make(given.out.resolve())
    else:
        sys.exit(bool(compare(given.old, given.new)))


if __name__ == "__main__":
    main()
