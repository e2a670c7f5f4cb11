"""The stage `statistics`: every sample's statistics into a ranking folder, as `curator rank` writes one.

The folder has no queries, no factors and no blocks; its losses are known where ``loss`` was asked for, else NaN.
Work is cut into shards, each one file that is put in place atomically, so that the same command goes on after a kill:
the token statistics of a large corpus take minutes, its losses hours.
"""

import platform
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np

import curator
from curator.artifacts.claim import lock_folder, refuse_others
from curator.artifacts.fields import require
from curator.artifacts.files import (
    is_temporary,
    load_array,
    new_array,
    remove_temporaries,
    save_array,
    save_json,
)
from curator.corpus import check_tokens, open_corpus
from curator.errors import CuratorError
from curator.progress import progress, remark
from curator.ranking.asked import absolute_model, recorded_window, samples_of_window, samples_within
from curator.ranking.ranking import FORMAT, IDENTITY, Ranking, open_manifest, sealed
from curator.statistics.base import Asked, Statistic
from curator.statistics.loss import Loss
from curator.statistics.registry import prepared
from curator.statistics.settings import StatisticsSettings

SIGN = "higher = more of what the statistic counts; it says nothing of influence"
ANY_ID = 1 << 32
"""More ids than any vocabulary has: of a corpus that does not say how many."""
SHARD_TOKENS = 1 << 22
"""Of statistics of tokens alone, about a second's work."""
SHARD_PASSES = 512
"""Samples of a shard whose losses are taken, at least: as many as an influence ranking takes."""


def statistics(settings: StatisticsSettings) -> Ranking:
    """Tell the statistics of every sample that ``settings`` name into the folder ``settings.out``; goes on there.

    Raises:
        UsageError: something is missing, or asks for more than there is.
        CuratorError: wrong input, or the folder holds something else (the message says both sides).
    """
    out = require(settings, "out")
    corpus = open_corpus(require(settings, "corpus"))
    if settings.window is not None:
        batch_size = require(settings, "batch_size")
        settings = settings.resolved(
            samples=samples_of_window(settings.window, batch_size, settings.epochs, corpus.path)
        )
    first, last = samples_within(settings.samples, corpus)
    with lock_folder(out):
        corpus.check_index()
        highest = check_tokens(corpus, corpus.vocab_size or ANY_ID, first, last)
        asked = Asked(settings, corpus, first, last, highest)
        return StatisticsRun(asked, prepared(settings.statistics, asked), out).run()


