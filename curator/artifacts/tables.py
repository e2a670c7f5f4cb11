"""Tables on disk: Parquet, one column per name, with words about the whole beside the columns.

Other programs read it without us (pandas, polars, DuckDB, R). Refused: CSV, which knows no types, no missing values
and nothing beside its rows.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.artifacts.files import new_file
from curator.errors import CuratorError

ABOUT = b"curator"
"""Under which the words stand in the schema of a file, as JSON."""


def save_table(path: Path, columns: Mapping[str, Sequence[Any]], about: Mapping[str, Any]) -> None:
    """Write ``columns``, all of one length, None where nothing is known; ``about`` as JSON beside them."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({name: list(values) for name, values in columns.items()})
    words = {ABOUT: json.dumps(about, ensure_ascii=False).encode()}
    with new_file(path) as temporary:
        parquet.write_table(table.replace_schema_metadata(words), temporary, compression="zstd")


def load_table(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """(columns, about) of a file of `save_table`; of another program's, ``about`` is empty.

    Raises:
        CuratorError: there is none, or it is no Parquet.
    """
    import pyarrow
    from pyarrow import parquet

    if not path.is_file():
        raise CuratorError(f"{path}: no such table")
    try:
        table = parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise CuratorError(f"{path}: not a Parquet table ({error})") from error
    words = (table.schema.metadata or {}).get(ABOUT)
    return table.to_pydict(), json.loads(words) if words else {}
