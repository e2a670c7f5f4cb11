"""Texts belong to their calls: what a process writes besides its answers ends it, and never passes as another text.

The policy is off, so that the programs can write to the pipe themselves.
"""

import time
from collections.abc import Iterator

import psutil
import pytest
from sandbox_world import limits

from synth.sandbox import Failure, Sandbox
from synth.sandbox.wire import frame, from_lines, parse_header, to_lines

HONEST = "def g(rng, target_tokens):\n    return f'{rng.random()} {target_tokens}'"


def program(body: str, before: str = "") -> str:
    """A generator that may write frames itself; ``call()`` is the number of the call that it answers."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"""
import os, sys, time
def send(word, number, data):
    os.write(1, b"%s %d %d\\n%s" % (word, number, len(data), data))
def call():
    frame = sys._getframe()
    while "number" not in frame.f_locals or frame.f_code.co_name != "main":
        frame = frame.f_back
    return frame.f_locals["number"]
ran = []
{before}
def g(rng, target_tokens):
    ran.append(target_tokens)
{lines}
    return f"honest {{target_tokens}}"
"""


def answers(source: str, count: int = 3, seconds: float = 2.0) -> list[str]:
    """The texts that were accepted, then why no more came."""
    found: list[str] = []
    try:
        with Sandbox(limits(seconds=seconds), policy=False).load(source, "g") as generator:
            for answer in generator.attempts([(n, n) for n in range(count)]):
                found.append(answer if isinstance(answer, str) else f"{answer.kind}: {answer}")
    except Failure as failure:
        found.append(f"{failure.kind}: {failure}")
    return found


def test_texts_come_in_the_order_of_their_calls() -> None:
    assert answers(program("pass"), 100) == [f"honest {n}" for n in range(100)]


def test_a_second_answer_to_a_call_does_not_pass_as_the_next_one() -> None:
    found = answers(program("send(b'text', call(), b'forged')"))
    assert found == ["forged", "died: it answered what was not asked"]


def test_an_answer_with_a_guessed_number_is_refused() -> None:
    assert answers(program("send(b'text', 1, b'forged')")) == ["died: it answered what was not asked"]


def test_an_answer_before_any_call_is_refused() -> None:
    source = program("pass", before="send(b'ready', 0, b'')\nsend(b'text', 5, b'forged')")
    with Sandbox(limits(), policy=False).load(source, "g") as generator:
        time.sleep(0.2)
        with pytest.raises(Failure, match="wrote without being asked"):
            next(generator.texts([(1, 1)]))


def test_a_forged_failure_of_any_kind_stays_a_failure_of_that_call() -> None:
    found = answers(program("send(b'failed', call(), b'exception forged')"))
    assert found == ["exception: forged", "died: it answered what was not asked"]
    found = answers(program("send(b'failed', call(), b'policy forged')"), 1)
    assert found == ["died: it sent something that is no text"]


def test_answers_that_nobody_waited_for_do_not_pass_as_later_ones() -> None:
    with Sandbox(limits()).load(HONEST, "g") as generator:
        expected = list(generator.texts([(n, 1) for n in range(10)]))
        abandoned = generator.texts([(n, 2) for n in range(100, 200)])
        next(abandoned)
        assert list(generator.texts([(n, 1) for n in range(10)])) == expected


def test_a_failure_in_the_middle_leaves_the_other_texts_with_their_calls() -> None:
    source = "def g(rng, target_tokens):\n    return 'x' * (1 // (target_tokens - 3)) + str(target_tokens)"
    calls = [(0, n) for n in range(8)]
    with Sandbox(limits()).load(source, "g") as generator:
        with pytest.raises(Failure, match="ZeroDivisionError"):
            list(generator.texts(calls))
        assert [a for a in generator.attempts(calls) if isinstance(a, str)][-1] == "7"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[" * 200_000, "died: it sent something that is no text"),
        (b"\n" * 10, "died: it sent something that is no text"),
        (b"\xff\xfe\x00 1 2\n", "died: it sent something that is no text"),
        (b"text one 2\nab", "died: it sent something that is no text"),
        (b"text -1 2\nab", "died: it sent something that is no text"),
        (b"text 1 2 3\nab", "died: it sent something that is no text"),
        (b"text 1 " + b"9" * 200 + b"\n", "died: it sent something that is no text"),
        (b"text 1 99999999999999999999\n", "output: it sent 99999999999999999999 bytes"),
        (b"cposix\nsystem\n(S'true'\ntR.", "died: it sent something that is no text"),
    ],
    ids=[
        "brackets",
        "newlines",
        "bytes",
        "words",
        "negative",
        "parts",
        "huge number",
        "huge length",
        "pickle",
    ],
)
def test_what_is_no_frame_is_never_parsed(data: bytes, said: str) -> None:
    (found,) = answers(
        program(f"os.write(1, {data!r})\ntime.sleep = None" if len(data) < 999 else _in_parts(data))
    )
    assert found.startswith(said)


def _in_parts(data: bytes) -> str:
    return f"os.write(1, {data[:1]!r} * {len(data)})"


@pytest.mark.parametrize("data", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"ab\xe2\x82"], ids=repr)
def test_bytes_that_are_no_utf8_are_no_text(data: bytes) -> None:
    assert answers(program(f"send(b'text', call(), {data!r})"), 1)[0].startswith(
        "not-text: the text is not valid"
    )


def test_a_null_character_and_line_breaks_are_text_like_any_other() -> None:
    source = "def g(rng, target_tokens):\n    return 'a\\0b\\r\\n\\u2028 text 1 2\\n'"
    with Sandbox(limits()).load(source, "g") as generator:
        assert list(generator.texts([(1, 1), (2, 1)])) == ["a\0b\r\n\u2028 text 1 2\n"] * 2


def test_deep_json_is_only_text() -> None:
    source = "def g(rng, target_tokens):\n    return '[' * 1_000_000"
    with Sandbox(limits()).load(source, "g") as generator:
        assert list(generator.texts([(1, 1)])) == ["[" * 1_000_000]


def test_an_early_exit_is_named_whatever_its_status() -> None:
    for status in (0, 3):
        assert answers(program(f"os._exit({status})")) == [f"died: its process ended (exit status {status})"]


def test_half_an_answer_is_none() -> None:
    assert answers(program("os.write(1, b'text 1 100\\nhalf')\nos._exit(0)"))[0].startswith("died: ")
    assert answers(program("os.write(1, b'text 1 100\\nhalf')\nwhile True:\n    pass"), seconds=0.3) == [
        "timeout: it took more than 0.3 seconds"
    ]


def test_an_answer_in_drops_does_not_stretch_the_time_limit() -> None:
    drip = "while True:\n    os.write(1, b'9')\n    for _ in range(300_000):\n        pass"
    start = time.monotonic()
    assert answers(program(f"os.write(1, b'text 1 4000\\n')\n{drip}"), seconds=0.5)[0].startswith("timeout: ")
    assert time.monotonic() - start < 10


def test_a_process_that_stops_reading_is_given_up() -> None:
    source = program("while True:\n    send(b'text', call(), b'same')")
    start = time.monotonic()
    assert answers(source, 5000, seconds=0.5)[-1].startswith("died: ")
    seeds: list[tuple[str | int, int]] = [("s" * 100_000, 1)] * 64  # more than the pipe holds
    stuck = "def g(rng, target_tokens):\n    while True:\n        pass"
    with (
        pytest.raises(Failure, match="took more than"),
        Sandbox(limits(seconds=0.5)).load(stuck, "g") as generator,
    ):
        list(generator.texts(seeds))
    assert time.monotonic() - start < 15


def test_calls_larger_than_a_pipe_are_answered_all_the_same() -> None:
    seeds: list[tuple[str | int, int]] = [(f"{n}" + "s" * 20_000, 1) for n in range(70)]
    source = "def g(rng, target_tokens):\n    return 'x' * 100_000 + str(rng.random())"
    with Sandbox(limits()).load(source, "g") as generator:
        assert len(set(generator.texts(seeds))) == 70


def test_a_process_that_reads_the_calls_itself_gets_nothing_but_calls() -> None:
    source = program("return os.read(0, 100_000).decode()")
    found = answers(source, 70, seconds=0.5)
    assert all(text.startswith(("call ", "died: ", "timeout: ")) or "call " in text for text in found)
    assert not any(word in "".join(found) for word in ("/root", "/home", "PATH"))


def test_whatever_is_sent_the_parent_keeps_its_memory() -> None:
    before = psutil.Process().memory_info().rss
    for body in (
        "os.write(1, b'[],' * 20_000)",
        "while True:\n    os.write(1, b'text 1 4194304\\n' + b'{}' * 9999)",
    ):
        answers(program(body), seconds=0.5)
    assert psutil.Process().memory_info().rss - before < 50 << 20


def headers() -> Iterator[bytes]:
    yield from (
        b"",
        b" ",
        b"a b c\n",
        b"text 1\n",
        b"text  1 2\n",
        b"text 1 2" * 20,
        b"text +1 2\n",
        b"t-t 1 2\n",
    )
    yield from (b"text 1 \xd9\xa1\n", b"\xc3\xa9 1 2\n", b"text 1_0 2\n", b"text 0x1 2\n")


@pytest.mark.parametrize("line", list(headers()), ids=repr)
def test_a_header_is_a_word_and_two_numbers_and_nothing_else(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a header"):
        parse_header(line)


def test_frames_and_lines_survive_the_way() -> None:
    line, _, rest = frame("text", 7, b"a\nb").partition(b"\n")
    assert parse_header(line + b"\n") == ("text", 7, 3) and rest == b"a\nb"
    assert from_lines(to_lines({"a": "b c", "empty": "", "forged": "x\nshut.files yes"})) == {
        "a": "b c",
        "empty": "",
        "forged": "x shut.files yes",
    }
