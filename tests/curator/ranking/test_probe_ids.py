"""Probe sequences are drawn from ids that stand for something: a tokenizer's entries, or what occurs in the corpus.

The models have 64 rows of the embedding and 50 entries in their tokenizer, as Pythia has 50,304 and 50,277.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from commands import done, refused
from engine_parts import GOLDEN, random_model
from rank_runs import request, settings_of, small_request
from word_tokenizer import ENTRIES, PADDED, save_tokenizer

from curator.artifacts.fields import IdsFrom, Probe
from curator.artifacts.files import load_json, save_json
from curator.artifacts.fingerprints import fingerprint
from curator.corpus import open_corpus
from curator.errors import CuratorError, UsageError
from curator.progress import Lines, reporting
from curator.ranking.probes import Probes
from curator.ranking.ranking import Ranking
from curator.ranking.run import prepare_queries, rank
from curator.ranking.settings import RankSettings
from curator.scan.scan import scan_checkpoints
from curator.units import ProbeSettings, draw_random, draw_repeated, load_unit_module, token_counts
from curator.units.probe_ids import find_probe_ids, occurring_ids

PROBE = ProbeSettings(sequences=40, min_length=3, max_length=6)


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    """A model with more rows than its tokenizer, which lies elsewhere, has entries."""
    random_model(vocab_size=PADDED).float().save_pretrained(tmp_path / "run" / "step5")
    rows = np.random.default_rng(0).permutation(np.arange(4 * 17) % 30 + 2).reshape(4, 17)  # ids 2 to 31
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "rows.npy", rows.astype(np.uint16))
    return tmp_path


@pytest.fixture(autouse=True)
def _said() -> Iterator[None]:
    """What work remarks goes to standard error, as a trainer says it."""
    with reporting(Lines()):
        yield


def asked(folder: Path, **changes: Any) -> RankSettings:
    given: dict[str, Any] = {
        "model": str(folder / "run" / "step5"),
        "corpus": folder / "data" / "rows.npy",
        "units": ("induction:1.2", "previous-token:0.0"),
        "probe": Probe(sequences=40, min_length=3, max_length=6),
        "micro_batch": 2,
    }
    return settings_of({**given, **changes})


def drawn(asked: RankSettings) -> tuple[dict[str, Any], list[int]]:
    """The record of the ids, and the ids of both units' sequences."""
    probes = Probes(asked, random_model(vocab_size=PADDED), open_corpus(asked.corpus))
    assert probes.ids is not None
    tokens = set()
    for unit in (random_units := _units(asked)):
        sequences = probes.sequences(unit)
        tokens |= set(sequences.tokens[sequences.valid()].tolist())
    assert len(random_units) == 2
    return probes.ids.record, sorted(tokens)


def _units(asked: RankSettings) -> list[Any]:
    from curator.units import parse_units

    return parse_units(asked.units, random_model(vocab_size=PADDED), "paper")


def test_ids_are_the_tokenizers_entries_wherever_it_is_known(padded: Path) -> None:
    places = {
        "beside the model": lambda: {"where": padded / "run" / "step5"},
        "above it": lambda: {"where": padded / "run"},
        "beside the corpus": lambda: {"where": padded / "data"},
        "given": lambda: {
            "where": padded / "elsewhere",
            "tokenizer": padded / "elsewhere" / "tokenizer.json",
        },
        "its folder given": lambda: {"where": padded / "elsewhere", "tokenizer": padded / "elsewhere"},
    }
    for place in places.values():
        known = place()
        file = save_tokenizer(known.pop("where"))
        record, tokens = drawn(asked(padded, **known))
        assert (record["source"], record["file"]) == ("tokenizer", str(file))
        assert (record["count"], record["vocabulary"]) == (ENTRIES, PADDED)
        assert record["fingerprint"] == fingerprint(np.arange(ENTRIES, dtype="<i8"))
        assert tokens == list(range(ENTRIES)), "special and added entries too, and no row without one"
        file.unlink()


def test_without_a_tokenizer_ids_are_those_of_the_corpus(padded: Path) -> None:
    record, tokens = drawn(asked(padded))
    assert (record["source"], record["count"], record["rows_read"], record["rows"]) == ("corpus", 30, 4, 4)
    assert record["corpus"] == open_corpus(padded / "data" / "rows.npy").fingerprint()
    assert tokens == list(range(2, 32))
    save_tokenizer(padded / "run" / "step5")
    assert drawn(asked(padded, probe_ids="corpus"))[1] == list(range(2, 32))


