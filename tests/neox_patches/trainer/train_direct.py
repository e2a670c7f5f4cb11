"""GPT-NeoX's own train.py for one process without the DeepSpeed launcher: it reads YAML config files itself."""

import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent))

import by_hand
import compiled
import megatron.mpu
import megatron.training
import stops
import witness
from megatron.neox_arguments import NeoXArgs

if __name__ == "__main__":
    compiled.once()
    witness.install(megatron.training)
    stops.install()
    by_hand.install(megatron.mpu)
    neox_args = NeoXArgs.from_ymls(
        sys.argv[1:],
        overwrite_values={"rank": int(os.environ["RANK"]), "local_rank": int(os.environ["LOCAL_RANK"])},
    )
    neox_args.configure_distributed_args()
    neox_args.build_tokenizer()
    neox_args.initialize_tensorboard_writer()
    code = 0
    try:
        megatron.training.pretrain(neox_args=neox_args)
    except SystemExit as error:  # exit-interval
        code = int(error.code or 0)
    witness.leave(code)
