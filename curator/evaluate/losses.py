"""Loss by position, and the two numbers that are made of it: validation loss and ICL score.

ICL score = L_500 - mean(L_0:50) (paper, section 5.4), where L_i is the loss of what follows token i, in nats, averaged
over rows. **Lower = more is learnt in context**: late tokens are foretold better than early ones. (The paper's words
take a positive score for the better one; its formula, and this, give a negative one.) In a context of 500 tokens or
fewer the late token is the last one, and the early ones are the same tenth of what lies before it.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from curator.corpus.token_text import read_tokenizer
from curator.errors import UsageError

LATE, EARLY = 500, 50
TEXT_CONTEXT = 512
"""Tokens of a row that is cut from a text, where the model has more positions."""
LOGITS_PER_PASS = 1 << 24
TOKENS_PER_PASS = 1 << 13


@torch.no_grad()
def token_losses(model: PreTrainedModel, rows: Tensor) -> Tensor:
    """[n, width - 1] float64 nats: entry i is the loss of token i + 1 after tokens 0 to i of ``rows`` [n, width]."""
    unembed = model.get_output_embeddings()
    at_once, parts = max(1, LOGITS_PER_PASS // model.config.vocab_size), []
    for some in rows.split(max(1, TOKENS_PER_PASS // rows.shape[1])):
        some = some.to(model.device)
        hidden = model.base_model(input_ids=some[:, :-1], use_cache=False).last_hidden_state.flatten(0, 1)
        for states, labels in zip(hidden.split(at_once), some[:, 1:].flatten().split(at_once)):
            logits = unembed(states)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            parts.append(torch.nn.functional.cross_entropy(logits, labels, reduction="none").double())
    return torch.cat(parts).cpu().view(len(rows), -1)


def icl_positions(context: int) -> tuple[int, int]:
    """(late, early): the late token and how many early ones, of a context with so many predictions."""
    late = min(LATE, context - 1)
    return late, max(1, round(late * EARLY / LATE))


def icl_score(losses: Tensor) -> float:
    """L_late - mean(L_0:early) of [n, context] losses."""
    late, early = icl_positions(losses.shape[1])
    return float(losses[:, late].mean() - losses[:, :early].mean())


def text_rows(text: Path, tokenizer: Path | None, width: int, count: int, vocab_size: int) -> Tensor:
    """``count`` rows [n, width] of a text, evenly spaced and without overlap; fewer where it has fewer.

    Raises:
        UsageError: there is no tokenizer, it is another model's, or the text has no whole row.
    """
    if tokenizer is None:
        raise UsageError(f"{text}: no tokenizer is known to read it with; give --tokenizer")
    if not text.is_file():
        raise UsageError(f"{text}: no such text file")
    encoder = read_tokenizer(tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer)
    try:
        ids = np.array(
            encoder.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids, np.int64
        )
    except UnicodeDecodeError as error:
        raise UsageError(f"{text}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    if len(ids) < width:
        raise UsageError(f"{text}: has {len(ids)} tokens, a row for icl has {width}; give a longer text")
    if ids.max() >= vocab_size:
        raise UsageError(
            f"{tokenizer}: gives token id {ids.max()}, but the model knows 0 to {vocab_size - 1}: it is another "
            "model's; give this model's with --tokenizer"
        )
    rows = ids[: len(ids) // width * width].reshape(-1, width)
    return torch.from_numpy(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)])