def test_all_ids_are_drawn_when_asked_for(padded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tokenizer(padded / "data")
    record, tokens = drawn(asked(padded, probe_ids="all"))
    assert (record["source"], record["count"], tokens) == ("all", PADDED, list(range(PADDED)))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("draw", [draw_repeated, draw_random])
def test_a_vocabulary_without_padding_gives_the_sequences_it_always_gave(tmp_path: Path, draw: Any) -> None:
    """Golden numbers and rankings hold: the golden model's tokenizer has an entry for every row."""
    before = draw(PROBE, 512, 128)
    for ids in (
        find_probe_ids("auto", 512, tokenizer=GOLDEN / "model" / "tokenizer.json"),
        find_probe_ids("auto", 512),
    ):
        after = draw(ids.of(PROBE), 512, 128)
        assert torch.equal(before.tokens, after.tokens) and torch.equal(before.lengths, after.lengths)
    some = find_probe_ids("auto", 513, tokenizer=GOLDEN / "model" / "tokenizer.json")
    assert torch.equal(draw(some.of(PROBE), 513, 128).tokens, before.tokens), (
        "the padding changes nothing more"
    )
    np.save(tmp_path / "rows.npy", np.arange(512).reshape(16, 32))
    occurring = find_probe_ids("auto", 512, corpus=tmp_path / "rows.npy")
    assert torch.equal(draw(occurring.of(PROBE), 512, 128).tokens, before.tokens)


def test_the_golden_ranking_is_the_one_of_all_ids(tmp_path: Path) -> None:
    ours = rank(small_request(), tmp_path / "ours")
    old = rank(small_request(probe_ids="all"), tmp_path / "old")
    np.testing.assert_array_equal(ours.scores, old.scores)
    assert ours.manifest["probe_ids"]["source"] == "tokenizer" and ours.manifest["probe_ids"]["count"] == 512
    assert "--probe-ids tokenizer" in ours.manifest["request"]["command"]
    assert ours.manifest["settings"] == old.manifest["settings"]


def test_a_large_corpus_is_read_in_evenly_spaced_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counts, "READ_TOKENS", 40)
    monkeypatch.setattr(token_counts, "READ_BLOCKS", 2)  # two blocks of two rows of ten
    np.save(tmp_path / "rows.npy", np.repeat(np.arange(9), 10).reshape(9, 10))
    corpus = open_corpus(tmp_path / "rows.npy")
    ids, rows = occurring_ids(corpus, 9)
    assert (ids.tolist(), rows) == ([0, 1, 7, 8], 4)
    assert occurring_ids(corpus, 8)[0].tolist() == [0, 1, 7], "an id beyond the vocabulary is not drawn"
    np.save(tmp_path / "few.npy", np.arange(40).reshape(4, 10))
    assert occurring_ids(open_corpus(tmp_path / "few.npy"), 64)[0].tolist() == list(range(40))


def test_what_cannot_be_drawn_from_is_refused_with_the_way_on(padded: Path) -> None:
    corpus = padded / "data" / "rows.npy"
    other = save_tokenizer(padded / "other", PADDED + 1)
    broken = padded / "broken.json"
    broken.write_text("{}")
    np.save(padded / "high.npy", np.full((4, 9), 70))
    for arguments, says in (
        (
            {"tokenizer": other},
            "token ids up to 64, but the model knows 0 to 63: .* or give --probe-ids corpus",
        ),
        ({"tokenizer": broken}, "broken.json: not a tokenizer.json .*; or give --probe-ids corpus"),
        ({"corpus": padded / "high.npy"}, "sample 0, column 0: token id 70 is outside the vocabulary of 64"),
    ):
        with pytest.raises(CuratorError, match=says):
            find_probe_ids("auto", PADDED, **arguments)
    with pytest.raises(
        UsageError, match=r"--probe-ids tokenizer: no tokenizer.json is known; give --tokenizer"
    ):
        find_probe_ids("tokenizer", PADDED, corpus=corpus)
    with pytest.raises(UsageError, match="--probe-ids corpus: no corpus is known; give --corpus"):
        find_probe_ids("corpus", PADDED, tokenizer=other)
    with pytest.raises(
        UsageError, match=r"up to 40 distinct tokens for 30 known ids of a vocabulary of 64 .* 'all'"
    ):
        draw_repeated(
            find_probe_ids("auto", PADDED, corpus=corpus).of(ProbeSettings(max_length=40)), PADDED, 128
        )


