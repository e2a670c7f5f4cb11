"""How fast `synth render` makes rows, and where the time goes.

Five builtin generators (log lines, XML with base64, code, a table of numbers, words) make rows of 2049 tokens with a
given tokenizer, in a real run with worker processes and sandbox. Beside it, on one core and without the run around
them: the same generators alone through the sandbox, and a plain pass of the tokenizer over the same texts.

    python benchmarks/render.py --tokenizer 20B_tokenizer.json               5000 rows
    python benchmarks/render.py --tokenizer 20B_tokenizer.json --rows 100000
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import Tokenizer

from curator.artifacts.files import save_json, save_text
from curator.artifacts.fingerprints import fingerprint
from synth.generate.codegen import write_source
from synth.generate.generators import FORMAT, Generators
from synth.patterns.pattern import Pattern
from synth.render.fill import MARGIN
from synth.render.folder import Rows
from synth.render.run import render
from synth.render.settings import RenderSettings
from synth.sandbox import Sandbox

SAMPLE = 400
"""Texts of the passes on one core, per generator."""
WORDS = [
    "request",
    "session",
    "user",
    "cache",
    "index",
    "worker",
    "token",
    "buffer",
    "packet",
    "stream",
    "value",
    "table",
    "query",
    "result",
]


def field(name: str, kind: str, rules: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "values_or_rules": rules, **more}


PATTERNS: list[tuple[str, list[str], str, list[dict[str, Any]]]] = [
    (
        "Log lines",
        ["INFO worker-"],
        "[{hour}:{minute}] INFO worker-{number}: {words} done in {ms} ms\n",
        [
            field("hour", "number", "00-23"),
            field("minute", "number", "00-59"),
            field("number", "number", "1-99"),
            field("words", "fixed_list", WORDS, count=[2, 5], separator=" "),
            field("ms", "number", "1-9999"),
        ],
    ),
    (
        "XML with base64",
        ["<key>", "</key>", "<data>", "</data>"],
        "<key>ANSI{colour}Color</key>\n<data>\n{data}\n</data>\n",
        [
            field("colour", "fixed_list", ["Red", "Green", "Blue", "BrightCyan", "BrightBlack"]),
            field("data", "characters", "base64", count=[120, 260]),
        ],
    ),
    (
        "Code",
        ["public function ", "return $this->"],
        "    public function get{word}{word2}()\n    {{\n        return $this->{word}{word2};\n    }}\n\n",
        [field("word", "fixed_list", WORDS), field("word2", "fixed_list", [w.title() for w in WORDS])],
    ),
    (
        "Table",
        ["| "],
        "| {name} | {a} | {b} | {c} |\n",
        [
            field("name", "fixed_list", WORDS, scope="text"),
            field("a", "number", "0-9999"),
            field("b", "number", "0-9999"),
            field("c", "characters", "hex", count=[8, 8]),
        ],
    ),
    ("Words", ["The "], "The {text}. ", [field("text", "random_text", "a sentence of words", count=[5, 15])]),
]


def write_generators(folder: Path, tokenizer: Path, seq_length: int) -> Generators:
    """A folder as `synth generate --engine builtin` writes it, with characters per token and lengths measured."""
    known, sandbox, entries = Tokenizer.from_file(str(tokenizer)), Sandbox(), []
    for number, (name, anchors, template, fields) in enumerate(PATTERNS, 1):
        pattern = Pattern.from_json(
            {
                "pattern_id": f"p{number:03}",
                "pattern_name": name,
                "anchor_tokens": anchors,
                "fields": fields,
                "template": template,
                "length_control": "repeat",
            }
        )
        source = write_source(pattern)
        for draft in (True, False):
            with sandbox.load(source, pattern.function) as generator:
                texts = list(generator.texts([(f"measure/{k}", seq_length) for k in range(16)]))
            tokens = sum(len(e.ids) for e in known.encode_batch(texts, add_special_tokens=False))
            if draft:
                source = write_source(pattern, sum(map(len, texts)) / tokens)
        file = f"{pattern.pattern_id}.py"
        save_text(folder / file, source)
        entries.append(
            {
                "pattern": pattern.to_json(),
                "file": file,
                "fingerprint": fingerprint(source),
                "samples": 1,
                "checks": {"length_low": tokens / len(texts) / seq_length},
            }
        )
    manifest = {
        "format": FORMAT,
        "generators": entries,
        "set_aside": [],
        "tokenizer": str(tokenizer),
        "seq_length": seq_length,
    }
    save_json(folder / "manifest.json", manifest)
    return Generators.open(folder)


def one_core(generators: Generators, tokenizer: Path, width: int) -> None:
    """Generating alone, and a plain pass of the tokenizer over the same texts."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    known, sandbox = Tokenizer.from_file(str(tokenizer)), Sandbox()
    print(f"on one core, {SAMPLE} texts each:")
    print(f"{'generator':18} {'generate':>12} {'tokenise':>12} {'tokens/row':>11} {'bytes/token':>12}")
    for generator in generators.generators:
        asked = int(width * MARGIN / generator.length_low)
        with sandbox.load(generator.source, generator.function) as loaded:
            started = time.perf_counter()
            texts = list(loaded.texts([(f"0/{k}", asked) for k in range(SAMPLE)]))
            writing = time.perf_counter() - started
        started = time.perf_counter()
        tokens = 0
        for first in range(0, SAMPLE, 32):
            encoded = known.encode_batch_fast(texts[first : first + 32], add_special_tokens=False)
            tokens += sum(len(e.ids) for e in encoded)
        reading = time.perf_counter() - started
        size = sum(len(text.encode()) for text in texts) / tokens
        print(
            f"{generator.pattern.pattern_name:18} {SAMPLE / writing:8.0f} r/s {SAMPLE / reading:8.0f} r/s "
            f"{tokens / SAMPLE:11.0f} {size:12.2f}"
        )


def whole(generators: Generators, rows: int, workers: int, folder: Path) -> Rows:
    """A real run."""
    settings = RenderSettings(generators=generators.path, out=folder / "rows", count=rows, workers=workers)
    started = time.perf_counter()
    made = render(settings)
    seconds = time.perf_counter() - started
    size = (folder / "rows" / "data.ninja").stat().st_size
    rate, width = rows / seconds, made.corpus.row_width
    print(
        f"whole run: {rows} rows of {width} tokens in {seconds:.1f} s with {workers} workers: "
        f"{rate:.0f} rows/s, {rate * width / 1e6:.2f} million tokens/s, "
        f"{size / seconds / 1e6:.1f} MB/s of rows; 100000 rows take {100000 / rate / 60:.1f} minutes; "
        f"{made.manifest['duplicates']} duplicates"
    )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure synth render.")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seq-length", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder otherwise")
    args = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, tokenizers "
        f"{tokenizers.__version__}"
    )
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        generators = write_generators(Path(name) / "generators", args.tokenizer, args.seq_length)
        one_core(generators, args.tokenizer, args.seq_length + 1)
        whole(generators, args.rows, args.workers, Path(name))


if __name__ == "__main__":
    main()
