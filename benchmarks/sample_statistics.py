"""Seconds per million tokens of every statistic that asks no model, and as a ratio against a plain pass of reading.

The plain pass is what reads each token once: its rows from the memory map, and their sum. Passes are interleaved, and
medians compared, so that a machine that slows down slows all of them. The rows are of natural text, as `curator corpus
build` makes them (ids below 512), cut to two widths; a vocabulary of 50,304 is the same text with each id moved by a
multiple of 512 that its row draws, which leaves what a row repeats as it is.

    python benchmarks/sample_statistics.py --million 4
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curator.corpus import embedded, open_corpus
from curator.statistics.compression import Compression
from curator.statistics.copyable import Copyable
from curator.statistics.length import Length
from curator.statistics.settings import StatisticsSettings
from curator.statistics.stage import statistics as run

WIDTHS = (129, 2049)
