"""Wrong input: a line that says what was wrong, what was expected and how to mend it; exit code 1 or 2, no traceback.

`refused` fails on a traceback, and an exception that the entry point does not turn into a message fails the test.
"""

from pathlib import Path
from typing import Any

import pytest
from command_line import AUDIT, DISTILL, GENERATE, RENDER, changed, done, refused
from rankings import UNIT


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Paths are typed from that folder."""
    monkeypatch.chdir(made)
    for name in ("DEEPSEEK_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return made


CASES: dict[str, tuple[list[Any], int, str]] = {
    # distill
    "no ranking": (
        changed(DISTILL, "ranking", "nowhere"),
        1,
        "nowhere: not a ranking (no manifest.json); make one with `curator rank --out nowhere`",
    ),
    "a folder that is no ranking": (changed(DISTILL, "ranking", "notes"), 1, "notes: not a ranking"),
    "rows for a ranking": (
        changed(DISTILL, "ranking", "rows"),
        1,
        "format is 'synth-rows-1', expected 'curator-ranking-1'",
    ),
    "a unit that is not there": (
        [*DISTILL, "--unit", "induction:9.9"],
        2,
        f"no unit 'induction:9.9'; this ranking has: {UNIT}",
    ),
    "no tokenizer": ([*DISTILL, "--tokenizer", "nowhere.json"], 1, "nowhere.json: no such tokenizer; give a"),
    "a tokenizer that is none": (
        [*DISTILL, "--tokenizer", "kept.json"],
        1,
        "kept.json: not a tokenizer.json",
    ),
    "another corpus": ([*DISTILL, "--corpus", "other/rows.npy"], 1, "give the same corpus"),
    "an engine that is none": (
        changed(DISTILL, "builtin", "magic"),
        2,
        "--engine: unknown value 'magic'; known: builtin, llm",
    ),
    "no samples": (
        [*DISTILL, "--top", 0],
        2,
        "--top: 0 is not allowed; expected a whole",
    ),
    "samples that are no number": ([*DISTILL, "--top", "all"], 2, "'--top': Input should be a valid integer"),
    "all held out": (
        [*DISTILL, "--holdout", 1],
        2,
        "--holdout: 1.0 is not allowed; expected",
    ),
    "a share that is no number": ([*DISTILL, "--holdout", "nan"], 2, "--holdout: nan is not allowed"),
    "nothing left to distill": (
        [*DISTILL, "--top", 2, "--holdout", 0.9],
        2,
        "--holdout 0.9 of 2 samples leaves none to distill",
    ),
    "a similarity above 1": (
        [*DISTILL, "--similar", 1.5],
        2,
        "--similar: 1.5 is not allowed; expected a n",
    ),
    "patterns of too few samples": ([*DISTILL, "--least", 99], 1, "try more samples (--top), or --least 2"),
    "no folder to write to": (DISTILL[:-2], 2, "Missing option '--out'"),
    "a folder of something else": (
        changed(DISTILL, "new", "notes"),
        1,
        "notes: the folder is not empty and holds no registry; choose another --out",
    ),
    "a file for a folder": (changed(DISTILL, "new", "kept.json"), 1, "kept.json: is a file; --out needs a f"),
    "another request than the folder's": (
        [*changed(DISTILL, "new", "patterns"), "--top", 9],
        1,
        "patterns: holds other patterns than asked for; choose another --out, or remove it: samples.top: there 80, "
        "asked for 9",
    ),
    "a dry run of nobody": ([*DISTILL, "--dry-run"], 2, "--dry-run is for --engine llm"),
    "a budget of nobody": (
        [*DISTILL, "--budget", 1],
        2,
        "--budget says nothing beside --engine builtin, only beside llm",
    ),
    "a budget without prices": (
        ["distill", "ranking", "--out", "new", "--budget", 1, "--model", "m"],
        2,
        "a --budget needs prices, and those of m at https://api.deepseek.com are not known; "
        "give --price-in and --price-out",
    ),
    "a negative budget": (
        [*DISTILL, "--budget", -1],
        2,
        "--budget: -1.0 is not allowed; expected",
    ),
    "an address that is none": (
        ["distill", "ranking", "--out", "new", "--base-url", "api.example.com"],
        2,
        "--base-url: 'api.example.com' is not allowed; expected a URL such as https://api.deepseek.com",
    ),
    "an address with an open bracket": ([*DISTILL, "--base-url", "http://[x"], 2, "expected a URL such as"),
    "an address with a character that no terminal shows": (
        [*DISTILL, "--base-url", "http://ex\x01ample/v1"],
        2,
        r"--base-url: 'http://ex\x01ample/v1' is not allowed; expected a URL such as",
    ),
    "an address with a port that is none": ([*DISTILL, "--base-url", "http://h:99999"], 2, "expected a URL"),
    "a key in the address": (
        [*DISTILL, "--base-url", "http://me:key@h"],
        2,
        "the key is read from --key-env",
    ),
    "a form of answer that is none": (
        [*DISTILL, "--json-mode", "xml"],
        2,
        "--json-mode: unknown value 'xml'; known: auto, object, schema, text",
    ),
    "no prompt file": (
        ["distill", "ranking", "--out", "new", "--prompt", "nowhere.md"],
        2,
        "nowhere.md: no such prompt file (those of this version: distill-v2, generate-v2)",
    ),
    "a prompt without its placeholder": (
        ["distill", "ranking", "--out", "new", "--prompt", "prompt.md"],
        2,
        "prompt.md: the user part lacks <<samples>>",
    ),
    "an option that is none": ([*DISTILL, "--tops", 3], 2, "No such option: --tops"),
    # audit patterns
    "no registry": (
        ["audit", "patterns", "nowhere"],
        1,
        "nowhere/registry.json: no such registry; make one with `synth distill RANKING --out nowhere`",
    ),
    "the audit of another ranking": (
        ["audit", "patterns", "patterns", "--ranking", "other/ranking"],
        1,
        "give that ranking",
    ),
    "the audit with no tokenizer": (
        ["audit", "patterns", "patterns", "--tokenizer", "nowhere"],
        1,
        "nowhere: no such tokenizer",
    ),
    "the audit with another tokenizer": (
        ["audit", "patterns", "patterns", "--tokenizer", "bare.json"],
        1,
        "bare.json has ",
    ),
    # generate
    "a pattern that is not there": (
        ["generate", "patterns", "--engine", "builtin", "--only", "p999", "--out", "new"],
        2,
        "patterns/registry.json: no pattern p999; there are p001",
    ),
    "generators into a folder of something else": (
        changed(GENERATE, "new", "notes"),
        1,
        "notes: the folder is not empty and holds no generators; choose another --out",
    ),
    "generators into a ranking": (
        changed(GENERATE, "new", "ranking"),
        1,
        "ranking: holds something else than",
    ),
    "no own sources": (
        [*GENERATE, "--own", "nowhere"],
        2,
        "--own nowhere: no such folder; give one that holds PATTERN_ID_anything.py",
    ),
    "own sources of no pattern": (
        [*GENERATE, "--own", "notes"],
        2,
        "holds no PATTERN_ID_anything.py of these",
    ),
    "two own sources of a pattern": (
        [*GENERATE, "--own", "two"],
        2,
        "--own two: 2 files of pattern p001 (p001_a.py, p001_b.py); keep one",
    ),
    "code of nobody for money": (
        [*GENERATE, "--budget", 1],
        2,
        "--budget says nothing beside --engine builtin",
    ),
    "a prompt for nobody": (
        [*GENERATE, "--prompt", "prompt.md", "--model", "m"],
        2,
        "--prompt, --model say nothing beside --engine builtin, only beside llm",
    ),
    "a prompt for code without its placeholders": (
        ["generate", "patterns", "--all", "--out", "new", "--prompt", "prompt.md"],
        2,
        "prompt.md: the user part lacks <<function>>, <<pattern>>",
    ),
    # render
    "no generators": (
        changed(RENDER, "generators", "nowhere"),
        1,
        "nowhere: no generators there (no manifest.json); make them with `synth generate --out nowhere`",
    ),
    "rows of a ranking": (changed(RENDER, "generators", "ranking"), 1, "expected 'synth-generators-1'"),
    "a count without a folder": (RENDER[:-2], 2, "synth render needs --count and --out, or --verify"),
    "a folder without a count": (
        ["render", "generators", "--out", "new"],
        2,
        "synth render needs --count and --out, or --verify",
    ),
    "rows into a folder of something else": (
        changed(RENDER, "new", "notes"),
        1,
        "notes: the folder is not empty and holds no rows; choose another --out",
    ),
    "other rows than the folder's": (
        [*changed(RENDER, "new", "rows"), "--seed", 5],
        1,
        "rows: holds other rows than asked for; choose another --out, or remove it: seed: there 0, asked for 5",
    ),
    "the rows of generators verified": (
        ["render", "generators", "--verify", 2],
        1,
        "expected 'synth-rows-1'",
    ),
    "no rows to verify": (["render", "nowhere", "--verify", 2], 1, "nowhere: no rendered rows there"),
    "verified and written": ([*RENDER, "--verify", 2], 2, "leave out --out, --count"),
    "only what is kept of nothing": (
        [*RENDER, "--only", "nowhere.json"],
        2,
        "--only: nowhere.json: no such file; give audit.json or kept.json of `synth audit data`",
    ),
    "only what another audit says": ([*RENDER, "--only", "patterns/audit.json"], 2, "of `synth audit data`"),
    "only what is kept, which is nothing": (
        [*RENDER, "--only", "kept.json"],
        1,
        "kept.json: keeps 0 patterns, none of them in generators; nothing would be rendered",
    ),
    "weights that are no numbers": (
        [*RENDER, "--weights", "words.json"],
        2,
        "--weights words.json: expected a JSON object of pattern_id: number",
    ),
    "a weights file that is no JSON": (
        [*RENDER, "--weights", "prompt.md"],
        2,
        "--weights: prompt.md: not valid",
    ),
    "a weight of nobody": ([*RENDER, "--weights", "p9=2"], 2, "no generator of p9; there are p001, p002"),
    "a weight below 0": (
        [*RENDER, "--weights", "p001=-1"],
        2,
        "the weight of p001 must be a number of at least",
    ),
    "a weight that is too large": (
        [*RENDER, "--weights", "p001=1e308", "--weights", "p002=1e308"],
        2,
        "the weight of p001 must be a number of at least 0 and at most 1e+09, not 1e+308",
    ),
    "more rows than the disk holds": (
        ["render", "generators", "--count", 10**12, "--out", "new"],
        1,
        "new: 1,000,000,000,000 rows of 64 tokens take 256,000.0 GB",
    ),
    "a row of another kind": (
        [*RENDER, "--fill", "half"],
        2,
        "--fill: unknown value 'half'; known: packed",
    ),
    "a separator that is no token": ([*RENDER, "--separator-id", 99999], 2, "has no such token"),
    "padding without padded rows": (
        [*RENDER, "--pad-id", 2],
        2,
        "--pad-id says nothing beside --fill packed",
    ),
    # audit data
    "an audit of no rows": (changed(AUDIT, "rows", "nowhere"), 1, "nowhere: no rendered rows there"),
    "an audit of generators": (changed(AUDIT, "rows", "generators"), 1, "expected 'synth-rows-1'"),
    "an audit against no ranking": (changed(AUDIT, "ranking", "nowhere"), 1, "nowhere: not a ranking"),
    "rows of another length": (
        changed(AUDIT, "rows", "narrow"),
        1,
        "narrow: rows have 10 tokens, the samples of ranking 64; scores are sums over tokens, so render with "
        "--seq-length 63",
    ),
    "a ranking without queries": (AUDIT, 1, "ranking: has no queries"),
    "an audit of a unit that is not there": ([*AUDIT, "--unit", "x"], 2, f"this ranking has: {UNIT}"),
    "a percentile above 100": (
        [*AUDIT, "--threshold", 101],
        2,
        "--threshold: 101.0 is not allowed; expected a number of at least 0 and at most 100",
    ),
    "a GPU that is not there": ([*AUDIT, "--device", "cuda:99"], 2, "--device: cuda:99, but PyTorch sees"),
}


@pytest.mark.parametrize(("words", "code", "message"), CASES.values(), ids=CASES.keys())
def test_it_is_said_what_was_wrong(here: Path, words: list[Any], code: int, message: str) -> None:
    before = sorted(str(path) for path in here.rglob("*"))
    assert message in refused(code, *words)
    assert sorted(str(path) for path in here.rglob("*")) == before  # nothing was written


def test_corners_that_pass_all_the_same(here: Path, tmp_path: Path) -> None:
    """A pattern named twice is one; an empty folder is taken; a registry may be given by its file."""
    words = ["generate", "patterns/registry.json", "--engine", "builtin", "--target-tokens", 40]
    (tmp_path / "there").mkdir()
    said = done(*words, "--only", "p001", "--only", "p001", "--out", tmp_path / "there")
    assert "1 generators passed" in said
