"""Generators by rule and by hand: what every valid pattern becomes, what is kept, what is set aside and why."""

import ast
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_samples import log_pattern, pattern_json, patterns, span_pattern
from rankings import tokenizer

from curator.artifacts.files import load_json
from curator.errors import CuratorError, UsageError
from synth.generate.checks import Checked, check_generator
from synth.generate.codegen import write_source
from synth.generate.generators import Generators
from synth.generate.run import builtin_writer, generate, own_sources, own_writer
from synth.patterns.pattern import Pattern
from synth.sandbox import Sandbox
from synth.sandbox.policy import check_source

TARGET = 60
ABOUT_SIZE = ("asked for ", "its texts are too much alike")
"""How complaints begin that say nothing about the code: a pattern may hold too little to draw from."""


class RightHere:
    """Runs code that is our own in this process: hundreds of patterns in seconds."""

    @contextmanager
    def load(self, source: str, function: str, *_: Any) -> Iterator["RightHere"]:
        scope: dict[str, Any] = {}
        exec(source, scope)
        self.function = scope[function]
        yield self

    def texts(self, calls: list[tuple[str, int]]) -> Iterator[str]:
        return (self.function(random.Random(seed), target) for seed, target in calls)


def field(name: str, kind: str, rule: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "values_or_rules": rule, **more}


def pattern(template: str, *fields: dict[str, Any], anchors: tuple[str, ...] = ("=",)) -> Pattern:
    return Pattern.from_json(
        pattern_json(template=template, fields=list(fields), anchor_tokens=list(anchors))
    )


EVERY = {
    "a list": pattern("k={a};\n", field("a", "fixed_list", ["one", "two", "three", "é\N{GRINNING FACE}"])),
    "a list joined": pattern("k={a};", field("a", "fixed_list", ["x", "yy"], count=[2, 9], separator=", ")),
    "one value as often": pattern(
        "k={a};{b} ", field("a", "fixed_list", ["x", "x", "y"]), field("b", "number", "0-999")
    ),
    "characters": pattern("k={a};", field("a", "characters", "base64", count=[4, 30])),
    "printable characters": pattern("k={a}\n", field("a", "characters", "printable", count=[5, 9])),
    "a number": pattern("n = {a}\n", field("a", "number", "1-99999")),
    "a number of a width": pattern("n = {a}\n", field("a", "number", "0007-0999")),
    "numbers joined": pattern("n = {a}\n", field("a", "number", "0-9", count=[3, 7], separator="-")),
    "words": pattern("says = {a}.\n", field("a", "random_text", "what somebody says")),
    "words of a count": pattern("= {a}.\n", field("a", "random_text", "a name", count=[2, 3])),
    "kept in the text": pattern(
        "={a} {b}\n", field("a", "characters", "hex", count=[8, 8], scope="text"), field("b", "number", "0-99")
    ),
    "a value twice": pattern("<{a}={b}>{a}\n", field("a", "number", "0-999"), field("b", "number", "0-999")),
    "braces and quotes": pattern(
        "{{\"'''={a}\\n\"}}\\\n", field("a", "number", "0-99999"), anchors=("{\"'''=", '"}\\')
    ),
    "names of Python": pattern(
        "rng={rng} words={words} {length}{class}\n", field("rng", "number", "0-99"),
        field("words", "random_text", "x", count=[1, 2]), field("length", "number", "0-99"),
        field("class", "characters", "digits"),
    ),
    "only a span": span_pattern(),
}  # fmt: skip


@pytest.mark.parametrize("one", EVERY.values(), ids=EVERY.keys())
def test_every_kind_of_field_passes_its_own_checks_in_the_sandbox(one: Pattern) -> None:
    def check(source: str) -> Checked:
        return check_generator(one, source, Sandbox(unsafe=True), tokenizer(), TARGET)

    written = builtin_writer(one, check)
    assert written.reason == "" and written.checked is not None and written.checked.passed
    assert 0.6 < written.checked.length_ratio < 1.7
    assert f"CHARACTERS_PER_TOKEN = {check(write_source(one)).characters_per_token:.3f}" in written.source


names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
awkward = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(patterns(), names, awkward, st.text("abc {}'\"\\\n", max_size=8))
@settings(deadline=None, max_examples=120)
def test_any_valid_pattern_becomes_code_that_is_fine_or_is_set_aside_for_its_size(
    drawn: Pattern, name: str, hint: str, value: str
) -> None:
    fields = [one.to_json() for one in drawn.fields]
    for one in fields:
        if one["type"] == "fixed_list" and value:
            one["values_or_rules"].append(value)
    one = Pattern.from_json(
        {**drawn.to_json(), "fields": fields, "pattern_name": name or "x", "length_control": hint}
    )
    source = write_source(one, 1.5)
    ast.parse(source)
    assert check_source(source, one.function) == []
    checked = check_generator(one, source, RightHere(), tokenizer(), TARGET)  # type: ignore[arg-type]
    assert all(complaint.startswith(ABOUT_SIZE) for complaint in checked.complaints), checked.complaints
    assert write_source(Pattern.from_json(one.to_json()), 1.5) == source


