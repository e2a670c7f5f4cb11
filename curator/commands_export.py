"""What `curator export` does: write the folder, say what is in it and what could not be."""

from pathlib import Path
from shlex import quote

from curator.models.export import export
from curator.printing import say


def run_export(checkpoint: str, out: Path, dtype: str, tokenizer: Path | None) -> None:
    """`curator export`."""
    copied = export(checkpoint, out, dtype=dtype, tokenizer=tokenizer)
    here = quote(str(out))
    say(f"Written to {out}/: config.json, model.safetensors ({dtype})", end="")
    say(f", tokenizer.json (from {copied})" if copied else "")
    if copied is None:
        say("No tokenizer.json was found beside the checkpoint or as its vocab-file; --tokenizer adds one.")
    say(f"Next: curator rank --model {here} --help, or from_pretrained({str(out)!r}) in transformers")
