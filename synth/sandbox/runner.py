"""The trusted program inside the sandbox: it locks itself in, proves it, and only then runs what it was given.

Started by ``launcher.py`` in a bare interpreter, with no environment and no file of ours in reach. In: a setup,
a source, then calls. Out: which locks hold and what is shut, then one text or failure per call, with the call's number.
Whatever the given code does to this process, it can at most send other text: the parent believes nothing else.
"""

from __future__ import annotations

import os
import sys
from random import Random

from synth.sandbox.facades import OUR_OWN, safe_builtins
from synth.sandbox.limits import limit
from synth.sandbox.locks import Locks
from synth.sandbox.modules import ALLOWED, OFFERED
from synth.sandbox.proof import Proof
from synth.sandbox.still import Seeded, after_imports, before_imports
from synth.sandbox.wire import frame, from_lines, parse_header, to_lines

TYPE_CHECKING = False  # `typing` is slow to import, and one process is started per generator
if TYPE_CHECKING:
    from typing import Any, BinaryIO

NAME = "generator"
"""Of the module that the given source makes."""
REASON = 400
"""Characters of an exception's words that are sent back."""
LITTER = 6_000
"""Objects in `_litter`: some hundreds of every size that small objects have, in 5 ms."""


def main() -> None:
    """Until the input ends, or the parent ends this process."""
    source = open(0, "rb", closefd=False)  # noqa: SIM115  (for as long as the process lives)
    sys.stdin = sys.stdout = sys.stderr = None  # nothing is printed into an answer
    _, _, data = _receive(source)
    setup = from_lines(data)
    _, _, text = _receive(source)
    modules, policed = setup["modules"].split(), setup["policy"] == "on"
    if policed:
        before_imports()
    for name in modules:
        if not (policed and name in OUR_OWN):
            _import(name)
    Random("")  # imports what it needs for seeds that are strings
    if policed:
        after_imports()
    proof = Proof(int(setup["parent"]), int(setup["memory_bytes"]))
    _dead_end()
    locks = Locks(setup["layers"].split())
    locks.put_on(lambda: limit(int(setup["cpu_seconds"]), int(setup["memory_bytes"])))
    shut = proof.shut()
    state = {f"layer.{name}": f"{int(active)} {detail}" for name, (active, detail) in locks.held.items()}
    state |= {f"shut.{name}": why for name, why in shut.items()}
    if _hashes_by(int(setup["hash_seed"])):
        state["hash_seed"] = "holds"
    _send("state", 0, to_lines(state))
    if not setup["function"] or any(name not in shut for name in setup["needed"].split()):
        return
    offered = [name for name in modules if name in ALLOWED or name in OFFERED]
    builtins = safe_builtins(offered) if policed else __builtins__
    sys.setrecursionlimit(int(setup["recursion"]))
    litter = _litter(int(setup["litter"]))  # noqa: F841  (for as long as the process lives)
    function = _load(text, setup["function"], builtins)
    if function is None:
        return
    _send("ready", 0, b"")
    while True:
        word, number, data = _receive(source)
        if word != "call":
            return
        target, kind, seed = data.decode().split(" ", 2)
        rng = (Seeded if policed else Random)(int(seed) if kind == "int" else seed)
        answer, said = _answer(function, rng, int(target))
        if answer == "text" and len(said) > int(setup["text_bytes"]):
            reason = f"output the text is {len(said)} bytes long; {setup['text_bytes']} are allowed"
            answer, said = "failed", reason.encode()
        _send(answer, number, said)


def _hashes_by(seed: int) -> bool:
    """Whether the seed that the environment names is the one that hashes are made with (0 is for none)."""
    named = os.environ.get("PYTHONHASHSEED") == str(seed) and not sys.flags.ignore_environment
    return named and sys.flags.hash_randomization == int(seed != 0)


def _litter(seed: int) -> list[bytes]:
    """Objects of all small sizes, and holes among them in no order, where whatever is made next will lie."""
    rng = Random(seed)
    kept = [bytes(int(480 * rng.random())) for _ in range(LITTER if seed else 0)]
    rng.shuffle(kept)
    del kept[len(kept) // 2 :]
    return kept


def _load(text: bytes, name: str, builtins: Any) -> Any:
    """Run the module; its function, or None after the failure was sent."""
    module = type(sys)(NAME)
    sys.modules[NAME] = module  # where dataclasses look for what an annotation means
    space = vars(module)
    space["__builtins__"] = builtins
    try:
        exec(compile(text, f"<{NAME}>", "exec", dont_inherit=True), space)
        return space[name]
    except MemoryError:
        _send("failed", 0, b"memory out of memory while the module was run")
    except SyntaxError as error:
        _send("failed", 0, f"syntax {error.msg} (line {error.lineno})".encode("utf-8", "replace"))
    except BaseException as error:
        _send("failed", 0, b"exception " + _reason(error))
    return None


def _answer(function: Any, rng: Random, target: int) -> tuple[str, bytes]:
    """What one call gives: a text, or why there is none."""
    try:
        text = function(rng, target)
        if type(text) is not str:
            return "failed", f"not-text it returned {type(text).__name__}, not str".encode("utf-8", "replace")
        return "text", text.encode()
    except MemoryError:
        return "failed", b"memory out of memory"
    except UnicodeEncodeError as error:
        return "failed", f"not-text the text is not valid Unicode ({error.reason})".encode("utf-8", "replace")
    except BaseException as error:
        return "failed", b"exception " + _reason(error)


def _reason(error: BaseException) -> bytes:
    """The exception's words and the line of the given source."""
    place = ""
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == f"<{NAME}>":
            place = f" (line {step.tb_lineno})"
        step = step.tb_next
    try:
        words = f": {str(error)[:REASON]}"
    except BaseException:  # its words are code of its own
        words = ""
    return f"{type(error).__name__[:REASON]}{words}{place}".encode("utf-8", "replace")


def _import(name: str) -> None:
    """Before the locks: afterwards no module can be read."""
    try:
        __import__(name)
    except ImportError:
        return  # the code that wants it will hear of it
    if name == "hashlib":
        sys.modules[name].sha256(b"").digest()  # OpenSSL opens its settings at the first use


def _dead_end() -> None:
    """Descriptor 2 becomes a pipe that nobody reads, and no file of this machine is left open."""
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(reading)
    os.close(writing)


def _receive(source: BinaryIO) -> tuple[str, int, bytes]:
    line = source.readline()
    if not line:
        return "end", 0, b""
    word, number, length = parse_header(line)
    return word, number, source.read(length)


def _send(word: str, number: int, data: bytes) -> None:
    left = memoryview(frame(word, number, data))
    while left:
        left = left[os.write(1, left) :]
