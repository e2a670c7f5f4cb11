"""Small GPT-NeoX checkpoints made by hand."""

from pathlib import Path

import pytest
from neox_checkpoints import SETTINGS, original, write
from transformers import GPTNeoXForCausalLM


@pytest.fixture
def model() -> GPTNeoXForCausalLM:
    return original()


@pytest.fixture
def single(tmp_path: Path, model: GPTNeoXForCausalLM) -> Path:
    return write(tmp_path / "save" / "global_step5", model, settings=SETTINGS)


@pytest.fixture
def layers(tmp_path: Path, model: GPTNeoXForCausalLM) -> Path:
    return write(tmp_path / "save" / "global_step5", model, settings=SETTINGS, pipeline=True)
