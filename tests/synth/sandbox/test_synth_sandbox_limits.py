"""What runs too long, writes or keeps too much, or ends, is stopped and named, and this process stays as it was."""

import re
import time

import psutil
import pytest
from sandbox_world import limits, run, worlds

from synth.sandbox import Failure, Limits, Sandbox


def attempt(
    code: str, *, imports: str = "", policy: bool = False, calls: int = 1, **values: float
) -> list[str]:
    """What each call of the code gives, a text or ``kind: reason``; the last is why the process was given up."""
    lines = "\n".join(f"    {line}" for line in code.strip().splitlines())
    source = f"{imports}\ndef g(rng, target_tokens):\n{lines}\n    return 'done'\n"
    said: list[str] = []
    try:
        with Sandbox(limits(**values), policy=policy).load(source, "g") as generator:
            for answer in generator.attempts([(n, 10) for n in range(calls)]):
                said.append(answer if isinstance(answer, str) else f"{answer.kind}: {answer}")
    except Failure as failure:
        said.append(f"{failure.kind}: {failure}")
    return said


@pytest.mark.parametrize("policy", [True, False], ids=["policy", "locks alone"])
def test_an_endless_loop_ends_at_the_time_limit(policy: bool) -> None:
    start = time.monotonic()
    assert attempt("while True:\n    pass", policy=policy, seconds=0.3) == [
        "timeout: it took more than 0.3 seconds"
    ]
    assert time.monotonic() - start < 10


def test_an_endless_loop_while_the_module_is_run_ends_at_the_time_limit() -> None:
    with (
        pytest.raises(Failure, match=r"more than 0.3 seconds") as caught,
        Sandbox(limits(seconds=0.3)).load(
            "while True:\n    pass\ndef g(rng, target_tokens):\n    return ''", "g"
        ),
    ):
        pass
    assert caught.value.kind == "timeout"


def test_a_loop_that_swallows_every_exception_ends_at_the_time_limit() -> None:
    code = "while True:\n    try:\n        raise ValueError\n    except BaseException:\n        pass"
    assert attempt(code, policy=True, seconds=0.3)[0].startswith("timeout: ")


def test_a_regular_expression_that_backtracks_for_ever_ends_at_the_time_limit() -> None:
    code = "re.match('(a+)+$', 'a' * 50 + 'b')"
    assert attempt(code, imports="import re", policy=True, seconds=0.3)[0].startswith("timeout: ")


def test_an_exception_whose_words_never_end_ends_at_the_time_limit() -> None:
    code = """
class Slow(Exception):
    def __str__(self):
        while True:
            pass
raise Slow
"""
    assert attempt(code, policy=True, seconds=0.3)[0].startswith("timeout: ")


def test_processor_time_is_limited_even_for_code_that_blocks_the_signal() -> None:
    spin = "while True:\n    pass"
    assert attempt(spin, seconds=20, cpu_seconds=1) == [
        "timeout: it took more than 1 seconds of processor time"
    ]
    block = f"signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n{spin}"
    assert attempt(block, imports="import signal", seconds=20, cpu_seconds=1)[0].startswith(
        "died: it was killed"
    )


@pytest.mark.parametrize(
    "code",
    [
        "return 'x' * (1 << 31)",
        "kept = []\nwhile True:\n    kept.append('x' * 10_000_000 + str(len(kept)))",
        "kept = {}\nwhile True:\n    kept[len(kept)] = len(kept)",
        "return str(1 << (1 << 34))",
        "return '%4000000000d' % 1",
        "return zlib.decompress(zlib.compress(bytes(20_000_000)) * 1, bufsize=1 << 40).decode()",
    ],
    ids=["one string", "many strings", "a dictionary", "a number", "a format", "zlib"],
)
def test_memory_is_limited_and_the_next_call_goes_on(code: str) -> None:
    before = psutil.Process().memory_info().rss
    body = f"if target_tokens != 10 or rng.random() < 2 and not ran:\n    ran.append(1)\n{_indent(code)}"
    said = attempt(body, imports="import zlib\nran = []", policy=True, calls=2, memory_bytes=1 << 28)
    assert re.match("memory: |exception: (OverflowError|MemoryError|ValueError)", said[0]) and said[1:] == [
        "done"
    ]
    assert psutil.Process().memory_info().rss - before < 100 << 20


def _indent(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())


def test_a_text_may_be_as_long_as_allowed_and_no_longer() -> None:
    code = "return 'é' * (50 if rng.random() < 2 and not ran.append(1) and len(ran) == 1 else 51)"
    said = attempt(code, imports="ran = []", policy=True, calls=2, text_bytes=100)
    assert said == ["é" * 50, "output: the text is 102 bytes long; 100 are allowed"]


