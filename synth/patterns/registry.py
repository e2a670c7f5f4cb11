"""The registry: all patterns of one distillation, merged, with where each came from.

Two patterns are one when they say nearly the same: equal normal forms (template with every field written as its type
alone, digits as 0, blanks as one, lower case; anchors likewise), or a similarity of at least the stated threshold.
Similarity is the Jaccard index of the 3-character substrings of the normal templates, averaged with that of the
normal anchors where either has any. Where a pattern has no anchor, the values that its fields list stand in for them:
``{word}`` of colours and of countries have nothing in common. The one found in more samples stays and takes over
the other's provenance.
"""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.artifacts.fingerprints import fingerprint
from curator.artifacts.manifests import load_manifest
from curator.errors import CuratorError, UsageError
from curator.progress import progress
from synth.fields import SIMILAR
from synth.patterns.neighbours import Close, Coded, Coding, jaccard
from synth.patterns.occurrence import Found
from synth.patterns.pattern import Pattern

FORMAT = "synth-registry-1"
FILE = "registry.json"
NEEDED = (
    "engine",
    "found",
    "patterns[]",
    "set_aside[]",
    *(f"samples.{key}" for key in ("ranking", "ranking_fingerprint", "unit", "seq_length")),
    *(f"samples.{key}" for key in ("tokenizer", "tokenizer_fingerprint")),
    *(f"samples.{key}" for key in ("top", "distilled", "held_out[]")),
)
"""What every later command reads."""
WORDS = ("ranking", "ranking_fingerprint", "unit", "tokenizer", "tokenizer_fingerprint")
NUMBERS = ("seq_length", "top", "distilled")
"""Of ``samples``: what is text, and what is a whole number of at least 0."""
MEND = "put it back, or remove it and distill again"


@dataclass(frozen=True)
class Entry:
    """A pattern of the registry.

    Attributes:
        provenance: ``samples`` and ``scores`` in which it was found, in how many others the search for it was given up
            (``undecided``, where there are any), how many patterns were ``merged`` into it, and what the engine knows
            (model, prompt, requests).
    """

    pattern: Pattern
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"pattern": self.pattern.to_json(), "provenance": self.provenance}


@dataclass(frozen=True)
class Registry:
    """An opened registry; ``header`` is all of ``registry.json`` but the patterns."""

    path: Path
    header: dict[str, Any]
    entries: tuple[Entry, ...]

    @staticmethod
    def open(path: Path) -> "Registry":
        """Open a folder with a ``registry.json``, or the file itself.

        Raises:
            CuratorError: there is none, or what is written in it is not valid.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() or path.suffix != ".json" else path
        if not file.is_file():
            raise CuratorError(
                f"{file}: no such registry; make one with `synth distill RANKING --out {path}`"
            )
        content = load_manifest(file, FORMAT, MEND, NEEDED)
        wrong = _wrong_samples(content["samples"])
        if wrong:
            raise CuratorError(f"{file}: {wrong}, so it was edited; {MEND}")
        entries = []
        for number, item in enumerate(content["patterns"]):
            try:
                pattern, provenance = Pattern.from_json(item["pattern"]), item["provenance"]
                if not _is_provenance(provenance):
                    raise CuratorError(
                        "its provenance needs 'samples' and 'scores', as many whole numbers as numbers (and a whole "
                        f"number 'undecided', if any), so it was edited; {MEND}"
                    )
                entries.append(Entry(pattern, provenance))
            except (CuratorError, KeyError, TypeError) as error:
                said = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                raise CuratorError(f"{file}: pattern {number}: {said}") from error
        if not entries:
            raise CuratorError(f"{file}: holds no pattern; distill again")
        names = [entry.pattern.pattern_id for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise CuratorError(f"{file}: pattern_id {', '.join(twice)} is there twice; ids must differ")
        header = {key: value for key, value in content.items() if key != "patterns"}
        return Registry(file, header, tuple(entries))

    def fingerprint(self) -> str:
        """Of the patterns alone, in order."""
        return fingerprint([entry.pattern.to_json() for entry in self.entries])

    def tokenizer_file(self, given: Path | None = None) -> Path:
        """The one given, else that of the distilled samples.

        Raises:
            CuratorError: it is no longer there.
        """
        there = Path(self.header["samples"]["tokenizer"])
        if given is None and not there.is_file():
            raise CuratorError(
                f"{self.path}: its tokenizer {there} is no longer there; give --tokenizer FILE"
            )
        file = given or there
        return file / "tokenizer.json" if file.is_dir() else file

    def chosen(self, ids: Sequence[str]) -> tuple[Entry, ...]:
        """The entries with these ids, each once, in the order of the ids.

        Raises:
            UsageError: there is no such pattern; lists those there are.
        """
        by_id = {entry.pattern.pattern_id: entry for entry in self.entries}
        missing = [name for name in ids if name not in by_id]
        if missing:
            raise UsageError(f"{self.path}: no pattern {', '.join(missing)}; there are {', '.join(by_id)}")
        return tuple(by_id[name] for name in dict.fromkeys(ids))


def _wrong_samples(samples: Any) -> str:
    """What is wrong in the header's ``samples``, where something is."""
    for key in WORDS:
        if not isinstance(samples[key], str):
            return f"samples.{key} is {str(samples[key])[:40]}, not text"
    for key in NUMBERS:
        if not _is_index(samples[key]):
            return f"samples.{key} is {str(samples[key])[:40]}, not a whole number of at least 0"
    for sample in samples["held_out"]:
        if not _is_index(sample):
            return f"samples.held_out holds {str(sample)[:40]!r}, not only whole numbers of at least 0"
    return ""


