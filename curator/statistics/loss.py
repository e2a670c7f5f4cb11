"""The loss that a given model has on a row, in nats per token: what a ranking's ``losses`` are, divided by the width.

One forward pass; the cross-entropy is the engine's, tile by tile, so that logits never exist and the losses of an
influence ranking by the same model in the same batches are these to the bit.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from curator.corpus import check_tokens
from curator.statistics.base import Asked, Statistic

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM


class Loss(Statistic):
    """Mean loss of a model over the tokens of a row."""

    name = "loss"
    says = "nats per token of the model"
    higher = "harder for the model"

    def __init__(self, model: "GPTNeoXForCausalLM", dtype: str, batch: int):
        """``batch``: rows of a pass, counted from the first row of a call."""
        self.model, self.dtype, self.batch = model, dtype, batch

    @classmethod
    def lacks(cls, asked: Asked) -> str:
        return "" if asked.settings.model else "the loss of which model? Give --model"

    @classmethod
    def prepared(cls, asked: Asked) -> "Loss":
        """With the model and its batches as an influence ranking takes them.

        Raises:
            CuratorError: no such model, rows that are too wide for it, or a token id that it does not have.
        """
        from curator.influence.batching import choose_batch
        from curator.models import load_model
        from curator.models.devices import DTYPES, check_device
        from curator.ranking.run import check_width

        settings, corpus = asked.settings, asked.corpus
        check_device(settings.device)
        model = load_model(str(settings.model), DTYPES[settings.dtype], settings.device)
        if settings.dtype == "float64":
            model.set_attn_implementation("eager")
        check_width(model, corpus)
        check_tokens(corpus, model.config.vocab_size, asked.first, asked.last)
        return cls(model, settings.dtype, settings.micro_batch or choose_batch(model, corpus.row_width - 1))

    def recorded(self) -> dict[str, Any]:
        return {"dtype": self.dtype}

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """[n] nats per token."""
        return self.mean(self.sums(rows), rows.shape[1])

    @staticmethod
    def mean(sums: np.ndarray, width: int) -> np.ndarray:
        """[n] of `sums` of rows of ``width`` tokens."""
        return sums.astype(np.float64) / (width - 1)

    def sums(self, rows: np.ndarray, first: int = 0) -> np.ndarray:
        """[n] nats, summed over each row's tokens; float64 of a model in float64, else float32.

        Args:
            first: sample of the first row, for errors.

        Raises:
            CuratorError: one is not finite; names the sample.
        """
        import torch

        from curator.influence.cross_entropy import token_loss
        from curator.influence.fit import check_losses

        unembedding, parts = self.model.get_output_embeddings().weight, []
        for start in range(0, len(rows), self.batch):
            part = np.array(rows[start : start + self.batch], np.int64)
            tokens = torch.from_numpy(part).to(self.model.device)
            with torch.no_grad():
                hidden = self.model.base_model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
                loss, _ = token_loss(hidden.flatten(0, 1), unembedding, tokens[:, 1:].flatten())
            sums = loss.view(len(part), -1).sum(-1)
            check_losses(sums, np.arange(first + start, first + start + len(part)))
            parts.append(sums.cpu().numpy())
        return np.concatenate(parts)
