"""One checked generator per pattern, resumable: what is finished lies in ``parts/`` until the manifest is written.

Who writes the source (a language model, the builtin code generator, or the user's own file) is all the same from here
on: it runs in the sandbox alone, and is kept when `check_generator` has no complaint. What fails is set aside with
the reason, never mended by us.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from curator.artifacts.claim import claim_folder, lock_folder
from curator.artifacts.files import load_json, save_json, save_text
from curator.artifacts.fingerprints import fingerprint
from curator.errors import UsageError
from curator.progress import progress
from synth.generate.checks import Checked, check_generator
from synth.generate.codegen import write_source
from synth.generate.generators import FORMAT, Generators
from synth.patterns.pattern import Pattern
from synth.sandbox import Sandbox

PARTS = "parts"
CLAIM = f"{PARTS}/identity.json"

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


def own_sources(folder: Path, patterns: Sequence[Pattern]) -> dict[str, Path]:
    """The user's own sources by pattern id: ``{pattern_id}.py`` or ``{pattern_id}_*.py`` in ``folder``.

    Raises:
        UsageError: no such folder, none of any pattern, or two of one.
    """
    if not folder.is_dir():
        raise UsageError(f"--own {folder}: no such folder; give one that holds PATTERN_ID_anything.py")
    found = {}
    for pattern_id in (pattern.pattern_id for pattern in patterns):
        files = sorted({*folder.glob(f"{pattern_id}.py"), *folder.glob(f"{pattern_id}_*.py")})
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise UsageError(
                f"--own {folder}: {len(files)} files of pattern {pattern_id} ({names}); keep one"
            )
        if files:
            found[pattern_id] = files[0]
    if not found:
        known = ", ".join(pattern.pattern_id for pattern in patterns[:12])
        raise UsageError(f"--own {folder}: holds no PATTERN_ID_anything.py of these patterns: {known}")
    return found


def own_writer(sources: Mapping[str, Path], otherwise: Writer) -> Writer:
    """The user's own sources where there is one (`own_sources`); else ``otherwise``."""

    def write(pattern: Pattern, check: Check) -> Written:
        if pattern.pattern_id not in sources:
            return otherwise(pattern, check)
        file = sources[pattern.pattern_id]
        try:
            source = file.read_text(encoding="utf-8-sig")  # editors of Windows write a byte-order mark
        except UnicodeDecodeError as error:
            raise UsageError(
                f"--own: {file} is not UTF-8 text ({error.reason} at byte {error.start})"
            ) from error
        checked = check(source)
        provenance = {"engine": "own", "file": file.name}
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
    samples: Mapping[str, Sequence[int]] | None = None,
    facts: Mapping[str, Any] | None = None,
    stop: Callable[[], None] = lambda: None,
) -> Generators:
    """Write and check a generator for each pattern into the folder ``out``.

    Args:
        identity: everything besides the patterns that decides the result, as JSON; another one in ``out`` is refused.
        write: asked from ``concurrency`` threads.
        samples: in which ones each pattern was found, by its id; one where it is not said.
        facts: what the manifest says besides and nothing depends on (where the tokenizer lies).
        stop: called when no more is wanted of ``write``, so that it waits for nobody (Ctrl-C, a full disk).

    Raises:
        CuratorError: ``out`` holds something else, or what a writer raises (a budget that is reached); what was
            finished stays, and the same command goes on.
    """
    identity = {
        **identity,
        "patterns": fingerprint([p.to_json() for p in patterns]),
        "target_tokens": target_tokens,
    }
    with lock_folder(out):
        if claim_folder(out, identity, what="generators", result="manifest.json", claim=CLAIM):
            shutil.rmtree(out / PARTS, ignore_errors=True)
            return Generators.open(out)
        parts = out / PARTS
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
                stop()
                pool.shutdown(cancel_futures=True)
                raise
        _assemble(out, patterns, identity, samples or {}, facts or {})
        shutil.rmtree(parts, ignore_errors=True)
    return Generators.open(out)


def _part(pattern: Pattern, written: Written) -> dict[str, Any]:
    return {
        "pattern_id": pattern.pattern_id,
        "source": written.source,
        "reason": written.reason,
        "checks": None if written.checked is None else written.checked.to_json(),
        "provenance": written.provenance,
    }


def _assemble(
    out: Path,
    patterns: Sequence[Pattern],
    identity: Mapping[str, Any],
    samples: Mapping[str, Sequence[int]],
    facts: Mapping[str, Any],
) -> None:
    generators, set_aside = [], []
    for pattern in patterns:
        part = load_json(out / PARTS / f"{pattern.pattern_id}.json")
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
                "samples": len(samples[pattern.pattern_id]) if pattern.pattern_id in samples else 1,
                "distilled_from": list(samples.get(pattern.pattern_id, ())),
                "checks": part["checks"],
                "provenance": part["provenance"],
            }
        )
    content = {"format": FORMAT, "identity": identity, "generators": generators, "set_aside": set_aside}
    save_json(out / "manifest.json", {**content, **facts})