def _is_provenance(value: Any) -> bool:
    """Whether it says of which samples the pattern is, and their scores."""
    if not isinstance(value, dict):
        return False
    samples, scores = value.get("samples"), value.get("scores")
    return (
        isinstance(samples, list)
        and isinstance(scores, list)
        and len(samples) == len(scores)
        and all(map(_is_index, samples))
        and _is_index(value.get("undecided", 0))
        and all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores)
    )


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def merge(found: Sequence[Found], similar: float = SIMILAR) -> list[Entry]:
    """Merge near-duplicates and number what is left p001, p002, … by falling sum of their samples' scores."""
    order = sorted(found, key=lambda one: (-len(set(one.samples)), -sum(one.scores), one.pattern.template))
    normals = [normal_form(one.pattern) for one in order]
    templates, anchors = [_grams(template) for template, _ in normals], [frozenset(a) for _, a in normals]
    of_templates, of_anchors = Coding(templates), Coding(anchors)
    forms = [(of_templates.of(grams), of_anchors.of(telling)) for grams, telling in zip(templates, anchors)]
    kept: list[tuple[Coded, Coded]] = []
    merged: list[list[Found]] = []
    exact: dict[tuple[str, tuple[str, ...]], int] = {}
    # equal anchors add 1 to a mean that must reach the threshold, so this much is asked of the templates at least
    index = Close(of_templates.rank, 2 * similar - 1)
    with progress("merging patterns", len(order), unit="patterns") as advance:
        for one, normal, grams, form in zip(order, normals, templates, forms):
            place = exact.get(normal)
            if place is None:
                close = (k for k in index.candidates(grams) if _reaches(similar, form, kept[k]))
                place = next(close, None)
            if place is None:
                exact[normal] = len(kept)
                kept.append(form)
                index.add(grams)
                merged.append([one])
            else:
                merged[place].append(one)
            advance()
    groups = sorted(merged, key=lambda group: (-_total(group), group[0].pattern.template))
    width = max(3, len(str(len(groups))))
    return [_entry(group, f"p{number:0{width}}") for number, group in enumerate(groups, 1)]


def _total(group: Sequence[Found]) -> float:
    """Sum of the scores of all its samples, each once."""
    return sum({s: score for one in group for s, score in zip(one.samples, one.scores)}.values())


def _entry(group: Sequence[Found], pattern_id: str) -> Entry:
    scores = {s: score for one in group for s, score in zip(one.samples, one.scores)}
    samples = sorted(scores, key=lambda s: (-scores[s], s))
    undecided = {s for one in group for s in one.undecided} - scores.keys()
    known: list[dict[str, Any]] = []
    for one in group:
        if one.provenance and one.provenance not in known:
            known.append(one.provenance)
    return Entry(
        group[0].pattern.with_id(pattern_id),
        {
            "samples": samples,
            "scores": [scores[s] for s in samples],
            "merged": len(group),
            **({"undecided": len(undecided)} if undecided else {}),
            **({"sources": known} if known else {}),
        },
    )


def normal_form(pattern: Pattern) -> tuple[str, tuple[str, ...]]:
    """(template, anchors or listed values) without what does not matter; patterns with equal ones are the same."""
    template = ""
    for literal, name in pattern.parts():
        template += literal
        if name is not None:
            field = pattern.source(name)
            template += f"⟨{field.type[0]}{'*' if field.scope == 'text' else ''}⟩"
    listed = (value for field in pattern.fields if field.type == "fixed_list" for value in field.values)
    telling = {_plain(text).strip() for text in pattern.anchor_tokens or listed}
    return _plain(template), tuple(sorted(telling))


def similarity(a: Pattern, b: Pattern) -> float:
    """From 0 to 1; see the module."""
    (ta, aa), (tb, ab) = normal_form(a), normal_form(b)
    templates = _jaccard(_grams(ta), _grams(tb))
    return (templates + _jaccard(set(aa), set(ab))) / 2 if aa or ab else templates


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"\d+", "0", text.lower()))


def _grams(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 3] for i in range(max(1, len(text) - 2)))


def _reaches(similar: float, a: tuple[Coded, Coded], b: tuple[Coded, Coded]) -> bool:
    """Whether their `similarity` does."""
    templates = jaccard(a[0], b[0])
    if (1 + templates) / 2 < similar:
        return False
    return ((templates + jaccard(a[1], b[1])) / 2 if a[1].size or b[1].size else templates) >= similar


def _jaccard(a: Set[str], b: Set[str]) -> float:
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)
