"""What this machine has, what it lacks, and how to get it: looked up, never guessed, nothing changed.

No network call is made, nothing is written, and nothing heavier than torch is imported; torch only inside
`report`, so that importing this module stays cheap.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement

from curator.errors import CuratorError, UsageError
from curator.neox.checkout import (
    CLONE,
    candidates,
    choose_checkout,
    inspect_checkout,
    is_checkout,
    path_for_make,
)

DISTRIBUTION = "mda-curator"
GIB = 2**30

TRAINING_USE = "training with the official trainer"
NEOX_PACKAGES = {
    "deepspeed": TRAINING_USE,
    "pybind11": "GPT-NeoX compiles its index helper with it",
    "requests": "every GPT-NeoX imports it",
    "sentencepiece": "every GPT-NeoX imports it",
    "regex": "GPT-NeoX v1.0 imports it",
    "shortuuid": "GPT-NeoX v1.0 imports it",
    "tiktoken": "GPT-NeoX v1.0 imports it",
    "lm-dataformat": "GPT-NeoX's preprocess_data.py",
    "ftfy": "GPT-NeoX's preprocess_data.py",
}
"""What the extra ``neox`` of pyproject.toml installs, and why."""
INSTALL_NEOX = "make neox, or as the head of constraints.txt says"


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
        *_neox_packages(),
        *_compiler(environ),
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


def check_package(
    requirement: Requirement, tested: Mapping[str, str], needed_for: str = "curator", how_to_get: str = ""
) -> Check:
    """The installed version of ``requirement`` against its range.

    Args:
        tested: pinned version by name.
        needed_for: what does not work without it.
        how_to_get: how to install it; by default with pip, alone.
    """
    name = requirement.name
    wanted = f"wants {requirement.specifier}" if requirement.specifier else "any version"
    pinned = tested.get(_canonical(name))
    wanted += f", tested with {pinned}" if pinned else ""
    mend = how_to_get or f"pip install -c constraints.txt '{name}{requirement.specifier}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(
            name=name,
            status="missing",
            detail=f"not installed ({wanted})",
            needed_for=needed_for,
            how_to_get=mend,
        )
    fits = requirement.specifier.contains(version, prereleases=True)
    return Check(
        name=name,
        status="ok" if fits else "warning",
        detail=f"{version} ({wanted})",
        needed_for=needed_for,
        how_to_get="" if fits else mend,
    )


def _tested_versions() -> dict[str, str]:
    """The pins of constraints.txt that hold for this Python; empty where curator is not a source checkout."""
    file = Path(__file__).parent.parent.parent / "constraints.txt"
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
    folders = candidates(environ)
    if is_checkout(Path.cwd()) and not environ.get("NEOX_HOME"):
        folders = [Path.cwd(), *(folder for folder in folders if folder != Path.cwd())]
    if not any(map(is_checkout, folders)):
        try:
            choose_checkout(environ=environ)
        except UsageError as error:
            detail = str(error).removesuffix(f"; {CLONE}")
            yield Check(
                name="GPT-NeoX", status="missing", detail=detail, needed_for=TRAINING_USE, how_to_get=CLONE
            )
        return
    for folder in folders:
        try:
            checkout = inspect_checkout(folder)
        except CuratorError as error:
            yield Check(
                name="GPT-NeoX",
                status="warning",
                detail=str(error),
                needed_for=TRAINING_USE,
                how_to_get="in that folder: git checkout main (or v1.0)",
            )
        else:
            detail = f"{folder}: generation {checkout.generation}, hook points found"
            yield Check(name="GPT-NeoX", status="ok", detail=detail, needed_for=TRAINING_USE)


def _neox_packages() -> Iterator[Check]:
    """What a checkout imports, each against the range of the extra that installs it."""
    try:
        requires = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        requires = []
    ranges = {
        _canonical(requirement.name): requirement
        for requirement in map(Requirement, requires)
        if requirement.marker is not None and requirement.marker.evaluate({"extra": "neox"})
    }
    tested = _tested_versions()
    for name, use in NEOX_PACKAGES.items():
        yield check_package(ranges.get(name, Requirement(name)), tested, use, INSTALL_NEOX)


def _compiler(environ: Mapping[str, str]) -> Iterator[Check]:
    """GPT-NeoX runs make in its megatron/data, under the PATH that ``python -m neox_patches`` sets."""
    use = "GPT-NeoX compiles its index helper when it first reads data"
    path, other = path_for_make(environ)
    yield _python_of_make(path, other, use)
    compiler = environ.get("CXX") or ("c++" if sys.platform == "darwin" else "g++")
    for name, program, package in (("make", "make", "make"), ("C++ compiler", compiler, "g++")):
        found = shutil.which(program, path=path)
        yield Check(
            name=name,
            status="ok" if found else "missing",
            detail=found or f"no {program} on the PATH",
            needed_for=use,
            how_to_get="" if found else f"your system's package {package}, as in: apt install {package}",
        )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    config = shutil.which("python3-config", path=path)
    said = _output([config, "--extension-suffix"]) if config else ""
    wrong, mend = "", f"apt install python{version}-dev, or your system's package of that kind"
    if not header.is_file():
        wrong = f"no {header}"
    elif config is None:
        wrong = "no python3-config on the PATH"
    elif said != suffix:
        wrong = f"{config} is of another Python: it says {said or 'nothing'}, not {suffix}"
        mend = f"put Python {version}'s python3-config first on the PATH, or make -C megatron/data LIBEXT={suffix}"
    yield Check(
        name="Python headers",
        status="missing" if wrong else "ok",
        detail=wrong or f"{header}; {config} agrees",
        needed_for=use,
        how_to_get=mend if wrong else "",
    )


def _python_of_make(path: str, other: str | None, use: str) -> Check:
    """Whether the python3 that make will call has pybind11."""
    python = shutil.which("python3", path=path)
    has = bool(python and _output([python, "-m", "pybind11", "--includes"]))
    detail = f"{python or 'no python3 on the PATH'} has {'' if has else 'no '}pybind11"
    if other is not None:
        detail += f"; without python -m neox_patches, make would use {other}"
    return Check(
        name="python3 for make",
        status="ok" if has else "missing",
        detail=detail,
        needed_for=use,
        how_to_get="" if has else f"{INSTALL_NEOX}; or {python or 'python3'} -m pip install pybind11",
    )


def _output(command: list[str]) -> str:
    """What a quick command prints; nothing where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
