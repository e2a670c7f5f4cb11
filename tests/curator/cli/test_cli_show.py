"""`curator show` as a user meets it, and what every stage names as the next."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import done, refused
from engine_parts import GOLDEN

from curator.corpus import open_corpus
from curator.corpus.token_text import TokenText
from curator.ranking.ranking import Ranking

# -- show -----------------------------------------------------------------------------------------------------------


def test_show_writes_top_bottom_and_random_samples(study: Path, tmp_path: Path) -> None:
    counts = ["--top", 3, "--bottom", 2, "--random", 4, "--unit", "induction:1.0"]
    files = ["--json", tmp_path / "s.json", "--markdown", tmp_path / "s.md"]
    said = done("show", study / "ranking", *counts, "--batch-size", 16, *files)
    scores = Ranking.open(study / "ranking").unit_scores("induction:1.0")
    views = json.loads((tmp_path / "s.json").read_text())
    views = views if isinstance(views, list) else views["samples"]
    shown = [view["sample"] for view in views]
    falling = (np.argsort(-scores, kind="stable") + 160).tolist()
    assert shown[:3] == falling[:3] and shown[3:5] == falling[::-1][:2] and len(shown) == 9
    assert views[0]["score"] == pytest.approx(float(scores.max())) and views[0]["step"] == shown[0] // 16
    assert str(shown[0]) in (tmp_path / "s.md").read_text() and str(shown[0]) in said
    again = done("show", study / "ranking", *counts, "--batch-size", 16, *files)
    assert again == said


def test_show_takes_any_corpus_and_says_what_comes_next(study: Path, tmp_path: Path) -> None:
    """Rows without scores, as they lie or drawn; what scores alone can order is refused."""
    corpus = open_corpus(study / "corpus")
    said = done(
        "show",
        study / "corpus",
        "--first",
        2,
        "--random",
        3,
        "--json",
        tmp_path / "s.json",
        "--batch-size",
        2,
    )
    views = json.loads((tmp_path / "s.json").read_text())
    views = views[3:] + views[:3]  # in the order of the help
    assert [view["sample"] for view in views[:2]] == [0, 1] and len({v["sample"] for v in views[2:]}) == 3
    assert views[1]["provenance"] == corpus.provenance(1) and views[1]["step"] == 0
    assert views[0]["score"] is None and "row 0" in said and "score" not in said
    whole = TokenText(corpus.tokenizer_file).pieces(corpus.rows([0])[0], [])[0]
    assert "".join(text for text, _ in views[0]["segments"]) == whole
    assert said.splitlines()[-1].startswith("Next: curator rank --model MODEL --corpus ")
    np.save(tmp_path / "rows.npy", corpus.rows(slice(0, 4)))
    said = done("show", tmp_path / "rows.npy")
    assert "first 4 rows" in said and "token ids are shown" in said
    assert "--unit, --top" in refused(2, "show", study / "corpus", "--top", 2, "--unit", "x")
    assert "--first: 0 is not allowed" in refused(2, "show", study / "corpus", "--first", 0)
    said = done("show", study / "ranking", "--unit", "induction:1.0", "--first", 1)
    assert "sample 160 for induction:1.0" in said
    assert shlex.split(said.splitlines()[-1])[:4] == ["Next:", "curator", "mask", "--ranking"]


def test_rows_scored_by_anothers_queries_are_shown_with_its_tokenizer(study: Path, tmp_path: Path) -> None:
    """There is none beside the rows or the model; the ranking whose queries were taken leads to its corpus'."""
    np.save(tmp_path / "rows.npy", open_corpus(study / "corpus").rows(slice(0, 8)))
    given = ["--queries-of", study / "ranking", "--corpus", tmp_path / "rows.npy", "--unit", "induction:1.0"]
    said = done("rank", *given, "--out", tmp_path / "scored")
    assert shlex.split(said.splitlines()[-1]) == [
        "Next:",
        "curator",
        "show",
        str(tmp_path / "scored"),
        "--top",
        "5",
    ]
    assert "token ids" not in done("show", tmp_path / "scored")
    (study / "ranking").rename(study / "moved")
    try:
        assert "token ids" in done("show", tmp_path / "scored")
    finally:
        (study / "moved").rename(study / "ranking")


def test_every_stage_names_the_next_and_what_only_the_user_knows(study: Path, tmp_path: Path) -> None:
    def last(*words: Any) -> list[str]:
        return shlex.split(done(*words).splitlines()[-1])

    file = study / "study.yml"
    assert last("train", "-e", file, "--out", tmp_path / "run") == [
        *(
            "Next:",
            "curator",
            "scan",
            "--checkpoints",
            str(tmp_path / "run"),
            "--out",
            str(tmp_path / "run-scan"),
        )
    ]
    baseline = study / "runs/baseline"
    none = [
        "Next:",
        "curator",
        "rank",
        "--model",
        str(baseline / "step30"),
        "--corpus",
        str(study / "corpus"),
    ]
    scan = ["scan", "-e", file, "--out", tmp_path / "scan"]
    assert last(*scan)[: len(none)] == none  # no head formed within 30 steps
    low = ["--noise-floor", 0.28, "--attribution", 0.29, "--sufficiency", 0.9]  # where one did
    where = ["--window", "0:30", "--batch-size", "16", "--out", "ranking"]
    said = last(*scan, *low)
    assert said[4] == str(baseline / "step10") and said[-6:] == where and said[-7] == "previous-token:1.1"
    bare = done(
        "scan", "--checkpoints", baseline, "--out", tmp_path / "scan", "--sequences", 10, *low
    ).splitlines()
    assert (
        bare[-2]
        == "In what follows, CORPUS is your training data, B is the global batch size of its training."
    )
    assert " --corpus CORPUS " in bare[-1] and " --batch-size B " in bare[-1]
    assert last("rank", "-e", file)[1:3] == ["curator", "show"]
    plan = ["--ranking", study / "ranking", "--unit", "induction:1.0", "--count", 16, "--batch-size", 16]
    assert last("mask", *plan, "--out", tmp_path / "p")[1:3] == ["curator", "train"]
    assert last("inject", *plan, "--after", 3, "--out", tmp_path / "q")[1:3] == ["curator", "train"]


def test_show_refuses_what_is_not_there(study: Path, tmp_path: Path) -> None:
    ranking = study / "ranking"
    assert "induction:1.0, previous-token:0.1" in refused(2, "show", ranking)
    assert "induction:1.0, previous-token:0.1" in refused(2, "show", ranking, "--unit", "induction:7.7")
    unit = ("--unit", "induction:1.0")
    message = refused(1, "show", ranking, *unit, "--corpus", GOLDEN / "rows.npy")
    assert "give the same corpus" in message and str(GOLDEN / "rows.npy") in message
    assert "no such tokenizer" in refused(1, "show", ranking, *unit, "--tokenizer", "none.json")
    assert "not a ranking" in refused(1, "show", tmp_path)
    assert "--top: 0 is not allowed" in refused(2, "show", ranking, *unit, "--top", 0)
    refused(2, "show", ranking, *unit, "--random", 1, "--seed", -1)
    refused(2, "show", ranking, *unit, "--batch-size", 0)
