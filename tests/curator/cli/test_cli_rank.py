"""`curator rank` as a user meets it; the numbers of one whole command against the oracle."""

from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from commands import done, instead, rank_golden, refused, run
from engine_parts import GOLDEN, golden_model, golden_rows, relative_error
from forked import command, finish

from curator.ranking.ranking import Ranking

# -- rank -----------------------------------------------------------------------------------------------------------


def test_law_1_the_command_of_the_issue_gives_the_oracles_scores(tmp_path: Path) -> None:
    """The command against per-sample autograd loops that share no code with the engine, on 24 samples."""
    tokens = np.load(GOLDEN / "induction_L1H2.npz")["probe_tokens"]
    np.save(tmp_path / "probe.npy", tokens)
    words = f"--model {GOLDEN / 'model'} --corpus {GOLDEN / 'rows.npy'} --unit induction:1.2"
    words += f" --unit previous-token:0.0 --fisher empirical --probe-tokens {tmp_path / 'probe.npy'}"
    words += f" --dtype float64 --samples 0:24 --out {tmp_path / 'ranking'}"
    done("rank", *words.split())
    scores = np.load(tmp_path / "ranking" / "scores.npy")
    assert scores.shape == (2, 24) and scores.dtype == np.float64

    model, rows, sequences = golden_model(torch.float64, "eager"), golden_rows()[:24], tokens.tolist()
    parts, gradients = {}, {}
    for layer, head, blocks in ((1, 2, ("qk", "v", "o")), (0, 0, ("qk",))):
        own = {block: oracle.head_parts(model, layer, head)[block] for block in blocks}

        def probe(layer: int = layer, head: int = head) -> torch.Tensor:
            if layer == 1:
                return oracle.induction_probe(model, sequences)
            return oracle.previous_token_probe(model, sequences, layer, head)

        whole = oracle.weight_gradients(model, {part.module for part in own.values()}, probe)
        for block, part in own.items():
            parts[f"{layer}/{block}"], gradients[f"{layer}/{block}"] = part, part.of(whole[part.module])
    labels = rows[:, 1:]
    truth = oracle.curvature_and_queries(model, rows, (labels, labels), parts, gradients)
    by_part, losses = oracle.scores(
        model, rows, parts, {name: values.query for name, values in truth.items()}
    )
    assert relative_error(scores[0], by_part["1/qk"] + by_part["1/v"] + by_part["1/o"]) < 1e-7
    assert relative_error(scores[1], by_part["0/qk"]) < 1e-7
    assert relative_error(np.load(tmp_path / "ranking" / "losses.npy"), losses) < 1e-9


