"""A real GPT-NeoX checkout per generation; where none is found, its tests skip with one plain line each."""

from collections.abc import Callable

import pytest
from neox_runs import TESTED, Trainer, library_texts, preprocess

from curator.neox.checkout import find_checkouts


def trainer_of(generation: str, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """The newest checkout of ``generation`` with data of its own, or a skip."""
    found = {checkout.generation: checkout for checkout in find_checkouts()}
    if generation not in found:
        pytest.skip(
            f"no GPT-NeoX {generation} checkout: git clone https://github.com/EleutherAI/gpt-neox, check out "
            f"{generation}, and put it in ~/.cache/mda-curator/gpt-neox/{generation} or in NEOX_HOME"
        )
    pytest.importorskip("deepspeed", reason="deepspeed is not installed: make test installs it")
    home = found[generation].home
    folder = tmp_path_factory.mktemp(f"data-{generation}")
    return Trainer(generation, home, preprocess(home, folder / "text", library_texts()))


_trainers: dict[str, Trainer] = {}


@pytest.fixture(params=TESTED)
def trainer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Each tested generation in turn."""
    return cached_trainer(request.param, tmp_path_factory)


@pytest.fixture
def head(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """GPT-NeoX HEAD alone."""
    return cached_trainer("HEAD", tmp_path_factory)


@pytest.fixture(scope="session")
def trainer_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trainer]:
    """Generation -> its trainer, for tests that choose themselves."""
    return lambda generation: cached_trainer(generation, tmp_path_factory)


def cached_trainer(generation: str, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """`trainer_of`, made once per session."""
    if generation not in _trainers:
        _trainers[generation] = trainer_of(generation, tmp_path_factory)
    return _trainers[generation]
