"""The door: policy first, then one locked process per generator, and none at all where too little can be shut."""

import functools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from curator.errors import CuratorError
from synth.sandbox.failure import Failure, Limits
from synth.sandbox.hosts import FIXED, Host
from synth.sandbox.launcher import bubblewrap_works
from synth.sandbox.modules import ALLOWED, LATE, OFFERED
from synth.sandbox.policy import check_source, imported
from synth.sandbox.process import Process

LAYERS = ("bubblewrap", "namespaces", "landlock", "seccomp")
"""The kernel's locks, from the outside in; all that work are applied together."""
NEEDED = ("files", "network", "processes", "memory")
"""What must be shut, as tried from inside, before anything is run."""


@dataclass(frozen=True)
class Layer:
    """One lock: whether it is in force here, and what it said."""

    name: str
    active: bool
    detail: str


class Generator:
    """A generator function loaded in a locked process."""

    def __init__(self, process: Process):
        self._process = process

    def texts(self, calls: Sequence[tuple[str | int, int]]) -> Iterator[str]:
        """One text per (seed, target_tokens), in order.

        Raises:
            Failure: at the first call that goes wrong.
        """
        for text in self._process.texts(calls):
            if isinstance(text, Failure):
                raise text
            yield text

    def attempts(self, calls: Sequence[tuple[str | int, int]]) -> Iterator[str | Failure]:
        """As `texts`, but a call that only raised an exception, or gave no text, gives its `Failure` and goes on."""
        yield from self._process.texts(calls)


class Sandbox:
    """Runs generated code, shut in.

    Args:
        unsafe: run it even where files, network, processes or memory cannot be shut.
        layers: only these locks (for tests of single ones).
        policy: whether the source is checked and given safe builtins. Off is for tests of the locks alone: the source
            then finds whatever it imports.

    Raises:
        CuratorError: too little can be shut here, and not ``unsafe``; says what is missing.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        unsafe: bool = False,
        *,
        layers: Sequence[str] = LAYERS,
        policy: bool = True,
    ):
        self.limits = limits or Limits()
        self._policy = policy
        found, shut = probe(tuple(layers))
        self.layers = found
        self.shut = shut
        self._names = [layer.name for layer in found if layer.active]
        self._needed = [] if unsafe else list(NEEDED)
        missing = [what for what in self._needed if what not in shut]
        if missing:
            why = "; ".join(f"{layer.name}: {layer.detail}" for layer in found if not layer.active)
            raise CuratorError(
                f"generated code cannot be shut in here: {', '.join(missing)} would stay open "
                f"({why or 'every lock that was tried is on'}). Use a Linux with seccomp on x86-64 or ARM, and better "
                "with user namespaces, Landlock or bubblewrap too; --unsafe-sandbox runs it all the same (see synth "
                "doctor)"
            )

    @contextmanager
    def load(self, source: str, function: str, host: Host = FIXED) -> Iterator[Generator]:
        """Check ``source``, start a process, run the module there.

        Args:
            host: what may differ between machines, for the check that it makes no difference (`HOSTS`).

        Raises:
            Failure: the policy forbids something, or running the module failed.
        """
        if self._policy:
            complaints = check_source(source, function)
            if complaints:
                raise Failure("policy", "\n".join(complaints[:10]))
        with Process(
            source,
            function,
            self.limits,
            self._names,
            self._needed,
            self._modules(source),
            self._policy,
            host,
        ) as process:
            process.wait_until_loaded()
            yield Generator(process)

    def _modules(self, source: str) -> list[str]:
        """What the source imports, or Python behind its back; each costs milliseconds at every start."""
        wanted = imported(source)
        known = {*ALLOWED, *OFFERED} if self._policy else sys.stdlib_module_names
        found = [name for name in wanted if (name if self._policy else name.partition(".")[0]) in known]
        return [*found, *(module for words, modules in LATE if words in source for module in modules)]


def active_layers() -> list[Layer]:
    """Every lock and whether it is in force, found by using it in a process of its own."""
    return probe(LAYERS)[0]


@functools.cache
def probe(names: tuple[str, ...]) -> tuple[list[Layer], dict[str, str]]:
    """(the locks, what they shut together) for these names."""
    layers = []
    wanted = list(names)
    if "bubblewrap" in names:
        works, detail = bubblewrap_works()
        layers.append(Layer("bubblewrap", works, detail))
        if not works:
            wanted.remove("bubblewrap")
    rest = [name for name in names if name != "bubblewrap"]
    try:
        with Process("", "", Limits(), wanted, (), (), True) as process:
            active, shut = process.active, process.shut
    except (Failure, OSError) as error:
        return [*layers, *(Layer(name, False, str(error)) for name in rest)], {}
    for name in rest:
        on, detail = active.get(name, (False, f"not on {sys.platform}"))
        layers.append(Layer(name, on, detail))
    return layers, shut
