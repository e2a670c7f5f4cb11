"""What comes back in a sample comes back in the texts of its pattern: within a template, and within a text."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from engine_parts import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from pattern_samples import WORDS, log_pattern, pattern_json, run_trusted, samples_of
from tokenizers import Tokenizer

from synth.audit.token_statistics import copyable_share, repeated_share
from synth.distill.miner import mine
from synth.distill.miner.infer import infer
from synth.distill.miner.recurrence import recurrence
from synth.distill.miner.relate import Related, relate
from synth.generate.generators import Generators
from synth.patterns.matcher import Matcher
from synth.patterns.pattern import Pattern, PatternError
from synth.patterns.recurrence import Recurrence, kind

TOKENIZER = GOLDEN / "model" / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TOKENIZER))


# -- places of a template that repeat each other -------------------------------------------------------------------


def written(related: Related, row: int) -> list[str]:
    """The slots of a row again, from its places."""
    there = []
    for place in related.places:
        if place.of is None:
            there.append(place.values[row])
        else:
            value = related.places[place.of].values[row]
            there.append(getattr(value, place.case)() if place.case else value)
    return ["".join(there[number] for number in order) for order in related.order]


NAMES = [f"{a}_{b}" for a in WORDS[:5] for b in WORDS[5:]]


@pytest.mark.parametrize(
    ("second", "copies"),
    [
        (lambda name: name, [None]),
        (lambda name: name.upper(), ["upper"]),
        (lambda name: name.title(), ["title"]),
        (lambda name: f"get_{name}_now", [None]),
        (lambda name: f"{name.upper()}_H", ["upper"]),
        (lambda name: f"x {name.partition('_')[0]}", [None]),
    ],
)
def test_equal_contained_and_case_changed_places_share_a_value(second, copies: list[str | None]) -> None:
    slots = [NAMES, ["odd" if n % 7 else "even" for n in range(len(NAMES))], list(map(second, NAMES))]
    related = relate(slots)
    assert [place.case for place in related.places if place.of is not None] == copies
    assert len(related.rows) == len(NAMES)
    for row in range(len(NAMES)):
        assert written(related, row) == [slot[row] for slot in slots]


def test_a_later_place_that_an_earlier_one_contains_cuts_that_one() -> None:
    slots = [[f"static {name};" for name in NAMES], NAMES]
    related = relate(slots)
    assert any(place.of is not None for place in related.places)
    assert [written(related, row) for row in range(len(NAMES))] == [list(row) for row in zip(*slots)]


def test_an_odd_row_is_left_out_and_many_odd_rows_make_no_relation() -> None:
    few = ["?" if n == 3 else name for n, name in enumerate(NAMES)]
    related = relate([NAMES, few])
    assert any(place.of is not None for place in related.places)
    assert related.rows == [n for n in range(len(NAMES)) if n != 3]
    many = ["?" if n % 3 == 0 else name for n, name in enumerate(NAMES)]
    assert all(place.of is None for place in relate([NAMES, many]).places)


def test_what_places_share_with_any_row_is_no_relation() -> None:
    """Every value holds the same word, and else they have nothing to do with each other."""
    rng = random.Random(0)
    a = [f"river {rng.choice(WORDS)} {rng.randrange(1000)}" for _ in range(60)]
    b = [f"river {rng.choice(WORDS)} {rng.randrange(1000)}" for _ in range(60)]
    assert all(place.of is None for place in relate([a, b]).places)


words = st.sampled_from(["foo", "bar", "foo_bar", "FOO", "Foo", "x1", "", "a-b", "foo x1"])


@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=30))
def test_whatever_is_related_the_rows_that_fit_are_rebuilt(rows: list[tuple[str, str, str]]) -> None:
    slots = list(map(list, zip(*rows)))
    related = relate(slots)
    for number, row in enumerate(related.rows):
        assert written(related, number) == [slot[row] for slot in slots]


def test_a_template_says_in_which_case_a_name_comes_back(tokenizer: Tokenizer) -> None:
    def text(rng: random.Random) -> str:
        return "".join(
            f"#ifndef {name.upper()}_H\n#define {name.upper()}_H\nvoid {name}_open(void);\n#endif\n\n"
            for name in rng.sample(NAMES, 6)
        )

    rng = random.Random(1)
    found, _ = mine(samples_of([text(rng) for _ in range(20)], tokenizer), tokenizer)
    best = max(found, key=lambda one: len(one.pattern.template))
    copies = [field for field in best.pattern.fields if field.type == "copy"]
    assert {field.case for field in copies} in ({"upper"}, {"lower"})
    made = run_trusted(best.pattern, 0, 200)
    assert Matcher(best.pattern).occurs(made) and list(Matcher(best.pattern).complaints(made)) == []
    assert Matcher(best.pattern).occurs(text(random.Random(2))) is True


# -- texts -----------------------------------------------------------------------------------------------------------


def structure(items: Sequence[str]) -> list[int]:
    """Which of the items are equal, as numbers by first appearance."""
    known: dict[str, int] = {}
    return [known.setdefault(item, len(known)) for item in items]


rows = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["ab", "cd", "Ef", "12", "34", ".", " x"]), max_size=4),
        st.lists(st.sampled_from(["cd", "ab", "gh", ".", "56"]), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=12,
)


@given(rows, st.integers(0, 3))
@settings(deadline=None, max_examples=150)
def test_a_text_has_numbers_where_its_sample_has_equal_items(
    values: list[tuple[list[str], list[str]]], seed: int
) -> None:
    def pieces(value: str) -> list[str]:
        return value.split("|")

    slots = [["|".join(row[k]) for row in values] for k in (0, 1)]
    inferred = [infer(f"f{k}", slot, pieces) for k, slot in enumerate(slots)]
    known = [one for one in inferred if one is not None]
    if len(known) < 2:
        return
    (text,) = recurrence(known, [0] * len(values), ())
    said = [item for repetition in text.repetitions for value in repetition for item in value]
    items = [item for row in zip(*(one.items for one in known)) for value in row for item in value or ()]
    shown = [text.drawn[item] if isinstance(item, int) else kind(item) for item in said]
    assert len(said) == len(items)
    assert [(isinstance(a, str), a) for a in said if isinstance(a, str)] == [
        (True, b) for a, b in zip(said, items) if isinstance(a, str)
    ]
    for a, b, wanted in zip(said, items, shown):
        if isinstance(a, int) and wanted:
            assert wanted == kind(b)
    by_number: dict[int, set[str]] = {}
    for a, b in zip(said, items):
        if isinstance(a, int):
            by_number.setdefault(a, set()).add(b)
    assert all(len(one) == 1 for one in by_number.values())


def planted(tokenizer: Tokenizer, n: int = 30) -> tuple[list, Pattern]:
    """Lines of a few hosts and paths that come back within a text, and differ from text to text."""
    rng = random.Random(0)
    texts = []
    for _ in range(n):
        hosts = rng.sample(NAMES, rng.randint(1, 3))
        paths = ["/".join(rng.sample(WORDS, 3)) for _ in range(3)]
        lines = [
            f"host={rng.choice(hosts)} GET /{rng.choice(paths)} {rng.randrange(999)}\n" for _ in range(8)
        ]
        texts.append("".join(lines))
    samples = samples_of(texts, tokenizer, 257)
    found = [one for one in mine(samples, tokenizer)[0] if "GET /" in one.pattern.template]
    return samples, found[0].pattern


def rows_of(pattern: Pattern, tokenizer: Tokenizer, n: int, width: int) -> np.ndarray:
    ids = [tokenizer.encode(run_trusted(pattern, seed, 3 * width)).ids[:width] for seed in range(n)]
    return np.array(ids)


def test_rows_repeat_as_much_as_their_samples_and_say_other_things(tokenizer: Tokenizer) -> None:
    samples, pattern = planted(tokenizer)
    width = min(len(sample.tokens) for sample in samples)
    own = np.stack([sample.tokens[:width] for sample in samples])
    made = rows_of(pattern, tokenizer, 30, width)
    bare = Pattern.from_json(pattern.brief())
    without = rows_of(bare, tokenizer, 30, width)
    for share in (repeated_share, copyable_share):
        natural, kept, lost = share(own).mean(), share(made).mean(), share(without).mean()
        assert 0.9 * natural <= kept <= 1.15 * natural
        assert lost < 0.9 * natural, "the texts would repeat as much without a recurrence: this shows nothing"
    lines = {line for sample in samples for line in sample.text.splitlines()}
    new = [line for seed in range(30) for line in run_trusted(pattern, seed, 200).splitlines()[1:-1]]
    assert sum(line not in lines for line in new) > 0.8 * len(new)


def test_texts_follow_their_pattern_and_equal_seeds_give_equal_texts(tokenizer: Tokenizer) -> None:
    _, pattern = planted(tokenizer)
    again = Pattern.from_json(json.loads(json.dumps(pattern.to_json())))
    assert again == pattern and again.recurrence
    matcher = Matcher(pattern)
    for seed in range(20):
        text = run_trusted(pattern, seed, 150)
        assert text == run_trusted(again, seed, 150)
        assert list(matcher.complaints(text)) == []


def with_recurrence(**changes: object) -> dict:
    """A valid one of `log_pattern`, with ``changes`` to its first text."""
    text = {"drawn": ["", "a", "a"], "repetitions": [[[0], [1, 2]], [[0], [1, "river"]]]}
    return pattern_json(recurrence=[{**text, **changes}])


def test_a_recurrence_is_followed_to_the_letter() -> None:
    pattern = Pattern.from_json(with_recurrence())
    for seed in range(10):
        first, second = run_trusted(pattern, seed, 14).splitlines()[:2]
        assert first.split(":")[0] == second.split(":")[0]
        (one, two), (three, four) = first.split(": ")[1].split(), second.split(": ")[1].split()
        assert one == three and four == "river" and one != two


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"drawn": "ab"}, "recurrence: expected texts"),
        ({"drawn": [1, 2, 3]}, "recurrence: expected texts"),
        ({"repetitions": [[[0], [1, 7]]]}, "recurrence: expected texts"),
        ({"repetitions": [[[True], [1, 2]]]}, "recurrence: expected texts"),
        ({"repetitions": [[[0], [1, -1]]]}, "recurrence: expected texts"),
        ({"repetitions": []}, "recurrence: expected texts"),
        ({"repetitions": 7}, "recurrence: expected texts"),
        ({"more": 1}, "recurrence: expected texts"),
        ({"repetitions": [[[0]]]}, "needs a list for each of number, words"),
        ({"repetitions": [[[0], [1]]]}, "words has 2 to 4 items"),
        ({"repetitions": [[[0], [1, "nile"]]]}, "an item of words is not among its values"),
        ({"drawn": ["", "000", "a"]}, "no item of kind '000' can stand in words"),
        ({"drawn": ["a", "a", "a"]}, "no item of kind 'a' can stand in number"),
        ({"repetitions": [[[1], [1, 2]]]}, "no item of kind 'a' can stand in number, words"),
        ({"repetitions": [[[0], [1, 2]]] * 7000}, "more than 20,000 items"),
    ],
)
def test_a_recurrence_that_was_edited_into_nonsense_is_refused(changes: dict, says: str) -> None:
    with pytest.raises(PatternError, match=says):
        Pattern.from_json(with_recurrence(**changes))


def test_patterns_without_one_are_as_they_were() -> None:
    assert "recurrence" not in log_pattern().to_json() and log_pattern().recurrence == ()
    assert log_pattern().brief() == log_pattern().to_json() == pattern_json()


def test_long_samples_and_many_of_them_are_bounded(tokenizer: Tokenizer) -> None:
    values = [" ".join(random.Random(n).choices(WORDS, k=200)) for n in range(400)]
    inferred = infer("f", values, str.split)
    assert inferred is not None
    texts = recurrence([inferred], [n // 4 for n in range(400)], ())
    assert 16 <= len(texts) <= 64
    assert sum(len(value) for text in texts for one in text.repetitions for value in one) <= 8192
    assert all(isinstance(text, Recurrence) and text.repetitions for text in texts)


def test_prose_is_not_copied(tokenizer: Tokenizer) -> None:
    """Hardly a line of a text stands in a sample, although every sample's own form is kept."""
    rng = random.Random(0)

    def line() -> str:
        some = ("".join(rng.choices("abcdefghijklmnop", k=rng.randint(3, 8))) for _ in range(6))
        return f"=== {' '.join(some)}\n"

    texts = ["".join(line() for _ in range(6)) for _ in range(30)]
    found, _ = mine(samples_of(texts, tokenizer), tokenizer)
    pattern = next(one.pattern for one in found if "=== " in one.pattern.template)
    known = {line for text in texts for line in text.splitlines()}
    made = [line for seed in range(20) for line in run_trusted(pattern, seed, 300).splitlines()[1:-1]]
    assert made and sum(line in known for line in made) < 0.05 * len(made)


def test_folders_of_generators_that_say_no_samples_still_open(tmp_path: Path) -> None:
    from generator_folders import LINES, write_generators

    assert isinstance(write_generators(tmp_path / "generators", {"p001": LINES}), Generators)
