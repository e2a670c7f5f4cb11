"""An independent, deliberately naive oracle for the engine: loops over samples, gradients of the weights.

    G_i = ∂(Σ_t loss_t of sample i)/∂W,   Λ = mean_i (Q_Aᵀ G_iᵀ Q_S)²,   score = -⟨G_iᵀ, P⟩

Every gradient is autograd's own at the weights of the unpatched model: no hooks, no truncation, no batches, no
shared products. Only A and S need per-token quantities: there the linear layer is wrapped by a module that
records its input and adds a zero whose gradient is asked for. Nothing here imports `curator`; the layout of a
head's weights and the probes are written down a second time on purpose. Give it a float64 model.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Part:
    """Some rows (``outputs``) and columns (``inputs``) of the weight of ``module``."""

    module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def of(self, whole: Tensor) -> Tensor:
        """The part of a weight-shaped [d_out, d_in] tensor, laid out [inputs, outputs]."""
        return whole[list(self.outputs)][:, list(self.inputs)].T


@dataclass(frozen=True)
class Truth:
    """What the oracle says about one part: A, S, Λ and the query P, all [inputs, outputs] where two-sided."""

    a: Tensor
    s: Tensor
    eigenvalues: Tensor
    query: Tensor


def head_parts(model: PreTrainedModel, layer: int, head: int) -> dict[str, Part]:
    """``qk``, ``v`` and ``o`` of one head of GPT-NeoX, whose fused weight holds q, k, v head after head."""
    d_model, n_heads = model.config.hidden_size, model.config.num_attention_heads
    size = d_model // n_heads
    fused = torch.arange(3 * d_model).view(n_heads, 3, size)[head]
    everything = tuple(range(d_model))
    attention = f"gpt_neox.layers.{layer}.attention"
    return {
        "qk": Part(f"{attention}.query_key_value", everything, tuple(fused[:2].flatten().tolist())),
        "v": Part(f"{attention}.query_key_value", everything, tuple(fused[2].tolist())),
        "o": Part(f"{attention}.dense", tuple(range(head * size, (head + 1) * size)), everything),
    }


def sample_loss(model: PreTrainedModel, row: Tensor, labels: Tensor | None = None) -> Tensor:
    """Cross-entropy of one row [seq + 1], summed over its tokens; ``labels`` [seq] instead of the data's."""
    logits = model(input_ids=row[None, :-1], use_cache=False).logits[0]
    return functional.cross_entropy(logits, row[1:] if labels is None else labels, reduction="sum")


def induction_probe(model: PreTrainedModel, sequences: Iterable[list[int]]) -> Tensor:
    """Σ over positions whose token occurred before of log p(what followed its last earlier occurrence)."""
    values = []
    for tokens in sequences:
        logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
        value = logits.new_zeros(())
        for t, token in enumerate(tokens):
            earlier = [s for s in range(t) if tokens[s] == token]
            if earlier:
                value = value + logits[t].log_softmax(0)[tokens[earlier[-1] + 1]]
        values.append(value)
    return torch.stack(values).mean()


def previous_token_probe(
    model: PreTrainedModel, sequences: Iterable[list[int]], layer: int, head: int
) -> Tensor:
    """Σ over positions t >= 1 of attention[t, t - 1]; the model must run its eager attention."""
    values = []
    for tokens in sequences:
        output = model(input_ids=torch.tensor([tokens]), use_cache=False, output_attentions=True)
        pattern = output.attentions[layer][0, head]
        values.append(torch.stack([pattern[t, t - 1] for t in range(1, len(tokens))]).sum())
    return torch.stack(values).mean()


def duplicate_token_probe(
    model: PreTrainedModel, sequences: Iterable[list[int]], layer: int, head: int
) -> Tensor:
    """Σ over positions and their token's earlier positions of attention times the norm of what the head moves.

    The model must run its eager attention.
    """
    parts = head_parts(model, layer, head)
    rows, columns = list(parts["v"].outputs), list(parts["o"].inputs)
    block = model.get_submodule(f"gpt_neox.layers.{layer}")
    values = []
    for tokens in sequences:
        output = model(
            input_ids=torch.tensor([tokens]),
            use_cache=False,
            output_attentions=True,
            output_hidden_states=True,
        )
        normed = block.input_layernorm(output.hidden_states[layer][0])  # [seq, d_model]
        fused, dense = block.attention.query_key_value, block.attention.dense
        pattern, value = output.attentions[layer][0, head], normed.new_zeros(())
        for t, token in enumerate(tokens):
            for s in range(t):
                if tokens[s] == token:
                    carried = dense.weight[:, columns] @ (fused.weight[rows] @ normed[s] + fused.bias[rows])
                    value = value + pattern[t, s] * carried.square().sum().sqrt()
        values.append(value)
    return torch.stack(values).mean()


def weight_gradients(
    model: PreTrainedModel, modules: Iterable[str], value: Callable[[], Tensor]
) -> dict[str, Tensor]:
    """Module name -> ∂value/∂weight [d_out, d_in]."""
    weights = {name: model.get_parameter(f"{name}.weight") for name in modules}
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        with torch.enable_grad():
            gradients = torch.autograd.grad(value(), list(weights.values()))
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
    return dict(zip(weights, gradients))


