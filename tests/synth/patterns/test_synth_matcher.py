"""What a template says is what is searched for and what generated texts are held to."""

import random
import subprocess
import sys
import time
import tracemalloc
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_samples import log_pattern, log_text, pattern_json, patterns, run_trusted, span_pattern

from synth.patterns import membership as follow
from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Field, Pattern


@given(patterns(), st.integers(0, 5), st.integers(5, 60))
@settings(deadline=None, max_examples=150)
def test_what_the_builtin_generator_writes_follows_its_pattern(
    pattern: Pattern, seed: int, tokens: int
) -> None:
    pattern = Pattern.from_json(pattern.to_json())
    text = run_trusted(pattern, seed, tokens)
    assert list(Matcher(pattern).complaints(text)) == []


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


def test_a_search_that_would_take_forever_by_going_back_is_answered_at_once() -> None:
    fields = [
        {"name": f"f{n}", "type": "random_text", "values_or_rules": "x", "count": [1, 200]} for n in range(8)
    ]
    template = "a" + "".join("{" + field["name"] + "}b" for field in fields) + "c"
    pattern = log_pattern(anchor_tokens=["a"], fields=fields, template=template)
    started = time.monotonic()
    assert Matcher(pattern).occurs("ab" * 4000) is False
    assert Matcher(pattern).occurs("ab" * 4000 + "c" + "ab" * 4000 + "c") is True
    assert time.monotonic() - started < 5


