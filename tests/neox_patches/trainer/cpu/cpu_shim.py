"""What stands in for CUDA, apex and flash attention when GPT-NeoX trains on a CPU (tests and benchmarks only).

GPT-NeoX asserts that CUDA is there and asks for ``torch.cuda`` tensors, memory figures, generators and timers on
its training path. Each is answered with the CPU's own. Nothing here knows of the patches, and the plain trainer
runs with it too, so a test can compare the two.
"""

import importlib.machinery
import importlib.metadata
import os
import sys
import types

import torch
import torch.nn.functional as F
import torch.utils.data


def install() -> None:
    """Must come before the first import of deepspeed or megatron; a second call does nothing."""
    if "apex" in sys.modules:
        return
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("DS_SKIP_CUDA_CHECK", "1")
    _cuda()
    _fused_adam()
    _flash_attention()


def _cuda() -> None:
    cuda = torch.cuda
    nothing = (
        "synchronize",
        "set_device",
        "empty_cache",
        "reset_peak_memory_stats",
        "set_rng_state",
        "manual_seed",
    )
    for name in (*nothing, "manual_seed_all"):
        setattr(
            cuda, name, lambda *args, **kwargs: None
        )  # the one CPU generator is restored as torch's own state
    memory = ("memory_allocated", "memory_reserved", "memory_cached")
    for name in (*memory, *(f"max_{name}" for name in memory)):
        setattr(cuda, name, lambda *args, **kwargs: 0)
    cuda.is_available = lambda: True
    cuda.device_count = lambda: int(os.environ.get("WORLD_SIZE", "1"))
    cuda.current_device = lambda: "cpu"
    cuda.get_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    for kind in ("Long", "Int", "Float", "Byte", "Half", "Double", "BFloat16"):
        setattr(cuda, f"{kind}Tensor", getattr(torch, f"{kind}Tensor"))
    cuda.nvtx.range_push = cuda.nvtx.range_pop = lambda *args, **kwargs: 0
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    torch.nn.Module.cuda = lambda self, *args, **kwargs: self

    # torch itself must not believe that CUDA is there
    loader = torch.utils.data.DataLoader
    init = loader.__init__

    def without_pinning(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        kwargs["pin_memory"] = False
        init(self, *args, **kwargs)

    loader.__init__ = without_pinning


def stub(name: str, **attributes: object) -> types.ModuleType:
    """An empty module under ``name`` with these attributes."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    for key, value in attributes.items():
        setattr(module, key, value)
    sys.modules[name] = module
    return module


def _fused_adam() -> None:
    class FusedAdam(torch.optim.AdamW):
        """apex's signature and semantics over torch's AdamW."""

        overflow, cur_scale = False, 1.0  # read by older GPT-NeoX even in fp32

        def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, **_):  # type: ignore[no-untyped-def]
            super().__init__(
                params, lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay, foreach=False
            )

    stub("apex").optimizers = stub("apex.optimizers", FusedAdam=FusedAdam)  # type: ignore[attr-defined]


def _flash_attention() -> None:
    """``attention-config: [[["flash"], N]]``, as in every Pythia config, through torch's own attention."""
    version = importlib.metadata.version
    importlib.metadata.version = lambda name: (
        "2.5.6" if name.replace("_", "-") == "flash-attn" else version(name)
    )

    def attend(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, **_):  # type: ignore[no-untyped-def]
        """q, k, v: [batch, seq, heads, d_head]."""
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        out = F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout_p, is_causal=causal, scale=softmax_scale
        )
        return out.transpose(1, 2)

    def attend_varlen(
        q, k, v, cu_q, cu_k, max_q, max_k, dropout_p=0.0, softmax_scale=None, causal=False, **_
    ):  # type: ignore[no-untyped-def]
        batch = len(cu_q) - 1
        q = q.view(batch, max_q, *q.shape[1:])
        k, v = (tensor.view(batch, max_k, *tensor.shape[1:]) for tensor in (k, v))
        return attend(q, k, v, dropout_p, softmax_scale, causal).reshape(batch * max_q, *q.shape[2:])

    def attend_packed(qkv, cu_seqlens, max_seqlen, dropout_p, softmax_scale=None, causal=False, **_):  # type: ignore[no-untyped-def]
        """qkv: [batch * seq, 3, heads, d_head]."""
        batch = len(cu_seqlens) - 1
        q, k, v = qkv.view(batch, max_seqlen, *qkv.shape[1:]).unbind(2)
        return attend(q, k, v, dropout_p, softmax_scale, causal).reshape(batch * max_seqlen, *q.shape[2:])

    stub("flash_attn")
    stub("flash_attn.flash_attn_interface", flash_attn_func=attend, flash_attn_varlen_func=attend_varlen)
    stub("flash_attn.flash_attn_triton", flash_attn_func=None)
    stub("megatron.model.flash_attention", flash_attn_unpadded_qkvpacked_func=attend_packed)  # v1.0, v2.0


def deepspeed_on_any_cpu() -> None:
    """DeepSpeed would compile an operator for gloo's sake (50 s), and train fp16 on the newest CPUs alone.

    PyTorch multiplies half-precision numbers on every CPU; what DeepSpeed asks for is hardware that is fast at it.
    """
    import deepspeed.comm  # noqa: F401
    from deepspeed.accelerator import get_accelerator

    # not `import deepspeed.comm.torch`: the attribute `torch` of deepspeed.comm is torch itself
    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # type: ignore[attr-defined]
    type(get_accelerator()).is_fp16_supported = lambda self: True
