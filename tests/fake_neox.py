"""A folder that `curator.neox.checkout` takes for a GPT-NeoX checkout, written from its table of hook points."""

from collections.abc import Mapping
from pathlib import Path

from curator.neox.checkout import ARGUMENTS, DATA, HOOK_POINTS, SOURCE_MARKS

STAGES = {"v1.0": 1, "2.x": 2}


def fake_checkout(
    home: Path, generation: str = "HEAD", *, parameters: Mapping[str, tuple[str, ...] | None] | None = None
) -> Path:
    """Write one of ``generation`` into ``home``.

    Args:
        parameters: name of a hook point -> the parameters it has there instead; None leaves it out.
    """
    changed = parameters or {}
    sources: dict[str, list[str]] = {}
    for (file, name), wanted in HOOK_POINTS.items():
        found = changed.get(name, wanted)
        lines = sources.setdefault(file, [])
        if found is None:
            continue
        lines.append(f"def {name}({', '.join(found)}): ..." if wanted else f"class {name}: ...")
    for file, marks in SOURCE_MARKS.items():
        sources.setdefault(file, []).extend(f"# {mark}" for mark in marks)
    builders = ["build_train_valid_test_data_loaders", "shift_and_wrap_data_loaders"]
    if generation != "HEAD":
        builders = ["build_train_valid_test_data_iterators"]
    sources[DATA] += [f"def {name}(neox_args): ..." for name in builders]
    stages = STAGES.get(generation)
    flag = f'self.update_value("is_pipe_parallel", self.pipe_parallel_size >= {stages})' if stages else ""
    sources[ARGUMENTS] = ["class NeoXArgs:", f"    def calculate_derived(self): {flag or '...'}"]
    for file, lines in sources.items():
        path = home / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return home
