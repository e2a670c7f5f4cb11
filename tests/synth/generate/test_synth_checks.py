"""Each check refuses the generator it is for, in words that say what to do; what honest code does passes all."""

import random
import re
from collections.abc import Callable

import pytest
from pattern_samples import WORDS, log_pattern, pattern_json, span_pattern
from rankings import tokenizer

from synth.generate.checks import Checked, check_generator, similarity
from synth.generate.codegen import write_source
from synth.patterns.pattern import Pattern
from synth.sandbox import Limits, Sandbox

PATTERN = log_pattern()
TARGET = 60
GOOD = f"""
WORDS = {WORDS!r}

def {PATTERN.function}(rng, target_tokens):
    text = ""
    while len(text) < 1.5 * target_tokens:
        words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 4)))
        text += f"INFO worker-{{rng.randint(0, 99):02d}}: {{words}}\\n"
    return text
"""


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox(unsafe=True)


@pytest.fixture
def check(sandbox: Sandbox) -> Callable[..., Checked]:
    def checked(source: str, pattern: Pattern = PATTERN, target: int = TARGET) -> Checked:
        return check_generator(pattern, source, sandbox, tokenizer(), target)

    return checked


def body(lines: str, above: str = "") -> str:
    """A generator with these lines; ``good`` is there to be called."""
    good = GOOD.replace(PATTERN.function, "good")
    indented = "\n".join(f"    {line}" for line in lines.splitlines())
    return f"{above}\n{good}\n\ndef {PATTERN.function}(rng, target_tokens):\n{indented}\n"


def test_honest_code_passes_and_is_measured(check: Callable[..., Checked]) -> None:
    checked = check(GOOD)
    assert checked.passed and not checked.complaints, checked.complaints
    assert 0.8 < checked.length_ratio < 1.5 and checked.distinct == 1 and 0 < checked.alike < 0.5
    assert 1 < checked.characters_per_token < 3
    assert 0.7 < checked.length_low <= checked.length_ratio
    lengths = {"length_ratio", "length_low"}
    assert set(checked.to_json()) == {*lengths, "distinct", "alike", "characters_per_token"}


BAD = {
    "counts its calls": (
        body("global N\nN += 1\nreturn good(rng, target_tokens)", "N = 0"),
        "keep nothing between calls",
    ),
    "keeps a list between calls": (
        body("SEEN.append(1)\nreturn good(rng, target_tokens)[: -len(SEEN) or None]", "SEEN = []"),
        "the same seed gave another text in another process or after other calls: draw from rng alone",
    ),
    "depends on the order of a set": (
        body(
            "words = list(set(WORDS))\n"
            "return ''.join(f'INFO worker-00: {a} {b}\\n' for a, b in zip(words, words[1:]))"
        ),
        "the same seed gave another text",
    ),
    "depends on the order of a set that is made once": (
        body("return ''.join(f'INFO worker-00: {a} beta\\n' for a in SOME) * 5", "SOME = {'beta', 'gamma', 'delta'}"),
        "the same seed gave another text",
    ),
    "depends on the order of objects by their addresses": (
        body(
            "return ''.join(f'INFO worker-00: {one.word} alpha\\n' for one in ONES) * 4",
            "class One:\n    def __init__(self, word):\n        self.word = word\n\n"
            "ONES = {One(word) for word in ('beta', 'gamma', 'delta', 'alpha')}",
        ),
        "the same seed gave another text",
    ),
    "writes an address": (body("return good(rng, target_tokens) + str(object())"), "on addresses of objects"),
    "writes how deep calls may go": (
        body(
            "return good(rng, target_tokens) + f'INFO worker-00: alpha {deep(0)}\\n'",
            "def deep(n):\n    try:\n        return deep(n + 1)\n    except RecursionError:\n        return n",
        ),
        "on how deep calls go",
    ),
    "asks for the time zone": (
        body(
            "return good(rng, target_tokens) + datetime(2020, 1, 1).strftime('%s')",
            "from datetime import datetime",
        ),
        "the same seed gave another text",
    ),
    "shows the environment": (
        body("return good(rng, target_tokens) + ('{0.shuffle._' + '_globals_' + '_[_os].environ}').format(rng)"),
        "the same seed gave another text",
    ),
    "keeps what it wrote": (
        body(
            "text = good(rng, target_tokens)\nagain = text in SEEN\nSEEN.append(text)\n"
            "return text + text[:30] if again else text",
            "SEEN = []",
        ),
        "the same seed gave another text",
    ),
    "too short": (
        body("return good(rng, target_tokens)[:34]"),
        "asked for 60 tokens it writes ",
    ),
    "too long": (body("return good(rng, 5 * target_tokens)"), "asked for 60 tokens it writes "),
    "of one length, whatever is asked": (body("return good(rng, 100)"), "asked for 30 tokens it writes "),
    "one text": (
        body("return 'INFO worker-07: alpha beta\\n' * (target_tokens // 15)"),
        "its texts are too much alike: 4% of 24 seeds give distinct texts (at least 90% wanted), and two share 100%",
    ),
    "hardly two texts": (
        body("last = f'INFO worker-{rng.randint(0, 99):02d}: alpha beta\\n'\n"
             "return 'INFO worker-07: alpha beta gamma\\n' * 4 + last"),
        "draw more of the text from rng",
    ),
    "leaves the template": (
        body("return good(rng, target_tokens) + 'The end.'"),
        "the text leaves the template 'INFO worker-{number}: {words}\\n', or a field its values: 'The end.'",
    ),
    "a value that is not listed": (
        body("return good(rng, target_tokens).replace('alpha', 'omega')"),
        "the text leaves the template",
    ),
    "no anchor": (
        body("return good(rng, target_tokens).replace('INFO worker', 'WARN worker')"),
        "seed 0: the anchor 'INFO worker-' does not stand in the text",
    ),
    "empty": (body("return ''"), "some texts are empty; write text until target_tokens is reached"),
    "blank at some seeds": (
        body("return good(rng, target_tokens) if rng.random() < 0.5 else '  \\n'"),
        "some texts are empty",
    ),
    "raises": (body("return [][rng.randint(0, 3)]"), "exception: IndexError: list index out of range"),
    "raises when run": (body("return ''", "raise ValueError('no')"), "exception: ValueError: no"),
    "gives no text": (body("return 7"), "not-text: "),
    "no Python": (f"def {PATTERN.function}(rng, target_tokens)\n    return ''", "policy: line 1: not valid Python"),
    "another name": (GOOD.replace("generate_", "make_"), f"policy: define one function {PATTERN.function}(rng, "),
    "another signature": (GOOD.replace("(rng, target_tokens)", "(rng)"), "must be callable as"),
    "a module that is not there": ("import os\n" + GOOD, "policy: line 1: module os is not available; there are"),
    "its own randomness": ("import random\n" + GOOD, "draw from the argument rng (a random.Random)"),
    "half a character": (body("return good(rng, target_tokens) + '\\ud800'"), "not-text"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "complaint"), BAD.values(), ids=BAD.keys())