def test_values_follow_their_frequencies_and_numbers_their_bounds() -> None:
    one = pattern("{a}={b} ", field("a", "fixed_list", ["x", "x", "x", "y"]), field("b", "number", "008-011"))
    scope: dict[str, Any] = {}
    exec(write_source(one, 1.0), scope)
    text = scope[one.function](random.Random(0), 20_000)
    names, numbers = zip(*(item.split("=") for item in text.split()))
    assert 0.72 < names.count("x") / len(names) < 0.78
    assert set(numbers) == {"008", "009", "010", "011"}


# -- the folder -------------------------------------------------------------------------------------------------

LOG, SMALL = log_pattern(), log_pattern(
    pattern_id="p002", pattern_name="Small", template="INFO worker-{number}\n",
    fields=[field("number", "number", "0-1", scope="text")],
)  # fmt: skip
MINE = f'''
def {LOG.function}(rng, target_tokens):
    """Mine."""
    lines = [f"INFO worker-{{rng.randint(0, 99):02d}}: river stone\\n" for _ in range(target_tokens // 15)]
    return "".join(lines)
'''


def made(out: Path, own: Path | None = None, patterns: tuple[Pattern, ...] = (LOG, SMALL)) -> Generators:
    write = builtin_writer if own is None else own_writer(own_sources(own, patterns), builtin_writer)
    identity = {"engine": {"name": "builtin"}, "own": None if own is None else str(own)}
    facts = {"tokenizer": "somewhere"}
    where = Sandbox(unsafe=True)
    return generate(patterns, out, identity, write, where, tokenizer(), target_tokens=TARGET, facts=facts)


def test_what_passes_is_a_file_each_and_what_fails_is_set_aside_with_its_source_and_reason(
    tmp_path: Path,
) -> None:
    generators = made(tmp_path)
    (one,) = generators.generators
    assert one.pattern == LOG and one.source == (tmp_path / "p001_log_lines.py").read_text()
    assert f"def {LOG.function}(rng, target_tokens):" in one.source
    (aside,) = generators.manifest["set_aside"]
    assert aside["pattern_id"] == "p002" and aside["reason"].startswith("its texts are too much alike")
    assert SMALL.function in aside["source"] and aside["provenance"] == {"engine": "builtin"}
    assert generators.manifest["tokenizer"] == "somewhere"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "p001_log_lines.py"]


def test_own_sources_are_checked_and_kept_with_their_name_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "p001_mine.py").write_text(MINE)
    other = log_pattern(pattern_id="p003", pattern_name="Other")
    generators = made(tmp_path / "out", tmp_path / "own", (LOG, other))
    first, second = generators.generators
    assert first.source == MINE and first.details["provenance"] == {"engine": "own", "file": "p001_mine.py"}
    assert second.details["provenance"] == {"engine": "builtin"}


@pytest.mark.parametrize("written", ["\ufeff" + MINE, "\ufeff" + MINE.replace("\n", "\r\n")])
def test_an_own_source_that_an_editor_of_windows_saved_is_taken(tmp_path: Path, written: str) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "p001.py").write_bytes(written.encode())
    (generator,) = made(tmp_path / "out", tmp_path / "own", (LOG,)).generators
    assert generator.source == MINE


def test_an_own_source_that_fails_is_set_aside_and_not_mended(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "p001.py").write_text("import os\n" + MINE)
    other = log_pattern(pattern_id="p003", pattern_name="Other")
    generators = made(tmp_path / "out", tmp_path / "own", (LOG, other))
    (aside,) = generators.manifest["set_aside"]
    assert "module os is not available" in aside["reason"] and aside["source"].startswith("import os")


def test_a_source_edited_by_hand_is_refused_until_it_is_taken_in_as_ones_own(tmp_path: Path) -> None:
    made(tmp_path / "out")
    file = tmp_path / "out" / "p001_log_lines.py"
    file.write_text(MINE)
    with pytest.raises(CuratorError, match=r"changed after it was checked; take it in with .* --own .*out"):
        Generators.open(tmp_path / "out")
    generators = made(tmp_path / "again", tmp_path / "out")
    assert generators.generators[0].source == MINE


def test_what_is_to_be_own_must_be_one_source_of_a_pattern_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        own_sources(tmp_path / "nowhere", (LOG,))
    (tmp_path / "p0011_other.py").write_text(MINE)
    with pytest.raises(UsageError, match=r"holds no PATTERN_ID_anything\.py of these patterns: p001, p002"):
        own_sources(tmp_path, (LOG, SMALL))
    (tmp_path / "p001.py").write_text(MINE)
    assert own_sources(tmp_path, (LOG, SMALL)) == {"p001": tmp_path / "p001.py"}
    (tmp_path / "p001_b.py").write_text(MINE)
    with pytest.raises(UsageError, match=r"2 files of pattern p001 \(p001.py, p001_b.py\); keep one"):
        own_sources(tmp_path, (LOG, SMALL))


def test_a_folder_in_which_nothing_passed_says_where_the_reasons_are(tmp_path: Path) -> None:
    with pytest.raises(CuratorError, match="holds no generator that passed its checks; see set_aside"):
        made(tmp_path, patterns=(SMALL,))
    assert load_json(tmp_path / "manifest.json")["set_aside"][0]["pattern_id"] == "p002"


def test_a_finished_folder_is_not_made_again_and_another_request_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    made(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    with pytest.raises(CuratorError, match=r"holds other generators than asked for.*\n  patterns: there"):
        made(tmp_path, patterns=(LOG,))
