"""What `curator export` does: write the folder, say what is in it and what could not be."""

from curator.cli.next_steps import next_step
from curator.cli.printing import say
from curator.models.export import export
from curator.models.settings import ExportSettings


def run_export(settings: ExportSettings) -> None:
    """`curator export`."""
    copied, out = export(settings), settings.out
    say(f"Written to {out}/: config.json, model.safetensors ({settings.dtype})", end="")
    say(f", tokenizer.json (from {copied})" if copied else "")
    if copied is None:
        say("No tokenizer.json was found beside the checkpoint or as its vocab-file; --tokenizer adds one.")
    say(f"In transformers: GPTNeoXForCausalLM.from_pretrained({str(out)!r}).")
    words = ["--model", out, "--corpus", "CORPUS", "--unit", "induction:*", "--out", "ranking"]
    next_step("curator", "rank", *words)