def test_a_generator_is_refused_for_what_is_wrong_with_it(
    check: Callable[..., Checked], source: str, complaint: str
) -> None:
    checked = check(source)
    assert not checked.passed
    assert complaint in "\n".join(checked.complaints)
    for said in checked.complaints:  # fit to be sent back: short, printable, one line each
        assert 20 < len(said) < 1200 and said.replace("\n", " ").isprintable()


def test_a_generator_that_writes_how_much_memory_there_is_is_refused() -> None:
    source = body(
        "kept = []\ntry:\n    while True:\n        kept.append(bytearray(1 << 21))\nexcept MemoryError:\n"
        "    size = len(kept)\n    kept.clear()\nreturn good(rng, target_tokens) + str(size)"
    )
    small = Sandbox(Limits(memory_bytes=1 << 26), unsafe=True)
    assert "how much memory there is" in "\n".join(
        check_generator(PATTERN, source, small, tokenizer(), TARGET).complaints
    )


def test_the_difference_is_shown(check: Callable[..., Checked]) -> None:
    said = "\n".join(check(BAD["depends on the order of objects by their addresses"][0]).complaints)
    assert re.search(
        r"Seed 'check/\d+' gave '.*INFO worker-00: .*' and '.*INFO worker-00: .*' at character \d+", said
    )


def test_honest_uses_of_dates_sets_and_depth_pass_every_time(check: Callable[..., Checked]) -> None:
    """What differs between hosts is refused where it shows, and there alone."""
    source = body(
        "when = datetime.fromtimestamp(rng.randint(0, 10**9)).strftime('%S')\n"
        "known = {word for word in WORDS}\n"
        "deepest = deep(900)\n"
        "text = good(rng, target_tokens - 20)\n"
        "return f'INFO worker-{when}: {sorted(known)[0]} alpha\\n' + text if 'alpha' in known else text",
        "from datetime import datetime\n\ndef deep(n):\n    return n and deep(n - 1)",
    )
    for _ in range(3):
        checked = check(source)
        assert checked.passed, checked.complaints


def test_an_endless_generator_is_stopped(sandbox: Sandbox) -> None:
    quick = Sandbox(Limits(seconds=1.0), unsafe=True)
    checked = check_generator(PATTERN, body("while True:\n    pass"), quick, tokenizer(), TARGET)
    assert checked.complaints[0].startswith("timeout: ")


def test_all_that_is_wrong_is_said_at_once(check: Callable[..., Checked]) -> None:
    """So that a model mends it in one correction."""
    checked = check(body("return 'ERROR at line 1 INFO worker- ' * target_tokens"))
    said = "\n".join(checked.complaints)
    assert "leaves the template" in said and "asked for 60 tokens" in said and "too much alike" in said


def test_a_span_that_is_drawn_once_may_come_back_and_another_may_not(check: Callable[..., Checked]) -> None:
    pattern = span_pattern()
    assert check(write_source(pattern, 1.2), pattern).passed
    anew = write_source(pattern, 1.2).replace("    while length < limit:\n", "    while length < limit:\n        "
        'field_span = "".join([rng.choice(VALUES_span) for _ in range(3)])\n')  # fmt: skip
    assert "leaves the template" in "\n".join(check(anew, pattern).complaints)


def test_similarity_is_1_for_equal_texts_and_near_0_for_random_ones() -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcdefghij", k=500)) for _ in range(6)]
    assert similarity([texts[0]] * 4) == 1.0
    assert similarity(texts) < 0.02
    assert similarity(["ab", "ab"]) == 1.0 and similarity(["ab", "cd"]) == 0.0


def test_a_pattern_too_small_for_many_texts_is_set_aside_for_that_alone(
    check: Callable[..., Checked],
) -> None:
    fields = [{"name": "digit", "type": "number", "values_or_rules": "0-3", "scope": "text"}]
    small = Pattern.from_json(pattern_json(anchor_tokens=["n"], fields=fields, template="number {digit}, "))
    (complaint,) = check(write_source(small, 1.5), small).complaints
    assert complaint.startswith("its texts are too much alike")


def test_texts_that_are_far_too_long_are_refused_unread(check: Callable[..., Checked]) -> None:
    (said,) = check(body("return good(rng, 400 * target_tokens)")).complaints
    assert "tokens it writes a text of" in said and "are looked at" in said
