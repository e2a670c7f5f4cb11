"""The builtin engine finds what was planted, invents nothing, and says the same twice."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from engine_parts import GOLDEN
from hypothesis import given
from hypothesis import strategies as st
from pattern_samples import WORDS, log_text, prose_text, samples_of, xml_text
from tokenizers import Tokenizer

from synth.distill.miner import mine
from synth.distill.miner.align import align
from synth.distill.miner.infer import Pieces, infer
from synth.distill.miner.mined import in_proportion, token_texts
from synth.distill.miner.repeats import repeats
from synth.patterns.field import Field
from synth.patterns.matcher import Matcher
from synth.patterns.registry import merge
from synth.patterns.samples import SampleText

TOKENIZER = GOLDEN / "model" / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(TOKENIZER))


def infer_field(name: str, values: Sequence[str], pieces: Pieces) -> Field | None:
    inferred = infer(name, values, pieces)
    return None if inferred is None else inferred.field


def whole(tokenizer: Tokenizer) -> list[int]:
    """Ids whose text is no part of a character: such parts would make one by chance."""
    return [token for token in range(30, 400) if "\N{REPLACEMENT CHARACTER}" not in tokenizer.decode([token])]


# -- repeats ----------------------------------------------------------------------------------------------------


def naive_repeated(row: list[int], span: tuple[int, ...]) -> int:
    """Occurrences of ``span`` from the left without overlap, the slow way."""
    count = place = 0
    while place <= len(row) - len(span):
        if tuple(row[place : place + len(span)]) == span:
            count, place = count + 1, place + len(span)
        else:
            place += 1
    return count


@given(st.lists(st.integers(0, 2), min_size=0, max_size=40))
def test_every_repeat_is_there_as_often_as_it_says(row: list[int]) -> None:
    tokens = np.array(row, np.int64)
    for repeat in repeats(tokens):
        span = tuple(row[repeat.start : repeat.start + repeat.length])
        assert len(repeat.starts) == naive_repeated(row, span) >= 2
        assert all(tuple(row[s : s + repeat.length]) == span for s in repeat.starts)
        assert repeat.start == repeat.starts[0]
        assert repeat.repeated <= len(row) - repeat.length


def test_a_tiling_is_found_with_its_period_and_its_cut_end() -> None:
    period = list(range(10))
    [best, *_] = repeats(np.array((period * 4)[:33]))
    assert (best.length, best.starts, best.tail, best.repeated) == (10, (0, 10, 20), 3, 23)


def test_a_row_of_one_token_has_no_telling_repeat() -> None:
    assert all(repeat.length >= 3 for repeat in repeats(np.zeros(40, np.int64)))


def test_gaps_are_what_lies_between() -> None:
    [best, *_] = repeats(np.array([1, 2, 3, 4, 9, 1, 2, 3, 4, 8, 7, 1, 2, 3, 4]))
    assert best.gaps() == [(4, 5), (9, 11)]


# -- alignment and fields ---------------------------------------------------------------------------------------


def test_what_strings_share_becomes_literal_and_what_varies_a_slot() -> None:
    strings = [f'"id": {n}, "name": "{name}"\n' for n, name in zip(range(10, 18), WORDS)]
    aligned = align(strings)
    assert aligned.literals == ('"id": 1', ', "name": "', '"\n') or aligned.literals[0].startswith('"id": ')
    rebuilt = aligned.literals[0]
    for slot, literal in zip(aligned.slots, aligned.literals[1:]):
        rebuilt += slot[0] + literal
    assert rebuilt == strings[0]


@given(st.lists(st.text("ab=; ", min_size=1, max_size=12), min_size=2, max_size=8))
def test_an_alignment_rebuilds_strings_that_all_slots_kept(strings: list[str]) -> None:
    aligned = align(strings)
    assert len(aligned.literals) == len(aligned.slots) + 1
    if all(len(slot) == len(strings) for slot in aligned.slots):
        for number, string in enumerate(strings):
            rebuilt = aligned.literals[0]
            for slot, literal in zip(aligned.slots, aligned.literals[1:]):
                rebuilt += slot[number] + literal
            assert rebuilt == string


@pytest.mark.parametrize(
    ("values", "kind", "rule"),
    [
        (["7", "12", "30"], "number", "7-30"),
        (["07", "12", "30"], "number", "07-30"),
        (["yes", "no"] * 5, "fixed_list", ("no",) * 5 + ("yes",) * 5),
        ([f"{n:08x}" for n in range(10**8, 10**8 + 50 * 7919, 7919)], "characters", "hex"),
    ],
)
def test_fields_are_typed_from_their_values(values: list[str], kind: str, rule: object) -> None:
    field = infer_field("f", values, list)
    assert field is not None
    assert (field.type, field.values_or_rules) == (kind, rule)


def test_words_become_counted_items_and_other_strings_pieces() -> None:
    rng = random.Random(0)
    words = [" ".join(rng.choices(WORDS, k=rng.randint(2, 5))) for _ in range(200)]
    field = infer_field("f", words, list)
    assert field is not None and set(field.values) == set(WORDS)
    assert (field.span, field.separator) == ((2, 5), " ")
    marks = ["".join(rng.choices("ab(),", k=rng.randint(3, 6))) for _ in range(300)]
    field = infer_field("f", marks, list)
    assert field is not None and set(field.values) == set("ab(),") and field.span == (3, 6)


def test_lengths_are_listed_as_often_as_they_were_seen() -> None:
    """Nine short values and a long one: drawn between their extremes, half of the lengths would be above 10."""
    values = ["ab" * 1 + "-"] * 9 + ["a-" * 20]
    field = infer_field("f", values, list)
    assert field is not None and field.count is None
    assert sorted(field.counts or ()) == [3] * 9 + [40]
    many = infer_field("f", ["," * (k % 7 + 1) for k in range(700)], list)
    assert many is not None and many.counts is not None
    assert len(many.counts) == 100 and all(13 <= many.counts.count(n) <= 16 for n in range(1, 8))


def test_numbers_lie_where_they_were_seen() -> None:
    """Half of them are one digit long; drawn evenly from 0 to 99999, nearly none would be."""
    field = infer_field(
        "f", [str(k % 10) for k in range(50)] + [str(99_999 - 7 * k) for k in range(50)], list
    )
    assert field is not None and field.type == "number" and field.number()[:2] == (0, 99_999)
    rng = random.Random(0)
    drawn = [rng.randint(*rng.choice(field.ranges)) for _ in range(1000)]
    assert 350 <= sum(n < 10 for n in drawn) <= 650
    padded = infer_field("f", [f"{k:03d}" for k in range(0, 200, 5)], list)
    assert padded is not None and padded.number() == (0, 195, 3)


@pytest.mark.parametrize(
    ("values", "odd", "kind"),
    [
        ([str(100 + 37 * n) for n in range(60)], ["n/a", "none"], "number"),
        ([f"{7919 * n % 2**32:08x}{104729 * n % 2**32:08x}" for n in range(1, 61)], ["(null)"], "characters"),
        (["some words", "other words here", "more"] * 30, ["<b>", "-"], "fixed_list"),
    ],
)
def test_a_few_outliers_do_not_widen_a_type_and_many_do(values: list[str], odd: list[str], kind: str) -> None:
    clean = infer_field("f", values, list)
    few = infer_field("f", values + odd, list)
    assert clean is not None and clean.type == kind
    assert few is not None and (few.type, few.separator) == (clean.type, clean.separator)
    assert set(few.values) == set(clean.values)
    inferred = infer("f", values + odd, list)
    assert inferred is not None and inferred.outliers == len(odd)
    many = infer_field("f", values + odd * 20, list)
    assert many is not None and (many.type, set(many.values)) != (clean.type, set(clean.values))


def test_where_often_nothing_stands_a_count_of_nothing_is_listed() -> None:
    field = infer_field("f", ["", "x", "", "y", "", "x"] * 5, list)
    assert field is not None and sorted(field.counts or ()) == [0] * 15 + [1] * 15


def test_no_field_is_made_of_nothing_or_of_broken_characters() -> None:
    assert infer_field("f", ["", "\N{REPLACEMENT CHARACTER}"], list) is None


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=200), st.integers(2, 20))
def test_a_list_in_proportion_is_short_and_keeps_the_order_of_frequency(items: list[str], most: int) -> None:
    listed = in_proportion(items, most)
    assert len(listed) <= most
    counts = [listed.count(item) for item in dict.fromkeys(listed)]
    assert counts == sorted(counts, reverse=True)
    if len(items) <= most - len(set(items)):
        assert sorted(listed) == sorted(items)


# -- the whole miner --------------------------------------------------------------------------------------------


def planted(tokenizer: Tokenizer, n: int = 24, seed: int = 0) -> list[SampleText]:
    rng = random.Random(seed)
    texts = [make(rng) for _ in range(n) for make in (xml_text, log_text, prose_text)]
    return samples_of(texts, tokenizer)


def test_planted_templates_are_found_and_occur_in_their_own_samples_alone(tokenizer: Tokenizer) -> None:
    samples = planted(tokenizer)
    entries = merge(mine(samples, tokenizer)[0])
    held_out = planted(tokenizer, n=8, seed=1)
    for anchor, kind in (("ANSI", 0), ("INFO worker-", 1)):
        patterns = [e.pattern for e in entries if any(anchor in a for a in e.pattern.anchor_tokens)]
        assert patterns, anchor
        occurs = np.array([[bool(Matcher(p).occurs(s.text)) for s in held_out] for p in patterns]).any(0)
        assert occurs[kind::3].all()
        assert not occurs[(kind + 1) % 3 :: 3].any() and not occurs[(kind + 2) % 3 :: 3].any()


def test_a_pattern_that_occurs_in_none_of_its_samples_is_set_aside_with_the_reason(
    tokenizer: Tokenizer,
) -> None:
    """An anchor that stands twice gives one repetition and the beginning of a second."""
    rng = random.Random(0)
    texts = [
        f"[[section]] {prose_text(rng, 9)}\n--\n{prose_text(rng, 9)}\n[[section]] {prose_text(rng, 2)}"
        for _ in range(12)
    ]
    found, set_aside = mine(samples_of(texts, tokenizer), tokenizer)
    assert not [one for one in found if "section" in one.pattern.template]
    first, *_ = [item for item in set_aside if "section" in item["answer"]]
    assert first["reason"] == "occurs in none of the 12 samples that it was made of"
    assert first["samples"] == list(range(12))


def test_a_pattern_is_credited_to_the_samples_in_which_it_occurs(tokenizer: Tokenizer) -> None:
    samples = planted(tokenizer)
    for one in mine(samples, tokenizer)[0]:
        occurs = {s.sample for s in samples if Matcher(one.pattern).occurs(s.text)}
        assert set(one.samples) <= occurs and len(one.samples) >= 3


def test_samples_that_differ_in_size_alone_give_one_shape(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    rows = [np.tile(rng.choice(whole(tokenizer), n), 20)[:65] for n in (4, 9, 17, 30) for _ in range(10)]
    samples = [SampleText(n, 1.0, tokenizer.decode(row.tolist()), row) for n, row in enumerate(rows)]
    (one,) = [one for one in mine(samples, tokenizer)[0] if not one.pattern.anchor_tokens]
    (field,) = one.pattern.fields
    assert len(one.samples) == 40
    assert sorted(set(field.counts or ())) == [4, 9, 17, 30] and (field.counts or ()).count(9) == 10


def test_characters_that_are_made_of_several_tokens_are_mined_as_characters(tokenizer: Tokenizer) -> None:
    """The golden tokenizer has a token for each byte of them, none of which says anything alone."""
    rng = random.Random(0)
    names = ["Київ", "Львів", "Одеса", "Харків", "Дніпро", "Полтава"]
    texts = [
        "".join(f"Місто {rng.choice(names)}; {rng.randrange(99)}\n" for _ in range(8)) for _ in range(12)
    ]
    samples = samples_of(texts, tokenizer, 200)
    texts_of = token_texts(samples[0].tokens.tolist(), tokenizer)
    assert "".join(texts_of[:30]) in texts[0] and "" in texts_of and "М" in texts_of
    found, set_aside = mine(samples, tokenizer)
    assert not set_aside
    best = max(found, key=lambda one: len(one.pattern.template)).pattern
    assert "Місто" in best.template and Matcher(best).occurs(texts[0])
    assert any("ї" in value for field in best.fields for value in field.values)
    assert "\N{REPLACEMENT CHARACTER}" not in str([one.pattern.to_json() for one in found])


@pytest.mark.parametrize("mark", ["\x1b[2J", "\u202e\u2028", "\x07\x00"])
def test_strings_of_control_characters_are_anchors_like_others(tokenizer: Tokenizer, mark: str) -> None:
    rng = random.Random(0)
    texts = ["".join(f"{mark}{rng.choice(WORDS)} {rng.randrange(999)}" for _ in range(8)) for _ in range(12)]
    found, _ = mine(samples_of(texts, tokenizer, 100), tokenizer)
    named = [one.pattern for one in found if mark in one.pattern.template]
    assert named and all(pattern.pattern_name.isprintable() for pattern in named)


def test_the_same_samples_give_the_same_patterns(tokenizer: Tokenizer) -> None:
    once, twice = (merge(mine(planted(tokenizer), tokenizer)[0]) for _ in range(2))
    assert [e.to_json() for e in once] == [e.to_json() for e in twice]


def test_samples_that_repeat_each_their_own_span_give_a_shape(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    rows = [np.tile(rng.choice(whole(tokenizer), 10), 4)[:33] for _ in range(40)]
    samples = [SampleText(n, 1.0, tokenizer.decode(row.tolist()), row) for n, row in enumerate(rows)]
    found = [one for one in mine(samples, tokenizer)[0] if one.pattern.template == "{span}"]
    assert found
    (field,) = found[0].pattern.fields
    assert field.scope == "text" and field.count == (10, 10)
    assert len(found[0].samples) == 40


def spans_with_gaps(tokenizer: Tokenizer, times: Sequence[int]) -> list[SampleText]:
    """Samples that say a span of their own so many times, with nine other characters between."""
    rng = np.random.default_rng(0)
    known = whole(tokenizer)
    three = [token for token in known if len(tokenizer.decode([token])) == 3]
    samples = []
    for number, n in enumerate(times):
        span = rng.choice(known, 20)
        row = np.concatenate([part for _ in range(n) for part in (span, rng.choice(three, 3))])[:-3]
        samples.append(SampleText(number, 1.0, tokenizer.decode(row.tolist()), row))
    return samples


def test_a_shape_is_credited_to_the_samples_in_which_it_stands_twice(tokenizer: Tokenizer) -> None:
    """Span, gap, span is one repetition of span and gap, and the beginning of another."""
    samples = spans_with_gaps(tokenizer, [4, 2, 3] * 6)
    (one,) = [one for one in mine(samples, tokenizer)[0] if one.pattern.template == "{span}{gap}"]
    assert set(one.samples) == {n for n in range(18) if n % 3 != 1}


def test_a_shape_that_stands_twice_in_no_sample_is_set_aside(tokenizer: Tokenizer) -> None:
    found, set_aside = mine(spans_with_gaps(tokenizer, [2] * 12), tokenizer)
    assert not [one for one in found if "{span}" in one.pattern.template]
    (item,) = [item for item in set_aside if item["answer"] == "{span}{gap}"]
    assert item["reason"] == "occurs in none of the 12 samples that it was made of"


def test_prose_without_repetition_gives_nothing_structural(tokenizer: Tokenizer) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(400)[:33] for _ in range(40)]
    samples = [SampleText(n, 1.0, tokenizer.decode(row.tolist()), row) for n, row in enumerate(rows)]
    assert mine(samples, tokenizer) == ([], [])


@given(st.lists(st.lists(st.integers(0, 500), min_size=1, max_size=40), min_size=1, max_size=6))
def test_any_rows_give_valid_patterns_or_none(rows: list[list[int]]) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    samples = [
        SampleText(n, 1.0, tokenizer.decode(row, skip_special_tokens=False), np.array(row * 3))
        for n, row in enumerate(rows)
    ]
    mine(samples, tokenizer, least=1)  # every pattern is validated there
