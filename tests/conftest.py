"""Markers, and what tests ask for by name.

The process that hands the tests out imports this too, before any other starts: models are imported by who needs them.
"""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from curator.progress import Lines, reporting

if TYPE_CHECKING:
    from curator.ranking.ranking import Ranking

GOLDEN = Path(__file__).parent / "golden"

# started in the background, Ctrl-C is ignored, also by the children that tests send it to
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MARKS = {
    "neox": r"tests/neox_patches/trainer/",
    "kill": r"kill|half_a_fit|interrupted|resumed|twice|unfinished|worker|ctrl_c|goes_on|not_trusted_by_name"
    r"|test_neox_together",
    "demo": r"test_demo|test_synth_demo",
    "sandbox": r"test_synth_(sandbox|checks|generate|render|cli|shown|audit_data|full_disk|alone)",
    "slow": r"test_benchmarks|fidelity|litellm|llm_limits|float64|bfloat16_ranks|sdpa_that_skips|the_default_layout"
    r"|any_layout|command_of_the_issue|queries_of|every_stage_names|flags_and_the_experiment_file_say"
    r"|many_patterns|bounded_memory|natural_study|of_noise_the_interval",
}
"""Marker -> what is found in the path and name of the tests that have it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by where they stand and what they are called."""
    for item in items:
        for mark, pattern in MARKS.items():
            if re.search(pattern, item.nodeid):
                item.add_marker(mark)


@pytest.fixture(autouse=True)
def told() -> Iterator[None]:
    """What work says of itself goes to standard error, where tests look for it."""
    with reporting(Lines()):
        yield


@pytest.fixture
def golden_folder() -> Path:
    """``model/``, ``rows.npy`` and the golden numbers."""
    return GOLDEN


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> "Ranking":
    """One uninterrupted ranking; do not change it."""
    from rank_runs import request

    from curator.ranking.run import rank

    return rank(request(), tmp_path_factory.mktemp("whole") / "ranking")


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A corpus, a model and probe tokens that differ by one entry."""
    from rank_runs import CORPUS, save_changed_model

    folder = tmp_path_factory.mktemp("others")
    rows = np.load(CORPUS)
    rows[200, 7] ^= 1
    np.save(folder / "rows.npy", rows)
    np.save(folder / "probe.npy", np.array([[1, 2, 1, 2]]))
    save_changed_model(folder / "model", "gpt_neox.layers.0.mlp.dense_4h_to_h.weight", 0.123)
    return {
        "corpus": folder / "rows.npy",
        "model": str(folder / "model"),
        "probe_tokens": folder / "probe.npy",
    }


@pytest.fixture
def no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any pass through the model fails the test."""
    from curator.influence.taps import Taps

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(Taps, "run", refuse)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per reason why tests were skipped, however many they are."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for reason, count in reasons.items():
        terminalreporter.write_line(f"SKIPPED [{count}] {reason}")
