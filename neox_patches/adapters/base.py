"""What every generation shares: where the hook points are, and what the patches cannot follow."""

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from curator.errors import CuratorError
from curator.neox.checkout import Checkout
from neox_patches.adapters.maps import GATED, LinearMap, linear_maps


class Adapter:
    """The hook points of one checkout, its modules imported on first use.

    Attributes:
        schedule_note: what a user must know of this generation's learning rate.
    """

    schedule_note: ClassVar[str] = ""

    def __init__(self, checkout: Checkout):
        self.checkout = checkout

    @property
    def training(self) -> Any:
        """``megatron.training``."""
        return importlib.import_module("megatron.training")

    @property
    def data_utils(self) -> Any:
        """``megatron.data.data_utils``."""
        return importlib.import_module("megatron.data.data_utils")

    @property
    def gpt2_model(self) -> Any:
        """``megatron.model.gpt2_model``."""
        return importlib.import_module("megatron.model.gpt2_model")

    @property
    def mpu(self) -> Any:
        """``megatron.mpu``."""
        return importlib.import_module("megatron.mpu")

    def refusals(self, neox_args: Any) -> Iterator[str]:
        """Settings under which slots or losses are not what the patches take them for, in words."""
        if neox_args.train_iters is None:
            yield "train_iters is not set (train_epochs gives no number of steps): give train-iters"
        if getattr(neox_args, "curriculum_learning", None):
            yield "curriculum_learning shortens the rows: remove it"

    def emission_refusals(self, neox_args: Any) -> Iterator[str]:
        """Settings that a plan can be followed under, but of which no sample's gradient can be told."""
        if (getattr(neox_args, "soft_prompt_tuning", None) or {}).get("enabled"):
            yield "soft_prompt_tuning trains none of the model's own maps: remove it"

    def check_settings(self, neox_args: Any, emits: bool) -> None:
        """Refuse what cannot be followed, or (``emits``) not emitted under.

        Raises:
            CuratorError: lists every such setting.
        """
        asked = [("plans and emissions", "", list(self.refusals(neox_args)))]
        if emits:
            asked.append(("emissions", " (a plan alone can)", list(self.emission_refusals(neox_args))))
        for what, though, problems in asked:
            if problems:
                raise CuratorError(
                    f"GPT-NeoX {self.checkout.generation} is configured in a way that {what} cannot follow{though}: "
                    + "; ".join(problems)
                )

    mlp_maps: ClassVar[tuple[str, str]] = ("dense_h_to_4h", "dense_4h_to_h")
    """What the MLP calls its two linear maps."""

    def linear_maps(self, neox_args: Any) -> Mapping[str, LinearMap]:
        """The linear maps of every transformer layer, by curator's names."""
        gated = getattr(neox_args, "activation", None) in GATED
        d_mlp = None if gated else self.mlp_size(neox_args)
        return linear_maps(int(neox_args.hidden_size), d_mlp, self.mlp_maps)

    def mlp_size(self, neox_args: Any) -> int:
        """Neurons of an MLP."""
        return 4 * int(neox_args.hidden_size)

    def transformer_layers(self, module: Any) -> dict[int, Any]:
        """Layer number, counted from 0 over the whole model -> ``ParallelTransformerLayer``, of this rank's stage."""
        return {
            int(layer.layer_number): layer
            for layer in module.modules()
            if type(layer).__name__ in ("ParallelTransformerLayer", "ParallelTransformerLayerPipe")
        }
