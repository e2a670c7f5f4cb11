"""What `curator export` does: write the folder, say what is in it and what could not be."""

from pathlib import Path

from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.models.export import export


def run_export(checkpoint: str, out: Path, dtype: str, tokenizer: Path | None) -> None:
    """`curator export`."""
    copied = export(checkpoint, out, dtype=dtype, tokenizer=tokenizer)
    say(f"Written to {out}/: config.json, model.safetensors ({dtype})", end="")
    say(f", tokenizer.json (from {copied})" if copied else "")
    if copied is None:
        say("No tokenizer.json was found beside the checkpoint or as its vocab-file; --tokenizer adds one.")
    say(f"In transformers: GPTNeoXForCausalLM.from_pretrained({str(out)!r}).")
    words = ["--model", out, "--corpus", "CORPUS", "--unit", "induction:*", "--out", "ranking"]
    next_step("curator", "rank", *words)
