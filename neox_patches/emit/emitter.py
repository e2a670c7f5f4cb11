"""Runs an emission: taps while a chosen step trains, sums up when it is over, writes.

Scale. Backward starts from loss·c, where c holds 1/accumulation and the fp16 loss scale; c is read from the gradient
at the loss itself, so that no setting has to be guessed. A pipeline stage without the loss takes c from the optimizer.
Memory per rank: scores and losses of one step, one map's x and g (autograd holds them anyway), the factors' sums twice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curator.artifacts.files import remove_temporaries
from curator.corpus import Corpus
from curator.errors import CuratorError
from curator.influence.emission import NOT_FINITE, OVERFLOWED, WRITTEN
from curator.units import load_unit_module
from neox_patches import compat
from neox_patches.clock import Clock
from neox_patches.emit.blocks import PlacedBlock, TrainedModel, load_queries
from neox_patches.emit.build import Builder
from neox_patches.emit.description import identity_of, index_of, write_manifest
from neox_patches.emit.parts import Part
from neox_patches.emit.store import RankStore, check_not_lost
from neox_patches.emit.sums import Sums
from neox_patches.emit.taps import tap
from neox_patches.loss import PlanWeights, unscale_rows
from neox_patches.settings import Emit
from neox_patches.together import not_saved, rank


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
        weights: PlanWeights | None,
        corpus: Corpus | None,
    ):
        self.settings, self.clock, self.adapter, self.neox_args = settings, clock, adapter, neox_args
        self.weights, self.corpus = weights, corpus
        self.plan = None if weights is None else weights.plan
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
        for path in settings.unit_modules:
            load_unit_module(path)
        model = TrainedModel.of(adapter, neox_args)
        self.placed = model.blocks_of(settings.units)
        self.queries = load_queries(settings.scores, model)
        self.parts: dict[str, Part] = {}
        self.total: dict[str, Sums] = {}
        self.store: RankStore | None = None
        self.unscale: dict[int, Tensor] = {}
        self.active = False

    # -- attaching ------------------------------------------------------------------------------------------

    def attach(self, engine: Any, first_step: int, run: str) -> None:
        """Tap this rank's layers and open its files; the model is on its device by now."""
        self.engine = engine
        layers = self.adapter.transformer_layers(engine.module)
        self._check_engine(engine, layers)
        self.device = next(engine.module.parameters()).device
        layout = self.clock.layout

        def owned(placed: PlacedBlock) -> bool:
            return placed.layer in layers and placed.on_rank(layout) is not None

        mine = [placed for placed in self.placed if owned(placed)]
        queries = [query for query in self.queries if owned(query.placed)]
        self.n_scores = len(queries)
        self.parts = Builder(self.settings, self.placed, mine, queries, layout, self.device).build()
        self.total = {module: Sums() for module, part in self.parts.items() if part.factor_blocks}
        for module, linear in self._linears([*mine, *(query.placed for query in queries)], layers).items():
            tap(linear, module, self._wanted_micro, self._arrived)
        identity = identity_of(
            self.settings,
            self.steps,
            layout,
            self.neox_args,
            self.placed,
            self.queries,
            self.plan,
            self.corpus,
        )
        if rank() == 0:
            there = (self.settings.out / "manifest.json").is_file()
            check_not_lost(self.settings.out, there, self.steps, first_step)
            write_manifest(
                self.settings, identity, run, self.corpus, self.adapter.checkout.generation, first_step
            )
        blocks = sorted(
            (block for part in self.parts.values() for block in part.gradients),
            key=lambda block: block.number,
        )
        shapes = [block.shape for block in blocks]
        self.store = RankStore(
            self.settings.out / f"rank-{rank():05}",
            layout,
            self.steps,
            self.plan,
            shapes,
            self.n_scores,
            index_of(layout, mine, queries, self.parts, shapes, identity),
            sums_bytes=sum(part.sums_bytes for part in self.parts.values()),
            served=None if self.corpus is None or self.corpus.neox_order else self.corpus,
            first_step=first_step,
        )
        self._restore_sums(first_step)

    def is_over(self, first_step: int) -> bool:
        """Whether nothing is left to emit, and there is no folder of it to look after."""
        return self.steps[-1] < first_step and not (self.settings.out / "manifest.json").is_file()

    def missing(self, first_step: int) -> list[int]:
        """The chosen steps before ``first_step`` that were never written: trained without this emission."""
        assert self.store is not None
        return [step for step in self.steps if step < first_step and not self.store.reached(step)]

    def _check_engine(self, engine: Any, layers: dict[int, Any]) -> None:
        wanted = {placed.layer for placed in (*self.placed, *(query.placed for query in self.queries))}
        if self.clock.layout.pp_size == 1 and (absent := sorted(wanted - set(layers))):
            raise CuratorError(
                f"layers {', '.join(map(str, absent))} are no ParallelTransformerLayer, and cannot be tapped"
            )
        if self.clock.layout.pp_size > 1 and compat.unscaled_loss(engine):
            raise CuratorError(
                "fp16 without ZeRO: this DeepSpeed does not scale the loss, so that pipeline stages without it cannot "
                "tell the scale of their gradients; set zero_optimization.stage to 1"
            )

    def _linears(self, placed: Sequence[PlacedBlock], layers: dict[int, Any]) -> dict[str, Any]:
        """Module name -> the linear map to tap."""
        found = {}
        for one in placed:
            try:
                found[one.block.module] = layers[one.layer].get_submodule(one.map.path)
            except AttributeError as error:
                raise CuratorError(
                    f"{one.key}: layer {one.layer} of this model has no {one.map.path}, so that it cannot be tapped"
                ) from error
        return found

    # -- one step -------------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """A training step begins."""
        self.active = self.clock.step in self._chosen
        if not self.active:
            return
        assert self.store is not None
        rows = self.clock.layout.rows_per_step
        self.unscale.clear()
        self._saw_loss = False
        self.losses = torch.full((rows,), float("nan"), device=self.device)
        self.scores = torch.full((self.n_scores, rows), float("nan"), device=self.device)
        self.store.begin(self.clock.step)

    def note_token_losses(self, losses: Tensor) -> None:
        """[batch, seq] of the micro-batch whose loss is computed."""
        self._token_losses = losses

    def note_loss(self, loss: Tensor, mask: Tensor, row_weights: np.ndarray | None) -> None:
        """The micro-batch's loss, as GPT-NeoX has it; its scale is seen when backward begins."""
        micro = self.clock.current
        mask = mask.view(self._token_losses.shape)
        self.losses[self._rows(micro)] = (self._token_losses.float() * mask).sum(1)
        self._saw_loss = True
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
            if self.weights is not None:
                weights = self.weights.of(self.clock.layout.slots(self.clock.step, micro))
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
        losses = self.losses.cpu().numpy()
        flag = self._flag(losses)
        for module, total in self.total.items():
            if flag == WRITTEN:
                total.add(self.parts[module])
            self.parts[module].new_sums()
        scores = self.scores.cpu().numpy() if self.n_scores else None
        self.store.write_step(self.clock.step, losses, scores, flag)
        if self.clock.step == self.steps[-1]:
            self.save_sums()

    def _flag(self, losses: np.ndarray) -> int:
        """Whether this step counts: neither skipped by the optimizer, nor without a finite loss and gradient."""
        if bool(getattr(self.engine.optimizer, "overflow", False)):
            return OVERFLOWED
        finite = not self._saw_loss or bool(np.isfinite(losses).all())
        return WRITTEN if finite and all(part.sums_finite() for part in self.parts.values()) else NOT_FINITE

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
        step = self.clock.step + 1
        state = {"step": step, "arrays": len(arrays), "parts": parts}
        try:
            self.store.save_sums(step, arrays, state)
        except OSError as error:
            what = f"{self.store.folder}: the factors' sums after step {step}"
            raise not_saved(what, error) from error

    def _restore_sums(self, first_step: int) -> None:
        assert self.store is not None
        if not self.total:
            return
        folder = self.store.folder / "sums"
        done = [step for step in self.steps if step < first_step]
        halfway = bool(done) and done != self.steps
        found = self.store.load_sums(first_step) if halfway else None
        if halfway and found is None:  # later sums stay: they may be what the user goes on with
            there = sorted(int(path.parent.name) for path in folder.glob("[0-9]*/state.json"))
            raise CuratorError(
                f"{folder}: the factors' sums after {first_step} steps are needed, since emitted steps up to "
                f"{done[-1]} are over, but there are "
                + (f"sums after {', '.join(map(str, there))} steps alone" if there else "none")
                + " (each checkpoint's are saved with it, and old ones removed); go on from a checkpoint whose sums "
                f"are there, or give another emit.out with emit.steps from {first_step} on"
            )
        self.store.drop_sums_after(first_step)
        remove_temporaries(folder)
        if found is None:
            return
        arrays, state = found
        for module, total in self.total.items():
            place = state["parts"][module]
            total.restore(arrays[place["first"] : place["first"] + place["count"]], place)
