"""Lets older GPT-NeoX checkouts import and train with current packages; no patch of ours needs any of it.

Each function looks for one symptom and does nothing where it is absent, so that an environment of the checkout's
own time stays as it is. docs/neox.md lists them.
"""

import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

from curator.neox.checkout import path_for_make


def apply(home: Path) -> list[str]:
    """Do what the checkout at ``home`` needs before ``megatron`` is imported; says what was done, in words."""
    import deepspeed

    done = [
        _own_python(),
        _pkg_resources(),
        _deepspeed_distributed(deepspeed),
        _optional_imports(home),
        _one_config(deepspeed, home),
        _loss_scale_name(),
        _numpy_fromstring(),
    ]
    return [text for text in done if text]


def _own_python() -> str | None:
    """make compiles the index helper with the python3 that comes first on the PATH, and the pybind11 of that one."""
    path, other = path_for_make()
    if other is None:
        return None
    os.environ["PATH"] = path
    return f"{Path(sys.executable).parent} stands first on the PATH, where make would have found {other}"


def _stub(name: str, **attributes: Any) -> Any:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module
    return module


def _found(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _pkg_resources() -> str | None:
    """``from pkg_resources import packaging``: setuptools 82 has no pkg_resources, and 70 no packaging in it."""
    if _found("pkg_resources"):
        pkg_resources: Any = importlib.import_module("pkg_resources")
        if hasattr(pkg_resources, "packaging"):
            return None
    else:
        pkg_resources = _stub("pkg_resources")
    pkg_resources.packaging = importlib.import_module("packaging")
    importlib.import_module("packaging.version")
    return "pkg_resources.packaging stands in for what setuptools no longer has"


def _deepspeed_distributed(deepspeed: Any) -> str | None:
    """v1.0 imports ``deepspeed.utils.distributed``, which has moved."""
    if _found("deepspeed.utils.distributed"):
        return None
    importlib.import_module("deepspeed.utils")
    from deepspeed.comm.comm import mpi_discovery

    deepspeed.utils.distributed = _stub(
        "deepspeed.utils.distributed",
        init_distributed=deepspeed.init_distributed,
        mpi_discovery=mpi_discovery,
    )
    return "deepspeed.utils.distributed leads to where its functions are now"


def _optional_imports(home: Path) -> str | None:
    """v1.0 and 2.x import wandb and the evaluation harness in modules that training needs."""
    training = (home / "megatron" / "training.py").read_text()
    absent = []
    if "\nfrom eval_tasks import" in training and not _importable("lm_eval"):
        _stub("eval_tasks", run_eval_harness=None)
        absent.append("eval_tasks")
    if not _importable("wandb") and "wandb" not in sys.modules and "\nfrom eval_tasks import" in training:
        _stub("wandb", UsageError=Exception, util=types.SimpleNamespace(generate_id=lambda: "0"))
        absent.append("wandb")
    return f"{' and '.join(absent)} stubbed: not installed, not needed to train" if absent else None


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _one_config(deepspeed: Any, home: Path) -> str | None:
    """v1.0 and 2.x give DeepSpeed the same settings twice, which it now refuses; and fp16 buffers stayed fp32."""
    training = (home / "megatron" / "training.py").read_text()
    if not re.search(r"^\s*config_params=", training, re.MULTILINE):
        return None
    if getattr(deepspeed.initialize, "takes_one_config", False):
        return None
    initialize = deepspeed.initialize

    @functools.wraps(initialize)
    def initialize_once(*args: Any, **kwargs: Any) -> Any:
        settings = kwargs.get("config_params")
        if settings is not None and getattr(kwargs.get("args"), "deepspeed_config", None):
            kwargs.pop("config_params")
        result = initialize(*args, **kwargs)
        engine = result[0]
        if engine.fp16_enabled():  # older engines did module.half(), which takes rotary's inv_freq along
            for buffer in engine.module.buffers():
                if buffer.is_floating_point():
                    buffer.data = buffer.data.half()
        return result

    initialize_once.takes_one_config = True  # type: ignore[attr-defined]
    deepspeed.initialize = initialize_once
    return "deepspeed.initialize gets its settings once"


def _loss_scale_name() -> str | None:
    """GPT-NeoX logs ``optimizer.cur_scale``, which DeepSpeed's fp16 optimizer no longer has."""
    from deepspeed.runtime.fp16.fused_optimizer import FP16_Optimizer

    if hasattr(FP16_Optimizer, "cur_scale"):
        return None
    FP16_Optimizer.cur_scale = property(lambda self: self.loss_scale)
    return "optimizer.cur_scale reads its loss_scale"


def _numpy_fromstring() -> str | None:
    """CharLevelTokenizer calls ``np.fromstring(text, dtype=np.uint8)``, which numpy 2.3 removed."""
    import numpy as np

    if np.lib.NumpyVersion(np.__version__) < "2.3.0" or hasattr(np.fromstring, "reads_bytes"):
        return None
    fromstring = np.fromstring

    @functools.wraps(fromstring)
    def with_bytes(string: Any, dtype: Any = float, count: int = -1, *, sep: str = "", **kwargs: Any) -> Any:
        if sep:
            return fromstring(string, dtype, count, sep=sep, **kwargs)
        data = string.encode() if isinstance(string, str) else string
        return np.frombuffer(data, dtype, count).copy()

    with_bytes.reads_bytes = True  # type: ignore[attr-defined]
    np.fromstring = with_bytes  # type: ignore[assignment]
    return "numpy.fromstring reads bytes again"


def mend(training: Any) -> str | None:
    """HEAD's ``evaluate`` unpacks (loss, metrics); with the pipeline engine ``forward_step`` returns a loss alone."""
    if "metric_dict" not in inspect.getsource(training.evaluate):
        return None
    forward_step = training.forward_step

    @functools.wraps(forward_step)
    def with_metrics(data_iterator: Any, model: Any, neox_args: Any, *args: Any, **kwargs: Any) -> Any:
        result = forward_step(data_iterator, model, neox_args, *args, **kwargs)
        if neox_args.is_pipe_parallel and not kwargs.get("return_logits") and not isinstance(result, tuple):
            return result, {}
        return result

    training.forward_step = with_metrics
    return "forward_step returns (loss, {}) with the pipeline engine"


def unscaled_loss(engine: Any) -> str | None:
    """A warning where fp16 training goes wrong without any of our doing, in words.

    DeepSpeed 0.19.8 scales the loss for its ZeRO optimizers alone, but its plain fp16 optimizer divides every gradient
    by the scale all the same: nothing is clipped, nothing overflows, and the scale grows until Adam's eps swallows the
    updates. The same optimizer trains bf16, whose scale is 1.
    """
    from deepspeed.runtime.base_optimizer import ZeROOptimizer
    from deepspeed.runtime.fp16.fused_optimizer import FP16_Optimizer

    if not isinstance(engine.optimizer, FP16_Optimizer) or isinstance(engine.optimizer, ZeROOptimizer):
        return None
    if not engine.fp16_enabled():
        return None
    scaling = getattr(engine.optimizer, "loss_scale_config", None)
    if scaling is not None and not scaling.dynamic_loss_scale and scaling.cur_scale == 1:
        return None
    source = inspect.getsource(importlib.import_module("deepspeed.runtime.engine"))
    if not re.search(
        r"isinstance\(self\.optimizer, ZeROOptimizer\):\s+loss = self\.optimizer\.scale_if_loss", source
    ):
        return None
    return (
        "WARNING: this DeepSpeed does not scale the loss of fp16 training without ZeRO, but divides gradients by the "
        "scale; training goes wrong. Set zero_optimization.stage to 1"
    )
