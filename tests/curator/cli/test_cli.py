"""The command line as a user meets it: exit codes, messages that list what exists, and what is left on disk.

One tiny model is trained for all tests, in a folder with a space in its name. Commands run in this process through
the real entry point, `curator.cli.main`, where an exception that it does not turn into a message fails the test;
exit codes of a process, a Ctrl-C and a kill are tested on real ones.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from commands import STUDY, done, process, rank_golden, refused, run
from engine_parts import GOLDEN, golden_model, golden_rows, relative_error
from tiny_runs import assert_same_bits, differ

from curator.corpus import open_corpus
from curator.corpus.token_text import TokenText
from curator.plan.plan import Plan
from curator.ranking.ranking import Ranking

COMMANDS = [
    "corpus info",
    "corpus build",
    "corpus blend",
    "scan",
    "rank",
    "show",
    "mask",
    "train",
    "demo",
    "doctor",
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """study.yml, corpus, baseline checkpoints, scan and ranking; tests write elsewhere."""
    folder = tmp_path_factory.mktemp("cli") / "a study"
    folder.mkdir()
    file = folder / "study.yml"
    file.write_text(STUDY)
    size = ("--samples", 480, "--seq-length", 16, "--vocab-size", 300)
    done("corpus", "build", "--out", folder / "corpus", *size)
    for command in ("train", "scan", "rank"):
        done(command, "-e", file)
    return folder


# -- the process ----------------------------------------------------------------------------------------------------


def test_exit_codes_are_0_done_1_failed_2_usage(tmp_path: Path) -> None:
    cases = {
        0: ["corpus", "info", GOLDEN / "rows.npy"],
        1: ["corpus", "info", tmp_path / "nothing"],
        2: ["corpus", "inform"],
    }
    started = {code: process(*words) for code, words in cases.items()}
    for code, child in started.items():
        out, err = child.communicate(timeout=300)
        assert child.returncode == code, err
        assert "Traceback" not in err and bool(out) == (code == 0) and bool(err) == (code != 0)


def test_the_command_line_itself_does_not_import_torch() -> None:
    code = "import sys, curator.cli.app; print({'torch', 'transformers'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_starts_with_the_command(command: str) -> None:
    assert f"Example: curator {command}" in " ".join(done(*command.split(), "--help").split())


def test_version_and_an_empty_command_line() -> None:
    from curator import __version__

    assert done("--version").strip() == f"curator {__version__}"
    assert "Usage" in run().out + run().err


def test_an_unknown_command_and_an_unknown_flag_name_near_ones() -> None:
    assert "rank" in refused(2, "rnak")
    assert "--model" in refused(2, "rank", "--modle", "x")


@pytest.mark.parametrize("signal_, code", [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_ranking_says_so_and_goes_on(
    tmp_path: Path, signal_: signal.Signals, code: int
) -> None:
    words = ["rank", "--model", GOLDEN / "model", "--corpus", GOLDEN / "rows.npy", "--unit", "induction:*"]
    words += ["--probe-sequences", 4, "--factor-samples", 8, "--micro-batch", 2, "--shard-size", 4]
    out = tmp_path / "ranking"
    child = process(*words, "--out", out, env={**os.environ, "OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 60
    while not list(out.glob("shards/*.npy")):
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    child.send_signal(signal_)
    err = child.communicate(timeout=300)[1]
    assert child.returncode == code and "Traceback" not in err
    if signal_ is signal.SIGINT:
        assert "interrupted; the same command resumes" in err
    assert "unfinished" in refused(1, "show", out) and not (out / "scores.npy").exists()
    done(*words, "--out", out)
    assert Ranking.open(out).scores.shape == (12, 256)


# -- corpus ---------------------------------------------------------------------------------------------------------


def test_corpus_info_reads_every_format(study: Path, tmp_path: Path) -> None:
    rows = np.arange(40, dtype=np.uint16).reshape(8, 5)
    np.save(tmp_path / "rows.npy", rows)
    from mmap_ninja import np_from_ndarray

    np_from_ndarray(tmp_path / "ninja", rows)
    (tmp_path / "neox.bin").write_bytes(rows.tobytes())
    header = b"MMIDIDX\x00\x00" + np.array([1], "<u8").tobytes() + bytes([8])
    sizes, pointers = np.full(8, 5, "<i4"), np.arange(8, dtype="<i8") * 10
    counts = np.array([8, 9], "<u8").tobytes()
    index = header + counts + sizes.tobytes() + pointers.tobytes() + np.arange(9, dtype="<i8").tobytes()
    (tmp_path / "neox.idx").write_bytes(index)
    for path in (tmp_path / "rows.npy", tmp_path / "ninja", tmp_path / "neox", tmp_path / "neox.bin"):
        said = done("corpus", "info", path, "--vocab-size", 40, "--seq-length", 4).split()
        assert said[said.index("samples") + 1] == "8" and "uint16" in said, path
    assert "embedded corpus" in done("corpus", "info", f"{study / 'corpus'}/")


def test_corpus_info_refuses_what_does_not_fit_and_says_what_is_there(tmp_path: Path) -> None:
    rows = GOLDEN / "rows.npy"
    assert "outside the vocabulary of 5" in refused(1, "corpus", "info", rows, "--vocab-size", 5)
    assert "set seq_length to 128" in refused(1, "corpus", "info", rows, "--seq-length", 5)
    assert "rows.npy" in refused(1, "corpus", "info", GOLDEN / "rows")
    assert "not a corpus this tool reads" in refused(1, "corpus", "info", GOLDEN / "README.md")
    assert "no corpus found" in refused(1, "corpus", "info", tmp_path)
    refused(2, "corpus", "info", rows, "--seq-length", -5)


def test_corpus_build_without_drill_rows_is_all_natural(tmp_path: Path) -> None:
    words = ["corpus", "build", "--out", tmp_path / "c", "--samples", 64, "--vocab-size", 300]
    done(*words, "--drill-fraction", 0)
    assert not np.load(tmp_path / "c" / "category_ids.npy").any()
    assert "drill_fraction" in refused(1, *words, "--drill-fraction", 0.5)
    for flags in (["--samples", 0], ["--drill-fraction", 2], ["--seed", -1]):
        assert flags[0] in refused(2, "corpus", "build", "--out", tmp_path / "d", *flags)


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
    message = refused(code, *words, *unit, *flags)
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
    second = process(*words, "--worker", "1/2")
    done(*words, "--worker", "0/2")
    assert second.wait(60) == 0
    second.communicate()
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


# -- mask -----------------------------------------------------------------------------------------------------------


def masked(folder: Path) -> set[int]:
    """Slots that the plan trains on with weight 0."""
    plan = Plan.load(folder)
    slots = np.asarray(plan.weight_slots)[np.asarray(plan.weights) == 0]
    return set(slots.tolist())


def test_mask_selects_in_every_way(study: Path, tmp_path: Path) -> None:
    base = ["mask", "-e", study / "study.yml"]
    more: dict[str, list[Any]] = {"loss-matched": ["--loss-bins", 4]}
    chosen = {}
    for select in ("top", "bottom", "random", "loss-matched", "random-in-category"):
        done(*base, "--select", select, "--out", tmp_path / select, *more.get(select, []))
        chosen[select] = set(np.load(tmp_path / select / "samples.npy").tolist())
        assert len(chosen[select]) == 32 and chosen[select] <= set(range(160, 480))
        assert masked(tmp_path / select) == chosen[select]
        assert json.loads((tmp_path / select / "selection.json").read_text())["select"] == select
    falling = np.argsort(-Ranking.open(study / "ranking").unit_scores("induction:1.0"), kind="stable") + 160
    assert chosen["top"] == set(falling[:32].tolist()) and chosen["bottom"] == set(falling[-32:].tolist())
    for control in ("random", "loss-matched", "random-in-category"):
        assert not chosen[control] & chosen["top"]
    categories = np.load(study / "corpus" / "category_ids.npy")
    drills = [categories[sorted(chosen[select])].sum() for select in ("top", "random-in-category")]
    assert drills[0] == drills[1]


def test_mask_within_steps_and_of_several_rankings(study: Path, tmp_path: Path) -> None:
    rank = ["rank", "-e", study / "study.yml", "--samples", "320:480", "--out", tmp_path / "late"]
    done(*rank)
    rankings = ["--ranking", study / "ranking", "--ranking", tmp_path / "late", "--batch-size", 16]
    done("mask", *rankings, "--count", 20, "--steps", "22:26", "--out", tmp_path / "plan")
    assert len(masked(tmp_path / "plan")) == 20
    assert masked(tmp_path / "plan") <= set(range(22 * 16, 26 * 16))
    selection = json.loads((tmp_path / "plan" / "selection.json").read_text())
    assert len(selection["rankings"]) == 4  # two rankings of two units
    message = refused(2, "mask", *rankings, "--count", 20, "--steps", "12:26", "--out", tmp_path / "p")
    assert "hold samples 320 to 479" in message


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--count", 3, "--percent", 3], "exclude each other"),
        ([], "a count or a percent"),
        (["--percent", 0], "--percent: 0.0"),
        (["--percent", 101], "at most 100"),
        (["--count", 9999], "320 candidates"),
        (["--count", -1], "--count: -1"),
        (["--count", 3, "--select", "tpo"], "did you mean 'top'?"),
        (["--count", 3, "--unit", "induction:0.0"], "induction:1.0, previous-token:0.1"),
        (["--count", 3, "--divisor", "keep"], "kept, renormalised"),
        (["--count", 3, "--steps", "4"], "--steps takes FIRST:LAST"),
        (["--count", 3, "--batch-size", 1000], "has 480 samples"),
    ],
    ids=str,
)
def test_mask_refuses_and_says_what_is_allowed(
    study: Path, tmp_path: Path, flags: list[Any], says: str
) -> None:
    words = ["mask", "--ranking", study / "ranking", "--batch-size", 16, "--out", tmp_path / "plan"]
    assert says in refused(2, *words, *flags)
    assert not (tmp_path / "plan").exists()


def test_a_plan_or_any_other_folder_is_not_overwritten(study: Path, tmp_path: Path) -> None:
    words = ["mask", "--ranking", study / "ranking", "--batch-size", 16, "--count", 3]
    done(*words, "--out", tmp_path / "plan")
    before = masked(tmp_path / "plan")
    assert "holds a plan already" in refused(1, *words, "--select", "bottom", "--out", tmp_path / "plan")
    assert masked(tmp_path / "plan") == before
    assert "not empty" in refused(1, *words, "--out", study / "ranking")
    assert not (study / "ranking" / "plan.json").exists()


def test_mask_needs_the_ranked_corpus_where_it_has_moved(study: Path, tmp_path: Path) -> None:
    words = ["mask", "--ranking", study / "ranking", "--batch-size", 16, "--count", 3]
    words += ["--out", tmp_path / "plan", "--corpus"]
    assert "give the same corpus" in refused(1, *words, GOLDEN / "rows.npy")


# -- train and scan -------------------------------------------------------------------------------------------------


def test_train_follows_a_plan_from_a_checkpoint(study: Path, tmp_path: Path) -> None:
    train = ["train", "-e", study / "study.yml", "--start-from", study / "runs/baseline/step10"]
    done("mask", "-e", study / "study.yml", "--out", tmp_path / "plan")
    done(
        *train, "--plan", tmp_path / "plan", "--out", tmp_path / "masked", "--checkpoint-steps", "12,20:30:5"
    )
    names = {path.name for path in (tmp_path / "masked").glob("step*")}
    assert names == {"step12", "step20", "step25", "step30"}
    assert differ(tmp_path / "masked" / "step30", study / "runs/baseline/step30")
    done(*train, "--out", tmp_path / "same")
    assert_same_bits(tmp_path / "same" / "step30", study / "runs/baseline/step30")
    assert np.isnan(np.load(tmp_path / "same" / "losses.npy")[:10]).all()


def test_train_stops_and_goes_on_to_the_same_bits(study: Path, tmp_path: Path) -> None:
    train = ["train", "-e", study / "study.yml", "--out", tmp_path / "run"]
    done(*train, "--stop-step", 15)
    assert {path.name for path in (tmp_path / "run").glob("step*")} == {"step0", "step10", "step15"}
    done(*train)
    assert_same_bits(tmp_path / "run" / "step30", study / "runs/baseline/step30")


def test_train_refuses_what_does_not_fit(study: Path, tmp_path: Path) -> None:
    train = ["train", "-e", study / "study.yml", "--out", tmp_path / "run"]
    assert "'train' section" in refused(2, "train", "--out", tmp_path / "run")
    assert "expected 1 .. steps (30)" in refused(1, *train, "--stop-step", 31)
    assert "0,100,200:400:50" in refused(2, *train, "--checkpoint-steps", "5,")
    assert "FROM <= TO" in refused(2, *train, "--checkpoint-steps", "9:3:1")
    assert "outside this run" in refused(1, *train, "--checkpoint-steps", "99")
    assert "no such file" in refused(1, *train, "--plan", tmp_path)
    assert "not a checkpoint" in refused(1, *train, "--start-from", tmp_path)
    assert "rows hold 129 tokens" in refused(1, *train, "--corpus", GOLDEN / "rows.npy")
    assert "--seed: -3 is not allowed" in refused(2, *train, "--seed", -3)
    other = ["train", "-e", study / "study.yml", "--seed", 5]  # into the baseline's folder
    assert "checkpoint of another run" in refused(1, *other)


def test_scan_measures_plots_and_names_the_best_units(study: Path, tmp_path: Path) -> None:
    assert (study / "scan" / "scan.png").stat().st_size > 5000
    out = tmp_path / "scan"
    said = done("scan", "-e", study / "study.yml", "--kind", "induction", "--steps", "10:30", "--out", out)
    assert "2 checkpoints, steps 10 to 20" in " ".join(said.split()) and "previous-token" not in said
    values = np.load(out / "metrics-induction.npy")
    assert values.shape == (2, 2, 2)
    np.testing.assert_array_equal(values, np.load(study / "scan" / "metrics-induction.npy")[1:3])
    checkpoints = ["scan", "--checkpoints", study / "runs" / "baseline", "--out", tmp_path / "s"]
    assert "induction, previous-token" in refused(2, *checkpoints, "--kind", "inductive")
    assert "no checkpoints of steps 1 to 4" in refused(1, *checkpoints, "--steps", "1:5")
    assert "no checkpoints" in refused(1, "scan", "--checkpoints", tmp_path, "--out", tmp_path / "s")
    assert "--checkpoints" in refused(2, "scan", "--out", tmp_path / "s")


def test_doctor_prints_what_there_is() -> None:
    said = done("doctor")
    assert "torch" in said.lower() and "python" in said.lower()


@pytest.mark.parametrize("flags", [["--seeds", 0], ["--seed", -1], ["--drill-fraction", 3]], ids=str)
def test_demo_refuses_numbers_that_make_no_sense(tmp_path: Path, flags: list[Any]) -> None:
    assert flags[0] in refused(2, "demo", "--out", tmp_path / "demo", *flags)
    assert not (tmp_path / "demo").exists()
