"""The modules that generated code may import, read from the runner, which must stand alone."""

import ast

from synth.sandbox.launcher import RUNNER


def _allowed() -> tuple[str, ...]:
    for node in ast.parse(RUNNER.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "ALLOWED":
            return ast.literal_eval(node.value)  # type: ignore[no-any-return]
    raise AssertionError("runner.py names no ALLOWED modules")


ALLOWED = _allowed()
