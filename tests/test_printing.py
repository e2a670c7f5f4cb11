"""What others wrote is shown as text: no escape acts on a terminal, nothing is read as markup, nothing stays unseen."""

import ast
import io
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.text import Text

import curator
import neox_patches
import synth
from curator.cli import bars, printing, running
from curator.cli.doctor import Check
from curator.cli.printing import PlainConsole, say, say_traceback
from curator.cli.tables import print_checks, print_fields, print_rows
from curator.visible import note, visible

CLEAR, RED, TITLE = "\x1b[2J", "\x1b[31m", "\x1b]0;mine\x07"
HOSTILE = f"{CLEAR}{RED}a\x9b31mb{TITLE}[bold]c[/]\r\x08:smile:\u202ed\u200be\ufe0f\ufeff\U000e0041\udc80"
SHOWN = r"\x1b[2J\x1b[31ma\x9b31mb\x1b]0;mine\x07[bold]c[/]\r\x08:smile:\u202ed\u200be\ufe0f\ufeff\U000e0041\udc80"
DATA = "Grüße 漢字 é é 😀 👍🏽 ∑ ━ \t→\n ﷽ İ"
"""What is no danger: letters of any script, combining accents, emoji."""


def test_what_acts_or_stays_unseen_is_an_escape_and_all_else_is_itself() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible(DATA) == DATA and visible(SHOWN) == SHOWN


def test_no_character_of_unicode_passes_that_moves_turns_or_takes_no_room() -> None:
    """Default_Ignorable_Code_Point (DerivedCoreProperties.txt), controls and surrogates, all of them."""
    ranges = "0-8 B-1F 7F-9F AD 34F 61C 115F-1160 17B4-17B5 180B-180F 200B-200F 2028-202E 2060-206F 3164 D800-DFFF "
    ranges += "FE00-FE0F FEFF FFA0 FFF0-FFF8 1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
    for one in ranges.split():
        first, _, last = one.partition("-")
        for code in range(int(first, 16), int(last or first, 16) + 1):
            said = visible(chr(code))
            assert said.startswith("\\") and said.isascii() and said.isprintable(), hex(code)
    letters = [chr(code) for code in range(0x3000) if unicodedata.category(chr(code))[0] in "LNPS"]
    assert sum(visible(c) == c for c in letters) >= len(letters) - 2


def test_every_way_to_print_shows_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    print_fields({f"key{HOSTILE}": HOSTILE, "path": Path(f"{RED}[/]")})
    print_rows(f"title {HOSTILE}", [f"head{HOSTILE}", "n"], [[f"cell{HOSTILE}", "1"]])
    print_checks([Check(name=HOSTILE, status="missing", detail=HOSTILE, needed_for="x", how_to_get=HOSTILE)])
    note(HOSTILE)
    printing.console.print(HOSTILE, soft_wrap=True)
    printing.stdout().print(Panel(Text(HOSTILE), title=Text(HOSTILE)))
    with running.Terminal().task(f"work{HOSTILE}", 2) as advance:
        advance(1, HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        say_traceback(type(error), error, error.__traceback__)
    for said in capsys.readouterr():
        assert said.count(r"\x1b[2J") >= 4 and r"\u202e" in said and r"\udc80" in said
        assert "[bold]c[/]" in said.replace("\n", "") and ":smile:" in said.replace("\n", "")
        assert all(c in "\n\t" or c == visible(c) for c in said)


def test_on_a_terminal_only_our_own_styles_are_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn there is split by rich's own codes, of which all are known."""
    monkeypatch.setenv("TERM", "xterm-256color")
    out = io.StringIO()
    terminal = PlainConsole(file=out, force_terminal=True, width=200)
    for module in (running, bars):
        monkeypatch.setattr(module, "console", terminal)
    terminal.print(HOSTILE, style="bold", soft_wrap=True)
    with running.Terminal().task(f"work{HOSTILE}", 2) as advance:
        advance(1, HOSTILE)
    said = out.getvalue()
    assert "\x1b[1m" in said and r"\x1b[2J" in said
    for bad in (CLEAR, TITLE, "\x9b", "\u202e", "\x08", "\u200b", RED + "a"):
        assert bad not in said


def test_columns_are_as_wide_as_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("t", ["name", "n"], [["\x1b\x1b\x1b", "1"], ["twelve chars", "2"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[-2]) == len(lines[-1]) and lines[-2].startswith(r"\x1b\x1b\x1b")


def test_nothing_else_in_the_packages_prints() -> None:
    """A new module that prints by itself would be a way around."""
    around = []
    for package in (curator, neox_patches, synth):
        (home,) = package.__path__
        for file in sorted(Path(home).rglob("*.py")):
            if file.name in ("printing.py", "visible.py"):
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if called in (
                    "print",
                    "Console",
                    "sys.stdout.write",
                    "sys.stderr.write",
                    "typer.echo",
                    "rich.print",
                ):
                    around.append(f"{file}:{node.lineno} {called}")  # type: ignore[attr-defined]
    assert not around


@pytest.mark.parametrize(
    "words", [[HOSTILE[:-1]], [f"--{RED}"], ["doctor", RED], ["COMMAND", f"x{RED}[/]"]], ids=str
)
@pytest.mark.parametrize("program", ["curator", "synth"])
def test_a_wrong_command_line_is_repeated_as_text(
    program: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    command = {"curator": ["show"], "synth": ["generate", "--engine", "builtin", "--out", "x"]}[program]
    given = [part for word in words for part in (command if word == "COMMAND" else [word])]
    done = subprocess.run(
        [sys.executable, "-m", f"{program}.cli", *given], capture_output=True, text=True, timeout=300
    )
    assert done.returncode in (1, 2) and done.stdout == ""
    assert r"\x1b[" in done.stderr and "\x1b" not in done.stderr and "\u202e" not in done.stderr
