"""Texts of eight kinds, from where machines keep them, in seeded order; what is missing is written or invented.

Prose is WikiText-2 where it lies beside the checkout (``../shared/data/wikitext-2``) or in WIKITEXT, else the standard
library's documentation. CSV, JSON, XML and HTML are also written from tables of the standard library, and logs are
invented, since few machines have many of them.
"""

import csv
import html.entities
import io
import json
import mimetypes
import os
import random
import sysconfig
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from http import HTTPStatus
from pathlib import Path

KINDS = ("prose", "python", "json", "xml", "html", "c", "csv", "log")
BESIDE = Path(__file__).parents[2] / "shared" / "data"
"""Where test data of a checkout may lie: never part of it."""
WRITTEN = 300
"""Texts that are written of a kind, at most."""
SUFFIX = {
    "python": ".py", "json": ".json", "xml": ".xml", "html": ".html", "c": ".h", "csv": ".csv", "log": ".log"
}  # fmt: skip
SUFFIXES = frozenset(SUFFIX.values())


def texts_of(kind: str, seed: int) -> Iterator[str]:
    """Texts of a kind until there are no more."""
    rng = random.Random(f"{seed}/{kind}")
    if kind == "prose":
        yield from _prose(rng)
        return
    files = [path for root in _roots(kind) for path in _walk(root).get(SUFFIX[kind], [])]
    rng.shuffle(files)
    write = _WRITTEN.get(kind)
    left = WRITTEN if write is not None else 0
    mixed = kind in ("csv", "log")  # those that machines have are few, and much alike
    while files or left:
        if files and not (mixed and left and rng.random() < 0.5):
            try:
                yield files.pop().read_bytes().decode("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
        elif write is not None:
            left -= 1
            yield write(random.Random(f"{kind}/{left}"))


def _roots(kind: str) -> list[Path]:
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    if kind == "python":
        return [library, packages]
    if kind == "c":
        return [Path(sysconfig.get_path("include")), Path("/usr/include")]
    if kind == "log":
        return [Path("/var/log")]
    return [packages, Path("/usr/share"), Path("/usr/lib/node_modules")]


@cache
def _walk(root: Path) -> dict[str, list[Path]]:
    """The readable files below ``root`` by suffix, sorted."""
    found: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if (
                path.suffix in SUFFIXES
                and path.is_file()
                and not path.is_symlink()
                and os.access(path, os.R_OK)
            ):
                found.setdefault(path.suffix, []).append(path)
    return found


def _prose(rng: random.Random) -> Iterator[str]:
    given = [Path(os.environ["WIKITEXT"])] if os.environ.get("WIKITEXT") else []
    for folder in [*given, BESIDE / "wikitext-2"]:
        files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        if files:
            text = "\n".join(file.read_text(encoding="utf-8") for file in files)
            articles = ["\n = " + part for part in text.split("\n = ") if len(part) > 400]
            rng.shuffle(articles)
            yield from articles
            return
    files = list(_walk(Path(sysconfig.get_path("stdlib")))[".py"])
    rng.shuffle(files)
    for file in files:
        pieces = file.read_text(encoding="utf-8", errors="replace").split('"""')[1::2]
        yield "\n\n".join(piece for piece in pieces if len(piece) > 200)


def _table(rng: random.Random) -> tuple[list[str], list[list[str]]]:
    """Column names, and rows in the order that such a table has."""
    which = rng.randrange(4)
    if which == 0:
        first = rng.choice([0x41, 0xC0, 0x391, 0x410, 0x2190, 0x2200, 0x2500, 0x4E00, 0x1F300])
        known = [chr(p) for p in range(first, first + 400) if unicodedata.name(chr(p), "")]
        return ["code", "category", "name", "bidirectional"], [
            [f"U+{ord(c):04X}", unicodedata.category(c), unicodedata.name(c), unicodedata.bidirectional(c)]
            for c in known
        ]
    if which == 1:
        entities = sorted(html.entities.html5.items())
        start = rng.randrange(len(entities) - 200)
        return ["entity", "characters", "code"], [
            [name, text, " ".join(f"{ord(c):04x}" for c in text)]
            for name, text in entities[start : start + 200]
        ]
    if which == 2:
        types = sorted(mimetypes.types_map.items())
        return ["suffix", "type", "subtype"], [[s, *t.split("/", 1)] for s, t in types if "/" in t]
    days = [f"2026-{rng.randint(1, 12):02d}-{d % 28 + 1:02d}" for d in range(40)]
    return ["day", "status", "phrase", "count", "mean_ms"], [
        [day, str(one.value), one.phrase, str(rng.randrange(10_000)), f"{rng.expovariate(0.01):.2f}"]
        for day in days
        for one in rng.sample(list(HTTPStatus), 5)
    ]


def _write_csv(rng: random.Random) -> str:
    names, rows = _table(rng)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=rng.choice(",,;\t"), lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()


def _write_json(rng: random.Random) -> str:
    names, rows = _table(rng)
    return json.dumps([dict(zip(names, row)) for row in rows], indent=rng.choice([None, 1, 2, 4]))


def _write_xml(rng: random.Random) -> str:
    names, rows = _table(rng)
    cells = ["".join(f"    <{name}>{cell}</{name}>\n" for name, cell in zip(names, row)) for row in rows]
    return "<table>\n" + "".join(f"  <row>\n{cell}  </row>\n" for cell in cells) + "</table>\n"


def _write_html(rng: random.Random) -> str:
    names, rows = _table(rng)
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<html>\n<body>\n<table class="wide">\n<tr>{head}</tr>\n{body}\n</table>\n</body>\n</html>\n'


WORDS = (
    "auth",
    "billing",
    "cache",
    "cart",
    "index",
    "mail",
    "media",
    "queue",
    "search",
    "session",
    "store",
    "user",
)


def _write_log(rng: random.Random) -> str:
    """One of three kinds of log, with hosts and paths of its own that come back."""
    line = rng.choice([_access, _system, _worker])
    hosts = [
        f"10.{rng.randrange(8)}.{rng.randrange(256)}.{rng.randrange(256)}" for _ in range(rng.randint(2, 12))
    ]
    paths = [
        f"/{rng.choice(WORDS)}/{rng.choice(WORDS)}/{rng.randrange(300)}" for _ in range(rng.randint(3, 20))
    ]
    second, lines = rng.randrange(10**9, 2 * 10**9), []
    for _ in range(400):
        second += int(rng.expovariate(0.3))
        clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        lines.append(line(rng, second // 86400 % 28 + 1, clock, rng.choice(hosts), rng.choice(paths)))
    return "\n".join(lines) + "\n"


def _access(rng: random.Random, day: int, clock: str, host: str, path: str) -> str:
    method, status = rng.choice(["GET", "GET", "POST"]), rng.choice([200, 200, 200, 304, 404, 500])
    request = f'"{method} {path} HTTP/1.1" {status} {rng.randrange(20_000)}'
    return f'{host} - - [{day:02d}/Nov/2026:{clock} +0000] {request} "-" "curl/8.5.0"'


def _system(rng: random.Random, day: int, clock: str, host: str, path: str) -> str:
    unit = rng.choice(WORDS)
    said = rng.choice(
        [
            f"session opened for user {unit} by (uid=0)",
            f"session closed for user {unit}",
            f"connection from {host} port {rng.randrange(30_000, 60_000)}",
        ]
    )
    return f"Nov {day:2d} {clock} node-{rng.randrange(4)} {unit}d[{rng.randrange(900, 1100)}]: {said}"


def _worker(rng: random.Random, day: int, clock: str, host: str, path: str) -> str:
    level = rng.choice(["INFO", "INFO", "DEBUG", "WARNING"])
    where = f"2026-11-{day:02d} {clock},{rng.randrange(1000):03d} {level} worker-{rng.randrange(8)}"
    took = f"took {rng.expovariate(0.05):.1f} ms"
    return f"{where} {rng.choice(WORDS)}: request id={rng.getrandbits(48):012x} path={path} {took}"


_WRITTEN: dict[str, Callable[[random.Random], str]] = {
    "csv": _write_csv,
    "json": _write_json,
    "xml": _write_xml,
    "html": _write_html,
    "log": _write_log,
}
