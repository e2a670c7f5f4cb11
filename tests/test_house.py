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
    for node in ast.walk(ast.parse(modules()[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())


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
            if package == "neox_patches" or (package == "synth" and room(name) != "cli"):
                wrong = wrong or other.startswith("curator.cli")
            against += [f"{name} imports {other}"] * wrong
    assert not against


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
