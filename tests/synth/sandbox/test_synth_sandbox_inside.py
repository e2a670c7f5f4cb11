"""What generated code finds around it, that honest code works there, and what the sandbox says where it cannot shut."""

import ast
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sandbox_world import limits, run, worlds

from curator.errors import CuratorError
from synth.sandbox import HOSTS, LAYERS, Failure, Host, Layer, Sandbox, active_layers, launcher, sandbox
from synth.sandbox.launcher import command, program
from synth.sandbox.policy import check_source
from synth.sandbox.sandbox import NEEDED, probe

ALL_BUT_BUBBLEWRAP = LAYERS[1:]


def inside(source: str, **options: object) -> str:
    """What a program sees with the policy off."""
    with worlds() as world:
        return run(world, source, Sandbox(limits(), policy=False, **options))  # type: ignore[arg-type]


def test_the_environment_is_what_is_set_for_every_process_and_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TZ", "LC_ALL", "PYTHONHASHSEED", "PYTHONPATH", "LANG"):
        monkeypatch.setenv(name, "/of/this/user")
    said = inside("import os\ndef g(rng, target_tokens):\n    return repr(dict(os.environ))")
    found = ast.literal_eval(said)
    found.pop("PWD", None)  # bubblewrap's
    assert found == {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC0"}


def test_no_folder_is_on_the_path_but_pythons_own() -> None:
    places = ast.literal_eval(inside("import sys\ndef g(rng, target_tokens):\n    return repr(sys.path)"))
    assert places and all(
        place.startswith(sys.base_prefix) and "site-packages" not in place for place in places
    )


HASHES = "NAMES = repr({f'name {n}' for n in range(20)})\ndef g(rng, target_tokens):\n    return NAMES"
OBJECTS = """
class One:
    def __init__(self, name):
        self.name = name
ONES = {One(name) for name in "abcdefgh"}
def g(rng, target_tokens):
    return "".join(one.name for one in ONES)
"""


def order(source: str, host: Host = HOSTS[0]) -> str:
    with Sandbox(limits()).load(source, "g", host) as generator:
        return next(generator.texts([("seed", 10)]))


def test_every_process_hashes_by_one_seed_and_a_check_by_others() -> None:
    """The order of a set of texts shows the seed."""
    assert order(HASHES) == order(HASHES)
    assert len({order(HASHES, host) for host in HOSTS}) == len(HOSTS) >= 5


def test_a_check_varies_where_objects_lie_and_so_the_order_of_sets_of_them() -> None:
    """Address randomisation moves whole pages: without litter there are hardly two orders."""
    hosts = [dataclasses.replace(HOSTS[0], litter=host.litter) for host in HOSTS]
    assert len({order(OBJECTS, host) for host in hosts}) >= 5


def test_a_python_that_ignores_its_hash_seed_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    door, plain = Sandbox(limits()), launcher.command
    monkeypatch.setattr(
        "synth.sandbox.process.command", lambda *given: [w if w != "-s" else "-I" for w in plain(*given)]
    )
    with pytest.raises(CuratorError, match="this Python ignores its hash seed"), door.load(HASHES, "g"):
        pass


TIMES = """
from datetime import date, datetime, timezone
def g(rng, target_tokens):
    found = [datetime.fromtimestamp(1e9), date.fromtimestamp(1e9 + 80000), datetime(2001, 9, 9, 1, 46, 40).timestamp()]
    found += [datetime(2020, 7, 1).astimezone(), datetime.fromtimestamp(-1.5), datetime.min]
    found += [datetime(2020, 7, 1, tzinfo=timezone.utc).astimezone().tzname()]
    return "; ".join(map(str, found))
"""


def test_local_time_is_utc_whatever_the_machine_and_the_process_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    for host in HOSTS:
        with Sandbox(limits()).load(TIMES, "g", host) as generator:
            assert next(generator.texts([("seed", 10)])) == (
                "2001-09-09 01:46:40; 2001-09-10; 1000000000.0; 2020-07-01 00:00:00+00:00; "
                "1969-12-31 23:59:58.500000; 0001-01-01 00:00:00; UTC"
            )


def test_dates_without_a_clock_are_those_of_the_standard_library() -> None:
    """They run in the Python form of datetime, whose oracle is the C form here."""
    code = """
import datetime as dt
D, N = dt.date(2024, 2, 29), dt.datetime(1999, 12, 31, 23, 59, 58, 123456)
Z = dt.datetime(2000, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30), "IST"))
FORMATS = "%a %A %b %B %c %d %f %H %I %j %m %M %p %S %U %w %W %x %X %y %Y %z %Z %% é年"
def g(rng, target_tokens):
    found = [repr(D), repr(N), repr(Z), str(N - dt.timedelta(days=1.5)), N.isoformat(" ", "minutes"), D.ctime()]
    found += [N.strftime(FORMATS), Z.strftime(FORMATS), D.strftime(FORMATS), f"{N:%d.%m.%y}"]
    found += [str(dt.datetime.strptime("03 Feb 2021 04:05", "%d %b %Y %H:%M")), str(D.replace(year=2020) < D)]
    found += [str(dt.datetime.fromisoformat("2020-01-02T03:04:05+02:00")), str(N.timetuple())]
    found += [str(tuple(N.isocalendar())), str(dt.datetime.combine(D, dt.time(1, 2))), str(dt.timedelta(1) * 1.5)]
    return " | ".join(found)
"""
    space: dict[str, Any] = {}
    exec(code, space)
    with Sandbox(limits()).load(code, "g") as generator:
        assert next(generator.texts([("seed", 10)])) == space["g"](None, 10)


def test_only_three_descriptors_are_open_and_none_leads_to_a_file() -> None:
    source = """
import os, stat
NUMBERS = [n for n in range(1024) if os.set_blocking]
def g(rng, target_tokens):
    found = []
    for n in range(1024):
        try:
            found.append((n, stat.S_ISFIFO(os.fstat(n).st_mode)))
        except OSError:
            pass
    return repr(found)
"""
    layers = ("namespaces", "landlock")  # seccomp would hide the answer
    assert inside(source, layers=layers, unsafe=True) == "[(0, True), (1, True), (2, True)]"


def test_the_file_system_is_empty_and_read_only_in_namespaces() -> None:
    if not probe(("namespaces",))[0][0].active:
        pytest.skip("user namespaces are not to be had here")
    source = """
import os
def g(rng, target_tokens):
    found = [os.getcwd(), os.listdir("/"), os.listdir("..")]
    for path in ("/x", "x"):
        try:
            os.mkdir(path)
            found.append("made")
        except OSError as error:
            found.append(error.strerror)
    return repr(found)
"""
    said = inside(source, layers=("namespaces",), unsafe=True)
    assert said == "['/', [], [], 'Read-only file system', 'Read-only file system']"


def test_the_process_has_no_privileges_and_no_capabilities_whatever_is_locked() -> None:
    source = (
        "import os\nSTATUS = open('/proc/self/status').read()\ndef g(rng, target_tokens):\n    return STATUS"
    )
    status = dict(line.split(":\t", 1) for line in inside(source, layers=(), unsafe=True).splitlines())
    assert status["NoNewPrivs"] == "1"
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}


