"""Killed by SIGKILL and run again, every command that writes a folder leaves what an undisturbed run leaves.

The same bytes, no half-written file, and nothing paid twice. (`synth render`: ``test_synth_render_kill.py``.)
"""

import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import done, refused
from engine_parts import GOLDEN
from forked import finish
from generator_folders import LINES, write_generators
from killed_runs import contents, die_at_every_file, start, temporaries
from openai_server import OpenAIServer
from rank_runs import small_request
from studies import PRICES, answer, server_words, write_study

from curator.artifacts.files import load_json
from curator.ranking.run import rank
from synth.audit import patterns as audit_patterns
from synth.patterns.pattern import Pattern

Words = list[Any]


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def server(openai_server: OpenAIServer) -> OpenAIServer:
    openai_server.reply = answer
    return openai_server


def undisturbed(words: Words, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a whole run leaves in ``folder/out``, which is then out of the way: names of places are the same."""
    monkeypatch.chdir(folder)
    assert finish(start(words, folder)) == 0, (folder / "errors.txt").read_text()
    assert not temporaries(folder / "out")
    whole = contents(folder / "out")
    (folder / "out").rename(folder / "whole")
    return whole


def distill(ranking: Path) -> Words:
    return ["distill", ranking, "--out", "out"]


def by_model(words: Words, server: OpenAIServer) -> Words:
    """One request at a time, so that what was asked can be counted."""
    return [*words, *server_words(server.url), *PRICES, "--budget", 5, "--concurrency", 1]


# -- distill ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
def test_distilling_by_rule(
    ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Its one file is the registry; before it there is nothing to go on with."""
    words = [*distill(ranking), "--engine", "builtin"]
    whole = undisturbed(words, tmp_path, monkeypatch)
    assert list(whole) == ["registry.json"]
    assert finish(start(words, tmp_path, (1, moment))) == -signal.SIGKILL
    assert (tmp_path / "out" / "registry.json").exists() == (moment == "after")
    assert temporaries(tmp_path / "out")
    done(*words)
    assert contents(tmp_path / "out") == whole and not temporaries(tmp_path / "out")


def test_distilling_with_a_model_asks_nothing_twice(
    ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer
) -> None:
    words = by_model([*distill(ranking), "--per-request", 16], server)
    whole = undisturbed(words, tmp_path, monkeypatch)
    asked = len(server.requests)
    assert asked == 4 and len(whole) == 5
    assert die_at_every_file(words, tmp_path, tmp_path / "out") == 5
    assert contents(tmp_path / "out") == whole and not temporaries(tmp_path / "out")
    assert len(server.requests) == 2 * asked + 1  # the third answer had come and was not yet in place
    assert sorted(r.texts[1] for r in server.requests[:asked]) == sorted(
        {r.texts[1] for r in server.requests[asked:]}
    )


# -- audit patterns ---------------------------------------------------------------------------------------------


@pytest.fixture
def patterns(ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer) -> Path:
    """``out`` with a registry of five patterns."""
    monkeypatch.chdir(tmp_path)
    done(*distill(ranking), "--engine", "builtin", "--least", 2)
    assert len(load_json(tmp_path / "out" / "registry.json")["patterns"]) >= 3
    return tmp_path / "out"


def test_auditing_patterns_at_every_file(patterns: Path) -> None:
    words = ["audit", "patterns", "out", "--workers", 1]
    done(*words)
    whole = contents(patterns)
    (patterns / "audit.json").unlink()
    died = die_at_every_file(words, patterns.parent, patterns)
    assert died >= len(load_json(patterns / "registry.json")["patterns"])
    assert contents(patterns) == whole and not temporaries(patterns)
    assert sorted(path.name for path in patterns.iterdir()) == ["audit.json", "registry.json"]


def test_auditing_patterns_counts_none_twice(patterns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, whole = [], audit_patterns.count

    def dying(pattern: Pattern, texts: Any) -> Any:
        if len(counted) == 2:
            raise RuntimeError("killed")
        counted.append(pattern.pattern_id)
        return whole(pattern, texts)

    with monkeypatch.context() as patched:
        patched.setattr(audit_patterns, "count", dying)
        with pytest.raises(RuntimeError):
            done("audit", "patterns", "out", "--workers", 1)
        again, counted[:] = list(counted), []
        done("audit", "patterns", "out", "--workers", 1)
    ids = [one["pattern"]["pattern_id"] for one in load_json(patterns / "registry.json")["patterns"]]
    assert again + counted == ids and len(again) == 2


def test_an_audit_that_is_finished_is_not_done_again_and_another_seed_is(
    patterns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("audit", "patterns", "out", "--workers", 1)
    first = contents(patterns)

    def refuse(*_: Any) -> None:
        raise AssertionError("work was begun")

    with monkeypatch.context() as patched:
        patched.setattr("synth.audit.patterns.count", refuse)
        done("audit", "patterns", "out", "--workers", 1)
    assert contents(patterns) == first
    done("audit", "patterns", "out", "--workers", 1, "--seed", 1)
    assert contents(patterns) != first


def test_an_audit_killed_at_any_moment_takes_its_workers_with_it_and_goes_on(patterns: Path) -> None:
    words = ["audit", "patterns", "out", "--workers", 2]
    done("audit", "patterns", "out", "--workers", 1)
    whole = contents(patterns)
    (patterns / "audit.json").unlink()
    process = start(words, patterns.parent)
    below: list[psutil.Process] = []
    until = time.monotonic() + 60
    while len(below) < 2 and time.monotonic() < until:
        time.sleep(0.01)
        below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.join()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert below and not alive
    done(*words)
    assert contents(patterns) == whole and not temporaries(patterns)


# -- generate ---------------------------------------------------------------------------------------------------


def test_generating_by_rule_writes_no_generator_twice(
    patterns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patterns.rename(tmp_path / "patterns")
    words = ["generate", "patterns", "--engine", "builtin", "--out", "out"]
    words += ["--only", "p001", "--only", "p002", "--target-tokens", 60]
    whole = undisturbed(words, tmp_path, monkeypatch)
    died = die_at_every_file(words, tmp_path, tmp_path / "out")
    assert contents(tmp_path / "out") == whole and not temporaries(tmp_path / "out")
    assert (
        4 <= died <= 2 + 2 * 2 + 1
    )  # the claim, two parts, then sources and manifest, which are written at once
    assert "parts" not in {path.name for path in (tmp_path / "out").iterdir()}


def test_generating_with_a_model_asks_nothing_twice(
    ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer
) -> None:
    monkeypatch.chdir(tmp_path)
    done("distill", ranking, "--out", "patterns", *server_words(server.url))
    words = by_model(["generate", "patterns", "--all", "--out", "out"], server)
    before = len(server.requests)
    whole = undisturbed(words, tmp_path, monkeypatch)
    asked = len(server.requests) - before
    assert asked == 2
    for place in ("cache/ after", "parts/p001 before", "parts/p001 after", "parts/p002 before",
                  "manifest.json before", "manifest.json after"):  # fmt: skip
        assert finish(start(words, tmp_path, tuple(place.split()))) == -signal.SIGKILL, place
    done(*words)
    assert contents(tmp_path / "out") == whole and not temporaries(tmp_path / "out")
    assert len(server.requests) == before + 2 * asked


# -- audit data -------------------------------------------------------------------------------------------------

PLACES = ["identity.json before", "scored.npy after", "ranking/scores.npy before", "kept.json after",
          "audit.json before", "audit.json after"]  # fmt: skip


def test_auditing_data_at_every_kind_of_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kill is followed by a run that goes on and is killed at the next place."""
    rank(small_request(samples=(0, 40)), tmp_path / "ranking")
    write_generators(tmp_path / "generators", {"p001": LINES}, seq_length=128)
    monkeypatch.chdir(tmp_path)
    done("render", "generators", "--count", 12, "--out", "rows", "--workers", 1)
    words = ["audit", "data", "rows", "--ranking", "ranking", "--corpus", GOLDEN / "rows.npy", "--out", "out"]
    whole = undisturbed(words, tmp_path, monkeypatch)
    for place, moment in map(str.split, PLACES):
        assert finish(start(words, tmp_path, (f"out/{place}", moment))) == -signal.SIGKILL, place
        assert (tmp_path / "out" / "audit.json").exists() == ((place, moment) == ("audit.json", "after"))
    assert finish(start(words, tmp_path)) == 0
    assert contents(tmp_path / "out") == whole and not temporaries(tmp_path / "out")


# -- at any moment ----------------------------------------------------------------------------------------------


def test_killed_at_random_moments_only_what_was_in_flight_is_asked_again(
    ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer
) -> None:
    """A model that takes its time, four requests at once."""
    server.reply = lambda request: replace(answer(request), delay=0.05)
    words = [*distill(ranking), *server_words(server.url), "--per-request", 4, "--concurrency", 4]
    whole = undisturbed(words, tmp_path, monkeypatch)
    asked = len(server.requests)
    assert asked == 16
    for moment in (0.0, 0.02, 0.05, 0.08):
        process = start(words, tmp_path)
        wait_for_a_request(server)
        time.sleep(moment)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    done(*words)
    assert contents(tmp_path / "out") == whole and not temporaries(tmp_path / "out")
    assert asked <= len(server.requests) - asked <= asked + 4 * 4


@pytest.mark.parametrize("command", ["distill", "generate"])
def test_a_second_process_is_refused_and_asks_nothing(
    ranking: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: OpenAIServer, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*distill(ranking), *server_words(server.url), "--concurrency", 1]
    if command == "generate":
        done("distill", ranking, "--out", "patterns", *server_words(server.url))
        words = ["generate", "patterns", "--all", *words[2:]]
    server.reply = lambda request: replace(answer(request), delay=60)
    process = start(words, tmp_path)
    asked = wait_for_a_request(server)
    assert "out: another process is at work there; wait for it" in refused(1, *words)
    assert len(server.requests) == asked
    process.kill()
    process.join()
    server.reply = answer
    done(*words)


def wait_for_a_request(server: OpenAIServer) -> int:
    """How many there were when another one had come."""
    before, until = len(server.requests), time.monotonic() + 60
    while len(server.requests) == before:
        assert time.monotonic() < until, "it asks nothing"
        time.sleep(0.002)
    return len(server.requests)