class _Shifted(nn.Module):
    """A linear layer whose output gets a zero added, so that the zero's gradient is the output's."""

    def __init__(self, linear: nn.Module):
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        self.x, self.delta = x.detach()[0], torch.zeros_like(y[0]).requires_grad_()
        return y + self.delta


def token_sides(
    model: PreTrainedModel, modules: Sequence[str], value: Callable[[], Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Module name -> (inputs x [seq, d_in], output gradients g [seq, d_out]) of one sample's value."""
    wrapped = {name: _Shifted(model.get_submodule(name)) for name in modules}
    try:
        for name, shifted in wrapped.items():
            model.set_submodule(name, shifted)
        with torch.enable_grad():
            gradients = torch.autograd.grad(value(), [shifted.delta for shifted in wrapped.values()])
    finally:
        for name, shifted in wrapped.items():
            model.set_submodule(name, shifted.linear)
    return {name: (shifted.x, g) for (name, shifted), g in zip(wrapped.items(), gradients)}


def curvature_and_queries(
    model: PreTrainedModel,
    rows: Tensor,
    labels: tuple[Tensor, Tensor],
    parts: dict[str, Part],
    probe_gradients: dict[str, Tensor],
) -> dict[str, Truth]:
    """EK-FAC of each part and its query, damped by 0.1 of the mean eigenvalue and floored at 1e-5, by loops over
    the samples of ``rows`` [n, seq + 1].

    Args:
        labels: [n, seq] for A and S, and [n, seq] for the eigenvalues.
        parts: the parts by name; probe_gradients: part name -> [inputs, outputs].
    """
    modules = list(dict.fromkeys(part.module for part in parts.values()))
    a = {name: torch.zeros((), dtype=torch.float64) for name in parts}
    s = {name: torch.zeros((), dtype=torch.float64) for name in parts}
    for row, own in zip(rows, labels[0]):
        sides = token_sides(model, modules, lambda row=row, own=own: sample_loss(model, row, own))  # type: ignore[misc]
        for name, part in parts.items():
            x, g = sides[part.module]
            x, g = x[:, list(part.inputs)], g[:, list(part.outputs)]
            a[name], s[name] = a[name] + x.T @ x, s[name] + g.T @ g
    n_tokens = labels[0].numel()
    a, s = ({name: total / n_tokens for name, total in sums.items()} for sums in (a, s))
    bases = {name: (torch.linalg.eigh(a[name])[1], torch.linalg.eigh(s[name])[1]) for name in parts}
    squares = {name: torch.zeros((), dtype=torch.float64) for name in parts}
    for row, own in zip(rows, labels[1]):
        gradients = weight_gradients(model, modules, lambda row=row, own=own: sample_loss(model, row, own))  # type: ignore[misc]
        for name, part in parts.items():
            q_a, q_s = bases[name]
            squares[name] = squares[name] + (q_a.T @ part.of(gradients[part.module]) @ q_s) ** 2
    truth = {}
    for name in parts:
        (q_a, q_s), eigenvalues = bases[name], squares[name] / len(rows)
        damped = (eigenvalues + 0.1 * eigenvalues.mean()).clamp(min=1e-5)
        rotated = q_a.T @ probe_gradients[name] @ q_s
        truth[name] = Truth(a[name], s[name], eigenvalues, q_a @ (rotated / damped) @ q_s.T)
    return truth


def scores(
    model: PreTrainedModel, rows: Tensor, parts: dict[str, Part], queries: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Tensor]:
    """(part name -> -⟨∂loss_i/∂W, P⟩ [n], loss [n]), one backward pass per sample on the data's own labels."""
    modules = list(dict.fromkeys(part.module for part in parts.values()))
    result: dict[str, list[Tensor]] = {name: [] for name in parts}
    losses = []
    for row in rows:
        gradients = weight_gradients(model, modules, lambda row=row: sample_loss(model, row))  # type: ignore[misc]
        for name, part in parts.items():
            result[name].append(-(part.of(gradients[part.module]) * queries[name]).sum())
        losses.append(sample_loss(model, row))
    return {name: torch.stack(values) for name, values in result.items()}, torch.stack(losses).detach()


@torch.no_grad()
def slope(
    model: PreTrainedModel, part: Part, direction: Tensor, step: float, value: Callable[[], Tensor]
) -> float:
    """Central difference of ``value`` along ``direction`` [inputs, outputs] in the weight, which stays as it was."""
    weight = model.get_parameter(f"{part.module}.weight")
    whole = torch.zeros_like(weight)
    whole[torch.tensor(part.outputs)[:, None], torch.tensor(part.inputs)] = direction.T
    values = []
    for sign in (1, -1):
        weight.add_(whole, alpha=sign * step)
        values.append(float(value()))
        weight.sub_(whole, alpha=sign * step)
    return (values[0] - values[1]) / (2 * step)
