"""What each quantity of `curator curves` costs, against a plain forward pass of the same model in the same run.

The plain pass is a Hugging Face forward pass with logits over a batch of rows, without gradients. Passes are
interleaved and medians of the ratios of each round compared. Quantities are taken at their defaults: 100 sequences of
2 × 8 to 20 tokens for metric and probes, of up to 45 for ablation; loss and ICL score on the rows of the plain pass.

    OMP_NUM_THREADS=1 python benchmarks/curves.py
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from curator.artifacts.fields import ProbeName
from curator.evaluate.ablation import draw_copy_task
from curator.evaluate.quantities import Quantities
from curator.units import ProbeSettings, Sequences, kinds, parse_units

SHAPES = {
    "study": (512, 64, 2, 2, 256, 64),
    "pythia-14m": (50304, 128, 6, 4, 2048, 4),
}
"""Vocabulary, d_model, layers, heads, context, rows (of 64; as many as a CPU does in a minute)."""


def passes_of(shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """Name -> a pass; the first is the yardstick."""
    vocab_size, d_model, layers, heads, context, rows = shape
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=d_model,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * d_model,
        max_position_embeddings=context,
    )
    model = GPTNeoXForCausalLM(config).eval().requires_grad_(False)
    held_out = torch.randint(0, vocab_size, (rows, context + 1))
    settings = ProbeSettings()
    units = {kind: unit.instances(model) for kind, unit in kinds().items()}
    drawn = {kind: own[0].sequences(settings, vocab_size, context) for kind, own in units.items()}
    metrics = {
        kind: (own, own[0].metric_sequences(settings, vocab_size, context)) for kind, own in units.items()
    }

    def plain() -> None:
        with torch.no_grad():
            for row in held_out.split(1 if vocab_size > 10_000 else rows):
                model(input_ids=row[:, :-1], use_cache=False).logits.sum()

    def asked(spec: str, sequences: Sequences, probe: ProbeName | None = None) -> Quantities:
        return Quantities(probes=[(parse_units([spec], model, probe), sequences)])

    quantities = {
        "metric, all kinds": Quantities(kinds=metrics),
        "metric, induction": Quantities(kinds={"induction": metrics["induction"]}),
        "probe paper": asked("induction:*", drawn["induction"], "paper"),
        "probe attention": asked("induction:*", drawn["induction"], "attention"),
        "probe duplicate": asked("duplicate-token:*", drawn["duplicate-token"]),
        "ablation, all heads": Quantities(task=draw_copy_task(settings, vocab_size, context)),
        "loss and icl": Quantities(held_out=held_out, loss=True, icl=True),
    }
    bound = {name: (lambda one=one: one(model)) for name, one in quantities.items()}
    return {"plain": plain, **bound}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for name in given.shape or SHAPES:
        passes = passes_of(SHAPES[name])
        seconds: dict[str, list[float]] = {one: [] for one in passes}
        for number in range(given.rounds + 1):
            for one, run in passes.items():
                started = time.perf_counter()
                run()
                if number:
                    seconds[one].append(time.perf_counter() - started)
        tokens = SHAPES[name][4] * SHAPES[name][5]
        print(
            f"\n{name}: a plain pass of {tokens:,} tokens takes {statistics.median(seconds['plain']):.2f} s"
        )
        print(f"{'quantity':<22}{'seconds':>10}{'plain passes':>14}")
        for one in passes:
            ratio = statistics.median(a / b for a, b in zip(seconds[one], seconds["plain"]))
            print(f"{one:<22}{statistics.median(seconds[one]):>10.3f}{ratio:>14.2f}")


if __name__ == "__main__":
    main()
