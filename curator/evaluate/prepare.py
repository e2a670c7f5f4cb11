"""From settings to `Quantities`: what is drawn, and read, before the first model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from curator.errors import UsageError
from curator.evaluate.ablation import draw_copy_task
from curator.evaluate.losses import TEXT_CONTEXT, text_rows
from curator.evaluate.quantities import Quantities, asked_alike
from curator.evaluate.settings import Measures
from curator.units import ProbeSettings, Unit, load_sequences


def prepare(
    asked: Measures,
    settings: ProbeSettings,
    *,
    kinds: Mapping[str, Sequence[Unit]],
    probes: Sequence[Unit],
    vocab_size: int,
    positions: int,
    held_out: Tensor | None = None,
    tokenizer: Path | None = None,
    tokens: Path | None = None,
) -> Quantities:
    """What ``asked`` names.

    Args:
        settings: how sequences are drawn, and what is known for it.
        kinds: all units of every kind, for their metric; probes: those whose probes are taken.
        positions: how long sequences may be.
        held_out: rows [n, width] that no run trains on, where there are.
        tokenizer: of ``asked.icl_text``.
        tokens: given probe tokens, for all probes, instead of drawn ones.

    Raises:
        UsageError: rows are asked for, and there are none.
    """
    if asked.reads_rows and held_out is None:
        which = " and ".join(name for name in ("icl", "loss") if name in asked.measure)
        raise UsageError(
            f"{which}: no held-out rows are known; give --corpus and --held-out FIRST:LAST (samples that no run "
            "trained on), or for icl alone --icl-text FILE"
        )
    text = None
    if "icl" in asked.measure and asked.icl_text is not None:
        width = min(positions, TEXT_CONTEXT) + 1
        text = text_rows(asked.icl_text, tokenizer, width, asked.held_out_rows, vocab_size)
    metrics = {
        kind: (units, type(units[0]).metric_sequences(settings, vocab_size, positions))
        for kind, units in kinds.items()
        if units and "metric" in asked.measure
    }
    groups = asked_alike(probes) if "probe" in asked.measure else []
    given = load_sequences(tokens, vocab_size, positions) if tokens is not None and groups else None
    return Quantities(
        kinds=metrics,
        probes=[(own, given or own[0].sequences(settings, vocab_size, positions)) for own in groups],
        task=draw_copy_task(settings, vocab_size, positions) if "ablation" in asked.measure else None,
        held_out=held_out if asked.reads_rows else None,
        text=text,
        loss="loss" in asked.measure,
        icl="icl" in asked.measure,
    )
