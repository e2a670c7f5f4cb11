"""What `synth doctor` says: the locks of the sandbox that hold here, and the language model that would be asked.

The locks are found by using them, in a process of their own. Nothing is sent over a network and no key is shown.
"""

import importlib.metadata
import os
from collections.abc import Iterator, Mapping

from curator.cli.doctor import Check
from synth.llm.settings import ChatSettings
from synth.sandbox import LAYERS
from synth.sandbox.sandbox import NEEDED, probe

MEND_LOCKS = (
    "generated code needs Linux on x86-64 or 64-bit ARM with seccomp (bubblewrap is one more wall, not a substitute); "
    "--unsafe-sandbox runs it all the same"
)
HOLDS = {
    "bubblewrap": "namespaces set up from outside, of processes too",
    "namespaces": "an empty read-only root, no network, no shared memory of others",
    "landlock": "no file opened or changed, no TCP (ABI 4), no signals (ABI 6); names of files stay visible",
    "seccomp": "no system call but those that computing takes; alone it shuts all that is tried",
}
"""What each lock is for."""
SHUTS = {
    "files": "generated code can open, create and see no file",
    "network": "generated code can reach no other machine or process",
    "processes": "generated code can start, signal and read no process",
    "memory": "generated code can take no more memory than its limit",
}


def report(
    settings: ChatSettings | None = None,
    environ: Mapping[str, str] | None = None,
    layers: tuple[str, ...] = LAYERS,
) -> list[Check]:
    """Every check, in reading order.

    Args:
        settings: of the language model (the defaults of the commands by default).
        environ: environment variables (the process's own by default); layers: locks to try.
    """
    return [
        *sandbox_checks(layers),
        *_model(settings or ChatSettings(), os.environ if environ is None else environ),
    ]


def sandbox_checks(layers: tuple[str, ...] = LAYERS) -> Iterator[Check]:
    """The locks, and what they shut together."""
    found, shut = probe(layers)
    for layer in found:
        yield Check(
            name=layer.name,
            status="ok" if layer.active else "warning",
            detail=layer.detail if layer.active else f"not in force: {layer.detail}",
            needed_for=HOLDS.get(layer.name, ""),
        )
    for what in NEEDED:
        yield Check(
            name=f"{what} shut",
            status="ok" if what in shut else "missing",
            detail=f"tried from inside: {shut[what]}" if what in shut else "open",
            needed_for=SHUTS[what],
            how_to_get="" if what in shut else MEND_LOCKS,
        )


def _model(settings: ChatSettings, environ: Mapping[str, str]) -> Iterator[Check]:
    yield Check(
        name="openai",
        status="ok",
        detail=importlib.metadata.version("openai"),
        needed_for="--engine llm",
    )
    yield Check(
        name="language model",
        status="ok",
        detail=f"{settings.model} at {settings.base_url}, unless --model and --base-url say otherwise; not asked now",
        needed_for="--engine llm",
    )
    names = settings.key_names()
    held = [name for name in names if environ.get(name, "").strip()]
    yield Check(
        name="key",
        status="ok" if held else "warning",
        detail=f"in {held[0]} (not shown)" if held else f"{' and '.join(names)}: not set",
        needed_for="--engine llm; --engine builtin needs none",
        how_to_get="" if held else f"export {names[0]}=...; a server on this machine needs none",
    )
