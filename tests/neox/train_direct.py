"""GPT-NeoX's own train.py for one process without the DeepSpeed launcher: it reads YAML config files itself.

It leaves by ``os._exit``: while Python takes itself apart, a thread of PyTorch's gloo backend now and then aborts the
process ("terminate called without an active exception"), long after training is over.
"""

import atexit
import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent))

import megatron.training
import witness
from megatron.neox_arguments import NeoXArgs

if __name__ == "__main__":
    witness.install(megatron.training)
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
    atexit._run_exitfuncs()  # the witness writes its records there
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
