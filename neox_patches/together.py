"""Ranks that stop together: where one is refused, none is left waiting for it in the next collective call."""

from collections.abc import Callable
from typing import TypeVar

import torch

from curator.errors import CuratorError

T = TypeVar("T")


class PeerRefused(CuratorError):
    """Another rank was refused, whose own message says why."""


def rank() -> int:
    """This process's rank; 0 where there is one process alone."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def world_size() -> int:
    """How many ranks there are."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def together(action: Callable[[], T], device: torch.device) -> T:
    """Do ``action``, which every rank does at this point, and raise on every rank where it was refused on one.

    Args:
        device: where the backend's tensors live.

    Raises:
        CuratorError: the rank's own refusal; PeerRefused: another rank's.
    """
    refusal: CuratorError | None = None
    result = None
    try:
        result = action()
    except CuratorError as error:
        refusal = error
    except OSError as error:
        refusal = CuratorError(in_words(error))
    if world_size() > 1:
        first = torch.tensor([world_size() if refusal is None else rank()], device=device)
        torch.distributed.all_reduce(first, op=torch.distributed.ReduceOp.MIN)
        if refusal is None and int(first) < world_size():
            raise PeerRefused(f"rank {int(first)} was refused; its own message says why")
    if refusal is not None:
        raise refusal
    return result  # type: ignore[return-value]


def in_words(error: OSError) -> str:
    """No permission, no space or the like, and for which file."""
    return f"{error.filename or 'a file'}: {error.strerror or error}"


def not_saved(what: str, error: OSError) -> CuratorError:
    """``what`` of a checkpoint could not be saved, as a full disk: an error with the way on."""
    return CuratorError(
        f"{what} could not be saved ({error.strerror or error}), so that no checkpoint of this step is named by "
        "'latest' either; make room, and start the same command again: it goes on from the checkpoint before"
    )
