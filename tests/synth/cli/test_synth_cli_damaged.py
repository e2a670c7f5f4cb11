"""Files of a study of synth that were cut short, edited or moved: named, with the way back."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import AUDIT, DISTILL, GENERATE, RENDER, changed, done, refused
from engine_parts import GOLDEN
from generator_folders import FEW, ONE, write_generators
from rankings import TOKENIZER, write_ranking

from curator.artifacts.files import load_json, save_json

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
