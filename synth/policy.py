"""What generated source may say, checked on its syntax tree before anything runs.

The policy gives early, readable refusals, and keeps honest code honest: one function of the wanted name and
signature, randomness from ``rng`` alone, imports from a short list, nothing that begins with two underscores, no
frames. It is not what shuts code in; the locks of ``sandbox/`` are.
"""

import ast
import re
from collections.abc import Iterator

from synth.sandbox.modules import ALLOWED

LONGEST = 200_000
"""Characters of a source."""
FORBIDDEN_NAMES = {
    "open": "files cannot be opened",
    "eval": "code cannot be made at run time",
    "exec": "code cannot be made at run time",
    "compile": "code cannot be made at run time",
    "input": "there is no input",
    "breakpoint": "there is no debugger",
    "globals": "use ordinary variables",
    "locals": "use ordinary variables",
    "vars": "use ordinary variables",
    "getattr": "write the attribute out",
    "setattr": "write the assignment out",
    "delattr": "attributes stay",
    "dir": "names are known",
    "memoryview": "it is not needed for text",
    "hash": "it differs from process to process; use hashlib",
    "id": "it differs from process to process",
}
FRAMES = re.compile(r"(gi|cr|ag|tb|f|co|func|im)_\w+")
"""Attributes that lead from an object to its frame or code."""


def check_source(source: str, function: str) -> list[str]:
    """What ``source`` does that it may not, each with its line; empty when it may run."""
    if len(source) > LONGEST:
        return [f"the source is {len(source)} characters long; {LONGEST} are allowed"]
    if "\0" in source:
        return ["the source holds a null character"]
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [f"line {error.lineno}: not valid Python: {error.msg}"]
    except (RecursionError, MemoryError, ValueError) as error:
        return [f"the source is nested too deeply, or no Python ({type(error).__name__})"]
    return [*_signature(tree, function), *_walk(tree)]


def _signature(tree: ast.Module, function: str) -> Iterator[str]:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    if len(found) != 1:
        yield f"define one function {function}(rng, target_tokens) at the top level; found {len(found)}"
        return
    arguments = found[0].args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    needed = len(names) - len(arguments.defaults)
    if len(names) < 2 or needed > 2 or any(default is None for default in arguments.kw_defaults):
        yield f"line {found[0].lineno}: {function} must be callable as {function}(rng, target_tokens)"
    if found[0].decorator_list:
        yield f"line {found[0].lineno}: {function} takes no decorator"


def _walk(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        for says in _complaints(node):
            yield f"line {getattr(node, 'lineno', 1)}: {says}"


def _complaints(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _import(alias.name)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            yield "there is no package to import from relatively"
        else:
            yield from _import(node.module or "")
        for alias in node.names:
            if alias.name == "*":
                yield "import the names you use, not *"
            elif alias.name.startswith("_"):
                yield f"the name {alias.name} is private"
    elif isinstance(node, ast.Name):
        if node.id in FORBIDDEN_NAMES:
            yield f"{node.id} is not available: {FORBIDDEN_NAMES[node.id]}"
        elif node.id.startswith("__") and node.id != "__name__":
            yield f"the name {node.id} is not available"
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("_") or FRAMES.fullmatch(node.attr) or node.attr == "mro":
            yield f"the attribute {node.attr} is not available"
    elif (
        isinstance(node, ast.FunctionDef | ast.ClassDef)
        and node.name.startswith("__")
        and node.name not in _METHODS
    ):
        yield f"the name {node.name} is not available"
    elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        yield "there is no event loop; write plain functions"
    elif isinstance(node, ast.Global | ast.Nonlocal) and isinstance(node, ast.Global):
        yield "keep nothing between calls: no global statement"
    elif isinstance(node, ast.ClassDef) and node.keywords:
        yield "classes take no metaclass or keywords here"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"__\w+__", node.value):
        yield "strings with names such as __class__ are not needed"


_METHODS = {
    "__init__",
    "__repr__",
    "__str__",
    "__len__",
    "__iter__",
    "__next__",
    "__call__",
    "__getitem__",
    "__eq__",
    "__lt__",
}


def _import(name: str) -> Iterator[str]:
    if name in ("__future__", "collections.abc"):
        return
    if name == "random":
        yield "do not import random: draw from the argument rng (a random.Random), so that the seed decides all"
    elif name not in ALLOWED:
        yield f"module {name} is not available; there are {', '.join(ALLOWED)}"
