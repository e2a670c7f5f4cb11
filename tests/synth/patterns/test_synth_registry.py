"""Near-duplicates become one, provenance stays, and a registry on disk is checked when it is read."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pattern_samples import log_pattern, pattern_json, span_pattern
from rankings import top_of, write_ranking

from curator.errors import CuratorError
from synth.distill.run import Top, distill
from synth.patterns import neighbours
from synth.patterns.neighbours import Close, Coding, jaccard
from synth.patterns.occurrence import Found
from synth.patterns.pattern import Pattern
from synth.patterns.registry import Registry, merge, normal_form, similarity


def found(pattern: Pattern, *samples: int, **provenance: object) -> Found:
    return Found(pattern, samples, tuple(float(100 - s) for s in samples), provenance)


def test_similarity_is_symmetric_and_1_for_itself() -> None:
    a, b = log_pattern(), span_pattern()
    assert similarity(a, a) == similarity(b, b) == 1
    assert similarity(a, b) == similarity(b, a) < 0.3


def test_patterns_that_differ_in_digits_case_blanks_and_names_are_one() -> None:
    other = log_pattern(
        pattern_name="Something else",
        anchor_tokens=["info  WORKER-"],
        template="info  WORKER-{n}: {w}\n",
        fields=[{**field, "name": field["name"][0]} for field in pattern_json()["fields"]],
    )
    [entry] = merge([found(log_pattern(), 1, 2, request="a"), found(other, 2, 3, 4, request="b")])
    assert entry.pattern.pattern_name == "Something else"  # found in more samples
    assert entry.provenance["samples"] == [1, 2, 3, 4]
    assert entry.provenance["scores"] == [99, 98, 97, 96]
    assert entry.provenance["merged"] == 2
    assert {source["request"] for source in entry.provenance["sources"]} == {"a", "b"}


def test_patterns_without_anchors_are_one_only_if_they_list_the_same_values() -> None:
    """What two requests give for the same habit: names differ, lists overlap; another habit has other lists."""

    def words(name: str, values: list[str]) -> Pattern:
        field = {"name": name, "type": "fixed_list", "values_or_rules": values, "scope": "text"}
        return log_pattern(anchor_tokens=[], fields=[field], template="{" + name + "}, ")

    colours = ["red", "green", "blue", "white", "black", "grey", "pink", "gold"]
    one, same = words("colour", colours), words("c", [*colours, "brown"])
    other = words("country", ["France", "Peru", "Chad", "Laos", "Oman", "Togo", "Mali", "Cuba"])
    entries = merge([found(one, 1, 2, 3), found(same, 4, 5), found(other, 6)])
    assert [entry.provenance["merged"] for entry in entries] == [2, 1]
    assert entries[1].pattern.fields[0].name == "country"


def test_patterns_that_differ_in_size_alone_are_one() -> None:
    """Counts say how much there is of a thing, not what it is; the one of more samples stays."""
    field = {"name": "span", "type": "fixed_list", "values_or_rules": ["ab", "c", "de "], "scope": "text"}

    def of_size(**size: object) -> Pattern:
        return log_pattern(anchor_tokens=[], fields=[{**field, **size}], template="{span}")

    some = [of_size(count=[3, 4]), of_size(count=[16, 900]), of_size(counts=[1, 1, 7]), of_size()]
    entries = merge([found(pattern, *range(10 * k, 11 * k + 2)) for k, pattern in enumerate(some)])
    assert [entry.provenance["merged"] for entry in entries] == [4]
    assert entries[0].pattern.with_id("p001") == some[3].with_id("p001")
    rows = log_pattern(fields=[{**field, "count": [2, 4]}], template="INFO worker-{span}\n")
    assert len(merge([found(some[0], 1), found(rows, 2)])) == 2


def test_different_patterns_stay_apart_and_are_numbered_by_influence() -> None:
    entries = merge([found(span_pattern(), 90), found(log_pattern(), 1, 2)])
    assert [e.pattern.pattern_id for e in entries] == ["p001", "p002"]
    assert entries[0].pattern.pattern_name == "Log lines"


def test_the_threshold_decides() -> None:
    near = log_pattern(template="INFO worker-{number}: {words} done\n")
    assert len(merge([found(log_pattern(), 1), found(near, 2)], similar=0.85)) == 1
    assert len(merge([found(log_pattern(), 1), found(near, 2)], similar=1.0)) == 2
    assert 0.85 <= similarity(log_pattern(), near) < 1


def any_pattern(rng: random.Random) -> Pattern:
    """One of many: words of a small stock, so that some are near to others."""
    stock = ["key", "value", "item", "name", "host", "level", "shard", "code", "miss", "done"]
    words = [" ".join(rng.choices(stock, k=rng.randint(1, 3))) for _ in range(rng.randint(1, 4))]
    anchors = [f"{word}: " for word in words][: rng.choice([0, 1, 1, 4])]
    fields = [
        {
            "name": f"f{n}",
            "type": "number",
            "values_or_rules": f"0-{10 ** rng.randint(1, 3)}",
            "scope": "text",
        }
        for n in range(len(words))
    ]
    template = "".join(f"{word}: {{f{n}}}\n" for n, word in enumerate(words))
    return log_pattern(anchor_tokens=anchors, fields=fields, template=template)


def plainly_merged(several: list[Found], similar: float) -> list[list[tuple[int, ...]]]:
    """Every pattern compared with every one that is kept: the samples of each group, sorted."""
    groups: list[list[Found]] = []
    for one in sorted(several, key=lambda f: (-len(set(f.samples)), -sum(f.scores), f.pattern.template)):
        normal = normal_form(one.pattern)
        group = next((g for g in groups if normal_form(g[0].pattern) == normal), None) or next(
            (g for g in groups if similarity(g[0].pattern, one.pattern) >= similar), None
        )
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return sorted([sorted(one.samples for one in group) for group in groups])


@pytest.mark.parametrize("similar", [0.0, 0.5, 0.75, 0.85, 1.0])
def test_what_is_merged_is_what_comparing_all_pairs_would_merge(similar: float) -> None:
    rng = random.Random(7)
    several = [found(any_pattern(rng), n, provenance=n) for n in range(100)]
    groups = [[(s,) for s in sorted(entry.provenance["samples"])] for entry in merge(several, similar)]
    assert sorted(groups) == plainly_merged(several, similar)


def test_equal_anchors_make_templates_one_that_share_no_more_than_must_be() -> None:
    """At 0.85 templates of 0.7 and more are one where the anchors are equal; what they do not share is rarest here."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(60)]
    a = log_pattern(anchor_tokens=["key: "], fields=[], template="key: " + " ".join(words))
    near = []
    for count in range(1, 15):
        others = ["".join(rng.choices("klmnopqrst", k=6)) for _ in range(count)] + words[count:]
        near.append(log_pattern(anchor_tokens=["key: "], fields=[], template="key: " + " ".join(others)))
    least = min((one for one in near if similarity(a, one) >= 0.85), key=lambda one: similarity(a, one))
    assert 0.85 <= similarity(a, least) < 0.87
    assert len(merge([found(a, 1, 2), found(least, 9)])) == 1


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefghijkl"), min_size=1), min_size=1, max_size=12),
    st.sampled_from([-1.0, 0.0, 0.1, 1 / 3, 0.5, 0.7, 2 / 3, 0.85, 1.0]),
)
def test_no_close_set_is_missed(sets: list[frozenset[str]], least: float) -> None:
    index = Close(Coding(sets).rank, least)
    for number, one in enumerate(sets):
        near = {k for k, other in enumerate(sets[:number]) if len(one & other) >= least * len(one | other)}
        candidates = list(index.candidates(one))
        assert candidates == sorted(candidates) and near <= set(candidates)
        index.add(one)


