"""Before long work the whole index of a corpus is read, whoever begins it.

The data set's ``.idx`` points two rows to one place: each row can be read, and opening sees nothing.
"""

from pathlib import Path

import numpy as np
import pytest
from commands import refused
from laid import data_set
from rank_runs import CORPUS, request
from tiny_runs import CONFIG, make_corpus, plan_for

from curator.corpus import open_corpus
from curator.errors import CuratorError
from curator.ranking.run import prepare_queries, rank
from curator.training import train

EXPECTED = r"data\.idx: row 0 begins at 0 and row 30 at 0, so that they lie over each other"


@pytest.mark.parametrize("begin", [rank, prepare_queries])
def test_a_ranking_does_not_begin(tmp_path: Path, no_pass: None, begin) -> None:
    corpus = data_set(tmp_path, np.load(CORPUS))
    with pytest.raises(CuratorError, match=EXPECTED):
        begin(request(corpus=corpus), tmp_path / "ranking")
    assert not (tmp_path / "ranking").exists()


def test_training_does_not_begin_on_such_a_corpus_nor_on_such_injected_rows(tmp_path: Path) -> None:
    rows = make_corpus().array
    with pytest.raises(CuratorError, match=EXPECTED):
        train(CONFIG, open_corpus(data_set(tmp_path / "a", rows)), tmp_path / "run", checkpoint_steps=[1])
    sound = open_corpus(data_set(tmp_path / "b", rows, sound=True))
    bad = open_corpus(tmp_path / "a" / "data")
    plan, source = plan_for(sound).with_source("more", str(bad.path), bad.fingerprint())
    plan = plan.replace(np.array([4]), np.array([7]), source)
    with pytest.raises(CuratorError, match=EXPECTED):
        train(CONFIG, sound, tmp_path / "run", plan=plan, checkpoint_steps=[1])
    assert not list(tmp_path.glob("run/step*"))


def test_corpus_info_and_inject_read_the_whole_index(tmp_path: Path) -> None:
    rows = make_corpus().array
    bad, sound = data_set(tmp_path / "a", rows), data_set(tmp_path / "b", rows, sound=True)
    assert "row 0 begins at 0 and row 30 at 0" in refused(1, "corpus", "info", bad)
    words = [
        "inject",
        "--corpus",
        sound,
        "--rows",
        bad,
        "--batch-size",
        4,
        "--after",
        1,
        "--out",
        tmp_path / "plan",
    ]
    assert "row 0 begins at 0 and row 30 at 0" in refused(1, *words)
