"""How every rank gets the patches.

``deepy.py`` starts DeepSpeed's launcher, which starts the user script once per rank. We let it start *this package* in
its place: each rank then finds in its environment which script it stands for, which patch file holds and what is
insisted on, installs the patches, and runs the script. DeepSpeed hands these variables to other nodes (EXPORT_ENVS, or
``.deepspeed_env``).
"""

import importlib
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from curator.artifacts.files import is_temporary, save_text
from curator.errors import UsageError
from curator.neox.checkout import Checkout, choose_checkout
from curator.neox.standing import INSIST
from curator.progress import Lines, Progress, reporting
from curator.visible import note
from neox_patches import compat
from neox_patches.settings import PatchFile, load_patch_file

PATCH, SCRIPT, INSISTED, ERRORS = (f"NEOX_PATCHES_{name}" for name in ("FILE", "SCRIPT", "INSIST", "ERRORS"))
"""Environment variables: the patch file, the script that a rank stands for, what is insisted on (with commas), and the
folder in which ranks that run beside the launcher leave their errors, so that it can say them again."""

ENTRY = Path(__file__).parent / "__main__.py"


def run(patch: Path | None, neox: str | None, words: Sequence[str], insist: Sequence[str] = ()) -> None:
    """Run a GPT-NeoX script, patched.

    Args:
        patch: the patch file; None: the environment's, or none at all.
        neox: the checkout asked for on the command line.
        words: the script and its arguments, as GPT-NeoX takes them.
        insist: which refusals not to heed; the environment's hold too.

    Raises:
        UsageError: no checkout, no script, or a patch file that cannot be read.
    """
    late = next((word for word in words if word.split("=")[0] in ("--patch", "--neox", "--insist")), None)
    if late is not None:
        raise UsageError(
            f"{late} stands behind the script, where GPT-NeoX would get it; our options come first"
        )
    if patch is None and (named := os.environ.get(PATCH) or _in_deepspeed_env()):
        patch = Path(named)
    settings = PatchFile() if patch is None else load_patch_file(patch)
    checkout = choose_checkout(neox or settings.neox)
    os.environ["NEOX_HOME"] = str(checkout.home)
    if patch is not None:
        os.environ[PATCH] = str(patch.absolute())
    insisted = _insisted(insist)
    os.environ[INSISTED] = ",".join(sorted(insisted))
    script, *arguments = words or [""]
    if (
        os.environ.get(SCRIPT) and Path(script).suffix != ".py"
    ):  # a rank of DeepSpeed's launcher: options alone
        script, arguments = os.environ[SCRIPT], list(words)
    path = _find_script(script, checkout)
    if path.name == "deepy.py":
        _launch(path, arguments, checkout)
    else:
        _train(path, arguments, checkout, settings, patch, insisted)


def _insisted(words: Sequence[str]) -> frozenset[str]:
    """What is insisted on, here and in the environment."""
    found = {word.strip() for text in (*words, os.environ.get(INSISTED, "")) for word in text.split(",")} - {
        ""
    }
    if unknown := sorted(found - INSIST.keys()):
        known = "; ".join(f"{name}: {says}" for name, says in INSIST.items())
        raise UsageError(
            f"--insist {', '.join(unknown)}: nothing of that name can be insisted on. Known are {known}"
        )
    return frozenset(found)


def _in_deepspeed_env() -> str | None:
    """The patch file that a ``.deepspeed_env`` names, here or at home; DeepSpeed reads it on several nodes alone."""
    for folder in (Path.cwd(), Path.home()):
        file = folder / ".deepspeed_env"
        for line in file.read_text().splitlines() if file.is_file() else []:
            key, _, value = line.partition("=")
            if key.strip() == PATCH and value.strip():
                return value.strip()
    return None


def _find_script(script: str, checkout: Checkout) -> Path:
    """``script`` as given, else within the checkout."""
    for path in (Path(script), checkout.home / script):
        if script and path.is_file():
            return path.absolute()
    there = ", ".join(path.name for path in sorted(checkout.home.glob("*.py")))
    raise UsageError(
        f"no script '{script}', neither here nor in {checkout.home} (it has {there}); give what you give GPT-NeoX "
        "today, for example: deepy.py train.py -d configs pythia/14M.yml local_setup.yml"
    )


def _launch(deepy: Path, arguments: list[str], checkout: Checkout) -> None:
    """deepy.py with the user script replaced by our entry; what the ranks need goes with it."""
    scripts = [number for number, word in enumerate(arguments) if word.endswith(".py")]
    if not scripts:
        raise UsageError(
            "deepy.py needs the script to launch, for example: deepy.py train.py -d configs pythia/14M.yml"
        )
    _prepare(checkout)
    os.environ[SCRIPT] = str(_find_script(arguments[scripts[0]], checkout))
    arguments[scripts[0]] = str(ENTRY)
    import deepspeed.launcher.runner as runner

    runner.EXPORT_ENVS += [PATCH, SCRIPT, INSISTED, ERRORS, "NEOX_HOME"]
    with tempfile.TemporaryDirectory(prefix="neox-patches-") as folder:
        os.environ[ERRORS] = folder
        try:
            _run_script(deepy, arguments)
        finally:
            _say_again(Path(folder))


def leave_error(text: str) -> None:
    """Keep a rank's error for the launcher's last words; ranks on other nodes have no such folder, and keep none."""
    folder = os.environ.get(ERRORS)
    if folder and os.path.isdir(folder) and "RANK" in os.environ:
        save_text(Path(folder) / f"{int(os.environ['RANK']):06}", text)


def _say_again(folder: Path) -> None:
    """The ranks' errors, behind everything that the launcher has printed; equal ones once."""
    ranks: dict[str, list[str]] = {}
    for file in sorted(path for path in folder.iterdir() if not is_temporary(path)):
        ranks.setdefault(file.read_text(), []).append(str(int(file.name)))
    for text, those in ranks.items():
        note(f"neox_patches: said by rank {', '.join(those)} above, and again here:")
        note(f"error: {text}")


def _train(
    script: Path,
    arguments: list[str],
    checkout: Checkout,
    settings: PatchFile,
    patch: Path | None,
    insisted: frozenset[str],
) -> None:
    """A rank's own script."""
    done = _prepare(checkout)
    training = importlib.import_module("megatron.training")
    done.append(compat.mend(training))
    if os.environ.get("RANK", "0") == "0":
        note(f"neox_patches: GPT-NeoX {checkout.generation} in {checkout.home}")
        for text in filter(None, done):
            note(f"neox_patches: compatibility: {text}")
        if settings.is_empty:
            note("neox_patches: no patch file, or an empty one: training is not changed")
    if settings.is_empty:
        from neox_patches import unpatched

        unpatched.install(training, insisted)
    else:
        from neox_patches.adapters import adapter_for
        from neox_patches.install import Patches

        Patches(adapter_for(checkout), settings, patch, insisted).install()
    with reporting(Lines() if os.environ.get("RANK", "0") == "0" else Progress()):
        _run_script(script, arguments)


def _prepare(checkout: Checkout) -> list[str | None]:
    """Imports begin in the checkout, as they do for a script that lies there; says what `compat` did."""
    if str(checkout.home) not in sys.path:
        sys.path.insert(0, str(checkout.home))
    return list(compat.apply(checkout.home))


def _run_script(script: Path, arguments: Sequence[str]) -> None:
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")
