"""Rows of the kinds of text that a pre-training corpus holds, made of what a machine has; nothing of it is kept here.

Eight kinds in equal shares: prose (WikiText-2 where it lies beside the checkout or in WIKITEXT, else documentation of
the standard library), Python, JSON, XML, HTML, C headers, CSV and logs. Files of each kind are taken in seeded order
from the usual places, at most `MOST_OF_A_FILE` rows of each; what is missing is written from tables of the standard
library (CSV, JSON, XML, HTML) or invented (logs). Scores are the share of tokens that could be copied, so that
repetitive rows are on top: a ranking that needs no model.
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
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from curator.corpus import open_corpus
from curator.ranking import FORMAT, SIGN, Ranking
from curator.storage import save_array, save_json
from synth.token_statistics import copyable_share

KINDS = ("prose", "python", "json", "xml", "html", "c", "csv", "log")
MOST_OF_A_FILE = 8
"""Rows that one file gives."""
ROWS = 5528
WIDTH = 257
VOCABULARY = 8192
UNIT = "induction:0.0"
BESIDE = Path(__file__).parents[2] / "shared" / "data"
"""Where test data of a checkout may lie: never part of it."""
_SUFFIX = {
    "python": ".py",
    "json": ".json",
    "xml": ".xml",
    "html": ".html",
    "c": ".h",
    "csv": ".csv",
    "log": ".log",
}


@dataclass(frozen=True, eq=False)
class Natural:
    """``rows`` [n, width] in seeded order, the kind of each, and the tokenizer."""

    rows: np.ndarray
    kinds: list[str]
    tokenizer: Tokenizer

    def ranking(self, folder: Path) -> Ranking:
        """``folder/rows.npy``, ``folder/tokenizer.json`` and ``folder/ranking``: half of the rows score above 0."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "rows.npy", self.rows)
        self.tokenizer.save(str(folder / "tokenizer.json"))
        copied = copyable_share(self.rows)
        scores = (copied - np.median(copied)).astype(np.float32)
        out = folder / "ranking"
        save_array(out / "scores.npy", scores[None])
        save_array(out / "blocks.npy", scores[None])
        save_array(out / "losses.npy", ((1.2 - copied) * self.rows.shape[1]).astype(np.float32))
        save_json(
            out / "manifest.json",
            {
                "format": FORMAT,
                "status": "complete",
                "sign_convention": SIGN,
                "samples": [0, len(self.rows)],
                "units": [UNIT],
                "blocks": [f"{UNIT}/qk"],
                "settings": {},
                "fingerprints": {"corpus": open_corpus(folder / "rows.npy").fingerprint()},
                "layout": {},
                "request": {"corpus": str(folder / "rows.npy"), "model": str(folder)},
            },
        )
        return Ranking.open(out)


