"""The command that comes next, as the last line of a command, with the paths and numbers at hand: it runs as printed.

What only the user knows stands there as a word in capitals, and the line before says what that is.
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.cli.printing import say
from curator.corpus.rendered import LEAST, RenderedCorpus
from curator.errors import CuratorError
from curator.models.hub import list_places
from curator.ranking.ranking import Ranking
from curator.scan.settings import ScanSettings

if TYPE_CHECKING:
    from curator.scan.scan import Scan

ENOUGH = 100
"""Rows per pattern that are proposed where there were too few to tell."""
UNKNOWN = {
    "CORPUS": "your training data",
    "MODEL": "a checkpoint",
    "B": "the global batch size of its training",
    "FIRST:LAST": "the training steps among which to put them",
}
"""Words in capitals, and what they stand for."""


def next_step(*words: object) -> None:
    """The last line: a command and its words, quoted for a shell."""
    given = [str(word) for word in words]
    missing = [f"{word} is {meaning}" for word, meaning in UNKNOWN.items() if word in given]
    if missing:
        say(f"In what follows, {', '.join(missing)}.")
    line = " ".join(word if word in UNKNOWN else shlex.quote(word) for word in given)
    say(f"Next: {line}")


def again_without(flag: str) -> list[str]:
    """The words of the command that runs, less one flag."""
    program = sys.argv[0].rpartition("/")[2].removesuffix(".py")
    return [program, *(word for word in sys.argv[1:] if word != flag)]


def rank(scan: "Scan", settings: ScanSettings) -> list[object]:
    """Score the window of the first unit that formed, at the checkpoint that the scan names for it.

    Where none formed: all samples, for the best unit, at the last checkpoint.
    """
    checkpoints = dict(list_places(scan.manifest["checkpoints"]))
    corpus: list[object] = ["--corpus", settings.corpus or "CORPUS"]
    for path in settings.unit_modules:
        corpus += ["--unit-module", path]
    best = [unit for kind in scan.values for unit in scan.best(kind)]
    for unit in best:
        window = scan.window(unit)
        step = window.attribution_step
        if window.t_start is None or step not in checkpoints:
            continue
        end = int(scan.steps[-1]) if window.t_end is None else window.t_end
        words = ["curator", "rank", "--model", checkpoints[step], *corpus, "--unit", unit]
        words += ["--window", f"{window.t_start}:{end}", "--batch-size", settings.batch_size or "B"]
        return [*words, "--out", "ranking"]
    last = checkpoints.get(int(scan.steps[-1]), "MODEL")
    return ["curator", "rank", "--model", last, *corpus, "--unit", best[0], "--out", "ranking"]


def show(ranking: Ranking) -> list[object]:
    """The samples that a ranking puts on top, as text."""
    unit = ["--unit", ranking.units[0]] if len(ranking.units) > 1 else []
    return ["curator", "show", ranking.path, *unit, "--top", 5]


def mask(ranking: Ranking, unit: str) -> list[object]:
    """The plan without the top samples."""
    named = ["--unit", unit] if len(ranking.units) > 1 else []
    words = ["curator", "mask", "--ranking", ranking.path, *named, "--select", "top", "--percent", 10]
    return [*words, "--batch-size", ranking.batch_size or "B", "--out", "plan-top"]


def inject_rows(rows: Path, count: int, ranking: Path | None) -> list[object]:
    """Put ``count`` rows into the training on what was ranked: spread over the ranked steps, as extra ones.

    In a burst they move less (docs/results.md). Fewer rows than a step holds go in place of others.
    """
    try:
        known = None if ranking is None else Ranking.open(ranking)
    except CuratorError:  # moved, or not there any more
        known = None
    words: list[object] = ["curator", "inject", "--rows", rows]
    words += ["--corpus", known.manifest["request"]["corpus"] if known else "CORPUS"]
    if known is None or known.batch_size is None or known.steps is None:
        return [*words, "--batch-size", "B", "--spread", "FIRST:LAST", "--out", "plan"]
    batch, steps = known.batch_size, "{}:{}".format(*known.steps)
    words += ["--batch-size", batch]
    if count < batch:
        return [*words, "--replace", steps, "--out", "plan"]
    return [*words, "--spread", steps, "--count", count // batch * batch, "--out", "plan"]


def after_rendering(rows: RenderedCorpus) -> list[object]:
    """Ask whether the rows of a trial carry influence; put those of patterns that do into training."""
    if rows.audited or rows.ranking is None:
        return inject_rows(rows.path, len(rows), None if rows.ranking is None else Path(rows.ranking))
    return ["synth", "audit", "data", rows.path, "--ranking", rows.ranking, "--out", "audit"]


def after_audit(audit: dict[str, Any], out: Path, manifest: dict[str, Any]) -> list[object]:
    """Render what was kept, or put it into training where only that was rendered; else ask for rows enough to tell.

    An exhausted pattern gives no more rows, however many are asked for.

    Args:
        audit: what `synth audit data` wrote to ``out``; manifest: of the rows it is of.

    Returns:
        Nothing where there is a verdict and nothing is kept.
    """
    rows, patterns = Path(audit["rows"]), audit["patterns"]
    render = ["synth", "render", manifest["request"]["generators"]]
    if audit["kept"]:
        if len(audit["kept"]) == len(patterns) and manifest["request"].get("only"):  # kept once more
            return inject_rows(rows, manifest["rows"], Path(audit["ranking"]))
        other = "rows-kept" if rows.name == "rows" else "rows"
        return [*render, "--only", out / "audit.json", "--count", manifest["rows"], "--out", other]
    exhausted = {one["pattern_id"] for one in manifest["patterns"] if one["exhausted"]}
    few = [one for one in patterns if one["scored"] < LEAST]
    if any(one["rows"] < LEAST and one["pattern_id"] not in exhausted for one in few):
        return [*render, "--weights", "equal", "--count", ENOUGH * len(patterns), "--out", f"{rows.name}-2"]
    if any(one["rows"] >= LEAST for one in few):
        words = ["synth", "audit", "data", rows, "--ranking", audit["ranking"]]
        return [*words, "--sample", ENOUGH, "--out", f"{out.name}-2"]
    return []
