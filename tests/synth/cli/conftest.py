"""A study of synth with every folder that its commands write."""

from pathlib import Path

import numpy as np
import pytest
from command_line import done
from generator_folders import LINES, write_generators
from rankings import TOKENIZER, write_ranking
from studies import write_study

from curator.artifacts.files import load_json, save_json


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ranking, patterns (audited), generators, rows, and folders and files of other kinds; tests write elsewhere."""
    folder = tmp_path_factory.mktemp("made")
    write_study(folder)
    done("distill", folder / "ranking", "--engine", "builtin", "--out", folder / "patterns")
    done("audit", "patterns", folder / "patterns", "--workers", 1)
    write_generators(folder / "generators", {"p001": LINES, "p002": LINES}, seq_length=63)
    words = ["--count", 12, "--workers", 1]
    done("render", folder / "generators", "--out", folder / "rows", *words)
    done("render", folder / "generators", "--out", folder / "narrow", "--seq-length", 9, *words)
    other = write_ranking(folder / "other", np.ones((40, 9), np.uint16), np.linspace(0, 1, 40))
    assert other.path == folder / "other" / "ranking"
    for name in ("empty", "notes", "two"):
        (folder / name).mkdir()
    (folder / "notes" / "todo.txt").write_text("not ours")
    for name in ("p001_a.py", "p001_b.py"):
        (folder / "two" / name).write_text("x = 1")
    (folder / "prompt.md").write_text("# System\nBe brief.\n# User\nPatterns, please.\n")
    (folder / "kept.json").write_text("[]")
    save_json(folder / "bare.json", {**load_json(TOKENIZER), "added_tokens": []})
    (folder / "words.json").write_text('{"p001": "much"}')
    return folder
