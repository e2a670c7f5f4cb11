"""The logits of GPT-NeoX's own model: ``plain.py HOME trainer_logits.py CONFIG TOKENS OUT``.

It is built and filled by GPT-NeoX itself, as for training, from the checkpoint that ``load`` in CONFIG points to.
TOKENS: [batch, seq] int64 .npy. OUT-{rank}.npy: [batch, seq, vocabulary of the rank] float32.
"""

import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent))

import compiled
import megatron.training as training
import numpy as np
import torch
from megatron.initialize import initialize_megatron
from megatron.model.positional_embeddings import RotaryEmbedding
from megatron.neox_arguments import NeoXArgs
from megatron.text_generation_utils import get_batch


def main(config: str, tokens_file: str, out: str) -> None:
    rank = int(os.environ["RANK"])
    neox_args = NeoXArgs.from_ymls(
        [config], overwrite_values={"rank": rank, "local_rank": int(os.environ["LOCAL_RANK"])}
    )
    neox_args.configure_distributed_args()
    neox_args.build_tokenizer()
    initialize_megatron(neox_args=neox_args)
    engine = training.setup_model_and_optimizer(neox_args=neox_args)[0]
    assert neox_args.iteration > 0, "no checkpoint was loaded"
    model = engine.module
    model.eval()
    if os.environ.get("EXACT_ROTARY"):  # fp16 runs of v1.0 and 2.x save these frequencies rounded to half
        for module in model.modules():
            if isinstance(module, RotaryEmbedding):
                dim = 2 * len(module.inv_freq)
                module.inv_freq.copy_(neox_args.rotary_emb_base ** -(torch.arange(0, dim, 2).float() / dim))
    tokens = torch.from_numpy(np.load(tokens_file))
    tokens, attention_mask, position_ids = get_batch(neox_args, tokens)
    with torch.no_grad():
        logits = model((tokens, position_ids, attention_mask))
    np.save(f"{out}-{rank}.npy", logits.float().numpy())


if __name__ == "__main__":
    compiled.once()
    main(*sys.argv[1:])
    os._exit(0)  # as witness.leave does, and for its reason
