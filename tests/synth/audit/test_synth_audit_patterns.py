"""The audit counts what occurs, gives odds with intervals that hold their level, and lets nothing pass by luck."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from pattern_samples import WORDS, log_pattern, span_pattern
from rankings import rows_of, tokenizer, top_of, write_ranking

from curator.artifacts.files import load_json, save_json
from curator.corpus import open_corpus
from curator.errors import CuratorError
from synth.audit import patterns as audit_module
from synth.audit.patterns import Odds, audit_patterns, count, finished
from synth.cli.commands import print_pattern_audit
from synth.distill.run import distill
from synth.patterns.matcher import Matcher
from synth.patterns.occurrence import Found
from synth.patterns.registry import Registry


def line(rng: random.Random) -> str:
    return f"INFO worker-{rng.randint(0, 99):02d}: {' '.join(rng.choices(WORDS, k=3))}\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Registry]:
    """400 samples; the 100 of highest score hold log lines in 9 of 10 cases, the others in 1 of 10."""
    folder = tmp_path_factory.mktemp("audit")
    rng = random.Random(0)
    texts = []
    for number in range(400):
        logs = rng.random() < (0.9 if number >= 300 else 0.1)
        texts.append("".join(line(rng) for _ in range(6)) if logs else " ".join(rng.choices(WORDS, k=60)))
    losses = np.array([100 + number % 7 for number in range(400)], float)
    write_ranking(folder, rows_of(texts, 64), np.linspace(-3, 1, 400), losses)
    top = top_of(folder / "ranking", top=100, holdout=0.4)
    entries = [Found(log_pattern(), (399,), (1.0,)), Found(span_pattern(), (398,), (1.0,))]
    return folder, distill(top, lambda samples: (entries, []), {"name": "test"}, folder / "patterns")


def audit(study: tuple[Path, Registry], workers: int = 1) -> dict:
    folder, registry = study
    top = top_of(folder / "ranking", top=100, holdout=0.4)
    return audit_patterns(
        registry, top.ranking, open_corpus(folder / "rows.npy"), tokenizer(), seed=0, workers=workers
    )


def test_what_occurs_where_influence_is_high_carries_and_the_rest_does_not(
    study: tuple[Path, Registry],
) -> None:
    result = audit(study)
    first, second = result["patterns"]
    assert first["pattern_name"] == "Log lines" and first["carries"]
    assert second["pattern_name"] == "Span" and not second["carries"]
    a, n, c, m = first["odds"]["random"]["counts"]
    assert (n, m) == (40, 100)
    assert a / n > 0.75 and c / m < 0.25
    assert first["odds"]["random"]["low"] > 5
    assert first["beyond_loss"] is True and second["beyond_loss"] is False


def test_a_pattern_that_goes_with_the_loss_carries_and_is_not_beyond_it(tmp_path: Path) -> None:
    """Log lines have high loss, in the top and outside: random samples hold fewer, those of the same loss do not."""
    rng = random.Random(1)
    logs = [rng.random() < (0.9 if number >= 500 else 0.4) for number in range(600)]
    texts = [
        "".join(line(rng) for _ in range(6)) if one else " ".join(rng.choices(WORDS, k=60)) for one in logs
    ]
    losses = np.array([200.0 if one else 100.0 for one in logs]) + np.arange(600) % 5
    write_ranking(tmp_path, rows_of(texts, 64), np.linspace(-3, 1, 600), losses)
    top = top_of(tmp_path / "ranking", top=100, holdout=0.4)
    entries = [Found(log_pattern(), (599,), (1.0,))]
    registry = distill(top, lambda samples: (entries, []), {"name": "test"}, tmp_path / "patterns")
    (found,) = audit_patterns(registry, top.ranking, open_corpus(tmp_path / "rows.npy"), tokenizer())[
        "patterns"
    ]
    assert found["carries"] and found["odds"]["random"]["low"] > 2
    assert found["beyond_loss"] is False and found["odds"]["loss-matched"]["low"] < 1


def test_controls_leave_the_top_out_and_processes_change_nothing(study: tuple[Path, Registry]) -> None:
    assert audit(study, workers=2) == audit(study)


def test_another_ranking_is_refused_with_both_fingerprints(
    study: tuple[Path, Registry], tmp_path: Path
) -> None:
    _, registry = study
    other = write_ranking(tmp_path, np.ones((40, 9), np.uint16), np.linspace(0, 1, 40))
    with pytest.raises(CuratorError, match="give that ranking"):
        audit_patterns(registry, other, open_corpus(tmp_path / "rows.npy"), tokenizer())


def test_odds_follow_the_formula() -> None:
    odds = Odds.of((30, 40, 20, 100))
    cells = (30.5, 10.5, 20.5, 80.5)
    log = math.log(cells[0] * cells[3] / cells[1] / cells[2])
    half = 1.959963985 * math.sqrt(sum(1 / cell for cell in cells))
    assert odds.ratio == pytest.approx(math.exp(log))
    assert (odds.low, odds.high) == pytest.approx((math.exp(log - half), math.exp(log + half)))
    assert math.isfinite(Odds.of((0, 10, 0, 10)).high)


def test_the_interval_covers_the_true_odds_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true = (0.3 / 0.7) / (0.1 / 0.9)
    draws = [
        Odds.of((int(a), 80, int(c), 200))
        for a, c in zip(rng.binomial(80, 0.3, 2000), rng.binomial(200, 0.1, 2000))
    ]
    covered = np.mean([odds.low <= true <= odds.high for odds in draws])
    assert 0.93 <= covered <= 0.98


def test_where_no_sample_has_the_losses_of_the_top_that_is_said(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = ["".join(line(rng) for _ in range(6)) for _ in range(60)]
    scores = np.linspace(-1, 1, 60)
    write_ranking(tmp_path, rows_of(texts, 32), scores, losses=scores + 100)
    top = top_of(tmp_path / "ranking", top=30, holdout=0.5)
    registry = distill(top, lambda s: ([Found(log_pattern(), (59,), (1.0,))], []), {}, tmp_path / "patterns")
    result = audit_patterns(registry, top.ranking, top.corpus, tokenizer(), workers=1)
    assert list(result["patterns"][0]["odds"]) == ["random"]
    assert "no loss-matched control" in result["notes"][0]


class Hesitant(Matcher):
    """Gives up in texts of words that hold 'winter', most of which are controls."""

    def occurs(self, text: str) -> bool | None:
        return None if "winter" in text and "INFO" not in text else super().occurs(text)


def test_searches_that_were_given_up_are_left_out_of_the_odds_and_counted_per_group(
    study: tuple[Path, Registry], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They fall on controls above all, and are no absences."""
    monkeypatch.setattr(audit_module, "Matcher", Hesitant)
    result = audit(study)
    logs = next(one for one in result["patterns"] if one["pattern_name"] == "Log lines")
    left_out = logs["undecided"]
    assert (
        set(left_out) == {"top", "random", "loss-matched"} and left_out["random"] > 10 * left_out["top"] > 0
    )
    for control in ("random", "loss-matched"):
        a, n, c, m = logs["odds"][control]["counts"]
        assert (n, m) == (40 - left_out["top"], 100 - left_out[control])
        assert logs["odds"][control]["ratio"] == Odds.of((a, n, c, m)).ratio != Odds.of((a, 40, c, 100)).ratio
    print_pattern_audit(result)
    said = " ".join(capsys.readouterr().out.split())
    counts = logs["odds"]["random"]["counts"]
    assert f"{counts[0]}/{counts[1]}" in said and f"{counts[2]}/{counts[3]}" in said
    assert f"left out of its counts: top {left_out['top']}, random {left_out['random']}" in said


def test_counts_say_where_a_pattern_occurs_and_where_the_search_was_given_up() -> None:
    lines = "INFO worker-07: alpha beta\n" * 2
    texts = {"top": [lines, "winter", lines + "winter"], "random": ["", lines]}
    assert count(log_pattern(), texts) == {"top": [2, 0], "random": [1, 0]}


def test_an_audit_of_an_earlier_search_is_made_again(study: tuple[Path, Registry], tmp_path: Path) -> None:
    folder, registry = study
    ranking = top_of(folder / "ranking", top=100, holdout=0.4).ranking
    save_json(tmp_path / "audit.json", audit(study))
    assert finished(tmp_path / "audit.json", registry, ranking, tokenizer(), 0) is not None
    earlier = load_json(tmp_path / "audit.json")
    earlier.pop("search")
    save_json(tmp_path / "audit.json", earlier)
    assert finished(tmp_path / "audit.json", registry, ranking, tokenizer(), 0) is None
