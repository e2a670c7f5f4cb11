"""Seconds per million tokens of every statistic that asks no model, and as a ratio against a plain pass of reading.

The plain pass is what reads every token once: the rows of a memory map, and their sum. Passes are interleaved and
medians compared, so that a machine that slows down slows all of them. Rows are the text of the standard library, in a
byte-level BPE that is trained on it, at the width of the small models here and at Pythia's. *peak* is what one pass
adds to the memory at its highest point, the rows themselves left out. Then the codecs that `compression` does not use:
their time, the ratio of bytes, and Spearman's correlation with its scores.

    OMP_NUM_THREADS=1 python benchmarks/sample_statistics.py
"""

import argparse
import bz2
import lzma
import platform
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curator.corpus.library import library_files, library_folder, read_texts, train_tokenizer
from curator.ranking.candidates import average_ranks
from curator.statistics.compression import Compression
from curator.statistics.copyable import Copyable
from curator.statistics.length import Length
from curator.statistics.settings import StatisticsSettings
from curator.statistics.stage import statistics as tell


def tokens_of_the_library(count: int, vocabulary: int) -> np.ndarray:
    """``count`` tokens [count] uint16 of its files in their order, begun again where they end."""
    folder = library_folder()
    names = library_files(folder)
    tokenizer = train_tokenizer(folder, names, vocabulary)
    found: list[int] = []
    for text in read_texts(folder, names):
        found += tokenizer.encode(text).ids
        if len(found) >= count:
            break
    return np.resize(np.array(found, np.uint16), count)


def passes_over(file: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """Name -> a pass over the rows in ``file``; the last one is the whole command, checks, files and all."""
    rows = np.load(file, mmap_mode="r")
    outs = iter(range(10**9))

    def command() -> None:
        tell(StatisticsSettings(corpus=file, padding=0, out=folder / f"statistics-{next(outs)}"))

    of_rows = {"copyable": Copyable(), "compression": Compression(int(rows.max())), "length": Length({0})}
    found: dict[str, Callable[[], object]] = {"plain": lambda: int(rows.sum(dtype=np.int64))}
    for name, one in of_rows.items():
        found[name] = lambda one=one: one(rows)  # type: ignore[misc]
    return {**found, "command": command}


def measure(passes: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each pass, interleaved; a first round is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(rounds + 1):
        for name, run in passes.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def peak_mib(run: Callable[[], object]) -> float:
    """What one pass allocates at its highest point."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def other_codecs(rows: np.ndarray) -> None:
    """Print what LZMA (raw, a dictionary of 64 KiB) and bzip2 make of the rows."""
    ours = Compression(int(rows.max()))
    scores = ours(rows)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 16}]
    codecs: dict[str, Callable[[bytes], bytes]] = {
        "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters),
        "bzip2": bz2.compress,
    }
    raw = [row.tobytes() for row in rows.astype(f"<u{ours.token_bytes}")]
    print(f"{'codec':<14}{'s/million tokens':>18}{'mean ratio':>14}{'spearman':>10}")
    print(f"{'deflate':<14}{'':>18}{scores.mean():>14.3f}{1:>10.3f}")
    for name, compress in codecs.items():
        started = time.perf_counter()
        found = np.array([len(row) / len(compress(row)) for row in raw])
        seconds = (time.perf_counter() - started) / rows.size * 1e6
        ranks = np.corrcoef(average_ranks(found), average_ranks(scores))[0, 1]
        print(f"{name:<14}{seconds:>18.4f}{found.mean():>14.3f}{ranks:>10.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--million", type=float, default=2, help="tokens")
    parser.add_argument("--vocabulary", type=int, default=50304)
    parser.add_argument("--widths", type=int, nargs="+", default=[129, 2049])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    tokens = tokens_of_the_library(round(given.million * 1e6), given.vocabulary)
    print(
        f"{platform.machine()}, numpy {np.__version__}, {len(tokens):,} tokens of {len(np.unique(tokens)):,} ids"
    )
    for width in given.widths:
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "rows.npy"
            np.save(file, tokens[: len(tokens) // width * width].reshape(-1, width))
            passes = passes_over(file, Path(name))
            seconds = measure(passes, given.rounds)
            print(f"\nrows of {width} tokens, {given.rounds} rounds")
            print(f"{'pass':<14}{'s/million tokens':>18}{'plain passes':>14}{'peak MiB':>10}")
            for key, run in passes.items():
                each = statistics.median(seconds[key]) / len(tokens) * 1e6
                ratio = statistics.median(a / b for a, b in zip(seconds[key], seconds["plain"], strict=True))
                print(f"{key:<14}{each:>18.4f}{ratio:>14.0f}{peak_mib(run):>10.1f}")
            other_codecs(np.load(file))


if __name__ == "__main__":
    main()