def test_a_star_means_every_head_and_a_unit_given_twice_counts_once(tmp_path: Path) -> None:
    done(*rank_golden(tmp_path / "all", "--unit", "induction:*", "--unit", "induction:1.2"))
    ranking = Ranking.open(tmp_path / "all")
    assert ranking.units == [f"induction:{layer}.{head}" for layer in range(3) for head in range(4)]
    done(*rank_golden(tmp_path / "one", "--unit", "induction:1.2"))
    alone = Ranking.open(tmp_path / "one").scores[0]
    assert relative_error(ranking.unit_scores("induction:1.2"), alone) < 1e-4


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--unit", "inductoin:1.2"], 2, "unknown unit 'inductoin:1.2'; induction, previous-token"),
        (["--unit", "induction:9.2"], 2, "layers 0 to 2 with heads 0 to 3"),
        (["--unit", "induction:1.9"], 2, "layers 0 to 2 with heads 0 to 3"),
        ([], 2, "--unit or 'units' in the experiment file"),
        (["--samples", "0-8"], 2, "--samples takes FIRST:LAST; not '0-8'"),
        (["--samples", "8:4"], 2, "--samples: (8, 4); 0 <= first < last"),
        (["--samples", "0:999"], 2, "256 samples; 0 <= first < last <= 256"),
        (["--dtype", "floa32"], 2, "--dtype: unknown value 'floa32'; float32; float64"),
        (["--fisher", "emprical"], 2, "--fisher; did you mean 'empirical'?"),
        (["--alpha", "-1"], 2, "--alpha: -1.0; at least 0"),
        (["--micro-batch", "0"], 2, "--micro-batch: 0; at least 1"),
        (["--probe-sequences", "0"], 2, "--probe-sequences: 0; at least 1"),
        (["--probe-seed", "-1"], 2, "--probe-seed: -1; at least 0"),
        (["--probe-lengths", "1:5"], 2, "--probe-lengths:; not 1, 5"),
        (["--probe-lengths", "9"], 2, "--probe-lengths takes FIRST:LAST"),
        (["--probe-tokens", "none.npy"], 1, "none.npy: no such file"),
        (["--corpus", "none/rows"], 1, "none/rows; holds"),
        (["--model", "./none"], 1, "./none; no such model"),
        (["--device", "gpu"], 2, "--device: 'gpu'; cpu, cuda or cuda:N"),
        (["--device", "cuda:77"], 2, "--device: cuda:77; give --device cpu"),
        (["--worker", "2/2"], 2, "--worker takes R/W; not '2/2'"),
        (["--worker", "1"], 2, "--worker takes R/W"),
        (["--window", "0:2"], 2, "batch_size; --batch-size"),
        (["-e", "none.yml"], 2, "none.yml: no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_rank_refuses_and_lists_what_exists(tmp_path: Path, flags: list[str], code: int, says: str) -> None:
    unit = [] if "--unit" in flags or not flags else ["--unit", "induction:1.2"]
    if "--window" in flags:
        words = [word for word in rank_golden(tmp_path / "r") if word not in ("--samples", "0:8")]
    else:
        words = rank_golden(tmp_path / "r")
    message = refused(code, words[0], *unit, *instead(words[1:], flags))
    for part in says.split("; "):
        assert part in message
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rnak: {}", "bad.yml:1: rnak: unknown key; did you mean 'rank'?; corpus"),
        ("rank:\n\talpha: 1", "bad.yml:2: not valid YAML"),
        ("", "'model' is missing: give --model"),
        ("rank: {alpha: many}", "bad.yml:1: rank.alpha; a number; 'many'"),
    ],
)
def test_an_experiment_file_that_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.yml").write_text(text)
    message = refused(2, "rank", "-e", tmp_path / "bad.yml", "--out", tmp_path / "r")
    for part in says.split("; "):
        assert part in message


@pytest.mark.parametrize("word", ["zzzzzzzz", "best-of-all-42"])
def test_a_word_that_is_near_nothing_is_refused_too(study: Path, tmp_path: Path, word: str) -> None:
    (tmp_path / "bad.yml").write_text(f"{word}: 1")
    assert f"{word}: unknown key" in refused(2, "rank", "-e", tmp_path / "bad.yml")
    words = ["mask", "--ranking", study / "ranking", "--batch-size", 16, "--out", tmp_path / "p"]
    assert f"unknown value '{word}'" in refused(2, *words, "--count", 3, "--select", word)


def test_a_finished_ranking_is_left_alone_and_another_one_is_refused(study: Path, tmp_path: Path) -> None:
    out = study / "ranking"
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    assert "already complete" in run("rank", "-e", study / "study.yml").err
    message = refused(1, "rank", "-e", study / "study.yml", "--alpha", 0.7)
    assert "alpha: there 0.1, asked for 0.7" in message and "another --out" in message
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    assert Ranking.open(out).samples.tolist() == list(range(160, 480))  # steps 10 to 29 of 16


def test_a_corpus_that_does_not_fit_the_model_is_refused(study: Path, tmp_path: Path) -> None:
    words = ["rank", "-e", study / "study.yml", "--corpus", GOLDEN / "rows.npy", "--out", tmp_path / "r"]
    assert "129 tokens" in refused(1, *words, "--samples", "0:8")
    np.save(tmp_path / "other.npy", np.full((480, 17), 300, np.uint16))
    words[4] = tmp_path / "other.npy"
    assert "token id 300 is outside the vocabulary of 300" in refused(1, *words)


def test_workers_share_one_ranking(study: Path, tmp_path: Path) -> None:
    words = ["rank", "-e", study / "study.yml", "--out", tmp_path / "r", "--shard-size", 64]
    words += ["--micro-batch", 64]
    processes = [command("curator", *words, "--worker", f"{number}/2", cwd=tmp_path) for number in (1, 0)]
    assert [finish(process, 60) for process in processes] == [0, 0]
    ours, whole = Ranking.open(tmp_path / "r"), Ranking.open(study / "ranking")
    assert relative_error(ours.scores, whole.scores) < 1e-4


@pytest.mark.parametrize("command", ["rank", "scan", "train", "mask"])
def test_an_output_that_is_a_file_or_below_one_is_an_error_without_traceback(
    study: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        message = refused(1, command, "-e", study / "study.yml", "--out", out)
        assert str(tmp_path / "file") in message
    assert (tmp_path / "file").read_text() == "mine"