def natural(rows: int = ROWS, width: int = WIDTH, tokenizer: Path | None = None, seed: int = 0) -> Natural:
    """The corpus; ``tokenizer``: a tokenizer.json, else a byte-level BPE of `VOCABULARY` entries is trained on it."""
    each = -(-rows // len(KINDS))
    texts = {kind: list(_enough(kind, each, width, seed)) for kind in KINDS}
    known = (
        Tokenizer.from_file(str(tokenizer))
        if tokenizer
        else _train([t for k in KINDS for t in texts[k]], seed)
    )
    made: list[np.ndarray] = []
    kinds: list[str] = []
    for kind in KINDS:
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        own: list[np.ndarray] = []
        for encoding in known.encode_batch(texts[kind], add_special_tokens=False):
            ids = np.array(encoding.ids)
            whole = len(ids) // width
            if whole:
                start = int(rng.integers(0, len(ids) - whole * width + 1))
                cut = ids[start : start + whole * width].reshape(whole, width)
                own += list(cut[np.sort(rng.permutation(whole)[:MOST_OF_A_FILE])])
        made += own[:each]
        kinds += [kind] * len(own[:each])
    order = np.random.default_rng(seed).permutation(len(made))[:rows]
    array = np.stack([made[k] for k in order])
    array = array.astype(np.uint16 if array.max() < 1 << 16 else np.uint32)
    return Natural(array, [kinds[k] for k in order], known)


def _enough(kind: str, rows: int, width: int, seed: int) -> Iterator[str]:
    """Texts that should give ``rows`` rows: about 3 characters a token, and half as much again."""
    wanted, longest = rows * width * 3 * 1.5, MOST_OF_A_FILE * width * 5
    rng = random.Random(f"{seed}/{kind}")
    for number, text in enumerate(_texts(kind, rng)):
        start = rng.randrange(max(1, len(text) - longest))
        cut = text[start : start + longest]
        if len(cut) < 2 * width:
            continue
        yield cut
        wanted -= len(cut)
        if wanted <= 0 or number > 20_000:
            return


def _texts(kind: str, rng: random.Random) -> Iterator[str]:
    if kind == "prose":
        yield from _prose(rng)
        return
    files = [path for root in _roots(kind) for path in _walk(root, _SUFFIX[kind])]
    rng.shuffle(files)
    made = _MADE.get(kind)
    share = 0.5 if kind in ("csv", "log") else 0.0  # few machines have many of them, and those are much alike
    number = 0
    while True:
        if files and rng.random() >= share:
            try:
                yield files.pop().read_bytes().decode("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
        elif made is not None:
            number += 1
            yield made(random.Random(f"{kind}/{number}"))
        else:
            return


def _roots(kind: str) -> list[Path]:
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    if kind == "python":
        return [library, packages]
    if kind == "c":
        return [Path(sysconfig.get_path("include")), Path("/usr/include")]
    if kind == "log":
        return [Path("/var/log")]
    return [packages, Path("/usr/share"), Path("/usr/lib/node_modules")]


def _walk(root: Path, suffix: str) -> list[Path]:
    found = []
    for place, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            if (
                name.endswith(suffix)
                and path.is_file()
                and not path.is_symlink()
                and os.access(path, os.R_OK)
            ):
                found.append(path)
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
    files = _walk(Path(sysconfig.get_path("stdlib")), ".py")
    rng.shuffle(files)
    for file in files:
        pieces = file.read_text(encoding="utf-8", errors="replace").split('"""')[1::2]
        yield "\n\n".join(piece for piece in pieces if len(piece) > 200)


def _train(texts: list[str], seed: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=alphabet,
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    order = np.random.default_rng(seed).permutation(len(texts))
    tokenizer.train_from_iterator((texts[k] for k in order), trainer)
    return tokenizer


# -- tables of the standard library, and logs that nobody wrote ----------------------------------------------------


def _table(rng: random.Random) -> tuple[list[str], list[list[str]]]:
    """Column names, and rows in the order that such a table has."""
    which = rng.randrange(4)
    if which == 0:
        first = rng.choice([0x41, 0xC0, 0x391, 0x410, 0x2190, 0x2200, 0x2500, 0x4E00, 0x1F300])
        points = [p for p in range(first, first + 400) if unicodedata.name(chr(p), "")]
        return ["code", "category", "name", "bidirectional"], [
            [
                f"U+{p:04X}",
                unicodedata.category(chr(p)),
                unicodedata.name(chr(p)),
                unicodedata.bidirectional(chr(p)),
            ]
            for p in points
        ]
    if which == 1:
        known = sorted(html.entities.html5.items())
        start = rng.randrange(len(known) - 200)
        return ["entity", "characters", "code"], [
            [name, text, " ".join(f"{ord(c):04x}" for c in text)] for name, text in known[start : start + 200]
        ]
    if which == 2:
        suffixes = sorted(mimetypes.types_map.items())
        return ["suffix", "type", "subtype"], [[s, *t.split("/", 1)] for s, t in suffixes if "/" in t]
    statuses = list(HTTPStatus)
    return ["day", "status", "phrase", "count", "mean_ms"], [
        [f"2026-{rng.randint(1, 12):02d}-{d % 28 + 1:02d}", str(s.value), s.phrase, str(rng.randrange(10_000)),
         f"{rng.expovariate(0.01):.2f}"]
        for d in range(40)
        for s in rng.sample(statuses, 5)
    ]  # fmt: skip


def _made_csv(rng: random.Random) -> str:
    names, rows = _table(rng)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=rng.choice(",,;\t"), lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()


def _made_json(rng: random.Random) -> str:
    names, rows = _table(rng)
    return json.dumps([dict(zip(names, row)) for row in rows], indent=rng.choice([None, 1, 2, 4]))


def _made_xml(rng: random.Random) -> str:
    names, rows = _table(rng)
    cells = ["".join(f"    <{name}>{value}</{name}>\n" for name, value in zip(names, row)) for row in rows]
    return "<table>\n" + "".join(f"  <row>\n{cell}  </row>\n" for cell in cells) + "</table>\n"


def _made_html(rng: random.Random) -> str:
    names, rows = _table(rng)
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "\n".join("<tr>" + "".join(f"<td>{value}</td>" for value in row) + "</tr>" for row in rows)
    return f'<html>\n<body>\n<table class="wide">\n<tr>{head}</tr>\n{body}\n</table>\n</body>\n</html>\n'


def _made_log(rng: random.Random) -> str:
    which = rng.randrange(3)
    second = rng.randrange(10**9, 2 * 10**9)
    hosts = [
        f"10.{rng.randrange(8)}.{rng.randrange(256)}.{rng.randrange(256)}" for _ in range(rng.randint(2, 12))
    ]
    words = [
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
    ]
    paths = [
        f"/{rng.choice(words)}/{rng.choice(words)}/{rng.randrange(300)}" for _ in range(rng.randint(3, 20))
    ]
    lines = []
    for _ in range(400):
        second += int(rng.expovariate(0.3))
        clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        if which == 0:
            lines.append(
                f'{rng.choice(hosts)} - - [{second // 86400 % 28 + 1:02d}/Nov/2026:{clock} +0000] "{rng.choice(["GET", "GET", "POST"])} '
                f'{rng.choice(paths)} HTTP/1.1" {rng.choice([200, 200, 200, 304, 404, 500])} {rng.randrange(20_000)} "-" "curl/8.5.0"'
            )
        elif which == 1:
            unit = rng.choice(words)
            lines.append(
                f"Nov {second // 86400 % 28 + 1:2d} {clock} node-{rng.randrange(4)} {unit}d[{rng.randrange(900, 1100)}]: "
                + rng.choice(
                    [f"session opened for user {unit} by (uid=0)", f"session closed for user {unit}",
                     f"connection from {rng.choice(hosts)} port {rng.randrange(30_000, 60_000)}"]
                )
            )  # fmt: skip
        else:
            lines.append(
                f"2026-11-{second // 86400 % 28 + 1:02d} {clock},{rng.randrange(1000):03d} "
                f"{rng.choice(['INFO', 'INFO', 'DEBUG', 'WARNING'])} worker-{rng.randrange(8)} {rng.choice(words)}: "
                f"request id={rng.getrandbits(48):012x} path={rng.choice(paths)} took {rng.expovariate(0.05):.1f} ms"
            )
    return "\n".join(lines) + "\n"


_MADE = {"csv": _made_csv, "json": _made_json, "xml": _made_xml, "html": _made_html, "log": _made_log}
