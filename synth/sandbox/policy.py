"""What generated source may say, checked on its syntax tree before anything runs.

The policy gives early, readable refusals, and keeps honest code honest: one function of the wanted name and
signature, randomness from ``rng`` alone, imports from a short list, nothing that begins with two underscores, no
frames. It is not what shuts code in; the locks of ``sandbox/`` are. Where no reading of the source can tell, what the
code finds when it runs refuses (``facades.py``, ``still.py``, ``records.py``). (What neither sees: a template for
`str.format` that is put together at run time. Such a one can turn attributes into text, and no more.)
"""

import ast
import importlib
import re
import string
import threading
import warnings
from collections.abc import Iterator
from functools import cache

from synth.sandbox.facades import DROPPED, offered
from synth.sandbox.modules import ALLOWED, OFFERED
from synth.sandbox.still import CLOCKS

LONGEST = 200_000
"""Characters of a source."""
WHY = {
    "open": "files cannot be opened",
    "eval": "code cannot be made at run time",
    "exec": "code cannot be made at run time",
    "compile": "code cannot be made at run time",
    "input": "there is no input",
    "breakpoint": "there is no debugger",
    "getattr": "write the attribute out",
    "setattr": "write the assignment out",
    "delattr": "attributes stay",
    "dir": "names are known",
    "memoryview": "it is not needed for text",
    "hash": "it differs from process to process; use hashlib",
    "id": "it differs from process to process",
}
"""Of the builtins that are not there; of the others: ordinary variables do."""
FRAMES = re.compile(
    r"(gi|cr|ag)_(frame|code|yieldfrom|await|origin|running|suspended)|tb_(frame|next|lasti|lineno)"
    r"|f_(back|builtins|code|generator|globals|lasti|lineno|locals|trace\w*)|co_\w+|with_traceback|mro"
)
"""Attributes that lead from an object to its frame, code or bases."""
_PARSING = threading.Lock()
PUBLIC = ("_asdict", "_fields", "_make", "_replace")
"""Attributes of named tuples, private in spelling alone."""
METHODS = re.compile(
    r"__(init|post_init|repr|str|len|bool|contains|iter|next|reversed|call|getitem|setitem|eq|ne|lt|le|gt|ge|hash"
    r"|add|radd|iadd|sub|mul|rmul|mod|neg|int|float|index)__"
)
"""Methods that a class may define."""


def check_source(source: str, function: str) -> list[str]:
    """What ``source`` does that it may not, each with its line; empty when it may run."""
    if len(source) > LONGEST:
        return [f"the source is {len(source)} characters long; {LONGEST} are allowed"]
    if "\0" in source:
        return ["the source holds a null character"]
    try:
        tree = _parse(source)
    except SyntaxError as error:
        return [f"line {error.lineno}: not valid Python: {error.msg}"]
    except (RecursionError, MemoryError, ValueError) as error:
        return [f"the source is nested too deeply, or no Python ({type(error).__name__})"]
    found = {(getattr(node, "lineno", 1), says) for node in ast.walk(tree) for says in _complaints(node)}
    found |= set(_names_of_modules(tree)) | set(_templates(tree)) | set(_clocks(tree))
    return [*_signature(tree, function), *(f"line {line}: {says}" for line, says in sorted(found))]


def _parse(source: str) -> ast.Module:
    """The tree; one thread at a time, since CPython 3.11 counts the depth of all threads together (SystemError)."""
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SyntaxWarnings of somebody else's source
        return ast.parse(source)


def imported(source: str) -> list[str]:
    """The modules that ``source`` names in import statements, with the packages that hold them."""
    try:
        tree = _parse(source)
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        return []
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in found:
            parts = name.split(".")
            names |= {".".join(parts[: n + 1]): None for n in range(len(parts))}
    return list(names)


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


