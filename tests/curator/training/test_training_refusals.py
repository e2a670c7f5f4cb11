"""Law 8 for the embedded trainer: what does not fit together is refused, naming both sides."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import CONFIG, SLOTS, RowsInMemory, make_corpus, plan_for, random_rows

from curator.errors import CuratorError
from curator.training import train


def other_rows() -> RowsInMemory:
    return make_corpus(seed=1)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another config": (
        lambda run: train(CONFIG.changed(learning_rate=0.5), make_corpus(), run, checkpoint_steps=[]),
        r"another run:\n  config\.learning_rate: there 0\.01, asked for 0\.5\nGive another output",
    ),
    "another corpus": (
        lambda run: train(CONFIG, other_rows(), run, checkpoint_steps=[]),
        r"corpus_fingerprint: there 'rows-\d+', asked for 'rows-\d+'",
    ),
    "another plan": (
        lambda run: train(
            CONFIG,
            make_corpus(),
            run,
            plan=plan_for(make_corpus()).mask(np.array([40])),
            checkpoint_steps=[],
        ),
        "plan_fingerprint: there '.*', asked for '.*'",
    ),
    "another start": (
        lambda run: train(CONFIG, make_corpus(), run, start_from=run / "step6", checkpoint_steps=[]),
        "started_from: there None, asked for .*'step': 6",
    ),
    "a start of another config": (
        lambda run: train(
            CONFIG.changed(seed=2),
            make_corpus(),
            run.with_name("new"),
            start_from=run / "step6",
            checkpoint_steps=[],
        ),
        r"config\.seed: there 1234, asked for 2",
    ),
    "a start that is none": (
        lambda run: train(
            CONFIG,
            make_corpus(),
            run.with_name("new"),
            start_from=run / "step7",
            checkpoint_steps=[],
        ),
        "step7: not a checkpoint of the embedded trainer",
    ),
    "edits before the start": (
        lambda run: train(
            CONFIG,
            make_corpus(),
            run.with_name("new"),
            plan=plan_for(make_corpus()).mask(np.array([23, 30])),
            start_from=run / "step6",
            checkpoint_steps=[],
        ),
        "it has done 6 steps, but the plan edits slot 23, of step 5",
    ),
    "checkpoints before the start": (
        lambda run: train(
            CONFIG,
            make_corpus(),
            run.with_name("new"),
            start_from=run / "step6",
            checkpoint_steps=[5],
        ),
        "checkpoint steps 5 lie outside this run, which goes from step 6 to step 12",
    ),
}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    train(CONFIG, make_corpus(), out, checkpoint_steps=[6])
    return out


@pytest.mark.parametrize("case", REFUSED)
def test_law_8_checkpoints_of_another_run_are_refused(case: str, finished_run: Path) -> None:
    attempt, message = REFUSED[case]
    before = sorted(finished_run.rglob("*"))
    with pytest.raises(CuratorError, match=message):
        attempt(finished_run)
    assert sorted(finished_run.rglob("*")) == before and not finished_run.with_name("new").exists()


def poisoned() -> RowsInMemory:
    corpus = make_corpus()
    corpus.array[6, 3] = 24
    return corpus


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "corpus too short": (
        lambda out: train(CONFIG, make_corpus(SLOTS - 1), out, checkpoint_steps=[]),
        r"reaches sample 47 \(12 steps of 4\), but the corpus ends with sample 46; at most 11 steps fit",
    ),
    "rows too wide": (
        lambda out: train(CONFIG.changed(seq_length=7), make_corpus(), out, checkpoint_steps=[]),
        "hold 9 tokens, but seq_length = 7 needs 8; set seq_length to 8",
    ),
    "vocabulary too large": (
        lambda out: train(CONFIG, RowsInMemory(random_rows(), 30), out, checkpoint_steps=[]),
        "its vocabulary has 30 ids, but vocab_size is 24",
    ),
    "unknown token": (
        lambda out: train(CONFIG, poisoned(), out, checkpoint_steps=[]),
        "sample 6 holds token 24 at position 3",
    ),
    "plan of another corpus": (
        lambda out: train(CONFIG, make_corpus(), out, plan=plan_for(other_rows()), checkpoint_steps=[]),
        "corpus_fingerprint: there 'rows-.*', asked for 'rows-",
    ),
    "plan of another batch size": (
        lambda out: train(
            CONFIG.changed(batch_size=2),
            make_corpus(),
            out,
            plan=plan_for(make_corpus()),
            checkpoint_steps=[],
        ),
        "batch_size: there 4, asked for 2",
    ),
    "plan too short": (
        lambda out: train(
            CONFIG,
            make_corpus(),
            out,
            plan=plan_for(make_corpus(), config=CONFIG.changed(steps=11)),
            checkpoint_steps=[],
        ),
        r"has 11 steps of 4 samples, but this run trains 12 \(train.steps\): set train.steps to at most 11",
    ),
    "plan that reaches past the corpus": (
        lambda out: train(
            CONFIG,
            make_corpus(),
            out,
            plan=plan_for(make_corpus()).replace(np.array([3]), np.array([SLOTS])),
            checkpoint_steps=[],
        ),
        "reaches sample 48",
    ),
    "step beyond the schedule": (
        lambda out: train(CONFIG, make_corpus(), out, checkpoint_steps=[], stop_step=13),
        r"stop_step is 13; expected 1 \.\. steps \(12\)",
    ),
    "checkpoint after the end": (
        lambda out: train(CONFIG, make_corpus(), out, checkpoint_steps=[3, 9], stop_step=6),
        "checkpoint steps 9 lie outside this run, which goes from step 0 to step 6",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_law_8_inputs_that_do_not_fit_are_refused_before_anything_is_written(
    case: str, tmp_path: Path
) -> None:
    attempt, message = UNFIT[case]
    with pytest.raises(CuratorError, match=message):
        attempt(tmp_path / "out")
    assert not (tmp_path / "out").exists()
