"""The trainer of benchmarks/neox.py: GPT-NeoX's own training on YAML configs, with the time of every step kept.

    python neox_train.py CONFIG.yml OUT.npz      (also through python -m neox_patches)

Writes ``starts`` [steps]: when each training step began, in seconds; their differences are whole iterations, with data,
logging and what the patches do before and after. ``peak_mib``: the process's highest resident memory.
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import megatron.training
import numpy as np
from megatron.neox_arguments import NeoXArgs


def main(config: str, out: str) -> None:
    starts: list[float] = []
    train_step = megatron.training.train_step

    def timed(*args: Any, **kwargs: Any) -> Any:
        starts.append(time.perf_counter())
        return train_step(*args, **kwargs)

    megatron.training.train_step = timed
    ranks = {name: int(os.environ[name.upper()]) for name in ("rank", "local_rank")}
    neox_args = NeoXArgs.from_ymls([config], overwrite_values=ranks)
    neox_args.configure_distributed_args()
    neox_args.build_tokenizer()
    neox_args.initialize_tensorboard_writer()
    with contextlib.suppress(SystemExit):  # exit-interval
        megatron.training.pretrain(neox_args=neox_args)
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1024
    np.savez(out, starts=np.array(starts), peak_mib=peak)
    os._exit(0)  # see leave in tests/neox_patches/trainer/witness.py


if __name__ == "__main__":
    main(*sys.argv[1:])
