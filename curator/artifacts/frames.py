"""Tables for a notebook, in pandas where that is installed; nothing here needs it otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from curator.errors import CuratorError


def frame(columns: Mapping[str, Any], index: Sequence[int] | Any, name: str) -> Any:
    """A pandas table of ``columns`` [n] each, by ``index`` [n], which is called ``name``.

    Raises:
        CuratorError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise CuratorError("to_frame() needs pandas, which is not installed: pip install pandas") from error
    return pandas.DataFrame(dict(columns), index=pandas.Index(index, name=name))