def test_a_flood_of_output_is_cut_off_and_not_kept() -> None:
    before = psutil.Process().memory_info().rss
    flood = "while True:\n    os.write(1, b'x' * 65536)"
    assert attempt(flood, imports="import os")[0].startswith("died: it sent something that is no text")
    long = "os.write(1, b'text 1 999999999999\\n')\nwhile True:\n    os.write(1, b'x' * 65536)"
    assert attempt(long, imports="import os")[0].startswith("output: it sent 999999999999 bytes")
    assert psutil.Process().memory_info().rss - before < 50 << 20


def test_a_flood_on_the_other_descriptors_reaches_nobody() -> None:
    code = "for number in (0, 2):\n    try:\n        os.write(number, b'x' * 100)\n    except OSError:\n        pass"
    assert attempt(code, imports="import os") == ["done"]


def test_what_a_library_prints_goes_nowhere() -> None:
    code = "calendar.TextCalendar().prmonth(2024, 2)"
    assert attempt(code, imports="import calendar", policy=True, calls=2) == ["done", "done"]


def test_deep_recursion_fails_and_the_next_call_goes_on() -> None:
    code = "def deep(n):\n    return deep(n + 1) + 1\nif not ran.append(1) and len(ran) == 1:\n    deep(0)"
    said = attempt(code, imports="ran = []", policy=True, calls=2)
    assert said[0].startswith("exception: RecursionError") and said[1:] == ["done"]


def test_a_crash_of_the_interpreter_is_a_death_and_no_more() -> None:
    assert attempt("ctypes.string_at(8)", imports="import ctypes")[0].startswith("died: ")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise KeyError('x')", r"exception: KeyError: 'x' \(line 3\)"),
        ("raise SystemExit", r"exception: SystemExit:  \(line 3\)"),
        ("raise KeyboardInterrupt", r"exception: KeyboardInterrupt:  \(line 3\)"),
        ("return 5", "not-text: it returned int, not str"),
        ("return None", "not-text: it returned NoneType, not str"),
        ("return b'x'", "not-text: it returned bytes, not str"),
        ("class S(str):\n    pass\nreturn S('x')", "not-text: it returned S, not str"),
        ("yield 'x'", "not-text: it returned generator, not str"),
        ("return '\\ud800'", r"not-text: the text is not valid Unicode \(surrogates not allowed\)"),
        ("rng.choice([])", r"exception: IndexError: .* \(line 3\)"),
        ("raise ValueError('x' * 100_000)", r"exception: ValueError: x{400} \(line 3\)"),
    ],
)
def test_a_call_that_gives_no_text_says_why_and_the_next_goes_on(code: str, said: str) -> None:
    first, second = attempt(code, policy=True, calls=2)
    assert re.fullmatch(said, first) and re.fullmatch(said, second)


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("import os\ndef g(rng, t):\n    return ''", "policy", "module os is not available"),
        ("def h(rng, t):\n    return ''", "policy", r"define one function g\(rng, target_tokens\)"),
        ("def g(rng, t)\n    return ''", "policy", "line 1: not valid Python"),
        ("X = 1 / 0\ndef g(rng, t):\n    return ''", "exception", r"ZeroDivisionError: .* \(line 1\)"),
        (
            "X = 'x' * (1 << 40)\ndef g(rng, t):\n    return ''",
            "memory",
            "out of memory while the module was run",
        ),
        ("def g(rng, t):\n    return ''\ndel g", "exception", "KeyError"),
        ("def g(rng, t):\n    break", "syntax", r"'break' outside loop \(line 2\)"),
    ],
)
def test_a_module_that_cannot_be_used_says_why(source: str, kind: str, words: str) -> None:
    with pytest.raises(Failure, match=words) as caught, Sandbox(limits()).load(source, "g"):
        pass
    assert caught.value.kind == kind


def test_no_process_is_left_when_the_generator_is_closed_or_given_up() -> None:
    before = set(psutil.Process().children(recursive=True))
    with worlds() as world:
        run(world, "def g(rng, target_tokens):\n    return ''", Sandbox(limits()))
        run(world, "def g(rng, target_tokens):\n    while True:\n        pass", Sandbox(limits(seconds=0.2)))
        run(world, "import os\ndef g(rng, target_tokens):\n    os._exit(3)", Sandbox(limits(), policy=False))
    assert set(psutil.Process().children(recursive=True)) <= before


def test_the_usual_limits_bound_everything() -> None:
    usual = Limits()
    assert 0 < usual.seconds <= 60 and usual.memory_bytes <= 2 << 30 and usual.text_bytes <= 16 << 20
    assert usual.cpu_seconds <= 24 * 3600
