"""One checked generator per pattern, resumable: what is finished lies in ``parts/`` until the manifest is written.

Who writes the source (a language model, the builtin code generator, or the user's own file) is all the same from here
on: it runs in the sandbox alone, and is kept when `check_generator` has no complaint. What fails is set aside with
the reason, never mended by us.
"""

import fcntl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from curator.errors import CuratorError
from curator.progress import progress
from curator.storage import differences, fingerprint, load_json, remove_temporaries, save_json, save_text
from synth.checks import Checked, check_generator
from synth.codegen import write_source
from synth.generators import FORMAT, Generators
from synth.pattern import Pattern
from synth.sandbox import Sandbox

Check = Callable[[str], Checked]
"""From a source to what its checks found."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a writer made of one pattern; ``reason`` says why it is set aside, empty when it passed."""

    source: str
    checked: Checked | None
    provenance: dict[str, Any]
    reason: str = ""


Writer = Callable[[Pattern, Check], Written]


def builtin_writer(pattern: Pattern, check: Check) -> Written:
    """By rule, twice: a first draft measures the characters per token, the second uses them."""
    drafted = check(write_source(pattern))
    measured = drafted.characters_per_token or 4.0
    source = write_source(pattern, measured)
    checked = check(source)
    return Written(
        source=source,
        checked=checked,
        provenance={"engine": "builtin"},
        reason="\n".join(checked.complaints),
    )


def own_writer(folder: Path, otherwise: Writer) -> Writer:
    """The user's own sources, ``{pattern_id}_*.py`` or ``{pattern_id}.py`` in ``folder``; else ``otherwise``."""
    if not folder.is_dir():
        raise CuratorError(f"{folder}: no such folder of generators")

    def write(pattern: Pattern, check: Check) -> Written:
        files = sorted({*folder.glob(f"{pattern.pattern_id}.py"), *folder.glob(f"{pattern.pattern_id}_*.py")})
        if not files:
            return otherwise(pattern, check)
        if len(files) > 1:
            raise CuratorError(f"{folder}: {len(files)} files for pattern {pattern.pattern_id}: keep one")
        source = files[0].read_text(encoding="utf-8")
        checked = check(source)
        provenance = {"engine": "own", "file": files[0].name}
        return Written(
            source=source, checked=checked, provenance=provenance, reason="\n".join(checked.complaints)
        )

    return write


def generate(
    patterns: Sequence[Pattern],
    out: Path,
    identity: dict[str, Any],
    write: Writer,
    sandbox: Sandbox,
    tokenizer: Tokenizer,
    *,
    target_tokens: int,
    concurrency: int = 1,
) -> Generators:
    """Write and check a generator for each pattern into the folder ``out``.

    Args:
        identity: everything besides the patterns that decides the result, as JSON; another one in ``out`` is refused.
        write: asked from ``concurrency`` threads.

    Raises:
        CuratorError: ``out`` holds something else, or what a writer raises (a budget that is reached); what was
            finished stays, and the same command goes on.
    """
    identity = {
        **identity,
        "patterns": fingerprint([p.to_json() for p in patterns]),
        "target_tokens": target_tokens,
    }
    with _alone(out):
        if _finished(out, identity):
            return Generators.open(out)
        parts = out / "parts"
        missing = [p for p in patterns if not (parts / f"{p.pattern_id}.json").is_file()]

        def one(pattern: Pattern) -> str:
            def check(source: str) -> Checked:
                return check_generator(pattern, source, sandbox, tokenizer, target_tokens)

            written = write(pattern, check)
            save_json(parts / f"{pattern.pattern_id}.json", _part(pattern, written))
            return pattern.pattern_id + (": set aside" if written.reason else "")

        with (
            progress(
                "generators", len(patterns), unit="patterns", done=len(patterns) - len(missing)
            ) as advance,
            ThreadPoolExecutor(max(1, concurrency)) as pool,
        ):
            futures = [pool.submit(one, pattern) for pattern in missing]
            try:
                for future in as_completed(futures):
                    advance(1, future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        _assemble(out, patterns, identity)
    return Generators.open(out)


def _part(pattern: Pattern, written: Written) -> dict[str, Any]:
    return {
        "pattern_id": pattern.pattern_id,
        "source": written.source,
        "reason": written.reason,
        "checks": None if written.checked is None else written.checked.to_json(),
        "provenance": written.provenance,
    }


def _assemble(out: Path, patterns: Sequence[Pattern], identity: dict[str, Any]) -> None:
    generators, set_aside = [], []
    for pattern in patterns:
        part = load_json(out / "parts" / f"{pattern.pattern_id}.json")
        if part["reason"]:
            set_aside.append({key: part[key] for key in ("pattern_id", "reason", "source", "provenance")})
            continue
        file = f"{pattern.function.removeprefix('generate_')}.py"
        save_text(out / file, part["source"])
        generators.append(
            {
                "pattern": pattern.to_json(),
                "function": pattern.function,
                "file": file,
                "fingerprint": fingerprint(part["source"]),
                "checks": part["checks"],
                "provenance": part["provenance"],
            }
        )
    content = {"format": FORMAT, "identity": identity, "generators": generators, "set_aside": set_aside}
    # what `synth render` takes for granted
    content |= {key: identity[key] for key in ("tokenizer", "seq_length") if key in identity}
    save_json(out / "manifest.json", content)


def _finished(out: Path, identity: dict[str, Any]) -> bool:
    """Whether ``out`` is complete; claims it for ``identity`` or refuses what it holds."""
    claim = out / "parts" / "identity.json"
    manifest = out / "manifest.json"
    if manifest.is_file():
        there = load_json(manifest)
        there = there.get("identity") if isinstance(there, dict) else None
    elif claim.is_file():
        there = load_json(claim)
    elif any(not path.name.startswith(".") for path in out.iterdir()):
        raise CuratorError(f"{out}: the folder is not empty and holds no generators; choose another --out")
    else:
        save_json(claim, identity)
        return False
    lines = differences(identity, there or {})
    if lines:
        raise CuratorError(
            f"{out}: holds generators of something else; choose another --out, or remove it:\n  "
            + "\n  ".join(lines[:8])
        )
    return manifest.is_file()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse a second process in the same folder; a killed one lets go."""
    out.mkdir(parents=True, exist_ok=True)
    lock = out / ".generate.tmp"
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CuratorError(f"{out}: another process is at work there; wait for it") from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            remove_temporaries(out)
