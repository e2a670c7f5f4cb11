"""A small study that the commands are tried on."""

from pathlib import Path

import pytest
from commands import STUDY, done


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