BOUNDED = """
import resource
from synth.patterns import membership as follow
from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern
follow.STEPS = 100_000  # a fifth, to save time
words = {"type": "random_text", "values_or_rules": "words", "count": [1, 1000], "scope": %r}
pattern = Pattern.from_json({
    "pattern_id": "p", "pattern_name": "x", "anchor_tokens": %r, "template": %r, "length_control": "",
    "fields": [{"name": name, **words} for name in "ab"],
})
texts = ["Q" * 100_000, ("Q" * 99 + "R") * 1000, "QxR" * 33_333][:%d]
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20), used + (128 << 20)))
print([Matcher(pattern).occurs(text) for text in texts])
print(*Matcher(pattern).complaints(texts[0]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
@pytest.mark.parametrize(
    ("scope", "anchors", "template", "found"),
    [
        ("repetition", ["Q"], "{a}Q{b}R", [False, True, True]),
        ("text", [], "{a}Q{b}R", [False, True, True]),
        ("repetition", ["Q"], "{a}Q{b}R{a}", [False, True, True]),
        ("repetition", [], "{a}{b}{b}Q", [True]),
    ],
)
def test_long_fields_of_any_words_take_bounded_memory(
    scope: str, anchors: list[str], template: str, found: list[bool]
) -> None:
    """128 MiB more than an idle process has. Where all values tried were remembered, the second of them took 3 GB."""
    words = [sys.executable, "-c", BOUNDED % (scope, anchors, template, len(found))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    first, _, rest = done.stdout.partition("\n")
    assert first == str(found), done.stderr[-500:]
    assert ("could not be found out in time" in rest) == ("R" in template)  # the last of them is all Q


def test_a_search_that_takes_too_much_work_says_so_and_says_the_same_again() -> None:
    letters = {"name": "span", "type": "characters", "values_or_rules": "lowercase", "count": [4, 60]}
    pattern = log_pattern(anchor_tokens=[], fields=[{**letters, "scope": "text"}], template="{span}")
    text = "".join(random.Random(0).choices("abcdefghij", k=400))
    assert [Matcher(pattern, work=100_000).occurs(text) for _ in range(2)] == [None, None]
    assert Matcher(pattern).occurs(text) is False
    assert Matcher(pattern).occurs(text + text[:7] + text[:7]) is True


# -- against the slowest way -------------------------------------------------------------------------------------


def slow_values(field: Field) -> list[str]:
    """Every value of a small field."""
    if field.type == "characters":
        items = ["a", "b", "A"]
    elif field.type == "number":
        items = [str(n) for low, high in field.ranges for n in range(low, high + 1)]
    else:
        items = list(dict.fromkeys(field.values))
    counts = field.counts or range(field.span[0], field.span[1] + 1)
    return list(
        dict.fromkeys(field.separator.join(some) for n in counts for some in product(items, repeat=n))
    )


def slow_occurs(pattern: Pattern, text: str) -> bool:
    """All texts of two repetitions, one by one."""
    own = [field for field in pattern.fields if field.type != "copy"]

    def repetition(values: dict[str, str]) -> str:
        return "".join(
            literal + ("" if name is None else pattern.field(name).cased(values[pattern.source(name).name]))
            for literal, name in pattern.parts()
        )

    kept = [field for field in own if field.scope == "text"]
    for first in product(*(slow_values(field) for field in own)):
        one = dict(zip((field.name for field in own), first))
        if any((one[f.name] * 2).find(one[f.name], 1) != len(one[f.name]) for f in kept):
            continue
        start = repetition(one)
        if start not in text:
            continue
        for second in product(*(slow_values(field) for field in own)):
            two = dict(zip((field.name for field in own), second)) | {f.name: one[f.name] for f in kept}
            if start + repetition(two) in text:
                return True
    return False


@st.composite
def small(draw: st.DrawFn) -> Pattern:
    """Patterns with few values, over the letters of the texts below; exact where the search is."""
    fields, template = [], ""
    for number in range(draw(st.integers(1, 2))):
        kind = draw(st.sampled_from(["fixed_list", "number"]))
        rules = (
            draw(st.sampled_from([("a", "bA"), ("b",), ("ab", "a", "A")])) if kind == "fixed_list" else "0-2"
        )
        scope = draw(st.sampled_from(["text", "repetition"]))
        counts = draw(st.sampled_from([None, (0, 1)])) if kind == "fixed_list" else None
        fields.append(Field(name=f"f{number}", type=kind, values_or_rules=rules, scope=scope, counts=counts))
        template += draw(st.sampled_from(["", "1", "a"])) + f"{{f{number}}}"
        extra = draw(st.sampled_from(["", "again", "lower", "upper"]))
        if extra == "again":
            template += f"{{f{number}}}"
        elif extra:
            fields.append(Field(name=f"c{number}", type="copy", values_or_rules=f"f{number}", case=extra))
            template += f"{{c{number}}}"
    return Pattern(
        pattern_id="p", pattern_name="x", anchor_tokens=(), fields=tuple(fields), template=template + "2"
    )


@given(small(), st.text("abA12", max_size=14))
@settings(deadline=None, max_examples=300)
def test_the_search_finds_what_the_slowest_search_finds(pattern: Pattern, text: str) -> None:
    assert Matcher(pattern).occurs(text) is slow_occurs(pattern, text)


@given(small(), st.integers(0, 20), st.text("abA12", max_size=3))
@settings(deadline=None, max_examples=200)
def test_what_the_builtin_generator_writes_is_found(pattern: Pattern, seed: int, before: str) -> None:
    text = before + run_trusted(pattern, seed, 4)
    assert Matcher(pattern).occurs(text) is slow_occurs(pattern, text)


def test_a_copy_comes_back_in_its_case_or_not_at_all() -> None:
    copy = {"name": "macro", "type": "copy", "values_or_rules": "name", "case": "upper"}
    name = {"name": "name", "type": "characters", "values_or_rules": "lowercase", "count": [1, 9]}
    pattern = log_pattern(
        anchor_tokens=["#define "], fields=[name, copy], template="{name} #define {macro}\n"
    )
    matcher = Matcher(pattern)
    assert matcher.occurs("x alpha #define ALPHA\nbeta #define BETA\n") is True
    assert matcher.occurs("x alpha #define ALPHA\nbeta #define BETB\n") is False
    assert list(matcher.complaints("alpha #define ALPHA\nbeta #def")) == []
    assert list(matcher.complaints("alpha #define ALPHA\nbeta #define beta\n")) != []
    with pytest.raises(Exception, match="stands before 'name', which it copies"):
        Pattern.from_json(pattern_json(anchor_tokens=[], fields=[name, copy], template="{macro} is {name}\n"))


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