def test_sets_in_bits_are_as_close_as_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there are more members than bits."""
    rng = random.Random(0)
    sets = [frozenset(rng.choices("abcdefghijklm", k=rng.randint(1, 9))) for _ in range(60)] + [
        frozenset("xyz")
    ]
    for bits in (neighbours.BITS, 8, 0):
        monkeypatch.setattr(neighbours, "BITS", bits)
        coding = Coding(sets)
        for one in sets:
            for other in (other for other in sets if other is not one):
                assert jaccard(coding.of(one), coding.of(other)) == len(one & other) / len(one | other)


@pytest.mark.parametrize(("words", "prefixes", "own_anchors"), [(40, 3, False), (10, 1, True)])
def test_many_patterns_that_begin_alike_are_merged_in_seconds(
    words: int, prefixes: int, own_anchors: bool
) -> None:
    """2 400 lines of JSON logs, which share their anchors and most of their template: most pairs must be compared."""
    rng = random.Random(0)
    known = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(400)]
    prefix = '{{"timestamp": "2024-01-01T00:00:00Z", "level": "INFO", "service": "gateway", "' * prefixes
    several, own = [], [""]
    for number in range(2400):
        own = rng.choices(known, k=words) if number < 2000 else own
        template = prefix + " ".join(own) + f'": {{number}}, "w": "{{words}}{"!" * (number - 1999)}"}}}}\n'
        one = log_pattern(anchor_tokens=[own[0] if own_anchors else '"level": "INFO"'], template=template)
        several.append(found(one, number))
    begun = time.process_time()
    merged = merge(several)
    taken = time.process_time() - begun
    assert len(merged) == 2000 and taken < 5
    assert max(one.provenance["merged"] for one in merged) == 401


def test_many_patterns_are_merged_in_seconds() -> None:
    """2 400 patterns of an LLM, of which half are near to another; comparing all pairs takes over 20 s."""
    rng = random.Random(0)

    def word() -> str:
        return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9)))

    several = []
    for number in range(1200):
        words = [" ".join(word() for _ in range(rng.randint(2, 8))) for _ in range(rng.randint(2, 8))]
        fields = [{"name": f"f{n}", "type": "number", "values_or_rules": "0-99"} for n in range(len(words))]
        template = "".join(f"{text}: {{f{n}}}\n" for n, text in enumerate(words))
        for end in ("", "."):
            one = log_pattern(anchor_tokens=words, fields=fields, template=template + end)
            several.append(found(one, 2 * number + bool(end)))
    begun = time.process_time()
    assert len(merge(several)) == 1200
    assert time.process_time() - begun < 5


@pytest.fixture
def top(tmp_path: Path) -> Top:
    rng = np.random.default_rng(0)
    write_ranking(tmp_path, rng.integers(0, 400, (50, 17)).astype(np.uint16), np.linspace(-1, 1, 50))
    return top_of(tmp_path / "ranking", top=40, holdout=0.2)


def test_the_top_is_split_by_seed_and_stops_at_positive_scores(top: Top) -> None:
    assert len(top.split.distilled) == 20 and len(top.split.held_out) == 5  # 25 scores are above 0
    assert sorted([*top.split.distilled, *top.split.held_out]) == list(range(25, 50))
    assert top.split.distilled.tolist() == sorted(top.split.distilled, reverse=True)


def test_distilling_twice_asks_once_and_another_request_is_refused(top: Top, tmp_path: Path) -> None:
    asked = []

    def engine(samples: object) -> tuple[list[Found], list[dict[str, object]]]:
        asked.append(samples)
        return [found(log_pattern(), 30)], []

    out = tmp_path / "patterns"
    first = distill(top, engine, {"name": "test"}, out)
    assert distill(top, engine, {"name": "test"}, out).fingerprint() == first.fingerprint()
    assert len(asked) == 1
    with pytest.raises(CuratorError, match=r"engine\.name: there 'test', asked for 'other'"):
        distill(top, engine, {"name": "other"}, out)


def test_a_registry_that_was_removed_is_made_again_beside_answers_and_audit(top: Top, tmp_path: Path) -> None:
    """As the message about a damaged one says; anything else in the folder is somebody's."""
    out = tmp_path / "patterns"
    for name in ("cache/answer.json", "audit.json"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("{}")
    assert len(distill(top, lambda samples: ([found(log_pattern(), 30)], []), {}, out).entries) == 1
    (out / "registry.json").unlink()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(CuratorError, match="not empty and holds no registry"):
        distill(top, lambda samples: ([found(log_pattern(), 30)], []), {}, out)


def test_nothing_found_is_said_with_what_was_set_aside(top: Top, tmp_path: Path) -> None:
    out = tmp_path / "patterns"
    with pytest.raises(
        CuratorError, match=r"no pattern was found in 20 samples; 1 answers .*the first: not JSON$"
    ):
        distill(top, lambda samples: ([], [{"reason": "not JSON\nat all"}]), {}, out)
    assert json.loads((out / "set_aside.json").read_text()) == [{"reason": "not JSON\nat all"}]
    distill(top, lambda samples: ([found(log_pattern(), 30)], []), {}, out)  # goes on in the same folder
    assert not (out / "set_aside.json").exists()


def test_a_registry_edited_into_nonsense_is_refused(top: Top, tmp_path: Path) -> None:
    out = tmp_path / "patterns"
    distill(top, lambda samples: ([found(log_pattern(), 30), found(span_pattern(), 31)], []), {}, out)
    content = json.loads((out / "registry.json").read_text())
    content["patterns"][1]["pattern"]["pattern_id"] = content["patterns"][0]["pattern"]["pattern_id"]
    (out / "registry.json").write_text(json.dumps(content))
    with pytest.raises(CuratorError, match="there twice"):
        Registry.open(out)
    content["patterns"][1]["pattern"]["template"] = "{nobody}"
    (out / "registry.json").write_text(json.dumps(content))
    with pytest.raises(CuratorError, match=r"pattern 1: .*no field 'nobody'"):
        Registry.open(out)
    with pytest.raises(CuratorError, match="synth distill RANKING"):
        Registry.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        [],
        None,
        {"samples": [30]},
        {"samples": [30], "scores": []},
        {"samples": ["30"], "scores": [1.0]},
        {"samples": [True], "scores": [1.0]},
        {"samples": [30], "scores": ["high"]},
        {"samples": 30, "scores": 1.0},
    ],
)
def test_a_pattern_whose_provenance_was_edited_is_refused(
    top: Top, tmp_path: Path, provenance: object
) -> None:
    out = tmp_path / "patterns"
    distill(top, lambda samples: ([found(log_pattern(), 30)], []), {}, out)
    content = json.loads((out / "registry.json").read_text())
    content["patterns"][0]["provenance"] = provenance
    (out / "registry.json").write_text(json.dumps(content))
    with pytest.raises(
        CuratorError, match=r"registry\.json: pattern 0: .*'samples' and 'scores'.*; put it back"
    ):
        Registry.open(out)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("held_out", ["a"]),
        ("held_out", [-1]),
        ("held_out", [1 << 70]),
        ("held_out", [2.5]),
        ("top", "all"),
        ("top", True),
        ("distilled", None),
        ("seq_length", 1.5),
        ("unit", 7),
        ("tokenizer", None),
        ("ranking", ["a"]),
    ],
)
def test_a_header_that_was_edited_is_refused(top: Top, tmp_path: Path, key: str, value: object) -> None:
    out = tmp_path / "patterns"
    distill(top, lambda samples: ([found(log_pattern(), 30)], []), {}, out)
    content = json.loads((out / "registry.json").read_text())
    content["samples"][key] = value
    (out / "registry.json").write_text(json.dumps(content))
    with pytest.raises(
        CuratorError, match=rf"registry\.json: samples\.{key} .*edited; put it back, or remove it"
    ):
        Registry.open(out)
