"""Wrong input: a line that says what was wrong, what was expected and how to mend it; exit code 1 or 2, no traceback.

`refused` fails on a traceback, and an exception that the entry point does not turn into a message fails the test.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import done, refused
from engine_parts import GOLDEN
from generator_folders import FEW, LINES, ONE, write_generators
from rankings import TOKENIZER, UNIT, write_ranking
from studies import write_study

from curator.artifacts.files import load_json, save_json


@pytest.fixture(scope="module")
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


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Paths are typed from that folder."""
    monkeypatch.chdir(made)
    for name in ("DEEPSEEK_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return made


DISTILL = ["distill", "ranking", "--engine", "builtin", "--out", "new"]
GENERATE = ["generate", "patterns", "--engine", "builtin", "--all", "--out", "new"]
RENDER = ["render", "generators", "--count", 12, "--out", "new"]
AUDIT = ["audit", "data", "rows", "--ranking", "ranking", "--out", "new"]


def changed(words: list[Any], old: Any, new: Any) -> list[Any]:
    assert words.count(old) == 1
    return [new if word == old else word for word in words]


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
        "--budget: the engine builtin asks nobody and costs nothing; it takes no 'budget'",
    ),
    "a budget without prices": (
        ["distill", "ranking", "--out", "new", "--budget", 1, "--model", "m"],
        2,
        "--budget: a 'budget' needs prices, and those of m at https://api.deepseek.com are not known; "
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
    "code of nobody for money": ([*GENERATE, "--budget", 1], 2, "--budget: the engine builtin asks nobody"),
    "a prompt for nobody": (
        [*GENERATE, "--prompt", "prompt.md", "--model", "m"],
        2,
        "--prompt, --model: the engine builtin asks nobody and costs nothing; it takes no 'prompt', 'model'",
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
    "verified and written": ([*RENDER, "--verify", 2], 2, "leave out --out and --count"),
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
        "--pad-id: 'pad_id' is for padded rows",
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


# -- files that were cut short, edited or changed -------------------------------------------------------------------


@pytest.fixture
def copy(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("patterns", "generators", "rows"):
        shutil.copytree(made / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


READERS: dict[str, tuple[list[Any], str]] = {
    "patterns/registry.json": (
        ["audit", "patterns", "patterns"],
        "put it back, or remove it and distill again",
    ),
    "patterns/audit.json": (
        ["generate", "patterns", "--engine", "builtin", "--out", "new"],
        "run synth audit patterns again, or give --all",
    ),
    "generators/manifest.json": (RENDER, "put it back, or generate again"),
    "rows/manifest.json": (["render", "rows", "--verify", 1], "put it back, or render again"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_was_cut_short_is_named_with_what_to_do(copy: Path, name: str) -> None:
    words, mend = READERS[name]
    whole = (copy / name).read_bytes()
    for size in (0, 1, len(whole) // 3, len(whole) - 3):
        (copy / name).write_bytes(whole[:size])
        said = refused(1, *words)
        assert f"{name}: not valid JSON" in said and mend in said
    (copy / name).write_bytes(b"\xff\xfe" + whole)
    assert f"{name}: not valid JSON" in refused(1, *words)


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_another_format_is_named_with_both(copy: Path, name: str) -> None:
    words, mend = READERS[name]
    content = load_json(copy / name)
    save_json(copy / name, {**content, "format": "synth-other-9"})
    assert f"{name}: format is 'synth-other-9', expected '{content['format']}'" in refused(1, *words)
    for value in ([], 7, None, {}):
        save_json(copy / name, value)
        assert "expected" in (said := refused(1, *words)) and mend in said


NEEDED = [
    *(("patterns/registry.json", key) for key in ("patterns", "set_aside", "engine", "samples.held_out")),
    *(("patterns/audit.json", key) for key in ("patterns", "registry_fingerprint")),
    *(("generators/manifest.json", key) for key in ("generators", "set_aside")),
    *(("rows/manifest.json", key) for key in ("fingerprint", "identity.seq_length", "request.generators")),
    *(
        ("rows/manifest.json", f"fingerprints.{key}")
        for key in ("patterns", "row_patterns", "row_candidates")
    ),
]


@pytest.mark.parametrize(("name", "key"), NEEDED)
def test_a_file_that_lacks_a_part_is_named_with_the_part(copy: Path, name: str, key: str) -> None:
    words, mend = READERS[name]
    content = load_json(copy / name)
    *above, last = key.split(".")
    part = content[above[0]] if above else content
    value = part.pop(last)
    save_json(copy / name, content)
    assert f"{name}: lacks {key}" in (said := refused(1, *words)) and mend in said
    if isinstance(value, list):
        part[last] = 7
        save_json(copy / name, content)
        assert f"{name}: lacks {key}[]" in refused(1, *words)
    if key in ("patterns", "generators"):
        part[last] = [7]
        save_json(copy / name, content)
        assert name in refused(1, *words)


def test_a_registry_edited_by_hand_is_audited_again_before_it_is_believed(copy: Path) -> None:
    content = load_json(copy / "patterns" / "registry.json")
    content["patterns"][0]["pattern"]["length_control"] = "at will"
    save_json(copy / "patterns" / "registry.json", content)
    generate = ["generate", "patterns", "--engine", "builtin", "--out", "new"]
    said = refused(2, *generate)
    assert "patterns/audit.json is of another registry; run synth audit patterns again, or give --all" in said
    content["patterns"][0]["pattern"]["template"] = "{nobody}"
    save_json(copy / "patterns" / "registry.json", content)
    assert "registry.json: pattern 0: " in (said := refused(1, *generate)) and "no field 'nobody'" in said
    del content["patterns"][0]["pattern"]
    save_json(copy / "patterns" / "registry.json", content)
    assert "registry.json: pattern 0: lacks 'pattern'" in refused(1, *generate)


def test_patterns_that_were_never_audited_are_not_said_to_carry(copy: Path) -> None:
    (copy / "patterns" / "audit.json").unlink()
    words = ["generate", "patterns", "--engine", "builtin", "--carrying", "--out", "new"]
    assert "patterns/audit.json: the patterns were not audited" in refused(2, *words)


def test_a_tokenizer_that_has_gone_is_asked_for(made: Path, copy: Path) -> None:
    content = load_json(copy / "patterns" / "registry.json")
    content["samples"]["tokenizer"] = str(copy / "gone.json")
    save_json(copy / "patterns" / "registry.json", content)
    said = refused(1, "audit", "patterns", "patterns")
    assert "its tokenizer" in said and "gone.json is no longer there; give --tokenizer FILE" in said
    done("audit", "patterns", "patterns", "--tokenizer", TOKENIZER, "--workers", 1)


def test_a_ranking_that_has_moved_is_asked_for_and_taken(made: Path, copy: Path) -> None:
    content = load_json(copy / "patterns" / "registry.json")
    content["samples"]["ranking"] = str(copy / "gone")
    save_json(copy / "patterns" / "registry.json", content)
    assert "gone: not a ranking" in refused(1, "audit", "patterns", "patterns")
    said = done("audit", "patterns", "patterns", "--ranking", made / "ranking", "--workers", 1)
    assert "patterns carry" in said


def test_a_study_that_has_moved_goes_on(made: Path, copy: Path) -> None:
    """What is written down besides places is compared; the folders of the places may have other names now."""
    shutil.copytree(made / "ranking", copy / "ranking")
    words = ["--engine", "builtin", "--tokenizer", TOKENIZER]
    assert "Written to patterns/registry.json" in done("distill", "ranking", "--out", "patterns", *words)
    done("generate", "patterns", "--all", "--out", "made", "--engine", "builtin", "--target-tokens", 40)
    (copy / "patterns").rename(copy / "moved")
    said = done("generate", "moved", "--all", "--out", "made", "--engine", "builtin", "--target-tokens", 40)
    assert "passed their checks" in said


def test_a_source_that_was_changed_or_is_missing_is_named_with_the_way_back(copy: Path) -> None:
    source = copy / "generators" / "p002.py"
    source.write_text(source.read_text() + "# mine\n")
    said = refused(1, *RENDER)
    assert "generators/p002.py: was changed after it was checked" in said
    assert "`synth generate PATTERNS --own generators --out OTHER`" in said
    source.write_bytes(b"\xff\xfe")
    assert "was changed" in refused(1, *RENDER)
    source.unlink()
    assert "generators/p002.py: missing; put it back, or generate again" in refused(1, *RENDER)


def test_own_sources_that_are_no_text_are_named(copy: Path) -> None:
    (copy / "own").mkdir()
    (copy / "own" / "p001_mine.py").write_bytes(b"def f(): '\xff'")
    said = refused(2, *GENERATE, "--own", "own")
    assert "own/p001_mine.py is not UTF-8 text" in said


@pytest.mark.parametrize("name", ["patterns.json", "row_patterns.npy", "row_candidates.npy", "data.ninja"])
def test_rows_without_a_part_are_refused(copy: Path, name: str) -> None:
    (copy / "rows" / name).unlink()
    assert name in refused(1, "render", "rows", "--verify", 1)


@pytest.mark.parametrize(
    "change", [lambda ids: ids[:1], lambda ids: ids[::-1], lambda ids: [*ids, "p003"], dict.fromkeys, str]
)
def test_pattern_names_that_were_changed_blame_no_other_patterns(copy: Path, change: Any) -> None:
    file = copy / "rows" / "patterns.json"
    save_json(file, change(load_json(file)))
    for words in (["render", "rows", "--verify", 1], changed(AUDIT, "ranking", "nowhere")):
        said = refused(1, *words)
        assert (
            "rows/patterns.json: has fingerprint" in said and "copy the folder again, or render again" in said
        )


def test_rows_of_patterns_in_another_order_are_refused(copy: Path) -> None:
    for name in ("row_patterns", "row_candidates"):
        file = copy / "rows" / f"{name}.npy"
        whole = np.load(file)
        for other in (whole[::-1], whole[:2], whole.astype(float)):
            np.save(file, other)
            assert f"rows/{name}.npy: has fingerprint" in refused(1, "render", "rows", "--verify", 1)
        np.save(file, whole)
    done("render", "rows", "--verify", 1)


def test_a_manifest_of_rows_whose_patterns_were_edited_is_refused(copy: Path) -> None:
    content = load_json(copy / "rows" / "manifest.json")
    for patterns, said in (
        ([7], "pattern 0 lacks dropped, "),
        ([{"pattern_id": "p001"}], "pattern 0 lacks dropped"),
    ):
        save_json(copy / "rows" / "manifest.json", {**content, "patterns": patterns})
        assert f"rows/manifest.json: {said}" in refused(1, "render", "rows", "--verify", 1)


def test_an_edited_registry_is_refused_by_every_command(copy: Path) -> None:
    file = copy / "patterns" / "registry.json"
    content = load_json(file)
    held_out = content["samples"]["held_out"]
    content["samples"]["held_out"] = ["a"]
    save_json(file, content)
    assert "registry.json: samples.held_out holds 'a'" in refused(1, "audit", "patterns", "patterns")
    content["samples"]["held_out"] = [*held_out, 10**9]
    save_json(file, content)
    said = refused(1, "audit", "patterns", "patterns", "--workers", 1)
    assert "registry.json: samples.held_out goes from" in said and "put it back" in said
    content["samples"]["held_out"] = held_out
    content["patterns"][0]["provenance"] = {}
    save_json(file, content)
    assert "registry.json: pattern 0: its provenance needs" in refused(1, *GENERATE)


def test_generators_of_which_none_passed_give_the_first_reason(copy: Path) -> None:
    content = load_json(copy / "generators" / "manifest.json")
    aside = {"pattern_id": "p001", "reason": "its texts are too much alike\nthe first: a"}
    for set_aside, said in (
        ([aside], "see set_aside in its manifest; of p001: its texts are too much alike"),
        ([7], "see set_aside in its manifest"),
    ):
        save_json(
            copy / "generators" / "manifest.json", {**content, "generators": [], "set_aside": set_aside}
        )
        assert refused(1, *RENDER).rstrip().endswith(said)


def test_rows_that_were_changed_are_refused_with_both_fingerprints(copy: Path) -> None:
    data = bytearray((copy / "rows" / "data.ninja").read_bytes())
    data[0] ^= 1
    (copy / "rows" / "data.ninja").write_bytes(bytes(data))
    assert "they were changed; put them back" in refused(1, "render", "rows", "--verify", 1)


def test_an_unfinished_ranking_says_how_it_is_finished(made: Path, copy: Path) -> None:
    shutil.copytree(made / "ranking", copy / "ranking")
    manifest = load_json(copy / "ranking" / "manifest.json")
    save_json(copy / "ranking" / "manifest.json", {**manifest, "status": "running"})
    said = refused(1, *DISTILL)
    assert "the ranking is unfinished; run the same `curator rank` command again" in said
    (copy / "ranking" / "manifest.json").write_text(json.dumps(manifest)[:-20])
    assert "ranking/manifest.json: not valid JSON" in refused(1, *DISTILL)


def test_a_ranking_without_influence_says_so(tmp_path: Path) -> None:
    for name, scores, message in (
        ("low", np.linspace(-2, 0, 40), "no sample has a positive score, so there is nothing to distill"),
        ("nan", np.full(40, np.nan), "some scores are not numbers; make the ranking again"),
    ):
        write_ranking(tmp_path / name, np.load(GOLDEN / "rows.npy")[:40], scores)
        words = ["distill", tmp_path / name / "ranking", "--engine", "builtin", "--out", tmp_path / "out"]
        assert message in refused(1, *words)


def test_more_rows_than_there_are_is_refused_with_how_many_there_are(copy: Path) -> None:
    write_generators(copy / "few", {"p001": FEW}, seq_length=32)
    said = refused(1, "render", "few", "--count", 99, "--out", "new", "--workers", 1)
    assert (
        "the generators give 10 distinct rows in all, 99 were asked for; ask for at most 10 (--count)" in said
    )


def test_one_row_for_five_hundred_is_refused_with_both_numbers(copy: Path) -> None:
    write_generators(copy / "one", {"p001": ONE}, seq_length=32)
    said = refused(1, "render", "one", "--count", 500, "--out", "new", "--workers", 1)
    assert "give 1 distinct row in all, 500 were asked for; ask for at most 1 (--count)" in said
    assert "rows: 500/500 rows" in said and "candidates for 499 of 500 rows still missing: " in said


def test_corners_that_pass_all_the_same(here: Path, tmp_path: Path) -> None:
    """A pattern named twice is one; an empty folder is taken; a registry may be given by its file."""
    words = ["generate", "patterns/registry.json", "--engine", "builtin", "--target-tokens", 40]
    (tmp_path / "there").mkdir()
    said = done(*words, "--only", "p001", "--only", "p001", "--out", tmp_path / "there")
    assert "1 generators passed" in said
