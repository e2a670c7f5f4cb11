"""The loss without logits: equals `F.cross_entropy`, keeps its memory promise, and draws labels rightly."""

from typing import Any

import numpy as np
import pytest
import torch
from engine_parts import random_model, relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from curator.influence.cross_entropy import LossAndGradient, Tile, loss_and_gradient, token_loss
from curator.influence.taps import Taps

TINY = Tile(tokens=7, vocabulary=5)
LARGEST_UNIFORM = 1 - 2.0**-53  # the largest that numpy's and torch's generators can draw


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def reference(hidden: Tensor, unembedding: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(loss per token, its gradient at ``hidden``) through the full logits."""
    hidden = hidden.detach().requires_grad_()
    loss = functional.cross_entropy(hidden @ unembedding.T, labels, reduction="none")
    return loss.detach(), torch.autograd.grad(loss.sum(), hidden)[0]


@settings(max_examples=40, deadline=None)
@given(
    n_tokens=st.integers(1, 30),
    vocabulary=st.integers(2, 40),
    d_model=st.integers(1, 9),
    tile=st.builds(Tile, tokens=st.integers(1, 12), vocabulary=st.integers(1, 17)),
    seed=st.integers(0, 1000),
)
def test_law_1_loss_and_gradient_equal_cross_entropy_for_any_tiles(
    n_tokens: int, vocabulary: int, d_model: int, tile: Tile, seed: int
) -> None:
    """Also where the vocabulary or the tokens are not divisible by the tile, or fit in one."""
    hidden, unembedding = draw(n_tokens, d_model, seed=seed), 2 * draw(vocabulary, d_model, seed=seed + 1)
    labels = torch.randint(vocabulary, (n_tokens,), generator=torch.Generator().manual_seed(seed))
    ours = loss_and_gradient(hidden, unembedding, labels, tile=tile)
    loss, gradient = reference(hidden, unembedding, labels)
    torch.testing.assert_close(ours.loss, loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad_hidden, gradient, rtol=1e-11, atol=1e-12)
    assert torch.equal(ours.labels, labels)


def test_law_1_token_loss_is_differentiable_with_any_weight_per_token() -> None:
    """Two tiles of the default size, and a vocabulary that they do not divide."""
    hidden, unembedding = draw(50, 4), draw(1500, 4, seed=1)
    labels = torch.randint(1500, (50,), generator=torch.Generator().manual_seed(0))
    weights = draw(50, seed=2)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    losses = (
        token_loss(ours, unembedding, labels)[0],
        functional.cross_entropy(theirs @ unembedding.T, labels, reduction="none"),
    )
    gradients = [
        torch.autograd.grad((loss * weights).sum(), own)[0] for loss, own in zip(losses, (ours, theirs))
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("first_tile_is_highest", [True, False])
def test_precision_extreme_logits_stay_finite(dtype: torch.dtype, first_tile_is_highest: bool) -> None:
    """Logits of ±1e4: the running maximum goes up, or stays, by 2e4 from one tile to the next."""
    unembedding = torch.linspace(-1e4, 1e4, 12, dtype=dtype)[:, None]
    if first_tile_is_highest:
        unembedding = unembedding.flip(0)
    hidden = torch.tensor([[1.0], [-1.0], [0.5], [0.0]], dtype=dtype)
    labels = torch.tensor([0, 0, 11, 3])
    ours = loss_and_gradient(hidden, unembedding, labels, tile=Tile(2, 5))
    loss, gradient = reference(hidden, unembedding, labels)
    assert torch.isfinite(ours.loss).all() and torch.isfinite(ours.grad_hidden).all()
    torch.testing.assert_close(ours.loss, loss, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.grad_hidden, gradient, rtol=1e-6, atol=1e-2)


def test_precision_bfloat16_sums_are_kept_in_float32() -> None:
    """Only the two products round to bfloat16: the mean loss of many tokens is not off by more than they are."""
    hidden, unembedding = (
        draw(400, 32, dtype=torch.bfloat16),
        0.3 * draw(2100, 32, seed=1, dtype=torch.bfloat16),
    )
    labels = torch.randint(2100, (400,), generator=torch.Generator().manual_seed(0))
    ours = loss_and_gradient(hidden, unembedding, labels)
    loss, gradient = reference(hidden.double(), unembedding.double(), labels)
    assert ours.loss.dtype == torch.float32
    assert float((ours.loss - loss).abs().max()) < 0.02
    assert relative_error(ours.grad_hidden.float(), gradient) < 0.01


class LargestTensor(TorchDispatchMode):
    """Records the number of entries of the largest tensor that any operation returned."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self.entries = max(self.entries, value.numel())
        return result


@pytest.mark.parametrize("sampled", [False, True])
def test_memory_the_full_logits_never_exist(sampled: bool) -> None:
    """[tokens, vocabulary] would have 12 million entries; one tile has a million."""
    n_tokens, vocabulary = 3000, 4000
    hidden, unembedding = draw(n_tokens, 2).requires_grad_(), draw(vocabulary, 2, seed=1)
    uniforms = torch.linspace(0, 0.999, n_tokens, dtype=torch.float64)
    with LargestTensor() as largest:
        labels = None if sampled else torch.zeros(n_tokens, dtype=torch.long)
        loss, _ = token_loss(hidden, unembedding, labels, uniforms if sampled else None)
        loss.sum().backward()
    tile = Tile.for_device(torch.device("cpu"))
    assert largest.entries <= tile.tokens * tile.vocabulary < n_tokens * vocabulary / 10


@pytest.mark.parametrize("sampled", [False, True])
def test_memory_a_pass_with_taps_never_makes_the_full_logits(sampled: bool) -> None:
    """The model's own head is not called: the largest tensor is the embedding matrix's size, or less."""
    model = random_model(vocab_size=3000)
    rows = torch.randint(3000, (40, 33), generator=torch.Generator().manual_seed(0))
    uniforms = torch.full((40, 32), 0.5, dtype=torch.float64) if sampled else None
    with LargestTensor() as largest:
        Taps(model, ["gpt_neox.layers.0.attention.dense"]).run(rows, uniforms=uniforms)
    assert largest.entries < 40 * 32 * 3000 / 2


def sample(hidden: Tensor, unembedding: Tensor, uniforms: Tensor, tile: Tile = TINY) -> LossAndGradient:
    return loss_and_gradient(hidden, unembedding, None, uniforms, tile)


def test_law_2_sampled_labels_follow_the_softmax() -> None:
    """Chi-square over 23 tokens in five tiles, 40 000 fixed draws; 48.3 is the 99.9 % quantile of 22 degrees."""
    n, vocabulary = 40_000, 23
    unembedding = 0.6 * draw(vocabulary, 3, seed=5)
    hidden = draw(1, 3, seed=6)
    uniforms = torch.from_numpy(np.random.default_rng(0).random(n))
    labels = sample(hidden.expand(n, 3), unembedding, uniforms, Tile(4096, 5)).labels
    expected = n * (hidden @ unembedding.T).softmax(-1)[0]
    assert expected.min() > 5 and expected.max() < n / 2  # the test means something
    counts = torch.bincount(labels, minlength=vocabulary)
    assert float(((counts - expected) ** 2 / expected).sum()) < 48.3


def test_law_2_sampled_labels_invert_the_cumulative_distribution() -> None:
    """One uniform number decides one label, whatever the tiles, so batches and tiles change no draw."""
    hidden, unembedding = 2 * draw(300, 3), draw(23, 3, seed=1)
    uniforms = torch.from_numpy(np.random.default_rng(1).random(300))
    cumulative = (hidden @ unembedding.T).softmax(-1).cumsum(-1)
    expected = (cumulative <= uniforms[:, None]).sum(-1)
    for tile in (TINY, Tile(1, 1), Tile(1000, 1000), Tile(64, 22)):
        assert torch.equal(sample(hidden, unembedding, uniforms, tile).labels, expected)


def test_law_1_the_loss_of_a_sampled_label_is_that_labels_own() -> None:
    hidden, unembedding = draw(60, 3), draw(23, 3, seed=1)
    drawn = sample(hidden, unembedding, torch.from_numpy(np.random.default_rng(2).random(60)))
    given = loss_and_gradient(hidden, unembedding, drawn.labels, tile=TINY)
    torch.testing.assert_close(drawn.loss, given.loss, rtol=1e-14, atol=0)
    torch.testing.assert_close(drawn.grad_hidden, given.grad_hidden, rtol=1e-12, atol=1e-15)


def peaked(n_tokens: int, vocabulary: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """(hidden, unembedding, possible [vocabulary]): the first and last token of each tile of five, and two whole
    tiles, have a probability that underflows to zero; the others' differ from token to token."""
    possible = torch.ones(vocabulary, dtype=torch.bool)
    possible[0::5] = possible[4::5] = False
    possible[5:10] = possible[-5:] = False
    hidden = torch.cat([torch.ones(n_tokens, 1), draw(n_tokens, 3)], 1).to(dtype)
    unembedding = torch.cat([torch.where(possible, 0.0, -1e4)[:, None], draw(vocabulary, 3, seed=1)], 1).to(
        dtype
    )
    return hidden, unembedding, possible


both_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@both_dtypes
@pytest.mark.parametrize("uniform", [0.0, 5e-324, 1e-17, 0.5, 1 - 1e-16, LARGEST_UNIFORM])
def test_law_2_uniforms_at_the_ends_give_labels_that_can_occur(dtype: torch.dtype, uniform: float) -> None:
    hidden, unembedding, possible = peaked(4000, 35, dtype)
    labels = sample(
        hidden, unembedding, torch.full((4000,), uniform, dtype=torch.float64), Tile(4000, 5)
    ).labels
    assert int(labels.min()) >= 0 and int(labels.max()) < 35
    impossible = ~possible[labels]
    assert not impossible.any(), f"{int(impossible.sum())} of 4000 labels have probability zero"


@both_dtypes
@pytest.mark.parametrize("nudge", [-1, 0, 1])
def test_law_2_uniforms_at_the_edges_of_tiles_give_labels_that_can_occur(
    dtype: torch.dtype, nudge: int
) -> None:
    """Where the cumulative distribution passes from one tile to the next, rounding must not pick a neighbour
    that cannot occur."""
    hidden, unembedding, possible = peaked(4000, 35, dtype)
    cumulative = (hidden @ unembedding.T).double().softmax(-1).cumsum(-1)
    for edge in (4, 14, 19, 24):
        uniforms = (cumulative[:, edge] * (1 + nudge * 2.0**-52)).clamp(max=LARGEST_UNIFORM)
        labels = sample(hidden, unembedding, uniforms, Tile(4000, 5)).labels
        impossible = ~possible[labels]
        assert not impossible.any(), f"{int(impossible.sum())} of 4000 labels have probability zero"


def test_law_2_a_certain_prediction_is_always_drawn() -> None:
    """All mass on one token of one tile, whatever the uniform number."""
    unembedding = torch.full((23, 1), -1e4, dtype=torch.float64)
    unembedding[13] = 1e4
    uniforms = torch.tensor([0.0, 0.1, 0.5, 0.999999, LARGEST_UNIFORM], dtype=torch.float64)
    labels = sample(torch.ones(5, 1, dtype=torch.float64), unembedding, uniforms).labels
    assert labels.tolist() == [13] * 5
