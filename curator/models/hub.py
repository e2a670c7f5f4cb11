"""Checkpoints that are revisions of a hub model, as Pythia's are: ``EleutherAI/pythia-14m@step1000..step2000``.

A range holds both its ends and whatever revisions lie between, as the hub lists them (without network: those in the
cache). ``@step1000..step2000:100`` names every hundredth instead, and ``@step0,step512`` single ones; these need no
list. A revision is fetched when its turn comes, into the hub's own cache, and is a folder like any other from then on.
"""

import re
from pathlib import Path

from curator.errors import CuratorError, UsageError
from curator.models.hf import quiet_transformers
from curator.models.listing import WEIGHTS, list_checkpoints

_SPEC = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<parts>.+)")
_PART = re.compile(r"(?P<stem>[\w./-]*?)(?P<first>\d+)(\.\.(?P=stem)(?P<last>\d+)(:(?P<every>[1-9]\d*))?)?")
FORM = (
    "owner/name@step0,step512,step1000..step2000 (or ..step2000:100 for every hundredth, which needs no list)"
)
FILES = ["config.json", *WEIGHTS, "model-*-of-*.safetensors", "tokenizer.json"]


def names_revisions(spec: str) -> bool:
    """Whether ``spec`` has the form of revisions of a hub model."""
    return _SPEC.fullmatch(spec) is not None


def is_hub(spec: str | Path) -> bool:
    """Whether ``spec`` stands for revisions of a hub model; what exists as a folder is a folder."""
    return names_revisions(str(spec)) and not Path(spec).expanduser().exists()


def list_revisions(spec: str) -> list[tuple[int, str]]:
    """(step, ``owner/name@revision``) of every revision that ``spec`` names, by step.

    Raises:
        UsageError: not of the form.
        CuratorError: the revisions cannot be listed, or none lies in a range.
    """
    match = _SPEC.fullmatch(spec)
    parts = [_PART.fullmatch(part.strip()) for part in match["parts"].split(",")] if match else []
    found: dict[int, str] = {}
    for part in parts or [None]:
        if match is None or part is None:
            raise UsageError(f"{spec}: not revisions of a hub model; give {FORM}")
        first, stem = int(part["first"]), part["stem"]
        last = first if part["last"] is None else int(part["last"])
        if last < first:
            raise UsageError(f"{spec}: {stem}{first}..{stem}{last} runs backwards; give {FORM}")
        if part["last"] is None or part["every"]:
            steps = list(range(first, last + 1, int(part["every"] or 1)))
        else:
            steps = _between(spec, match["name"], stem, first, last)
        found |= {step: f"{match['name']}@{stem}{step}" for step in steps}
    return sorted(found.items())


def list_places(spec: str | Path) -> list[tuple[int, Path | str]]:
    """(step, folder or hub revision) of every checkpoint that ``spec``, a folder of them or revisions, names."""
    return [*list_revisions(str(spec))] if is_hub(spec) else [*list_checkpoints(spec)]


def local(place: Path | str, weights: bool = True) -> Path:
    """The folder of a place; a hub's revision is fetched."""
    return place if isinstance(place, Path) else fetch(place, weights)


def fetch(place: str, weights: bool = True) -> Path:
    """The folder of ``owner/name@revision`` in the hub's cache, fetched where it is not there; or its config alone.

    Raises:
        CuratorError: it cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    name, _, revision = place.partition("@")
    try:
        disable_progress_bars()
        with quiet_transformers():
            folder = snapshot_download(
                name, revision=revision, allow_patterns=FILES if weights else FILES[:1]
            )
    except (
        Exception
    ) as error:  # its HTTP client's own ones too, whose package is not the same in every version
        raise CuratorError(
            f"{place}: the hub model {name} at revision {revision} cannot be fetched: {_reason(error)}"
        ) from error
    finally:
        enable_progress_bars()
    return Path(folder)


def _between(spec: str, name: str, stem: str, first: int, last: int) -> list[int]:
    """Steps of the revisions ``stem{N}`` from first to last."""
    known = sorted(
        int(match[1])
        for ref in _names(spec, name)
        if (match := re.fullmatch(re.escape(stem) + r"(\d+)", ref))
    )
    steps = [step for step in known if first <= step <= last]
    if not steps:
        ends = (
            f"{stem}{known[0]} to {stem}{known[-1]}, {len(known)} of them" if known else f"none named {stem}N"
        )
        raise CuratorError(f"{spec}: no revision from {stem}{first} to {stem}{last}; there are {ends}")
    return steps


def _names(spec: str, name: str) -> list[str]:
    """Branches and tags of a hub model; offline, the revisions of it that are in the cache."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.file_download import repo_folder_name

    try:
        refs = HfApi().list_repo_refs(name)
    except OfflineModeIsEnabled:
        cached = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs"
        return [str(file.relative_to(cached)) for file in cached.rglob("*") if file.is_file()]
    except (
        Exception
    ) as error:  # its HTTP client's own ones too, whose package is not the same in every version
        raise CuratorError(
            f"{spec}: the revisions of {name} cannot be listed ({_reason(error)}); name them, which needs no list: "
            f"{FORM}"
        ) from error
    return [ref.name for ref in (*refs.branches, *refs.tags)]


def _reason(error: Exception) -> str:
    """The library's message in one line; it writes several, with a request's number among them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])
