"""Where things stand: rooms build on each other in one direction, and nothing goes in circles (docs/design.md)."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from engine_parts import ROOT

PACKAGES = ("curator", "neox_patches", "synth")
ROOMS = {
    "curator": [
        *(
            "errors",
            "visible",
            "progress",
            "artifacts",
            "corpus",
            "plan",
            "models",
            "units",
            "influence",
            "ranking",
            "statistics",
            "planning",
        ),
        *(
            "training",
            "scan",
            "evaluate",
            "neox",
            "analysis",
            "study",
            "report",
            "settings",
            "library",
            "cli",
        ),
    ],
    "synth": [
        "fields",
        "llm",
        "sandbox",
        "patterns",
        "distill",
        "generate",
        "render",
        "audit",
        "library",
        "demo",
        "cli",
    ],
}
"""From the ground up: a room may import those before it."""
TRAINER = {
    *(
        "errors",
        "visible",
        "progress",
        "artifacts",
        "corpus",
        "plan",
        "units",
        "influence",
        "ranking",
        "neox",
    ),
}
"""The rooms that the patches may import, which load in a trainer's environment."""


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of all packages."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            found[".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = file
    return found


def imports(name: str) -> Iterator[str]:
    """The modules that a module imports, also within functions and for types alone."""
    return imported(ast.parse(modules()[name].read_text()))


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that code imports. A package gives the names of its library, and is asked for them by attribute."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            assert not node.level
            yield from (meant(f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in PACKAGES:
                    yield meant(alias.name)
                    whole = alias.name if alias.asname else alias.name.split(".")[0]
                    known[alias.asname or whole] = whole
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            yield meant(f"{known[node.value.id]}.{node.attr}")


def meant(dotted: str) -> str:
    """The module in which a name lies."""
    package, _, name = dotted.rpartition(".")
    if package in ("curator", "synth") and name in library_of(package):
        return f"{package}.library"
    while dotted not in modules():
        dotted = dotted.rpartition(".")[0]
    return dotted


@cache
def library_of(package: str) -> set[str]:
    """What a package gives by itself, as `curator.rank`, but for rooms of that name."""
    tree = ast.parse(modules()[f"{package}.library"].read_text())
    lists = (node for node in ast.walk(tree) if isinstance(node, ast.Assign))
    names = next(node.value for node in lists if getattr(node.targets[0], "id", "") == "__all__")
    return set(ast.literal_eval(names)) - {name.rpartition(".")[2] for name in modules()}


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_those_it_builds_on(package: str) -> None:
    order = ROOMS[package]
    assert {room(name) for name in modules() if name.startswith(f"{package}.")} == set(order)
    against = []
    for name in modules():
        if name.startswith(f"{package}."):
            against += [
                f"{name} imports {other}"
                for other in imports(name)
                if other.startswith(f"{package}.") and order.index(room(other)) > order.index(room(name))
            ]
    assert not against


def test_packages_build_on_curator_and_it_on_none() -> None:
    against = []
    for name in modules():
        package = name.split(".")[0]
        for other in imports(name):
            wrong = other.split(".")[0] not in (package, "curator")
            theirs = room(other) if other.startswith("curator.") and package != "curator" else ""
            if package == "neox_patches":
                wrong = wrong or bool(theirs and theirs not in TRAINER)
            wrong = wrong or theirs == "library" or (theirs == "cli" and room(name) != "cli")
            against += [f"{name} imports {other}"] * wrong
    assert not against


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import curator\ncurator.rank(1)", {"curator", "curator.library"}),
        ("def f():\n    from curator import RankSettings", {"curator.library"}),
        ("from curator import cli, __version__", {"curator", "curator.cli"}),
        ("import curator.study.run", {"curator.study.run"}),
        ("import curator.study as s\ns.run", {"curator.study", "curator.study.run"}),
        ("import curator\ncurator.study", {"curator", "curator.study"}),
        ("import synth\nsynth.distill", {"synth", "synth.distill"}),
        ("from curator.plan.plan import Plan", {"curator.plan.plan"}),
        ("import numpy", set()),
    ],
)
def test_no_way_to_import_is_overlooked(code: str, found: set[str]) -> None:
    assert set(imported(ast.parse(code))) == found


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: set(imports(name)) - {name} for name in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_every_module_says_what_it_is_for() -> None:
    assert [
        name for name, file in modules().items() if not ast.get_docstring(ast.parse(file.read_text()))
    ] == []
