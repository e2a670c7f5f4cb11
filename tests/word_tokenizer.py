"""A tokenizer of words, with a special token and an added one."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models

PADDED, ENTRIES = 64, 50


def save_tokenizer(folder: Path, entries: int = ENTRIES) -> Path:
    """All entries but the last two are words; those are a special token and an added one."""
    tokenizer = Tokenizer(models.WordLevel({f"w{n}": n for n in range(entries - 2)}, unk_token="w0"))
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    tokenizer.add_tokens([AddedToken("   ", special=False)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"