def strip(folder: Path) -> None:
    """Make a manifest one of an earlier version, which said nothing of ids."""
    manifest = load_json(folder / "manifest.json")
    del manifest["probe_ids"]
    save_json(folder / "manifest.json", manifest)


def test_a_ranking_of_an_earlier_version_goes_on_with_all_ids(padded: Path, no_pass: None) -> None:
    """Unfinished and finished; another choice is refused, and says what differs."""
    save_tokenizer(padded / "data")
    out = padded / "ranking"
    with pytest.raises(AssertionError, match="work was begun"):
        rank(asked(padded, probe_ids="all"), out)
    prints = load_json(out / "manifest.json")["fingerprints"]
    strip(out)
    with pytest.raises(CuratorError, match=r"probe_sequences\.induction:1\.2: there"):
        rank(asked(padded, probe_ids="tokenizer"), out)
    with pytest.raises(AssertionError, match="work was begun"):
        rank(asked(padded), out)
    assert load_json(out / "manifest.json")["fingerprints"] == prints


def test_a_tokenizer_that_appears_is_named_when_a_ranking_cannot_go_on(padded: Path) -> None:
    out = padded / "ranking"
    assert rank(asked(padded), out).manifest["probe_ids"]["source"] == "corpus"
    save_tokenizer(padded / "data")
    with pytest.raises(
        CuratorError, match=r"ids: there 30 of 64, those in 4 rows of .*, asked for 50 of 64, the"
    ):
        rank(asked(padded), out)
    rank(asked(padded, probe_ids="corpus"), out)


def test_rows_scored_with_given_queries_carry_their_record(tmp_path: Path) -> None:
    from curator.ranking.given_queries import GivenQueries

    prepare_queries(small_request(), tmp_path / "queries")
    given = GivenQueries.open(tmp_path / "queries").request(GOLDEN / "rows.npy", samples=(8, 12))
    scored = rank(given, tmp_path / "scored")
    assert scored.manifest["probe_ids"] == given_record(tmp_path / "queries")