class StatisticsRun:
    """Statistics under way; see `statistics`."""

    def __init__(self, asked: Asked, found: list[Statistic], out: Path):
        self.asked, self.found, self.out = asked, found, out
        self.width = asked.corpus.row_width
        self.loss = next((one for one in found if isinstance(one, Loss)), None)
        self.manifest = self._manifest()

    def run(self) -> Ranking:
        """Do what is missing, then open the result."""
        if self._claim():
            remark(f"{self.out}: already complete")
        else:
            self._measure()
            self._assemble()
        self._clear_up()
        return Ranking.open(self.out)

    def _manifest(self) -> dict[str, Any]:
        asked, settings = self.asked, self.asked.settings
        layout = {"shard_size": max(1, SHARD_TOKENS // self.width), "seq_length": self.width - 1}
        versions = {
            "curator": curator.__version__,
            "numpy": np.__version__,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        }
        fingerprints = {"model": None, "corpus": asked.corpus.fingerprint()}
        if self.loss is not None:
            import torch
            import transformers

            from curator.models import model_fingerprint

            batch = self.loss.batch
            layout |= {"micro_batch": batch, "shard_size": batch * -(-SHARD_PASSES // batch)}
            versions |= {"torch": torch.__version__, "transformers": transformers.__version__}
            fingerprints["model"] = model_fingerprint(self.loss.model)
        return {
            "format": FORMAT,
            "status": "running",
            "sign_convention": SIGN,
            "statistics": {one.unit: {"says": one.says, "higher": one.higher} for one in self.found},
            "samples": [asked.first, asked.last],
            "units": [one.unit for one in self.found],
            "blocks": [],
            "settings": {
                "method": "statistics: no gradient was taken",
                "statistics": {one.name: one.recorded() for one in self.found},
            },
            "fingerprints": fingerprints,
            "layout": layout,
            "request": {
                "model": None if self.loss is None else absolute_model(str(settings.model)),
                "corpus": str(require(settings, "corpus").absolute()),
                "batch_size": settings.batch_size,
                "command": settings.resolved(statistics=tuple(one.name for one in self.found)).command(),
                **recorded_window(settings.window, settings.batch_size, settings.epochs),
            },
            "versions": {**versions, "python": platform.python_version()},
        }

    def _claim(self) -> bool:
        """Write the manifest, or check the one that is there against ours; whether the result is there."""
        file = self.out / "manifest.json"
        if not file.is_file():
            if any(not is_temporary(path) for path in self.out.iterdir()):
                raise CuratorError(
                    f"{self.out}: the folder is not empty and holds no ranking; choose another --out"
                )
            save_json(file, self.manifest)
            return False
        there = open_manifest(self.out)
        if self.loss is not None and self.asked.settings.micro_batch is None:
            batch = there["layout"].get("micro_batch")  # chosen by the first start
            if isinstance(batch, int):
                self.loss.batch = batch
                self.manifest = self._manifest()
        ours, theirs = ({key: one.get(key) for key in IDENTITY} for one in (self.manifest, there))
        refuse_others(self.out, "scores", ours, theirs)
        return bool(there["status"] == "complete")

    def _shards(self) -> list[tuple[int, int, Path]]:
        """(first sample, one past the last, file) of every shard."""
        first, last, size = self.asked.first, self.asked.last, self.manifest["layout"]["shard_size"]
        starts = range(first, last, size)
        return [
            (start, min(start + size, last), self.out / "shards" / f"{number:06}.npy")
            for number, start in enumerate(starts)
        ]

    def _measure(self) -> None:
        shards = self._shards()
        missing = [shard for shard in shards if not shard[2].is_file()]
        total = self.asked.last - self.asked.first
        done = total - sum(last - first for first, last, _ in missing)
        with progress(f"{', '.join(one.name for one in self.found)}", total, done=done) as advance:
            for first, last, file in missing:
                save_array(file, self._of(self.asked.corpus.rows(slice(first, last)), first))
                advance(last - first)

    def _of(self, rows: np.ndarray, first: int) -> np.ndarray:
        """[statistics + 1, n] of rows [n, width], the last being the summed losses; ``first``: sample of the first."""
        part = np.full((len(self.found) + 1, len(rows)), np.nan)
        if self.loss is not None:
            part[-1] = self.loss.sums(rows, first)
        for number, one in enumerate(self.found):
            part[number] = Loss.mean(part[-1], self.width) if one is self.loss else one(rows)
        return part

    def _assemble(self) -> None:
        shape = (len(self.found), self.asked.last - self.asked.first)
        exact = np.float64 if self.asked.settings.dtype == "float64" else np.float32
        with (
            new_array(self.out / "scores.npy", shape, np.float64) as scores,
            new_array(self.out / "blocks.npy", (0, shape[1]), np.float64) as blocks,
            new_array(self.out / "losses.npy", shape[1:], exact) as losses,
        ):
            for first, last, file in self._shards():
                columns, part = slice(first - self.asked.first, last - self.asked.first), load_array(file)
                scores[:, columns], losses[columns] = part[:-1], part[-1]
            for one, column in zip(self.found, scores):
                if shape[1] > 1 and column.min() == column.max():
                    remark(
                        f"{one.unit} is {column[0]:g} for every sample, so that it ranks none above another"
                    )
            complete = sealed(self.manifest, scores=scores, blocks=blocks, losses=losses)
        save_json(self.out / "manifest.json", complete)

    def _clear_up(self) -> None:
        """Remove what a complete ranking does not need."""
        shutil.rmtree(self.out / "shards", ignore_errors=True)
        remove_temporaries(self.out)
