"""Runs an emission: taps while a chosen step trains, sums up when it is over, writes.

Scale. Backward starts from loss·c, where c holds 1/accumulation and the fp16 loss scale; c is read from the gradient
at the loss itself, so that no setting has to be guessed. A pipeline stage without the loss takes c from the optimizer.
Memory per rank: scores and losses of one step, one map's x and g (autograd holds them anyway), the factors' sums twice.
"""

import datetime
import platform
from typing import Any

import numpy as np
import torch
from torch import Tensor

import curator
from curator.corpus import Corpus
from curator.emission import FORMAT, OVERFLOWED, WRITTEN
from curator.errors import CuratorError
from curator.influence.bases import Bases
from curator.influence.factors import Side
from curator.influence.projection import projections
from curator.influence.scorer import Scorer
from curator.plan import Plan
from curator.storage import differences, fingerprint, load_json, save_json
from curator.units.block_json import describe_block
from neox_patches.clock import Clock
from neox_patches.emit.blocks import NamedBlock, blocks_of_units, load_queries
from neox_patches.emit.parts import Compression, GradientBlock, Part
from neox_patches.emit.store import RankStore
from neox_patches.emit.taps import tap
from neox_patches.loss import unscale_rows
from neox_patches.settings import Emit


class Emitter:
    """One rank's emission; see `neox_patches.settings.Emit`.

    Raises:
        CuratorError: a unit that does not exist, queries of another model, or settings that cannot be unscaled.
    """

    def __init__(
        self,
        settings: Emit,
        clock: Clock,
        adapter: Any,
        neox_args: Any,
        plan: Plan | None,
        corpus: Corpus | None,
    ):
        self.settings, self.clock, self.adapter, self.neox_args = settings, clock, adapter, neox_args
        self.plan, self.corpus = plan, corpus
        self.steps = [step for step in settings.step_list if step < int(neox_args.train_iters)]
        self._chosen = frozenset(self.steps)
        if not self.steps:
            raise CuratorError(
                f"emit.steps begin with step {settings.step_list[0]}, but training ends after "
                f"{neox_args.train_iters} steps (train-iters)"
            )
        if clock.layout.pp_size > 1 and getattr(neox_args, "eod_mask_loss", False):
            raise CuratorError(
                "eod_mask_loss with a pipeline of several stages: stages without the labels cannot tell how many "
                "tokens count; emit with pipe-parallel-size 1"
            )
        self.named = blocks_of_units(settings.units, neox_args)
        self.queries = load_queries(settings.scores, neox_args)
        for named in self.named:
            _ = named.place
        self.parts: dict[str, Part] = {}
        self.store: RankStore | None = None
        self.unscale: dict[int, Tensor] = {}
        self.active = False

    # -- attaching ------------------------------------------------------------------------------------------

    def attach(self, engine: Any, first_step: int) -> None:
        """Tap this rank's layers and open its files; the model is on its device by now."""
        self.engine = engine
        layers = self.adapter.attention_layers(engine.module)
        self._check_layers(layers)
        device = next(engine.module.parameters()).device
        self.device = device
        layout, d_model = self.clock.layout, int(self.neox_args.hidden_size)

        def owned(named: NamedBlock) -> bool:
            return named.place[0] in layers and named.on_rank(layout, d_model) is not None

        self.mine = [named for named in self.named if owned(named)]
        self.my_queries = [query for query in self.queries if owned(query.named)]
        self._make_parts(device, d_model)
        for module, part in self.parts.items():
            layer, linear = NamedBlock(module, next(iter(self._blocks_in(module)))).place
            tap(getattr(layers[layer], linear), module, self._wanted_micro, self._arrived)
            assert part.module == module
        self._write_manifest(first_step)
        self.store = RankStore(
            self.settings.out / f"rank-{_rank():05}",
            layout,
            self.steps,
            self.plan,
            [block.shape for block in self._gradient_blocks()],
            len(self.my_queries),
            self._index(),
        )
        self._restore_sums(first_step)

    def _check_layers(self, layers: dict[int, Any]) -> None:
        if self.clock.layout.pp_size == 1 and len(layers) != int(self.neox_args.num_layers):
            raise CuratorError(
                f"the model has {self.neox_args.num_layers} layers, but {len(layers)} of them are "
                "ParallelSelfAttention with query_key_value and dense; other attention cannot be tapped"
            )

    def _blocks_in(self, module: str) -> list[Any]:
        return [named.block for named in self.mine if named.block.module == module] + [
            query.named.block for query in self.my_queries if query.named.block.module == module
        ]

    def _make_parts(self, device: torch.device, d_model: int) -> None:
        layout, settings = self.clock.layout, self.settings

        def part_of(module: str) -> Part:
            if module not in self.parts:
                self.parts[module] = Part(module, device=device)
            return self.parts[module]

        queries: dict[str, list[int]] = {}
        for number, query in enumerate(self.my_queries):
            queries.setdefault(query.named.block.module, []).append(number)
        like = torch.empty(0, dtype=torch.float32, device=device)
        for module, numbers in queries.items():
            part = part_of(module)
            part.score_rows = torch.tensor(numbers, device=device)
            blocks = [_local(self.my_queries[k].named, layout, d_model) for k in numbers]
            part.scorer = Scorer(blocks, [self.my_queries[k].matrix for k in numbers], like)
        if settings.gradients is not None:
            compressions = self._compressions(device)
            for number, named in enumerate(self.mine):
                block = _local(named, layout, d_model)
                part_of(named.block.module).gradients.append(
                    GradientBlock(number, block, compressions[number])
                )
        if settings.factors is not None:
            bases = None if settings.factors.bases is None else Bases.open(settings.factors.bases)
            for named in self.mine:
                part, block = part_of(named.block.module), _local(named, layout, d_model)
                known = [(b.inputs, b.outputs) for b in part.factor_blocks]
                if (block.inputs, block.outputs) in known:
                    continue  # two units of one head
                part.factor_blocks.append(block)
                if bases is not None:
                    part.bases = part.bases or {}
                    part.bases |= dict(zip(Side.of(block), bases.of(named.block), strict=True))
            for part in self.parts.values():
                part.new_sums()
        self.total = {module: _Sums() for module, part in self.parts.items() if part.factor_blocks}

    def _compressions(self, device: torch.device) -> list[Compression]:
        gradients = self.settings.gradients
        assert gradients is not None
        if gradients.compress == "none":
            return [Compression() for _ in self.mine]
        rank = gradients.rank or 0
        if gradients.compress == "projection":
            order = {named.name: number for number, named in enumerate(self.named)}
            pairs = [projections(named.block, rank, gradients.seed, order[named.name]) for named in self.mine]
        else:
            assert gradients.bases is not None
            bases = Bases.open(gradients.bases)
            pairs = [
                (a[:, -rank:], s[:, -rank:]) for a, s in (bases.of(named.block) for named in self.mine)
            ]  # eigenvectors come by rising eigenvalue
        moved = [
            [None if side is None else side.to(device, torch.float32) for side in pair] for pair in pairs
        ]
        return [Compression(left, right) for left, right in moved]

    def _gradient_blocks(self) -> list[GradientBlock]:
        found = [block for part in self.parts.values() for block in part.gradients]
        return sorted(found, key=lambda block: block.number)

    # -- one step -------------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """A training step begins."""
        self.active = self.clock.step in self._chosen
        if not self.active:
            return
        assert self.store is not None
        rows = self.clock.layout.rows_per_step
        self.unscale.clear()
        self.losses = torch.full((rows,), float("nan"), device=self.device)
        self.scores = torch.full((len(self.my_queries), rows), float("nan"), device=self.device)
        self.store.begin(self.clock.step)

    def note_token_losses(self, losses: Tensor) -> None:
        """[batch, seq] of the micro-batch whose loss is computed."""
        self._token_losses = losses

    def note_loss(self, loss: Tensor, mask: Tensor, row_weights: np.ndarray | None) -> None:
        """The micro-batch's loss, as GPT-NeoX has it; its scale is seen when backward begins."""
        micro = self.clock.current
        mask = mask.view(self._token_losses.shape)
        self.losses[self._rows(micro)] = (self._token_losses.float() * mask).sum(1)
        if not loss.requires_grad:
            return

        def began(gradient: Tensor) -> None:
            self.unscale[micro] = unscale_rows(mask, row_weights, gradient)

        loss.register_hook(began)

    def _wanted_micro(self) -> int | None:
        return self.clock.current if self.active and self.clock.training else None

    def _rows(self, micro: int) -> slice:
        size = self.clock.layout.micro_batch_size
        return slice(micro * size, (micro + 1) * size)

    def _unscale(self, micro: int, seq: int) -> Tensor:
        """[micro_batch_size] float32."""
        if micro not in self.unscale:  # a stage without the loss
            scale = float(getattr(self.engine.optimizer, "loss_scale", 1.0) or 1.0)
            rows = self.clock.layout.micro_batch_size
            factor = torch.tensor(scale / self.clock.layout.accumulation, device=self.device)
            weights = None
            if self.plan is not None:
                slots = self.clock.layout.slots(self.clock.step, micro)
                weights = self.plan.lookup(slots).weight
                if self.plan.divisor == "renormalised":
                    weights = weights * np.float32(
                        self.plan.batch_size / max(self.plan.kept_per_step(self.clock.step), 1)
                    )
            self.unscale[micro] = unscale_rows(torch.ones(rows, seq, device=self.device), weights, factor)
        return self.unscale[micro]

    def _arrived(self, module: str, micro: int, x: Tensor, g: Tensor) -> None:
        """x [batch, seq, d_in] and g [batch, seq, d_out] of one map and micro-batch."""
        part, unscale = self.parts[module], self._unscale(micro, x.shape[1])
        with torch.no_grad():
            if part.scorer is not None:
                self.scores[part.score_rows, self._rows(micro)] = part.scores(x, g, unscale)
            if not part.wants_exact:
                return
            exact = g.float() * unscale[:, None, None]
            assert self.store is not None
            for block in part.gradients:
                values = block.of(x, exact).cpu().numpy()
                self.store.write_gradients(block.number, self.clock.step, micro, values)
            if part.factor_blocks:
                kept = ~torch.isnan(unscale)
                if self.plan is None or bool(kept.all()):
                    part.add(x, exact)
                elif bool(kept.any()):
                    part.add(x[kept], exact[kept])

    def end_step(self) -> None:
        """The optimizer has stepped, or skipped the step."""
        if not self.active:
            return
        self.active = False
        assert self.store is not None
        overflowed = bool(getattr(self.engine.optimizer, "overflow", False))
        for module, total in self.total.items():
            if not overflowed:
                total.add(self.parts[module])
            self.parts[module].new_sums()
        scores = self.scores.cpu().numpy() if len(self.my_queries) else None
        flag = OVERFLOWED if overflowed else WRITTEN
        self.store.write_step(self.clock.step, self.losses.cpu().numpy(), scores, flag)
        if self.clock.step == self.steps[-1]:
            self.save_sums()

    # -- sums -----------------------------------------------------------------------------------------------

    def save_sums(self) -> None:
        """Keep the factors' sums with a checkpoint of the trainer, so that a resume finds them."""
        if not self.total or self.store is None or not self.steps[0] <= self.clock.step <= self.steps[-1]:
            return
        arrays: list[np.ndarray] = []
        parts: dict[str, Any] = {}
        for module, total in self.total.items():
            own = total.arrays()
            parts[module] = {"first": len(arrays), "count": len(own), **total.counts()}
            arrays += own
        state = {"step": self.clock.step + 1, "arrays": len(arrays), "parts": parts}
        self.store.save_sums(self.clock.step + 1, arrays, state)

    def _restore_sums(self, first_step: int) -> None:
        assert self.store is not None
        if not self.total:
            return
        self.store.drop_sums_after(first_step)
        done = [step for step in self.steps if step < first_step]
        if not done or done == self.steps:
            return
        found = self.store.load_sums(first_step)
        if found is None:
            raise CuratorError(
                f"{self.store.folder}: steps up to {done[-1]} are over, but no sums of the factors were saved after "
                f"step {first_step}; go on from a checkpoint that was saved with this emission, or give another "
                "emit.out"
            )
        arrays, state = found
        for module, total in self.total.items():
            place = state["parts"][module]
            total.restore(arrays[place["first"] : place["first"] + place["count"]], place)

    # -- descriptions ---------------------------------------------------------------------------------------

    def _index(self) -> dict[str, Any]:
        layout = self.clock.layout
        return {
            "dp_rank": layout.dp_rank,
            "mp_rank": layout.mp_rank,
            "pp_rank": layout.pp_rank,
            "blocks": [{"label": named.name, **describe_block(named.block)} for named in self.mine],
            "gradients": [list(block.shape) for block in self._gradient_blocks()],
            "scored": [query.named.name for query in self.my_queries],
            "factors": {
                module: [describe_block(block) for block in self._global(module)]
                for module, part in self.parts.items()
                if part.factor_blocks
            },
            "identity": fingerprint(self._identity()),
        }

    def _global(self, module: str) -> list[Any]:
        """The factor blocks of a map, counted over the whole model, in the order of the part's own."""
        layout, d_model = self.clock.layout, int(self.neox_args.hidden_size)
        names = {
            (block.inputs, block.outputs): named.block
            for named in self.mine
            if named.block.module == module and (block := _local(named, layout, d_model))
        }
        return [names[block.inputs, block.outputs] for block in self.parts[module].factor_blocks]

    def _identity(self) -> dict[str, Any]:
        layout, settings = self.clock.layout, self.settings
        gradients = settings.gradients
        return {
            **FORMAT,
            "steps": self.steps,
            "batch_size": layout.batch_size,
            "seq_length": int(self.neox_args.seq_length),
            "layout": {
                "micro_batch_size": layout.micro_batch_size,
                "accumulation": layout.accumulation,
                "dp_size": layout.dp_size,
                "mp_size": layout.mp_size,
                "pp_size": layout.pp_size,
            },
            "architecture": {
                "n_layers": int(self.neox_args.num_layers),
                "d_model": int(self.neox_args.hidden_size),
                "n_heads": int(self.neox_args.num_attention_heads),
            },
            "units": list(settings.units),
            "gradients": None
            if gradients is None
            else {
                "compress": gradients.compress,
                "rank": gradients.rank,
                "seed": gradients.seed,
                "bases": None if gradients.bases is None else Bases.open(gradients.bases).made_for,
            },
            "factors": None
            if settings.factors is None
            else {
                "bases": None
                if settings.factors.bases is None
                else Bases.open(settings.factors.bases).made_for
            },
            "blocks": [{"label": named.name, **describe_block(named.block)} for named in self.named],
            "scored": [query.named.name for query in self.queries],
            "fingerprints": {
                "corpus": None if self.corpus is None else self.corpus.fingerprint(),
                "plan": None if self.plan is None else self.plan.fingerprint(),
                "queries": sorted({query.made_for for query in self.queries}),
            },
        }

    def _write_manifest(self, first_step: int) -> None:
        """Rank 0 writes it, or compares with what is there."""
        if _rank() != 0:
            return
        path = self.settings.out / "manifest.json"
        identity = self._identity()
        if path.is_file():
            there = load_json(path)
            lines = differences(identity, {key: there.get(key) for key in identity})
            if lines:
                raise CuratorError(
                    f"{self.settings.out}: holds another emission; give another emit.out, or remove it:\n  "
                    + "\n  ".join(lines[:8])
                )
            return
        paths = {
            "corpus": None if self.corpus is None else str(self.corpus.path.absolute()),
            "queries": [str(path.absolute()) for path in self.settings.scores],
            "gradient_bases": _path(self.settings.gradients and self.settings.gradients.bases),
            "factor_bases": _path(self.settings.factors and self.settings.factors.bases),
        }
        made = {
            "neox": self.adapter.checkout.generation,
            "curator": curator.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "first_step": first_step,
            "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        save_json(path, {**identity, "paths": paths, "made_with": made})


class _Sums:
    """Sums of one map over all its steps so far."""

    def __init__(self) -> None:
        self.sides: list[Tensor] = []
        self.eigenvalues: list[Tensor] = []
        self.tokens = self.samples = 0

    def add(self, part: Part) -> None:
        """Take over a step's sums; a step whose rows were all masked has none."""
        if part.covariances is not None and part.covariances.tokens:
            tokens, sides = part.covariances.state()
            self.tokens += tokens
            self.sides = _added(self.sides, sides)
        if part.eigenvalues is not None and part.eigenvalues.samples:
            samples, values = part.eigenvalues.state()
            self.samples += samples
            self.eigenvalues = _added(self.eigenvalues, values)

    def arrays(self) -> list[np.ndarray]:
        return [tensor.cpu().numpy() for tensor in (*self.sides, *self.eigenvalues)]

    def counts(self) -> dict[str, int]:
        return {"sides": len(self.sides), "tokens": self.tokens, "samples": self.samples}

    def restore(self, arrays: list[np.ndarray], counts: dict[str, int]) -> None:
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        self.sides, self.eigenvalues = tensors[: counts["sides"]], tensors[counts["sides"] :]
        self.tokens, self.samples = counts["tokens"], counts["samples"]


def _added(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    if not sums:
        return list(more)
    return [total.to(new.device) + new for total, new in zip(sums, more, strict=True)]


def _local(named: NamedBlock, layout: Any, d_model: int) -> Any:
    block = named.on_rank(layout, d_model)
    assert block is not None
    return block


def _path(path: Any) -> str | None:
    return None if path is None else str(path.absolute())


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
