"""What `curator show` does: finds out what a path holds, and prints its samples or rows as text.

A ranking shows the samples of its corpus with their scores, any corpus its rows alone. The folder of an audit stands
for the ranking in it.
"""

from pathlib import Path
from typing import Any

from curator.artifacts.files import load_json, save_json, save_text
from curator.artifacts.manifests import is_manifest
from curator.cli import next_steps
from curator.cli.next_steps import next_step
from curator.cli.printing import say, stdout
from curator.corpus import Corpus, open_corpus
from curator.corpus.rendered import RenderedCorpus
from curator.errors import CuratorError, UsageError
from curator.models import tokenizer_file
from curator.ranking.ranking import FORMAT, Ranking
from curator.report.sample_view import SampleView
from curator.report.settings import ShowSettings
from curator.report.show import UNRANKED, Order, view_rows, view_samples
from curator.report.writers import shortened, to_json, to_markdown, to_terminal

AUDIT = "audit.json"
"""Beside the ranking of the rows that it judges."""
SHOWN = 5
"""Samples, unless a number is given."""
LONGEST = 2000
"""Characters of a sample on the terminal."""


def run_show(settings: ShowSettings) -> None:
    """`curator show`."""
    path, unit = settings.path, settings.unit
    orders: tuple[Order, ...] = ("top", "bottom", "random", "first")
    asked: dict[Order, int] = {
        order: count for order in orders if (count := getattr(settings, order)) is not None
    }
    ranking = _ranking(path)
    shared: dict[str, Any] = {"seed": settings.seed, "batch_size": settings.batch_size}
    parts: dict[Order, list[SampleView]] = {}
    if ranking is None:
        _refuse_scores(settings, list(asked))
        corpus, of = _corpus(path), f"rows of {path}"
        shared["tokenizer"] = _tokenizer(settings.tokenizer, corpus)
        for order, count in (asked or {orders[-1]: SHOWN}).items():
            parts[order] = view_rows(corpus, select=order, count=count, **shared)
    else:
        unit = ranking.units[ranking.unit_index(unit)]
        corpus, of = ranking.open_corpus(settings.corpus), f"of {unit} in {ranking.path}"
        if unit in ranking.statistics:
            say("{0} is a statistic: {says}; higher = {higher}.".format(unit, **ranking.statistics[unit]))
        shared["tokenizer"] = _tokenizer(settings.tokenizer, corpus, ranking)
        for order, count in (asked or {orders[0]: SHOWN}).items():
            parts[order] = view_samples(ranking, corpus, unit, select=order, count=count, **shared)
    for order, part in parts.items():
        stdout().print(f"\n{order} {len(part)} {of}", style="bold")
        stdout().print(to_terminal([shortened(view, LONGEST) for view in part]))
    if shared["tokenizer"] is None:
        say("No tokenizer.json beside the corpus or the model, so token ids are shown; give --tokenizer.")
    views = [view for part in parts.values() for view in part]
    if settings.markdown is not None:
        title = f"Rows of {path}" if ranking is None else f"Samples of {unit}"
        save_text(settings.markdown, to_markdown(views, title=title))
        say(f"Written: {settings.markdown}")
    if settings.json_ is not None:
        save_json(settings.json_, to_json(views))
        say(f"Written: {settings.json_}")
    if words := _next(path, corpus, ranking, unit):
        next_step(*words)


def _next(path: Path, corpus: Corpus, ranking: Ranking | None, unit: str | None) -> list[object]:
    """What samples are looked at for; nothing where they were scored with the queries of others, and by no audit."""
    if ranking is not None:
        if not ranking.manifest["request"].get("queries_of"):
            return next_steps.mask(ranking, str(unit))
        return _next_of_audit(path if (path / AUDIT).is_file() else path.absolute().parent)
    if isinstance(corpus, RenderedCorpus):
        return next_steps.after_rendering(corpus)
    words = [
        "curator",
        "rank",
        "--model",
        "MODEL",
        "--corpus",
        path,
        "--unit",
        "induction:*",
        "--out",
        "ranking",
    ]
    return list(words)


def _next_of_audit(folder: Path) -> list[object]:
    """What `synth audit data` named there; where it sent the user here, other patterns."""
    try:
        audit = load_json(folder / AUDIT)
        manifest = load_json(Path(audit["rows"]) / "manifest.json")
        words = next_steps.after_audit(audit, folder, manifest)
        return words or ["synth", "distill", audit["ranking"], "--out", "patterns-2"]
    except (CuratorError, KeyError, TypeError):  # no audit, or its rows are not there any more
        return []


def _ranking(path: Path) -> Ranking | None:
    """The ranking at ``path``, or the one of the audit there; None where it is no ranking.

    Raises:
        CuratorError: it is a damaged or unfinished one.
    """
    if (path / AUDIT).is_file() and (path / "ranking" / "manifest.json").is_file():
        return Ranking.open(path / "ranking")
    return Ranking.open(path) if is_manifest(path / "manifest.json", FORMAT) else None


def _corpus(path: Path) -> Corpus:
    try:
        return open_corpus(path)
    except CuratorError as error:
        lacks = "" if (path / "manifest.json").is_file() else " (no manifest.json)"
        raise CuratorError(
            f"{path}: not a ranking{lacks}, and no corpus whose rows could be shown: {error}"
        ) from error


def _refuse_scores(settings: ShowSettings, asked: list[Order]) -> None:
    """Refuse what only a ranking can heed."""
    given = [f"--{name}" for name in ("unit", "corpus") if getattr(settings, name) is not None]
    given += [f"--{order}" for order in asked if order not in UNRANKED]
    if given:
        raise UsageError(
            f"{settings.path} holds rows without scores, so {', '.join(given)} says nothing; give --random N or "
            "--first N, or show a ranking"
        )


def _tokenizer(given: Path | None, corpus: Corpus, ranking: Ranking | None = None) -> Path | None:
    """The one given, else what lies beside the corpus, the model, or the corpus whose queries scored these rows."""
    found = given or corpus.tokenizer_file
    if found is None and ranking is not None:
        request = ranking.manifest["request"]
        found = None if ranking.model is None else tokenizer_file(ranking.model)
        if found is None and request.get("queries_of"):
            found = _tokenizer_of(Path(request["queries_of"]))
    return found / "tokenizer.json" if found is not None and found.is_dir() else found


def _tokenizer_of(ranking: Path) -> Path | None:
    """That of another ranking's corpus, where both are still there."""
    try:
        return open_corpus(Ranking.open(ranking).manifest["request"]["corpus"]).tokenizer_file
    except CuratorError:
        return None