def given_record(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = load_json(folder / "manifest.json")["probe_ids"]
    assert record["source"] == "tokenizer"
    return record


def test_given_tokens_are_drawn_from_nothing(others: dict[str, Any], tmp_path: Path) -> None:
    ranking = rank(small_request(probe_tokens=others["probe_tokens"]), tmp_path / "ranking")
    assert (
        ranking.manifest["probe_ids"] is None and "--probe-ids" not in ranking.manifest["request"]["command"]
    )


OWN = """
from dataclasses import dataclass
from curator.units import Sequences, register
from curator.units.induction import InductionHead
import torch

@register
@dataclass(frozen=True)
class Marked(InductionHead):
    kind = "test-marked"
    DEFAULT = "paper"

    def sequences(self, settings, vocab_size, max_length):
        tokens = torch.full((2, 4), vocab_size - 1)
        return Sequences(tokens, torch.tensor([4, 4]))
"""


def test_a_kind_that_draws_by_itself_is_let_and_named(
    padded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curator.units import registry

    before = dict(registry._kinds)
    (padded / "own.py").write_text(OWN)
    load_unit_module(padded / "own.py")
    try:
        drawn(asked(padded, units=("test-marked:0.0", "test-marked:1.0")))
    finally:
        registry._kinds.clear()
        registry._kinds.update(before)
    said = capsys.readouterr().err
    assert (
        said.count("test-marked:0.0: its kind draws tokens of its own") == 1 and "test-marked:1.0" not in said
    )


def test_a_kind_is_given_the_corpus_and_the_tokenizer_that_are_known(padded: Path) -> None:
    """Whatever ids are drawn from; in no manifest."""
    corpus = open_corpus(padded / "data" / "rows.npy")
    for source in ("all", "corpus", "auto"):
        given = find_probe_ids(source, PADDED, tokenizer=save_tokenizer(padded / "here"), corpus=corpus).of(
            PROBE
        )
        assert given.corpus is corpus and given.tokenizer == padded / "here" / "tokenizer.json"
        assert given.recorded() == PROBE.recorded() and "corpus" not in given.recorded()
    unknown = find_probe_ids("all", PADDED).of(PROBE)
    assert unknown.corpus is None and unknown.tokenizer is None


# -- scan -------------------------------------------------------------------------------------------------------


def test_a_scan_draws_from_what_is_known_and_says_what(
    padded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def scanned(name: str, **known: Any) -> tuple[str, str]:
        scan = scan_checkpoints(padded / "run", padded / name, settings=PROBE, **known)
        record = load_json(padded / name / "scan.json")["probe_ids"]
        assert record == scan.manifest["probe_ids"] and "ids" not in scan.manifest["settings"]
        return record["source"], capsys.readouterr().err.replace("\n", " ")

    source, said = scanned("unknown")
    assert (
        source == "all"
        and "probe ids: all 64 of the vocabulary: neither a tokenizer nor a corpus is known" in said
    )
    source, said = scanned("asked", probe_ids="all")
    assert source == "all" and "probe ids" not in said
    source, said = scanned("corpus", corpus=padded / "data" / "rows.npy")
    assert source == "corpus" and "probe ids: 30 of 64, those in 4 rows of" in said
    save_tokenizer(padded / "run")
    source, said = scanned("tokenizer", corpus=padded / "nowhere.npy")
    assert source == "tokenizer" and "probe ids: 50 of 64, the entries of" in said
    records = [
        load_json(padded / name / "checkpoints" / "step5.json") for name in ("unknown", "asked", "tokenizer")
    ]
    assert records[0] == records[1] and records[0]["sequences"] != records[2]["sequences"]


# -- command line and experiment file ---------------------------------------------------------------------------


def test_the_flags_and_the_experiment_file_say_where_ids_come_from(padded: Path) -> None:
    assert get_type_hints(Probe)["ids"] == IdsFrom and get_args(IdsFrom)[0] == "auto"
    save_tokenizer(padded / "elsewhere")
    (padded / "study.yml").write_text(
        json.dumps(
            {
                "model": "run/step5",
                "corpus": "data/rows.npy",
                "checkpoints": "run",
                "tokenizer": "elsewhere",
                "units": ["induction:1.2"],
                "probe": {"sequences": 4, "min_length": 3, "max_length": 6, "ids": "all"},
            }
        )
    )
    study = ["-e", padded / "study.yml"]
    for name, words, source in (
        ("a", [], "all"),
        ("b", ["--probe-ids", "auto"], "tokenizer"),
        ("c", ["--probe-ids", "corpus"], "corpus"),
    ):
        done("rank", *study, "--out", padded / name, *words)
        assert Ranking.open(padded / name).manifest["probe_ids"]["source"] == source
        done("scan", *study, "--out", padded / f"scan-{name}", *words)
        assert load_json(padded / f"scan-{name}" / "scan.json")["probe_ids"]["source"] == source
    again = Ranking.open(padded / "c").manifest["request"]["command"]
    assert "--probe-ids corpus" in again and f"--tokenizer {padded / 'elsewhere'}" in again
    for command in ("rank", "scan"):
        said = refused(2, command, *study, "--out", padded / "no", "--probe-ids", "al")
        assert "--probe-ids: unknown value 'al'; did you mean 'all'?" in said
    done(
        "rank", "--queries-of", padded / "c", "--corpus", padded / "data" / "rows.npy", "--out", padded / "d"
    )
    for flag in (["--probe-ids", "all"], ["--tokenizer", padded / "elsewhere"]):
        said = refused(
            2,
            "rank",
            "--queries-of",
            padded / "c",
            "--corpus",
            padded / "data",
            "--out",
            padded / "no",
            *flag,
        )
        assert f"{flag[0]} cannot stand beside --queries-of" in said


def test_unknown_ids_of_a_request_are_refused() -> None:
    with pytest.raises(UsageError, match="ids: unknown value 'none'; known: all, auto, corpus, tokenizer"):
        request(probe_ids="none")