def _complaints(node: ast.AST) -> Iterator[str]:
    """What one node says that it may not."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _import(alias.name)
    elif isinstance(node, ast.ImportFrom):
        yield from _import_from(node)
    elif isinstance(node, ast.Name):
        if node.id in DROPPED:
            yield f"{node.id} is not available: {WHY.get(node.id, 'use ordinary variables')}"
        elif node.id == "__name__" and isinstance(node.ctx, ast.Load):
            return
        yield from _spelling(node.id)
    elif isinstance(node, ast.Attribute):
        ours = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        private = node.attr[:1] == "_" and node.attr not in PUBLIC and not ours
        if private or node.attr[:2] == "__" or FRAMES.fullmatch(node.attr):
            yield f"the attribute {node.attr} is not available"
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        if not METHODS.fullmatch(node.name) or isinstance(node, ast.ClassDef):
            yield from _spelling(node.name)
        if isinstance(node, ast.ClassDef) and node.keywords:
            yield "classes take no metaclass or keywords here"
    elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        yield "there is no event loop; write plain functions"
    elif isinstance(node, ast.Global):
        yield "keep nothing between calls: no global statement"
    elif isinstance(node, ast.MatchClass):
        for attribute in node.kwd_attrs:
            if attribute[:1] == "_" or FRAMES.fullmatch(attribute):
                yield f"the attribute {attribute} is not available"
    elif isinstance(node, ast.alias):
        yield from _spelling(node.asname or "")
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        yield from _spelling(node.name or "")
    elif isinstance(node, ast.MatchMapping):
        yield from _spelling(node.rest or "")
    elif isinstance(node, ast.arg):
        yield from _spelling(node.arg)


def _spelling(name: str) -> Iterator[str]:
    if name[:2] == "__":
        yield f"the name {name} is not available"


def _import(name: str) -> Iterator[str]:
    if name == "random":
        yield "do not import random: draw from the argument rng (a random.Random), so that the seed decides all"
    elif name not in ALLOWED:
        yield f"module {name} is not available; there are {', '.join(ALLOWED)}"


def _import_from(node: ast.ImportFrom) -> Iterator[str]:
    if node.level:
        yield "there is no package to import from relatively"
        return
    module = node.module or ""
    if module != "__future__":
        yield from _import(module)
    for alias in node.names:
        if alias.name == "*":
            yield "import the names you use, not *"
        elif module in ALLOWED or module in OFFERED:
            yield from _offer(module, alias.name)


def _names_of_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Attributes of modules that their facades do not have."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {a.asname or a.name: a.name for a in node.names if a.name in ALLOWED}
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    stored |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id not in stored
        ):
            module = modules.get(node.value.id)
            if module is not None and node.attr[:1] != "_":
                for says in _offer(module, node.attr):
                    yield node.lineno, says


def _clocks(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Attributes called as the clock's methods are, whatever they are looked for in: an alias may hide the class.

    Where the source gives that name to something of its own, it may mean this; datetime's classes have lost it.
    """
    asked: list[tuple[int, str]] = []
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            asked.append((node.lineno, node.attr))
        elif isinstance(node, ast.MatchClass):
            asked += [(node.lineno, name) for name in node.kwd_attrs]
        own |= set(_attributes_made(node))
    for line, name in asked:
        if name in CLOCKS and name not in own:
            yield line, "there is no clock: draw dates from rng"


def _attributes_made(node: ast.AST) -> Iterator[str]:
    """Names that one node gives to attributes: of an instance, in a class, in the fields of a named tuple."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr
    elif isinstance(node, ast.ClassDef):
        for one in node.body:
            if isinstance(one, ast.FunctionDef | ast.ClassDef):
                yield one.name
            elif isinstance(one, ast.Assign | ast.AnnAssign):
                targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                yield from (target.id for target in targets if isinstance(target, ast.Name))
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("namedtuple", "NamedTuple")):
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield from re.findall(r"\w+", part.value)


def _offer(module: str, name: str) -> Iterator[str]:
    if name not in _offered(module) and f"{module}.{name}" not in ALLOWED:
        yield f"{module}.{name} is not available"


@cache
def _offered(module: str) -> frozenset[str]:
    return frozenset(offered(importlib.import_module(module)))


def _templates(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Templates for `str.format` whose fields look into objects; without ``format``, such strings are only text."""
    nodes = list(ast.walk(tree))
    if not any(isinstance(n, ast.Attribute) and n.attr in ("format", "format_map") for n in nodes):
        return
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _looks_into(node.value):
            yield node.lineno, "a format field may not look at attributes that begin with _"


def _looks_into(template: str, depth: int = 3) -> bool:
    try:
        fields = list(string.Formatter().parse(template))
    except ValueError:  # no template
        return False
    return any(
        re.search(r"[.\[]\s*_", name or "") is not None or (depth > 0 and _looks_into(spec or "", depth - 1))
        for _, name, spec, _ in fields
    )
