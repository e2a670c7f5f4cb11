"""What is wrapped, and when.

In the order in which GPT-NeoX comes by:
1. the builder of the data loaders: checks plan and corpus, puts `SlotDataset` in place of the training data;
2. ``setup_model_and_optimizer``: checks the resume, taps the attention layers, takes over the order of saving;
3. ``train_step``: the clock begins and ends a step; 4. ``_get_batch``: it counts a micro-batch and checks its slots;
5. ``cross_entropy``: the plan's weights, and the scale of the gradients that are emitted; 6. ``save_checkpoint``.
Outside a training step every wrapper calls the original and nothing else.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from curator.corpus import Corpus, open_corpus
from curator.errors import CuratorError
from curator.plan.plan import Plan
from curator.plan.rows import open_sources
from curator.visible import note
from neox_patches import compat
from neox_patches.adapters import Adapter
from neox_patches.ahead import Ahead
from neox_patches.clock import Clock, Layout, follow_pipeline
from neox_patches.data import Placeholder, SlotDataset, check_slots, compare, needed_samples, sized_for
from neox_patches.emit import Emitter
from neox_patches.loss import PlanWeights, weighted_loss
from neox_patches.resume import Bookkeeper, describe_run
from neox_patches.settings import PatchFile
from neox_patches.together import rank, together


class Patches:
    """The patches of one training process."""

    def __init__(
        self,
        adapter: Adapter,
        settings: PatchFile,
        patch_file: Path | None = None,
        insisted: frozenset[str] = frozenset(),
    ):
        self.adapter, self.settings = adapter, settings
        self.patch_file, self.insisted = patch_file, insisted
        self.corpus: Corpus | None = None if settings.corpus is None else open_corpus(settings.corpus)
        self.plan: Plan | None = None if settings.plan is None else Plan.load(settings.plan)
        self.sources: list[Corpus] = []
        self.clock: Clock | None = None
        self.weights: PlanWeights | None = None
        self.emitter: Emitter | None = None
        self.first_step: int | None = None
        self.ahead: Ahead | None = None
        self.device: Any = None
        self.neox_args: Any = None
        self.engine: Any = None
        self.books: Bookkeeper | None = None
        self.training = False

    @property
    def neox_serves(self) -> bool:
        """Whether GPT-NeoX's own dataset delivers the corpus (its shuffled order), rather than we its rows."""
        return self.corpus is None or self.corpus.neox_order

    def install(self) -> None:
        """Wrap the hook points; nothing runs before GPT-NeoX does."""
        training, data_utils, model = self.adapter.training, self.adapter.data_utils, self.adapter.gpt2_model
        builder = self.adapter.checkout.loader_builder
        training.pretrain = self._pretrain(training.pretrain)
        setattr(training, builder, self._build_loaders(getattr(training, builder), data_utils))
        training.setup_model_and_optimizer = self._setup(training.setup_model_and_optimizer)
        training.train_step = self._train_step(training.train_step)
        training._get_batch = self._get_batch(training._get_batch)
        training.save_checkpoint = self._save_checkpoint(training.save_checkpoint)
        mpu = self.adapter.mpu
        token_losses = mpu.vocab_parallel_cross_entropy
        mpu.vocab_parallel_cross_entropy = self._token_losses(token_losses)
        # pp 0 calls training's name; the pipeline model captures its own module's when it is built
        wrapped = self._cross_entropy(model.cross_entropy, mpu)
        training.cross_entropy = model.cross_entropy = wrapped

    # -- data -----------------------------------------------------------------------------------------------

    def _build_loaders(self, build: Callable[..., Any], data_utils: Any) -> Callable[..., Any]:
        def build_loaders(neox_args: Any) -> Any:
            self._begin_run(neox_args)
            loaders = 0
            make = data_utils.make_data_loader

            def make_data_loader(dataset: Any, neox_args: Any) -> Any:
                nonlocal loaders
                loaders += 1
                if loaders == 1 and dataset is not None:  # train, then validation and test
                    dataset = self._slot_dataset(dataset, neox_args)
                return make(dataset, neox_args)

            changes: dict[str, Any] = {"make_data_loader": make_data_loader}
            if not self.neox_serves:
                changes["GPT2Dataset"] = self._without_training_data(data_utils.GPT2Dataset)
            elif self.plan is not None:
                needed = needed_samples(self.plan, self._n_slots(neox_args))
                sized = data_utils.get_normalized_weights_and_num_samples
                changes["get_normalized_weights_and_num_samples"] = sized_for(needed, sized)
                split = data_utils.build_train_valid_test_datasets
                changes["build_train_valid_test_datasets"] = _split_sized_for(needed, split)
            with _replaced(data_utils, changes):
                return build(neox_args)

        return build_loaders

    def _begin_run(self, neox_args: Any) -> None:
        """Everything that can be checked before data and model: on every rank, so that all of them stop."""
        self.neox_args = neox_args
        self.adapter.check_settings(neox_args, self.settings.emit is not None)
        layout = Layout.of(neox_args, self.adapter.mpu)
        if layout.batch_size != neox_args.train_batch_size:
            raise CuratorError(
                f"train_batch_size is {neox_args.train_batch_size}, but micro-batches of {layout.micro_batch_size}, "
                f"{layout.accumulation} a step on {layout.dp_size} data-parallel ranks are {layout.batch_size}"
            )
        self.clock = Clock(layout)
        if self.corpus is not None and self.corpus.row_width != neox_args.seq_length + 1:
            raise CuratorError(
                f"{self.corpus.path}: rows are {self.corpus.row_width} tokens wide, but seq-length "
                f"{neox_args.seq_length} needs {neox_args.seq_length + 1}; set seq-length to "
                f"{self.corpus.row_width - 1}, or give the corpus of this run"
            )
        if self.corpus is not None:
            self.corpus.check_index()
        n_slots = self._n_slots(neox_args)
        if self.plan is not None:
            assert self.corpus is not None
            self.plan.check(self.corpus.fingerprint(), layout.batch_size, n_slots, "train-iters")
            self.sources = open_sources(self.plan, self.corpus)
            self._check_sources(neox_args)
            self.weights = PlanWeights(self.plan, self.clock)
        if self.neox_serves and self.settings.epochs > 1:
            assert self.corpus is not None
            raise CuratorError(
                f"{self.corpus.path}: GPT-NeoX's own order holds all epochs of the run already; leave out 'epochs'"
            )
        if not self.neox_serves:
            assert self.corpus is not None
            if getattr(neox_args, "weight_by_num_documents", False):
                raise CuratorError(
                    "weight_by_num_documents weighs data sets, but the corpus is served in file order"
                )
            epochs, n = self.settings.epochs, len(self.corpus)
            if self.plan is None and n_slots > epochs * n:
                passes = "" if epochs == 1 else f" of pass {epochs} (epochs)"
                raise CuratorError(
                    f"{self.corpus.path}: train-iters {neox_args.train_iters} of {layout.batch_size} samples reach "
                    f"sample {n_slots - 1}, but the corpus ends with sample {n - 1}{passes}; set train-iters to at "
                    f"most {epochs * n // layout.batch_size}, or 'epochs: {-(-n_slots // n)}' in the patch file, to "
                    "begin it again"
                )
        if self.settings.emit is not None:
            self.emitter = Emitter(
                self.settings.emit, self.clock, self.adapter, neox_args, self.weights, self.corpus
            )

    def _check_sources(self, neox_args: Any) -> None:
        """Refuse injected rows with ids that the model has no embedding for."""
        from curator.corpus import check_tokens

        for source in self.sources:
            try:
                check_tokens(source, int(neox_args.padded_vocab_size))
            except CuratorError as error:
                raise CuratorError(
                    f"injected rows do not fit GPT-NeoX's padded vocabulary of {neox_args.padded_vocab_size}: {error}"
                ) from error

    def _n_slots(self, neox_args: Any) -> int:
        return int(neox_args.train_iters) * int(neox_args.train_batch_size)

    def _slot_dataset(self, dataset: Any, neox_args: Any) -> SlotDataset:
        n_slots = self._n_slots(neox_args)
        needed = n_slots if self.plan is None else needed_samples(self.plan, n_slots)
        if self.neox_serves and len(dataset) < needed:
            raise CuratorError(
                f"GPT-NeoX made training data of {len(dataset)} samples, but {neox_args.train_iters} steps need "
                f"{needed}: its loader would start again, or stop, before the end; lower train-iters by one, or name "
                "the data in train-data-paths, which leaves some to spare"
            )
        slots = SlotDataset(
            n_slots,
            self.plan,
            dataset,
            None if self.neox_serves else self.corpus,
            self.sources,
            int(neox_args.padded_vocab_size),
        )
        if self.corpus is not None:
            count = compare(slots, self.corpus)
            self._say(f"{count} planned rows compared with what the loader delivers: equal")
        return slots

    def _without_training_data(self, dataset_class: Any) -> Callable[..., Any]:
        def dataset(name: str, *args: Any, **kwargs: Any) -> Any:
            if name == "train" or name.startswith("train_"):
                return Placeholder()
            return dataset_class(name, *args, **kwargs)

        return dataset

    # -- model ----------------------------------------------------------------------------------------------

    def _pretrain(self, pretrain: Callable[..., Any]) -> Callable[..., Any]:
        def pretrain_(*args: Any, **kwargs: Any) -> Any:
            self.training = True  # rather than evaluate, or generate
            return pretrain(*args, **kwargs)

        return pretrain_

    def _setup(self, setup: Callable[..., Any]) -> Callable[..., Any]:
        def setup_model_and_optimizer(*args: Any, **kwargs: Any) -> Any:
            neox_args = kwargs.get("neox_args", args[0] if args else None)
            if self.training:
                self.books = self._bookkeeper(neox_args)
                self.books.check(neox_args, kwargs.get("iteration"))
            result = setup(*args, **kwargs)
            self._ready(result[0], neox_args)
            return result

        return setup_model_and_optimizer

    def _bookkeeper(self, neox_args: Any) -> Bookkeeper:
        now = describe_run(
            self.plan,
            None if self.corpus is None else self.corpus.fingerprint(),
            int(neox_args.train_batch_size),
            int(neox_args.seq_length),
            serves_rows=not self.neox_serves,
            emits=self.settings.emit is not None,
        )
        named = {"patch_file": self.patch_file, "corpus": self.settings.corpus, "plan": self.settings.plan}
        paths = {name: None if path is None else str(path.absolute()) for name, path in named.items()}
        return Bookkeeper(now, self.plan, self.insisted, paths, self._say)

    def _ready(self, engine: Any, neox_args: Any) -> None:
        self.engine, self.first_step = engine, int(neox_args.iteration or 0)
        if self.books is not None:
            self.books.attach(engine, self.first_step)
        if warning := compat.unscaled_loss(engine):
            self._say(warning)

    def _begin_training(self) -> None:
        """At the first training step: model, optimizer and data are there in every generation."""
        assert self.clock is not None and self.first_step is not None and self.books is not None
        if self.neox_args.is_pipe_parallel:
            follow_pipeline(self.engine, self.clock)
        self.device = next(self.engine.module.parameters()).device
        together(self._check_and_open, self.device)
        self.books.begin()
        edits = "no plan" if self.plan is None else f"plan {self.books.now.plan_fingerprint}"
        self._say(
            f"GPT-NeoX {self.adapter.checkout.generation}, from step {self.first_step}, {edits}"
            + (
                f"; {self.adapter.schedule_note}"
                if self.adapter.schedule_note and self.first_step == 0
                else ""
            )
        )
        self._say_what_a_step_is()

    def _check_and_open(self) -> None:
        """What may refuse one rank alone: all of them stop then."""
        assert self.clock is not None and self.first_step is not None and self.books is not None
        if not self.neox_serves:
            assert self.corpus is not None
            self.ahead = Ahead(
                self.corpus,
                self.plan,
                self.first_step * self.clock.layout.batch_size,
                self._n_slots(self.neox_args),
                int(self.neox_args.padded_vocab_size),
                self._say,
            )
            self.ahead.begin(self.clock.layout.batch_size)
        if self.emitter is not None and self.emitter.is_over(self.first_step):
            self._say(f"all of emit.steps are over at step {self.first_step}: nothing is emitted")
            self.emitter = None
        if self.emitter is not None:
            self.books.claim()
            self.emitter.attach(self.engine, self.first_step, self.books.run)

    def _say_what_a_step_is(self) -> None:
        """Where the plan's steps and samples may not be what they seem."""
        assert self.clock is not None and self.first_step is not None
        load = Path(self.neox_args.load) if self.neox_args.load else None
        if self.neox_args.finetune and load is not None and (load / "latest").is_file():
            self._say(
                f"finetune: the weights of {load} are loaded, but steps are counted from 0: step 0 of the plan, of "
                "emit.steps and of the corpus comes first, whatever was trained on before"
            )
        n = 0 if self.corpus is None or self.neox_serves else len(self.corpus)
        batch, n_slots = self.clock.layout.batch_size, self._n_slots(self.neox_args)
        if n and n_slots > n and (self.plan is None or self.plan.epoch_samples is not None):
            self._say(
                f"the corpus begins again in step {n // batch}: slot s holds sample s modulo {n}"
                + ("" if self.plan is None else ", and what is masked is masked each time")
            )
        missing = [] if self.emitter is None else self.emitter.missing(self.first_step)
        if missing:
            self._say(
                f"of emit.steps, {len(missing)} that are over ({missing[0]} to {missing[-1]}) were trained without "
                "this emission, and stay missing in it"
            )

    # -- steps ----------------------------------------------------------------------------------------------

    def _train_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        steps = 0

        def train_step(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            if steps == 0:
                self._begin_training()
            assert self.clock is not None and self.first_step is not None
            if self.ahead is not None:
                self.ahead.at_step(steps, self.device)
            self.clock.begin(self.first_step + steps)
            steps += 1
            if self.weights is not None:
                self.weights.begin_step()
            if self.emitter is not None:
                self.emitter.begin_step()
            try:
                result = step(*args, **kwargs)
            finally:
                self.clock.end()
            if self.emitter is not None:
                self.emitter.end_step()
            return result

        return train_step

    def _get_batch(self, get_batch: Callable[..., Any]) -> Callable[..., Any]:
        def _get_batch(*args: Any, **kwargs: Any) -> Any:
            if self.clock is not None and self.clock.training:
                data = kwargs["data"] if "data" in kwargs else args[3]
                check_slots(data, self.clock.load(), self.clock.step)
            return get_batch(*args, **kwargs)

        return _get_batch

    def _token_losses(self, token_losses: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def vocab_parallel_cross_entropy(logits: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            losses = token_losses(logits, target, *args, **kwargs)
            if self.emitter is not None and self.emitter.active:
                self.emitter.note_token_losses(losses.detach())
            return losses

        return vocab_parallel_cross_entropy

    def _cross_entropy(self, cross_entropy: Callable[..., Tensor], mpu: Any) -> Callable[..., Tensor]:
        def loss_of(output: Tensor, labels: Any, _fp16: bool = False) -> Tensor:
            if self.clock is None or not self.clock.training:
                return cross_entropy(output, labels, _fp16=_fp16)
            row_weights = None if self.weights is None else self.weights.current()
            counted = None if self.weights is None else self.weights.counted()
            if row_weights is None and counted is None:  # every token counts once
                loss = cross_entropy(output, labels, _fp16=_fp16)
            else:
                token_losses = mpu.vocab_parallel_cross_entropy
                loss = weighted_loss(token_losses, output, labels, row_weights, counted, _fp16)
            if self.emitter is not None and self.emitter.active:
                self.emitter.note_loss(loss, labels[1], row_weights)
            return loss

        return loss_of

    def _save_checkpoint(self, save: Callable[..., Any]) -> Callable[..., Any]:
        """Sums first: where they cannot be saved, the run ends before anything names this checkpoint."""

        def save_checkpoint(*args: Any, **kwargs: Any) -> Any:
            if self.books is not None:
                self.books.begin()
            if self.emitter is not None:
                self.emitter.save_sums()
            return save(*args, **kwargs)

        return save_checkpoint

    def _say(self, text: str) -> None:
        if rank() == 0:
            note(f"neox_patches: {text}")


def _split_sized_for(needed: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """``build_train_valid_test_datasets`` with the number of training samples replaced."""

    def with_samples(*args: Any, **kwargs: Any) -> Any:
        sizes = list(kwargs["train_valid_test_num_samples"])
        kwargs["train_valid_test_num_samples"] = [needed, *sizes[1:]]
        return function(*args, **kwargs)

    return with_samples


@contextlib.contextmanager
def _replaced(module: Any, changes: dict[str, Any]) -> Any:
    before = {name: getattr(module, name) for name in changes}
    try:
        for name, value in changes.items():
            setattr(module, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)
