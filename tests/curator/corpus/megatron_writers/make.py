"""Writes the data sets of this folder with the writers of other projects; see README.md for versions and commands.

The texts below are the tests' own. Every word is one token, so that documents of eight words and an end are rows of
nine. ``rows`` is packed, one document per row, as a training corpus is; ``documents`` are of any length, which
GPT-NeoX lays end to end. Megatron's documents of more than nine tokens have two sequences, so two entries in the index.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROWS = [
    "the river runs past the old mill slowly",
    "past the old mill the river runs home",
    "rain fell on the hill and on us",
    "we counted the swans until the rain fell",
    "the last swans went home past the hill",
]
DOCUMENTS = [
    "the river runs past the old mill",
    "rain",
    "rain fell on the hill and on us until we went home past the mill slowly",
    "swans",
    "we counted the last swans until the rain fell on the old hill and the river runs home",
]
WORDS = sorted({word for text in ROWS + DOCUMENTS for word in text.split()})
END = "<|endoftext|>"
VOCABULARIES = {"uint16": 60_000, "int32": 70_000}  # datatrove takes four bytes from 65,537 entries on


def vocabulary(size: int) -> dict[str, int]:
    """Word -> id: the end is 0, and the words are the highest ids of the vocabulary."""
    return {END: 0, **{word: size - len(WORDS) + k for k, word in enumerate(WORDS)}}


def tokens(texts: list[str], size: int) -> list[list[int]]:
    """The documents' tokens, each with an end."""
    ids = vocabulary(size)
    return [[*(ids[word] for word in text.split()), ids[END]] for text in texts]


def datatrove() -> None:
    """With MegatronDocumentTokenizer, which tokenises the texts itself."""
    from datatrove.data import Document
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronDocumentTokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers

    for kind, size in VOCABULARIES.items():
        filler = {f"unused{number}": number for number in range(1, size - len(WORDS))}
        tokenizer = Tokenizer(models.WordLevel({**vocabulary(size), **filler}, unk_token=END))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        file = HERE / "tokenizer.tmp"
        tokenizer.save(str(file))
        for name, texts in (("rows", ROWS), ("documents", DOCUMENTS)):
            step = MegatronDocumentTokenizer(str(HERE), f"datatrove-{kind}", str(file), END)
            step.run(Document(text=text, id=str(number)) for number, text in enumerate(texts))
            for suffix in (".bin", ".idx"):
                written = HERE / f"datatrove-{kind}_00000_tokens{suffix}"
                written.rename(HERE / f"datatrove-{kind}-{name}{suffix}")
        file.unlink()


def megatron() -> None:
    """With IndexedDatasetBuilder, of which NeMo has its copy; it takes tokens, a document in one or more sequences."""
    import numpy as np
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    for kind, size in VOCABULARIES.items():
        for name, texts in (("rows", ROWS), ("documents", DOCUMENTS)):
            prefix = HERE / f"megatron-{kind}-{name}"
            builder = IndexedDatasetBuilder(f"{prefix}.bin", dtype=getattr(np, kind))
            for document in tokens(texts, size):
                if len(document) > 9:  # as --split-sentences does
                    builder.add_document(torch.tensor(document), [9, len(document) - 9])
                else:
                    builder.add_item(torch.tensor(document))
                    builder.end_document()
            builder.finalize(f"{prefix}.idx")


if __name__ == "__main__":
    {"datatrove": datatrove, "megatron": megatron}[sys.argv[1]]()
    expected = {
        f"{kind}-{name}": tokens(texts, size)
        for kind, size in VOCABULARIES.items()
        for name, texts in (("rows", ROWS), ("documents", DOCUMENTS))
    }
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")