def test_the_runner_needs_no_file_of_ours_and_fits_an_argument_list() -> None:
    assert max(map(len, command(False))) < 100_000
    assert not any(str(Path(sandbox.__file__).parent) in word for word in command(False))
    assert sys.prefix == sys.base_prefix or launcher.interpreter() != sys.executable
    done = subprocess.run(command(False), input=b"", capture_output=True, env={}, cwd="/", timeout=30)
    assert (done.returncode, done.stderr) == (
        1,
        b"",
    )  # it came as far as giving up its output, and nothing was asked


def test_the_modules_inside_import_the_standard_library_and_each_other_alone() -> None:
    imports = [line for line in program().replace("\\n", "\n").splitlines() if "import " in line]
    ours = {line.split()[1] for line in imports if line.startswith("from synth")}
    assert ours and ours <= {f"synth.sandbox.{name}" for name in launcher.INSIDE}


HONEST = '''
from __future__ import annotations

import base64, binascii, bisect, calendar, collections, collections.abc, decimal, fractions, functools, hashlib
import heapq, html, itertools, json, math, operator, re, statistics, string, textwrap, unicodedata, uuid, zlib
import datetime as dt
from collections import Counter, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

Point = namedtuple("Point", ["x", "y"])
TEMPLATES = ["{name} met {other:>8} at {place!r}", "Dear {name},\\n{{not a field}} {0}"]


class Row(NamedTuple):
    key: str
    value: int = 0


@dataclass(order=True)
class Person:
    name: str
    age: int = 3
    tags: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.name} ({self.age})"


@dataclass
class Worker(Person):
    job: str = "smith"


class Machine:
    """Keeps private state, as honest classes do."""

    def __init__(self, rng):
        self._rng = rng
        self._count = 0

    def _step(self):
        self._count += 1
        return self._rng.randint(1, 6)

    def __iter__(self):
        while self._count < 5:
            yield self._step()


@functools.lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def g(rng, target_tokens):
    """Uses a bit of everything."""
    parts = []
    counts = Counter(rng.choices("abc", k=20))
    groups = defaultdict(list)
    for number in itertools.islice(itertools.count(), 5):
        groups[number % 2].append(number)
    queue = deque([1, 2, 3], maxlen=2)
    when = dt.datetime(2020, 1, 1) + dt.timedelta(days=rng.randint(0, 999), seconds=1)
    parts.append(f"{when:%Y-%m-%d %H:%M} {when.strftime('%A')} {dt.datetime.strptime('2024-02-03', '%Y-%m-%d').date()}")
    parts.append(rng.choice(TEMPLATES).format(5, name="Ann", other="Bob", place="home"))
    parts.append("{:.2f} {x[0]} {y.real}".format(math.pi, x=[7], y=3) + "%05d" % 42)
    parts.append(str([*sorted(counts.items()), dict(groups), list(queue), Point(1, 2)._replace(x=9), Row("k")]))
    parts.append(f"{Worker('Zoe', tags=['t'])} {Person('Al') < Person('Bo')} {Person('Cy').label}")
    parts.append(str(list(Machine(rng))) + str(fib(30)))
    parts.append(str(uuid.UUID(int=rng.getrandbits(128))))
    parts.append(hashlib.sha256(b"x").hexdigest() + hashlib.md5(b"y").hexdigest())
    parts.append(base64.b64encode(zlib.compress(b"aaa")).decode("ascii") + binascii.hexlify(b"z").decode())
    parts.append(json.dumps({"a": [1, None, 2.5]}, indent=1) + str(json.loads("[1]")))
    parts.append(re.sub(r"(\\w)\\1", lambda m: m.group(1).upper(), "aabbc") + textwrap.fill("w " * 30, 20))
    parts.append(html.escape("<&>") + string.ascii_letters + string.Template("$x").substitute(x=1))
    parts.append(str(decimal.Decimal("1.10") + 1) + str(fractions.Fraction(1, 3)) + str(statistics.median([1, 2, 9])))
    parts.append(str(heapq.nsmallest(2, [3, 1, 2])) + str(bisect.bisect([1, 3], 2)) + calendar.month_name[2])
    parts.append(str(sorted([("b", 1), ("a", 2)], key=operator.itemgetter(1))) + unicodedata.name("é"))
    parts.append("\\N{BULLET} é 漢字 😀" + "é".encode("latin-1").decode("cp1252") + str(type(3) is int))
    match target_tokens:
        case int(n) if n > 5:
            parts.append(f"{n = }")
        case {"a": _, **rest}:
            parts.append("never")
        case _:
            parts.append("few")
    if (total := sum(x ** 2 for x in range(4))) and isinstance(parts, collections.abc.Sequence):
        parts.append(f"{total:,} {'yes' if total else 'no'!r:>6}")
    print("this goes nowhere")
    try:
        {}["missing"]
    except KeyError as error:
        parts.append(f"no {error}")
    squares = {n: n * n for n in {1, 2, 3}}
    return "\\n".join(parts + [str(squares)])


if __name__ == "__main__":
    print(g(None, 1))
'''


