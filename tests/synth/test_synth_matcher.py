"""What a template says is what is searched for and what generated texts are held to."""

import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patterns import log_pattern, log_text, span_pattern

from synth import follow
from synth.codegen import write_source
from synth.matcher import Matcher
from synth.pattern import Field, Pattern


def run_trusted(pattern: Pattern, seed: int, tokens: int) -> str:
    """A builtin generator run right here: its code is ours. (Generated code runs in the sandbox alone.)"""
    scope: dict[str, object] = {}
    exec(write_source(pattern, 4.0), scope)
    return scope[pattern.function](random.Random(seed), tokens)  # type: ignore[operator]


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    kinds = {
        "fixed_list": st.lists(st.text("abc{}\n\\.*", min_size=1, max_size=3), min_size=1, max_size=5).map(
            tuple
        ),
        "characters": st.sampled_from(["lowercase", "digits", "base64", "printable"]),
        "number": st.sampled_from(["0-9", "007-120", "5-5", "10-99999"]),
        "random_text": st.just("some words"),
    }
    fields, template = [], "<<"
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(sorted(kinds)))
        least = draw(st.integers(1, 3))
        name = f"f{number}"
        fields.append(
            Field(
                name=name,
                type=kind,
                values_or_rules=draw(kinds[kind]),
                scope=draw(st.sampled_from(["text", "repetition"])),
                count=draw(st.none() | st.just((least, least + draw(st.integers(0, 2))))),
                separator=draw(st.sampled_from(["", ", "])) if kind != "characters" else "",
            )
        )
        template += "{" + name + "}" + draw(st.sampled_from(["; ", "{{", "\n", "="]))
        if draw(st.booleans()):
            template += "{" + name + "}/"
    return Pattern(
        pattern_id="p001", pattern_name="x", anchor_tokens=("<<",), fields=tuple(fields), template=template
    )


@given(patterns(), st.integers(0, 5), st.integers(5, 60))
@settings(deadline=None, max_examples=150)
def test_what_the_builtin_generator_writes_follows_its_pattern(
    pattern: Pattern, seed: int, tokens: int
) -> None:
    pattern = Pattern.from_json(pattern.to_json())
    text = run_trusted(pattern, seed, tokens)
    assert list(Matcher(pattern, seconds=2).complaints(text)) == []


def test_a_text_may_be_cut_anywhere_behind_its_first_repetition() -> None:
    text = run_trusted(log_pattern(), 0, 60)
    first = text.index("\n") + 1
    for end in range(first, len(text)):
        assert list(Matcher(log_pattern()).complaints(text[:end])) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "INFO worker-",
        "INFO worker-07: alpha beta",
        "INFO worker-7: alpha beta\n",
        "INFO worker-07: alpha\n",
        "INFO worker-07: alpha omega\n",
        "INFO worker-07: alpha beta\nDEBUG worker-07: alpha beta\n",
        " INFO worker-07: alpha beta\n",
    ],
)
def test_texts_that_leave_the_template_are_refused(text: str) -> None:
    [complaint] = Matcher(log_pattern()).complaints(text)
    assert complaint


def test_a_span_of_scope_text_must_come_back() -> None:
    matcher = Matcher(span_pattern())
    assert list(matcher.complaints("abcde abcde abc")) == []
    assert list(matcher.complaints("abcde abcde ghgh")) != []


def test_an_occurrence_needs_two_repetitions_in_a_row() -> None:
    matcher = Matcher(log_pattern())
    line = "INFO worker-07: alpha beta\n"
    assert matcher.occurs("x" + line + line)
    assert not matcher.occurs(line)
    assert not matcher.occurs(line + "pause\n" + line)
    assert not Matcher(log_pattern(), least=3).occurs(line + line)
    assert not matcher.occurs(log_text(random.Random(0)))  # lines there end otherwise


def test_a_run_of_blanks_is_no_repeated_span() -> None:
    pieces = {"name": "span", "type": "fixed_list", "values_or_rules": [" ", "    ", "a"], "count": [2, 4]}
    pattern = log_pattern(anchor_tokens=[], fields=[{**pieces, "scope": "text"}], template="{span}")
    assert not Matcher(pattern).occurs("x" + " " * 64 + "y")
    assert Matcher(pattern).occurs("x" + "a a a    a a a" + "y")


def test_a_search_that_would_take_forever_ends_in_time() -> None:
    fields = [
        {"name": f"f{n}", "type": "random_text", "values_or_rules": "x", "count": [1, 200]} for n in range(8)
    ]
    template = "a" + "".join("{" + field["name"] + "}b" for field in fields) + "c"
    pattern = log_pattern(anchor_tokens=["a"], fields=fields, template=template)
    started = time.monotonic()
    assert Matcher(pattern, seconds=0.2).occurs("ab" * 4000) is None
    assert time.monotonic() - started < 5


def test_a_search_of_a_generated_text_ends_in_time_and_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thirty fields of any words in a row fit a text in more ways than can be tried, or kept."""
    names = [f"f{number}" for number in range(30)]
    rule = {"type": "random_text", "values_or_rules": "words", "count": [1, 80]}
    pattern = log_pattern(
        anchor_tokens=["a"],
        fields=[{"name": name, **rule} for name in names],
        template="a" + "".join(f"{{{name}}}" for name in names) + "|",
    )
    monkeypatch.setattr(follow, "SECONDS", 2.0)
    tracemalloc.start()
    started = time.monotonic()
    (complaint,) = Matcher(pattern).complaints("a" + "word " * 3000)
    assert "could not be found out in time" in complaint or "leaves the template" in complaint
    assert time.monotonic() - started < 6
    assert tracemalloc.get_traced_memory()[1] < 400 << 20
    tracemalloc.stop()
