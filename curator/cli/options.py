"""Options that several commands share, and how their text becomes values."""

from pathlib import Path
from typing import Annotated, Any

import typer

from curator.errors import UsageError


def span(text: str | None, flag: str) -> tuple[int, int] | None:
    """``A:B`` as (A, B).

    Raises:
        UsageError: not two whole numbers with a colon between.
    """
    if text is None:
        return None
    first, colon, last = text.partition(":")
    if not (colon and first.strip().isdigit() and last.strip().isdigit()):
        raise UsageError(f"{flag} takes FIRST:LAST, two whole numbers with a colon between, not '{text}'")
    return int(first), int(last)


def step_list(text: str | None, flag: str) -> tuple[int, ...] | None:
    """``0,200:300:50`` as (0, 200, 250, 300): numbers and FROM:TO:EVERY ranges, both ends included."""
    if text is None:
        return None
    steps: set[int] = set()
    for part in text.split(","):
        numbers = part.strip().split(":")
        if len(numbers) not in (1, 3) or not all(number.isdigit() for number in numbers):
            raise UsageError(f"{flag} takes steps such as 0,100,200:400:50 (FROM:TO:EVERY), not '{part}'")
        if len(numbers) == 1:
            steps.add(int(numbers[0]))
        else:
            start, stop, every = map(int, numbers)
            if every < 1 or stop < start:
                raise UsageError(f"{flag}: '{part}' needs FROM <= TO and EVERY >= 1")
            steps |= set(range(start, stop + 1, every))
    return tuple(sorted(steps))


def worker(text: str) -> tuple[int, int]:
    """``R/W`` as (R, W)."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise UsageError(f"--worker takes R/W with 0 <= R < W, for example 0/4, not '{text}'")
    return int(number), int(count)


def weighted(texts: list[str], flag: str) -> list[tuple[Path, float]]:
    """``PATH=WEIGHT`` each, as (path, weight); the last ``=`` counts."""
    pairs = []
    for text in texts:
        path, equals, weight = text.rpartition("=")
        try:
            pairs.append((Path(path), float(weight)))
        except ValueError:
            equals = ""
        if not (path and equals):
            raise UsageError(
                f"{flag} takes PATH=WEIGHT, for example data/wiki_..._shuffle_idx.npy=0.7, not '{text}'"
            )
    return pairs


def merged(path: Path | None, **flags: Any) -> Any:
    """The experiment file, or an empty one, under the flags that are not None."""
    from curator.settings import Experiment, load_experiment, merge

    return merge(load_experiment(path) if path else Experiment(), **flags)


Experiment = Annotated[
    Path | None,
    typer.Option("--experiment", "-e", help="Experiment file (YAML); flags override it.", show_default=False),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint folder, or Hugging Face id such as EleutherAI/pythia-14m@step1000.",
        show_default=False,
    ),
]
Corpus = Annotated[
    Path | None,
    typer.Option(
        help="Training tokens in training order: Megatron .bin/.idx (also its released shards), GPT-NeoX's index "
        "maps (..._shuffle_idx.npy) or a blend of them, [N, T] .npy, an mmap-ninja folder, or an embedded corpus.",
        show_default=False,
    ),
]
Units = Annotated[
    list[str] | None,
    typer.Option(
        "--unit",
        help="kind:layer.head, 0-based: induction:1.2, previous-token:0.0, 'induction:*' for every head. Repeatable.",
        show_default=False,
    ),
]
UnitModules = Annotated[
    list[Path] | None,
    typer.Option(
        "--unit-module",
        help="Python file that registers your own kinds of unit. Repeatable.",
        show_default=False,
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the result.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N. \\[default: cpu]", show_default=False)]
Tokenizer = Annotated[
    Path | None,
    typer.Option(help="tokenizer.json; found beside the corpus or the model by default.", show_default=False),
]
ProbeIds = Annotated[
    str | None,
    typer.Option(
        help="Ids that sequences are drawn from: tokenizer (its entries), corpus (ids that occur there), all (each row "
        "of the embedding, padding too), auto (the first that is known). \\[default: auto]",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Samples per training step (global batch): step s holds samples s*B to s*B + B - 1.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Passes of the run over the corpus, the last perhaps not whole: slot s holds sample s modulo its length. "
        "\\[default: 1]",
        show_default=False,
    ),
]