def test_honest_code_passes_the_policy_and_runs_alike_in_every_process_and_order() -> None:
    assert check_source(HONEST, "g") == []
    calls: list[tuple[str | int, int]] = [(f"seed/{n}", n) for n in range(8)] + [
        (7, 3),
        (8, 3),
        (1 << 80, 3),
    ]
    runs = []
    for layers, order in ((LAYERS, 1), (LAYERS, -1), (("seccomp",), 1)):
        with Sandbox(limits(), layers=layers).load(HONEST, "g") as generator:
            runs.append(list(generator.texts(calls[::order]))[::order])
    assert runs[0] == runs[1] == runs[2] and len(set(runs[0])) == len(calls)
    assert "😀" in runs[0][0] and "2024-02-03" in runs[0][0] and "no 'missing'" in runs[0][0]


def test_the_seed_alone_decides_as_in_a_plain_random() -> None:
    from random import Random

    with Sandbox(limits()).load("def g(rng, target_tokens):\n    return str(rng.random())", "g") as generator:
        seeds: list[str | int] = ["a", "1", 1, 0, -5, "é"]
        assert list(generator.texts([(s, 1) for s in seeds])) == [str(Random(s).random()) for s in seeds]


def test_the_layers_that_are_named_are_those_that_hold() -> None:
    found = active_layers()
    assert [layer.name for layer in found] == list(LAYERS)
    assert all(layer.detail for layer in found)
    assert [layer.name for layer in Sandbox().layers] == list(LAYERS)
    if sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64"):
        assert set(Sandbox().shut) == set(NEEDED)


