"""What a checkout makes of config files: ``python plain.py HOME derive.py JOBS.json`` prints one JSON line per job.

A job is {"files": [YAML, ...], "overwrite": {key: value}}; the line is a dict of `DERIVED`, marked with ``derived:``.
"""

import json
import sys
from pathlib import Path

from megatron.neox_arguments import NeoXArgs

DERIVED = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "is_pipe_parallel",
    "zero_stage",
    "checkpoint_activations",
    "num_layers",
    "hidden_size",
    "num_attention_heads",
    "seq_length",
    "attention_config",
    "precision",
    "dynamic_loss_scale",
    "seed",
    "train_iters",
    "lr",
    "min_lr",
    "clip_grad",
    "checkpoint_factor",
    "extra_save_iters",
    "deepspeed_config",
)

if __name__ == "__main__":
    for job in json.loads(Path(sys.argv[1]).read_text()):
        args = NeoXArgs.from_ymls(job["files"], overwrite_values=job["overwrite"])
        print("derived:" + json.dumps({name: getattr(args, name) for name in DERIVED}), flush=True)
