"""Samples, servers, patterns, generated code and file names cannot act on the terminal of whoever looks at them."""

import json
from pathlib import Path

import commands
import numpy as np
import pytest
from command_line import run
from openai_server import OpenAIServer, Reply, Request
from rankings import rows_of, write_ranking
from studies import LOG, asked_for, server_words

from curator.artifacts.files import load_json

EVIL = "\x1b[2J\x1b]0;mine\x07\x9b31m\u202e\u200b\ufe0f"
SEEN = r"\x1b[2J\x1b]0;mine\x07\x9b31m\u202e\u200b\ufe0f"


@pytest.fixture
def ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every sample holds what a terminal would obey."""
    monkeypatch.chdir(tmp_path)
    texts = [f"{EVIL} number {n} INFO worker-{n:02d}: alpha beta\n" for n in range(40)]
    write_ranking(tmp_path, rows_of(texts, 192), np.linspace(0.1, 1, 40))
    return tmp_path / "ranking"


def said(*words: object, code: int = 0, program: str = "synth") -> str:
    """All that a command prints; nothing in it acts."""
    result = run(*words) if program == "synth" else commands.run(*words)
    assert result.code == code, (result.code, result.out, result.err)
    shown = result.out + result.err
    assert not set(shown) & set(EVIL) - set("[]0;mine31mJ2 "), shown
    return shown


def test_samples_are_shown_as_text_whatever_they_hold(ranking: Path) -> None:
    shown = said("show", ranking, "--top", 2, "--markdown", "s.md", program="curator")
    assert SEEN[:12] in shown.replace("\n", "") and EVIL[0] not in Path("s.md").read_text()
    assert SEEN in said(
        "distill", ranking, "--out", "p", "--dry-run", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"
    )


def test_what_a_model_writes_is_shown_as_text_and_kept_as_it_is(
    openai_server: OpenAIServer, ranking: Path
) -> None:
    evil = {
        **LOG,
        "pattern_name": f"{EVIL[-3:]}name",
        "template": f"{EVIL}INFO worker-{{number}}: {{words}}\n",
    }
    evil["anchor_tokens"] = ["INFO worker-"]

    def reply(request: Request) -> Reply:
        if request.body["response_format"]["json_schema"]["name"] == "patterns":
            return Reply(content=json.dumps({"patterns": [evil]}))
        function = asked_for(request).function
        return Reply(
            content=json.dumps({"code": f"def {function}(rng, n):\n    raise ValueError({EVIL!r})\n"})
        )

    openai_server.reply = reply
    server = server_words(openai_server.url)
    shown = said("distill", ranking, "--out", "patterns", *server, "--holdout", 0, "--per-request", 50)
    assert r"\u202e\u200b\ufe0fname" in shown and r"\x1b[2J" in shown
    (entry,) = load_json(Path("patterns/registry.json"))["patterns"]
    assert entry["pattern"]["template"] == evil["template"]  # what is trained on is not what is shown
    shown = said("generate", "patterns", "--all", "--out", "generators", *server, "--tries", 0, code=1)
    assert r"ValueError: \x1b[2J" in shown
    (aside,) = load_json(Path("generators/manifest.json"))["set_aside"]
    assert EVIL[:4] in aside["reason"]


def test_what_a_server_says_is_shown_as_text(openai_server: OpenAIServer, ranking: Path) -> None:
    openai_server.reply = lambda request: Reply(status=401, error=f"{EVIL}[bold]no[/]")
    shown = said("distill", ranking, "--out", "p", *server_words(openai_server.url), "--retries", 0, code=1)
    assert "[2J" in shown and "[bold]no[/]" in shown


def test_names_of_files_are_shown_as_text(ranking: Path) -> None:
    folder = Path(f"a{EVIL}[bold]b")
    folder.mkdir()
    for words in (
        ("show", folder),
        ("corpus", "info", folder),
        ("mask", "--ranking", folder, "--out", folder),
    ):
        assert r"\x1b[2J" in said(*words, code=1, program="curator")
    said("distill", ranking, "--engine", "builtin", "--out", folder)
    (folder / "registry.json").write_text("{}")
    assert r"\x1b[2J" in said("audit", "patterns", folder, code=1)
