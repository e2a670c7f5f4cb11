"""What a checkout's own data sets deliver, without a model: ``python plain.py HOME dump_rows.py SETTINGS OUT``.

SETTINGS is a JSON file: ``prefixes``, ``weights``, ``samples`` (asked for), ``seq_length`` and ``seed``. OUT becomes
an .npz: ``single`` (all of the first data set alone) and ``blend`` (all of the blend), int64 ``[rows, seq + 1]``.
"""

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parent))

import compiled
import numpy as np
import torch
from megatron import mpu
from megatron.data import data_utils
from megatron.data.blendable_dataset import BlendableDataset


def build(prefix: str, number: int, samples: int, settings: dict[str, Any]) -> Any:
    """The data set that the trainer builds for ``train-data-paths[number]``, whatever the generation's arguments."""
    values = {
        "data_prefix": prefix,
        "name": f"train_{number}",
        "data_impl": "mmap",
        "pack_impl": "packed",
        "dataset_impl": "gpt2",
        "allow_chopped": True,
        "num_samples": samples,
        "seq_length": settings["seq_length"],
        "seed": settings["seed"],
        "skip_warmup": True,
    }
    known = inspect.signature(data_utils.build_the_dataset).parameters
    values |= {name: None for name in ("pos_data_prefix", "neg_data_prefix", "num_epochs")}
    return data_utils.build_the_dataset(**{name: value for name, value in values.items() if name in known})


def main(settings: dict[str, Any], out: Path) -> None:
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    mpu.initialize_model_parallel(1)
    compiled.once()
    data_utils.compile_helper()
    weights, samples = data_utils.get_normalized_weights_and_num_samples(
        settings["weights"], settings["samples"]
    )
    parts = [build(prefix, k, samples[k], settings) for k, prefix in enumerate(settings["prefixes"])]
    blend = BlendableDataset(parts, weights)
    first = parts[0]
    np.savez(
        out,
        single=np.stack([first[i]["text"] for i in range(len(first))]),
        blend=np.stack([blend[i]["text"] for i in range(len(blend))]),
    )


if __name__ == "__main__":
    os.environ.setdefault("RANK", "0")
    main(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
