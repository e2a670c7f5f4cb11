"""Scores of all blocks of all units from one batch's taps.

    I(z) = -⟨G_z, P⟩ = -Σ_t ⟨g_t, Pᵀ x_t⟩,   P [inputs, outputs]

No per-sample gradient is built. Blocks of one layer whose outputs do not overlap (query-key and value blocks of
all heads) lie side by side in one matrix: one product x P, multiplied by g and summed per block. Blocks that
share all outputs but not inputs (the O blocks of all heads) are multiplied from the other side: g Pᵀ by x.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from curator.influence.taps import Tapped
from curator.units.base import Block, Indices, take


@dataclass
class _Panel:
    """Queries laid side by side in one matrix.

    Attributes:
        from_side, to_side: entries of the multiplied and of the compared tensor that the panel covers.
        matrix: [from, to].
        members: indices of the blocks, in the order of ``indicator`` columns.
        indicator: [to, members], 1 where an entry belongs to a block.
    """

    module: str
    multiplies_input: bool
    from_side: Indices
    to_side: Indices
    matrix: Tensor
    members: list[int]
    indicator: Tensor


def _merged(parts: Sequence[Indices]) -> Indices:
    """The sorted union; a range when contiguous."""
    union = sorted({index for part in parts for index in part})
    if union[-1] - union[0] + 1 == len(union):
        return range(union[0], union[-1] + 1)
    return tuple(union)


class Scorer:
    """Contracts taps with the queries of ``blocks``.

    Args:
        blocks: the blocks of all units, one after the other.
        queries: per block P [inputs, outputs] float64.
        like: a parameter of the model; gives the device, and the dtype (float32 at least).
    """

    def __init__(self, blocks: Sequence[Block], queries: Sequence[Tensor], like: Tensor):
        self.n_blocks = len(blocks)
        exact = torch.promote_types(like.dtype, torch.float32)
        self.panels: list[_Panel] = []
        for (module, multiplies_input), members in _panel_members(blocks):
            inputs, outputs = ([getattr(blocks[i], side) for i in members] for side in ("inputs", "outputs"))
            sides = list(zip(inputs, outputs) if multiplies_input else zip(outputs, inputs))
            from_side, to_side = _merged([side[0] for side in sides]), _merged([side[1] for side in sides])
            row = {index: position for position, index in enumerate(from_side)}
            column = {index: position for position, index in enumerate(to_side)}
            matrix = torch.zeros(len(from_side), len(to_side), dtype=torch.float64)
            indicator = torch.zeros(len(to_side), len(members), dtype=exact)
            for number, (index, (froms, tos)) in enumerate(zip(members, sides, strict=True)):
                query = queries[index] if multiplies_input else queries[index].mT
                columns = torch.tensor([column[i] for i in tos])
                matrix[torch.tensor([row[i] for i in froms])[:, None], columns] = query.double().cpu()
                indicator[columns, number] = 1
            self.panels.append(
                _Panel(
                    module,
                    multiplies_input,
                    from_side,
                    to_side,
                    matrix.to(like.device, exact),
                    members,
                    indicator.to(like.device),
                )
            )

    def __call__(self, tapped: Tapped) -> Tensor:
        """Scores of one batch: [n_blocks, batch]. Positive: training on the sample raises the probe."""
        scores = tapped.loss.new_empty((self.n_blocks, len(tapped.loss)))
        for panel in self.panels:
            x, g = tapped.x[panel.module], tapped.g[panel.module]
            multiplied, compared = (x, g) if panel.multiplies_input else (g, x)
            moved = take(multiplied, panel.from_side).to(panel.matrix.dtype) @ panel.matrix
            products = moved.mul_(take(compared, panel.to_side).to(moved.dtype)).sum(1)  # [batch, to]
            scores[panel.members] = -(products @ panel.indicator).mT.to(scores.dtype)
        return scores


def _panel_members(blocks: Sequence[Block]) -> list[tuple[tuple[str, bool], list[int]]]:
    """Greedy first fit: a block joins the first panel of its layer and direction that it does not overlap."""
    panels: list[tuple[tuple[str, bool], list[int], set[int]]] = []
    for index, block in enumerate(blocks):
        # compare on the side with fewer entries: that side is the one other blocks are beside
        multiplies_input = len(block.outputs) <= len(block.inputs)
        occupied = set(block.outputs if multiplies_input else block.inputs)
        for key, members, taken in panels:
            if key == (block.module, multiplies_input) and not (taken & occupied):
                members.append(index)
                taken |= occupied
                break
        else:
            panels.append(((block.module, multiplies_input), [index], set(occupied)))
    return [(key, members) for key, members, _ in panels]
