"""Several rankings of the same samples as one: their mean, with its error, or for each sample the last one before it.

Influence is defined at one checkpoint, on probe sequences and labels that were drawn once. Rankings at several
checkpoints (as in TracIn, arXiv 2002.08484), or with other seeds, are averaged as they are: m = mean of s_k, with the
standard error sqrt(sum (s_k - m)^2 / (K (K - 1))) of K draws. Or a sample of step t has the score of the checkpoint of
the highest step <= t, the last whose weights have not been trained on it.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import curator
from curator.artifacts.claim import refuse_others
from curator.artifacts.fields import require
from curator.artifacts.files import new_array, new_folder, save_json
from curator.artifacts.fingerprints import differences, fingerprint
from curator.errors import CuratorError, UsageError
from curator.models.listing import step_of
from curator.progress import progress, remark
from curator.ranking.ranking import FORMAT, IDENTITY, SIGN, Ranking, identity_of, open_manifest, sealed
from curator.ranking.settings import CombineSettings

CHUNK = 1 << 16
"""Samples that are combined at once."""


def combine(settings: CombineSettings) -> Ranking:
    """Write the combined ranking into the folder ``settings.out``, or open it where it is there.

    Raises:
        UsageError: fewer than two rankings, units that they do not share, checkpoints whose steps are unknown.
        CuratorError: rankings of different corpora or samples, or ``out`` holds something else.
    """
    out = require(settings, "out")
    rankings = [Ranking.open(path) for path in require(settings, "ranking")]
    if len(rankings) < 2:
        raise UsageError("one ranking is nothing to combine; give 'ranking' at least twice")
    manifest = _manifest(settings, rankings)
    if (out / "manifest.json").is_file():
        refuse_others(
            out,
            "scores",
            *({key: one.get(key) for key in IDENTITY} for one in (manifest, open_manifest(out))),
        )
        remark(f"{out}: already complete")
        return Ranking.open(out)
    if out.exists() and any(out.iterdir()):
        raise CuratorError(f"{out}: the folder is not empty and holds no ranking; choose another --out")
    with new_folder(out) as folder:
        save_json(folder / "manifest.json", _write(folder, manifest, rankings))
    return Ranking.open(out)


def _manifest(settings: CombineSettings, rankings: Sequence[Ranking]) -> dict[str, Any]:
    first = rankings[0]
    for other in rankings[1:]:
        first.check_corpus(other.corpus_fingerprint, other.path)
        lines = differences(
            *(
                {"samples": one.manifest["samples"], "blocks": one.manifest["blocks"]}
                for one in (first, other)
            )
        )
        if lines:
            raise CuratorError(f"{first.path} and {other.path} are not of the same: " + "; ".join(lines))
    batch_size = settings.batch_size or next((one.batch_size for one in rankings if one.batch_size), None)
    before = settings.how == "before"
    if before and batch_size is None:
        raise UsageError("'how: before' needs 'batch_size', by which samples have steps")
    contents = [_content(ranking) for ranking in rankings]
    if len(set(contents)) < len(rankings):
        raise UsageError("a ranking is given twice, which would count as a draw of its own")
    return {
        "format": FORMAT,
        "status": "running",
        "sign_convention": first.manifest.get("sign_convention", SIGN),
        "combined": [str(ranking.path.absolute()) for ranking in rankings],
        "samples": first.manifest["samples"],
        "units": first.units,
        "blocks": first.manifest["blocks"],
        "settings": {
            "method": f"combined: {settings.how}",
            "errors": not before,
            "steps": [_step(ranking) for ranking in rankings] if before else None,
            "batch_size": batch_size if before else None,
        },
        "fingerprints": {
            "model": None,
            "corpus": first.corpus_fingerprint,
            "rankings": contents,
        },
        "layout": {},
        "request": {
            "model": first.model,
            "corpus": first.manifest["request"]["corpus"],
            "batch_size": batch_size,
            "command": settings.command(),
        },
        "versions": {"curator": curator.__version__, "numpy": np.__version__},
    }


def _content(ranking: Ranking) -> str:
    """Fingerprint of a ranking; versions before there was one wrote none."""
    written = ranking.manifest.get("fingerprint")
    return str(written or fingerprint([identity_of(ranking.manifest), np.asarray(ranking.scores)]))


def _step(ranking: Ranking) -> int:
    step = None if ranking.model is None else step_of(ranking.model)
    if step is None:
        raise UsageError(
            f"{ranking.path}: its checkpoint {ranking.model} does not say its step, as step1000 or global_step1000 do"
        )
    return step


def _write(folder: Path, manifest: dict[str, Any], rankings: Sequence[Ranking]) -> dict[str, Any]:
    """The arrays; the complete manifest."""
    settings, n_samples = manifest["settings"], len(rankings[0])
    names = ["scores", "blocks", "losses"]
    with ExitStack() as stack:

        def array(name: str, shape: tuple[int, ...]) -> np.ndarray:
            return stack.enter_context(new_array(folder / f"{name}.npy", shape, np.float64))

        arrays = {name: array(name, getattr(rankings[0], name).shape) for name in names}
        if settings["errors"]:
            arrays["errors"] = array("errors", rankings[0].scores.shape)
        with progress("combined", n_samples) as advance:
            for low in range(0, n_samples, CHUNK):
                columns = slice(low, min(low + CHUNK, n_samples))
                for name in names:
                    values = np.stack(
                        [np.asarray(getattr(one, name)[..., columns], np.float64) for one in rankings]
                    )
                    if not settings["errors"]:
                        arrays[name][..., columns] = _of_step(
                            values, rankings[0].first_sample + low, settings
                        )
                        continue
                    arrays[name][..., columns] = values.mean(0)
                    if name == "scores":
                        arrays["errors"][:, columns] = values.std(0, ddof=1) / np.sqrt(len(rankings))
                advance(columns.stop - columns.start)
        return sealed(manifest, **arrays)


def _of_step(values: np.ndarray, first: int, settings: dict[str, Any]) -> np.ndarray:
    """[..., n] of values [rankings, ..., n] those of the last checkpoint at or before each sample's step."""
    steps = np.array(settings["steps"])
    order = np.argsort(steps, kind="stable")
    sample_steps = np.arange(first, first + values.shape[-1]) // settings["batch_size"]
    place = np.searchsorted(steps[order], sample_steps, side="right") - 1
    if place.min() < 0:
        raise UsageError(
            f"sample {first + int(place.argmin())} is of step {sample_steps[place.argmin()]}, before the first "
            f"checkpoint ({steps.min()}): give a ranking at an earlier one"
        )
    return np.take_along_axis(values, order[place].reshape((1,) * (values.ndim - 1) + (-1,)), 0)[0]