def test_where_nothing_is_locked_it_refuses_and_says_what_is_open_and_how_to_mend_it() -> None:
    with pytest.raises(CuratorError) as caught:
        Sandbox(layers=())
    for words in (
        "files, network, processes, memory would stay open",
        "seccomp",
        "--unsafe-sandbox",
        "synth doctor",
    ):
        assert words in str(caught.value)
    with Sandbox(layers=(), unsafe=True).load(
        "def g(rng, target_tokens):\n    return 'ran'", "g"
    ) as generator:
        assert list(generator.texts([(1, 1)])) == ["ran"]


def test_a_lock_that_claims_to_be_on_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is taken away and the locks still say they hold."""
    text = program().replace("self.held[name] = True, lock()", "self.held[name] = True, str(1)")
    assert text != program()
    monkeypatch.setattr(launcher, "program", lambda: text)
    probe.cache_clear()
    try:
        assert all(layer.active for layer in probe(ALL_BUT_BUBBLEWRAP)[0])
        with pytest.raises(CuratorError, match="files, network, processes, memory would stay open"):
            Sandbox(layers=ALL_BUT_BUBBLEWRAP)
    finally:
        probe.cache_clear()


@pytest.mark.parametrize("missing", ["_ctypes", "resource"])
def test_a_python_without_what_the_locks_need_is_refused(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    text = program().replace("import sys\n", f"import sys\nsys.modules[{missing!r}] = None\n", 1)
    monkeypatch.setattr(launcher, "program", lambda: text)
    probe.cache_clear()
    try:
        with pytest.raises(CuratorError, match="would stay open"):
            Sandbox(layers=ALL_BUT_BUBBLEWRAP)
    finally:
        probe.cache_clear()


def test_what_could_be_shut_at_first_but_not_for_this_process_stops_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = Sandbox(limits())
    text = program().replace("self.held[name] = True, lock()", "self.held[name] = True, str(1)")
    monkeypatch.setattr(launcher, "program", lambda: text)
    door._names = ["seccomp"]
    with (
        pytest.raises(CuratorError, match="could not be shut in this time: files, network"),
        door.load("def g(rng, target_tokens):\n    return 'ran'", "g"),
    ):
        pass


def test_bubblewrap_that_does_not_work_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'no namespaces for you' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    launcher.bubblewrap_works.cache_clear()
    probe.cache_clear()
    try:
        first = Sandbox().layers[0]
        assert first == Layer("bubblewrap", False, "a trial run failed: no namespaces for you")
    finally:
        launcher.bubblewrap_works.cache_clear()
        probe.cache_clear()


ALONE = {
    "base64": ["base64.a85decode(base64.a85encode(b'ab'))", "base64.b32hexdecode(base64.b32hexencode(b'a'))"],
    "binascii": ["binascii.crc32(b'a')"],
    "calendar": [
        "calendar.month_name[2] + calendar.day_abbr[1]",
        "calendar.TextCalendar().formatyear(2024)",
        "calendar.HTMLCalendar().formatyearpage(2024)",
        "calendar.timegm((2024, 1, 1, 0, 0, 0))",
    ],
    "collections": [
        "collections.Counter('aab').most_common(1)",
        "collections.UserDict(a=1).copy()",
        "collections.ChainMap({}, {'a': 1}).copy()",
        "collections.namedtuple('P', 'x y')(1, 2)._replace(x=3)",
        "collections.UserString('a').encode()",
    ],
    "datetime": [
        "datetime.date(2024, 1, 1).strftime('%A %j') + str(datetime.date(2024, 1, 1).timetuple())",
        "datetime.datetime.strptime('3 Feb 2021', '%d %b %Y').ctime()",
        "datetime.datetime.fromisoformat('2024-01-01T00:00:00+02:00')",
    ],
    "decimal": [
        "format(decimal.Decimal('1234.5'), ',.3f') + str(decimal.Decimal(2).sqrt().as_integer_ratio())"
    ],
    "fractions": [
        "fractions.Fraction('0.25').limit_denominator(3)",
        "fractions.Fraction.from_float(0.5) + fractions.Fraction(0.1)",
    ],
    "functools": ["functools.reduce(max, [1, 2]), functools.partial(int, base=2)('10')"],
    "hashlib": [
        "hashlib.new('sha256', b'a').hexdigest(), hashlib.blake2b(b'a').hexdigest()",
        "hashlib.sha3_256(b'')",
    ],
    "heapq": ["list(heapq.merge([1], [2], key=str)), heapq.nlargest(2, [1, 2, 3], key=str)"],
    "html": ["html.unescape('&eacute;&#65;') + html.escape('<')"],
    "itertools": ["list(itertools.accumulate([1, 2])), list(itertools.zip_longest('a', 'bc'))"],
    "json": ["json.dumps({'a': [1.5, None]}, indent=1, sort_keys=True), json.loads('{\"a\": [NaN, 1e9]}')"],
    "math": ["math.comb(5, 2), math.dist([1], [2]), math.isqrt(10 ** 400)"],
    "operator": ["operator.itemgetter(1, 0)([1, 2]), operator.countOf([1], 1)"],
    "re": [
        "re.split('(?x) , # a', 'a,b'), re.escape('a.b'), re.fullmatch('a|b', 'a', re.I)",
        "re.sub('(?P<a>.)', '\\\\g<a>x', 'ab'), re.sub('a', 'b', 'aa', 1)",
        "re.findall('[[a]', '[')",
    ],
    "statistics": [
        "statistics.quantiles([1, 2, 3]), statistics.NormalDist(0, 1).inv_cdf(0.3), statistics.fmean([1, 2])",
        "statistics.NormalDist(0, 1).samples(2, seed=1), statistics.mode('aab'), statistics.multimode('ab')",
        "statistics.stdev([1, 2, 4]), statistics.median_grouped([1, 2]), statistics.harmonic_mean([1, 2])",
        "statistics.linear_regression([1, 2], [2, 4]), statistics.correlation([1, 2], [2, 4])",
    ],
    "string": ["string.Template('$a').safe_substitute(), string.capwords('a b')"],
    "textwrap": [
        "textwrap.shorten('a b c' * 9, 14), textwrap.dedent(' a'), textwrap.indent('a', '-'), textwrap.fill('a b', 1)"
    ],
    "unicodedata": ["unicodedata.normalize('NFKD', 'é'), unicodedata.lookup('BULLET')"],
    "uuid": [
        "uuid.uuid5(uuid.NAMESPACE_DNS, 'a'), uuid.uuid3(uuid.NAMESPACE_URL, 'b'), uuid.UUID(int=1).urn"
    ],
    "zlib": ["zlib.decompress(zlib.compress(b'a')), zlib.crc32(b'a')"],
    "": [
        "'é'.casefold().encode('ascii', 'xmlcharrefreplace'), 'é'.encode('ascii', 'namereplace')",
        "format(1234567.5, ',.2f'), f'{10 ** 3000:,}', 7 ** 4000 // 3 ** 1000, int('9' * 4000) % 7",
    ],
    "rng": [
        "rng.choices('ab', [1, 2], k=2), rng.sample('abc', 2), rng.gauss(0, 1), rng.triangular(), rng.randbytes(3)"
    ],
}


@pytest.mark.parametrize("module", ALONE)
def test_what_python_imports_late_is_there(module: str) -> None:
    """Each module imported alone: what one of them brings another could find by chance."""
    failed = {}
    for expression in ALONE[module]:
        alone = f"import {module}\n" if module not in ("", "rng") else ""
        source = f"{alone}\ndef g(rng, target_tokens):\n    return str(({expression}))\n"
        assert check_source(source, "g") == [], expression
        try:
            with Sandbox(limits()).load(source, "g") as generator:
                list(generator.texts([(1, 1)]))
        except Failure as failure:
            failed[expression] = str(failure)
    assert failed == {}
