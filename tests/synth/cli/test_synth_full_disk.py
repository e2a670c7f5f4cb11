"""On a disk that is really full `distill` and `generate` end in one line, and the same command goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import done, refused
from openai_server import OpenAIServer, Reply, Request
from studies import answer, server_words, write_study

from curator.artifacts.files import load_json
from synth.llm.cache import Cache

SIZE = 24 << 20
"""Of the disk; with one request at a time 1.6 MB must be free for its answer."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], capture_output=True
    )
    if mount.returncode:
        pytest.skip("a small disk cannot be mounted here: " + mount.stderr.decode().strip()[:80])
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Write until no more than ``leave`` bytes are free."""
    with open(disk / "ballast", "ab", buffering=0) as file:
        try:
            while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave:
                file.write(b"x" * min(1 << 20, free - leave))
        except OSError:
            assert not leave


def empty(disk: Path) -> None:
    (disk / "ballast").unlink()


def one_line(said: str, *words: str) -> None:
    """The error is one, without a traceback, and says these words."""
    assert said.count("error:") == 1 and "Traceback" not in said, said
    line = said.partition("error: ")[2]
    assert all(word in line for word in words), line


def filling(disk: Path, at: int, leave: int) -> Any:
    """A server during whose answer number ``at`` the disk is filled."""
    answered = []

    def reply(request: Request) -> Reply:
        answered.append(request)
        if len(answered) == at:
            fill(disk, leave)
        return answer(request)

    return reply


def kept(out: Path) -> int:
    """Answers that can be read again."""
    cache = Cache(out / "cache")
    names = [file.stem for file in cache.folder.glob("[0-9a-f]*.json")]
    assert all(cache.get(name) is not None for name in names)
    return len(names)


@pytest.mark.parametrize("leave", [1 << 20, 0])
def test_distill_ends_in_one_line_and_goes_on(
    openai_server: OpenAIServer, tmp_path: Path, disk: Path, leave: int
) -> None:
    """With some room left the next request is not sent; with none at all the answer under way is lost, and no other."""
    out = disk / "patterns"
    words = ["distill", write_study(tmp_path), "--out", out, *server_words(openai_server.url)]
    words += ["--per-request", 8, "--concurrency", 1, "--price-in", 1, "--price-out", 1, "--budget", 1]
    openai_server.reply = filling(disk, 3, leave)
    said = refused(1, *words)
    asked = len(openai_server.requests)
    if leave:
        one_line(
            said,
            f"{out}/cache: the disk has 1.0 MB free",
            "nothing more is asked",
            "the same command goes on",
        )
        assert kept(out) == asked == 3
    else:
        one_line(said, f"{out}/cache/", "No space left on device; make room, then the same command goes on")
        assert (kept(out), asked) == (2, 3)
    empty(disk)
    openai_server.reply = answer
    assert "2 patterns of 64 samples" in done(*words)
    assert len(openai_server.requests) == 8 + (not leave)
    first = load_json(out / "registry.json")
    (out / "registry.json").unlink()
    fill(disk)
    one_line(refused(1, *words), "registry.json: No space left on device")
    empty(disk)
    done(*words)
    assert load_json(out / "registry.json") == first
    assert len(openai_server.requests) == 8 + (not leave)


@pytest.mark.parametrize("leave", [1 << 20, 0])
def test_generate_ends_in_one_line_and_goes_on(
    openai_server: OpenAIServer, tmp_path: Path, disk: Path, leave: int
) -> None:
    openai_server.reply = answer
    server = server_words(openai_server.url)
    done("distill", write_study(tmp_path), "--out", tmp_path / "patterns", *server)
    before = len(openai_server.requests)
    out = disk / "generators"
    words = ["generate", tmp_path / "patterns", "--all", "--out", out, *server, "--concurrency", 1]
    openai_server.reply = filling(disk, 1, leave)
    said = refused(1, *words)
    if leave:
        one_line(said, f"{out}/cache: the disk has 1.0 MB free")
        assert len(list((out / "parts").glob("p*.json"))) == 1 == kept(out)
    else:
        one_line(said, "No space left on device; make room")
    assert len(openai_server.requests) == before + 1
    empty(disk)
    openai_server.reply = answer
    assert "2 generators passed" in done(*words)
    assert len(openai_server.requests) == before + 2 + (not leave)


def test_the_builtin_engine_ends_in_one_line_too(tmp_path: Path, disk: Path) -> None:
    ranking, patterns, generators = write_study(tmp_path), disk / "patterns", disk / "generators"
    commands = [
        ["distill", ranking, "--engine", "builtin", "--out", patterns],
        ["generate", patterns, "--engine", "builtin", "--out", generators],
    ]
    for command in commands:
        fill(disk)
        one_line(refused(1, *command), "No space left on device")
        empty(disk)
        done(*command)
