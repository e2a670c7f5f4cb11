"""A GPT-NeoX data set out of rows: ``.bin`` and ``.idx``, a document per row (`curator.corpus.megatron`)."""

from pathlib import Path

import numpy as np

from curator.artifacts.files import new_file
from curator.corpus.megatron import DTYPES, HEADER, MAGIC

UINT16 = next(code for code, dtype in DTYPES.items() if dtype == "<u2")


def write_data_set(prefix: Path, rows: np.ndarray) -> None:
    """Write ``rows`` [n, width] uint16; the ``.idx`` last, so that where it stands both are whole."""
    n, width = rows.shape
    pointers = np.arange(n, dtype="<i8") * width * 2
    index = [
        HEADER.pack(MAGIC, 1, UINT16, n, n + 1),
        np.full(n, width, "<i4").tobytes(),
        pointers.tobytes(),
        np.arange(n + 1, dtype="<i8").tobytes(),
    ]
    for suffix, content in ((".bin", rows.astype("<u2").tobytes()), (".idx", b"".join(index))):
        with new_file(prefix.with_name(prefix.name + suffix)) as file:
            file.write_bytes(content)
