"""What this machine has, what it lacks, and how to get it: looked up, never guessed, nothing changed.

No network call is made, nothing is written, and nothing heavier than torch is imported; torch only inside
`report`, so that importing this module stays cheap.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

DISTRIBUTION = "mda-curator"
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked for.

    Attributes:
        name: what was looked for.
        status: ``ok``; ``missing`` (not there); ``warning`` (there, but doubtful).
        detail: what was found, with the value.
        needed_for: what does not work, or works less well, without it.
        how_to_get: how to mend it; empty where there is nothing to mend.
    """

    name: str
    status: Literal["ok", "missing", "warning"]
    detail: str
    needed_for: str
    how_to_get: str = ""


def report(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> list[Check]:
    """Every check, in reading order.

    Args:
        folder: where results would be written, for the disk's free space (the working directory by default).
        environ: the environment variables to look at (the process's own by default).
    """
    environ = os.environ if environ is None else environ
    return [
        _python(),
        *_packages(),
        *_devices(),
        _memory(),
        _disk(folder or Path.cwd()),
        *_gpt_neox(environ),
        _optional("deepspeed", "training with the official trainer (not built yet)"),
        _optional("openai", "distilling patterns with a language model (not built yet)"),
    ]


def _python() -> Check:
    supported = sys.version_info >= (3, 10)
    system = f"{platform.system()} {platform.machine()}"
    return Check(
        name="Python",
        status="ok" if supported else "missing",
        detail=f"{platform.python_version()} on {system} (wants 3.10 or newer)",
        needed_for="everything",
        how_to_get="" if supported else "make venv PYTHON=python3.11, or any newer one",
    )


def _packages() -> Iterator[Check]:
    try:
        requires = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(
            name=DISTRIBUTION,
            status="warning",
            detail="runs from its source folder, not installed; so which versions it wants is not known here",
            needed_for="checking the versions of its packages",
            how_to_get="make venv, or pip install -c constraints.txt -e .",
        )
        return
    tested = _tested_versions()
    for text in requires:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield check_package(requirement, tested)


def check_package(requirement: Requirement, tested: Mapping[str, str]) -> Check:
    """The installed version of ``requirement`` against its range; ``tested``: pinned version by name."""
    name = requirement.name
    wanted = f"wants {requirement.specifier}" if requirement.specifier else "any version"
    pinned = tested.get(_canonical(name))
    wanted += f", tested with {pinned}" if pinned else ""
    mend = f"pip install -c constraints.txt '{name}{requirement.specifier}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(
            name=name,
            status="missing",
            detail=f"not installed ({wanted})",
            needed_for="curator",
            how_to_get=mend,
        )
    fits = requirement.specifier.contains(version, prereleases=True)
    return Check(
        name=name,
        status="ok" if fits else "warning",
        detail=f"{version} ({wanted})",
        needed_for="curator",
        how_to_get="" if fits else mend,
    )


def _tested_versions() -> dict[str, str]:
    """The pins of constraints.txt that hold for this Python; empty where curator is not a source checkout."""
    file = Path(__file__).parent.parent / "constraints.txt"
    pins: dict[str, str] = {}
    for line in file.read_text().splitlines() if file.is_file() else []:
        if line.strip() and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate():
                pins[_canonical(pin.name)] = str(pin.specifier).removeprefix("==")
    return pins


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _devices() -> Iterator[Check]:
    try:
        import torch
    except ImportError as error:
        yield Check(
            name="CPU",
            status="missing",
            detail=f"torch cannot be imported ({error})",
            needed_for="every model",
            how_to_get="make venv, or pip install -c constraints.txt torch",
        )
        return
    cores = psutil.cpu_count(logical=False) or os.cpu_count()
    yield Check(
        name="CPU",
        status="ok",
        detail=f"torch uses {torch.get_num_threads()} threads; {cores} cores, {os.cpu_count()} logical",
        needed_for="the demo and small models",
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            yield Check(
                name=f"CUDA {index}",
                status="ok",
                detail=f"{device.name}, {device.total_memory / GIB:.1f} GiB",
                needed_for="models the size of Pythia; a CPU is slow there",
            )
    else:
        built = torch.version.cuda
        why = f"torch is built for CUDA {built}, but sees no GPU" if built else "torch is built without CUDA"
        yield Check(
            name="CUDA",
            status="missing",
            detail=why,
            needed_for="models the size of Pythia; a CPU is slow there",
            how_to_get="check nvidia-smi and the driver" if built else "an NVIDIA GPU and torch's CUDA build",
        )


def _memory() -> Check:
    memory = psutil.virtual_memory()
    enough = memory.available >= 2 * GIB
    return Check(
        name="memory",
        status="ok" if enough else "warning",
        detail=f"{memory.available / GIB:.1f} GiB available of {memory.total / GIB:.1f} GiB",
        needed_for="models and factors",
        how_to_get="" if enough else "end other programs, or lower rank.micro_batch",
    )


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    enough = free >= 5 * GIB
    return Check(
        name="disk",
        status="ok" if enough else "warning",
        detail=f"{free / GIB:.1f} GiB free at {folder}",
        needed_for="checkpoints and rankings",
        how_to_get="" if enough else "write elsewhere with --out",
    )


def _gpt_neox(environ: Mapping[str, str]) -> Iterator[Check]:
    use = "training with the official trainer (not built yet)"
    clone = "git clone https://github.com/EleutherAI/gpt-neox, then set NEOX_HOME to that folder"
    home = environ.get("NEOX_HOME")
    cache = Path(environ.get("HOME") or Path.home()) / ".cache" / "mda-curator" / "gpt-neox"
    if home:
        folder = Path(home).expanduser()
        if _is_checkout(folder):
            yield Check(name="GPT-NeoX", status="ok", detail=f"{folder} (NEOX_HOME)", needed_for=use)
            return
        wrong = "no GPT-NeoX checkout (no megatron/training.py)" if folder.is_dir() else "not there"
        detail = f"NEOX_HOME is {folder}, which is {wrong}"
        yield Check(name="GPT-NeoX", status="missing", detail=detail, needed_for=use, how_to_get=clone)
        return
    found = [path for path in sorted(cache.glob("*")) if _is_checkout(path)]
    for path in found:
        yield Check(name="GPT-NeoX", status="ok", detail=str(path), needed_for=use)
    if not found:
        detail = f"NEOX_HOME is not set, and no checkout in {cache}"
        yield Check(name="GPT-NeoX", status="missing", detail=detail, needed_for=use, how_to_get=clone)


def _is_checkout(folder: Path) -> bool:
    return (folder / "megatron" / "training.py").is_file()


def _optional(module: str, needed_for: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(
            name=module,
            status="missing",
            detail="not installed",
            needed_for=needed_for,
            how_to_get=f"pip install {module}",
        )
    try:
        detail = importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        detail = "importable, of unknown version"
    return Check(name=module, status="ok", detail=detail, needed_for=needed_for)
