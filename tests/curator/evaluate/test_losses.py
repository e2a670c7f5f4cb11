"""Losses by position against a plain loop, and the ICL score of a model whose loss by position is known."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_parts import GOLDEN, random_model, random_rows
from torch import Tensor, nn

from curator.errors import UsageError
from curator.evaluate import losses
from curator.evaluate.losses import icl_positions, icl_score, text_rows, token_losses


class Known(nn.Module):
    """A model that loses ``wanted`` [context] nats at each position, where the next token is always 0."""

    def __init__(self, wanted: Tensor, vocab_size: int = 11):
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocab_size)
        self.device = torch.device("cpu")
        self.states = -torch.log((wanted.exp() - 1) / (vocab_size - 1))  # the logit of 0, others being 0
        self.unembedding = nn.Linear(1, vocab_size, bias=False).double()
        with torch.no_grad():
            self.unembedding.weight.zero_()[0] = 1

    def base_model(self, input_ids: Tensor, use_cache: bool) -> Any:
        states = self.states[None, : input_ids.shape[1], None].expand(len(input_ids), -1, -1)
        return SimpleNamespace(last_hidden_state=states)

    def get_output_embeddings(self) -> nn.Linear:
        return self.unembedding


@pytest.mark.parametrize("context, late, early", [(600, 500, 50), (40, 39, 4)])
def test_the_icl_score_of_known_losses(context: int, late: int, early: int) -> None:
    wanted = 0.5 + 3 * torch.exp(-torch.arange(context, dtype=torch.float64) / 20)
    model: Any = Known(wanted)
    found = token_losses(model, torch.zeros((7, context + 1), dtype=torch.int64))
    torch.testing.assert_close(found, wanted.expand(7, -1))
    expected = wanted[late] - wanted[:early].mean()
    assert icl_score(found) == pytest.approx(float(expected), abs=1e-12)
    assert expected < 0, "the better late tokens are foretold, the lower"


def test_positions_are_the_papers_or_the_same_share_of_a_shorter_context() -> None:
    assert [icl_positions(n) for n in (2048, 512, 501)] == [(500, 50)] * 3
    assert [icl_positions(n) for n in (500, 256, 32, 2)] == [(499, 50), (255, 26), (31, 3), (1, 1)]


def test_losses_are_those_of_the_logits_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = random_model(), random_rows(9)
    logits = model(rows[:, :-1]).logits
    expected = torch.stack(
        [-one.log_softmax(-1)[torch.arange(len(row) - 1), row[1:]] for one, row in zip(logits, rows)]
    )
    torch.testing.assert_close(token_losses(model, rows), expected, atol=1e-12, rtol=0)
    monkeypatch.setattr(losses, "TOKENS_PER_PASS", 40)
    monkeypatch.setattr(losses, "LOGITS_PER_PASS", 61 * 7)
    torch.testing.assert_close(token_losses(model, rows), expected, atol=1e-12, rtol=0)


def test_a_text_gives_rows_of_its_own_tokens(tmp_path: Path) -> None:
    file, tokenizer = tmp_path / "text.txt", GOLDEN / "model" / "tokenizer.json"
    file.write_text("for one in all: print(one) # é\n" * 200, encoding="utf-8")
    whole = text_rows(file, tokenizer, 33, 10**6, 512)
    some = text_rows(file, tokenizer.parent, 33, 5, 512)
    assert len(some) == 5 and torch.equal(some[0], whole[0]) and torch.equal(some[-1], whole[-1])
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(tokenizer)).encode(file.read_text(encoding="utf-8")).ids
    assert whole.flatten().tolist() == ids[: len(whole) * 33] and len(ids) < (len(whole) + 1) * 33


@pytest.mark.parametrize(
    "content, tokenizer, vocab_size, said",
    [
        (None, True, 512, "no such text file"),
        (b"few words", True, 512, r"has \d+ tokens, a row for icl has 33; give a longer text"),
        (b"\xff" * 99, True, 512, "not UTF-8 text .* at byte 0"),
        (b"many words " * 99, False, 512, "no tokenizer is known"),
        (b"many words " * 99, True, 40, r"gives token id \d+, but the model knows 0 to 39"),
    ],
)
def test_a_text_that_cannot_be_measured_is_told(
    tmp_path: Path, content: bytes | None, tokenizer: bool, vocab_size: int, said: str
) -> None:
    if content is not None:
        (tmp_path / "text.txt").write_bytes(content)
    file = GOLDEN / "model" / "tokenizer.json" if tokenizer else None
    with pytest.raises(UsageError, match=said):
        text_rows(tmp_path / "text.txt", file, 33, 4, vocab_size)
