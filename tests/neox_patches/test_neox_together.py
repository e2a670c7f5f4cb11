"""Where one rank is refused, all of them stop: two real processes over gloo."""

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from curator.errors import CuratorError
from neox_patches.together import PeerRefused, rank, together, world_size

CPU = torch.device("cpu")


def refuse(text: str) -> None:
    raise CuratorError(text)


def one_rank(number: int, folder: Path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=number, world_size=2
    )
    said = [str(together(lambda: f"rank {rank()} of {world_size()}", CPU))]
    for action in (
        lambda: refuse("no such plan") if number == 1 else None,
        lambda: (folder / "nowhere" / "file").write_text("") if number == 0 else None,
        lambda: refuse(f"I am {number}"),
    ):
        try:
            together(action, CPU)
        except CuratorError as error:
            said.append(f"{type(error).__name__}: {error}")
    (folder / f"said-{number}").write_text("\n".join(said))
    torch.distributed.destroy_process_group()


def test_a_refusal_of_one_rank_is_everybodys(tmp_path: Path) -> None:
    multiprocessing.spawn(one_rank, (tmp_path,), nprocs=2)
    first, second = ((tmp_path / f"said-{number}").read_text().splitlines() for number in range(2))
    missing = f"CuratorError: {tmp_path / 'nowhere' / 'file'}: No such file or directory"
    peer = "PeerRefused: rank {} was refused; its own message says why"
    assert first == ["rank 0 of 2", peer.format(1), missing, "CuratorError: I am 0"]
    assert second == ["rank 1 of 2", "CuratorError: no such plan", peer.format(0), "CuratorError: I am 1"]


def test_a_process_alone_needs_nobody() -> None:
    assert together(lambda: 3, CPU) == 3 and (rank(), world_size()) == (0, 1)
    with pytest.raises(CuratorError, match="no such plan") as caught:
        together(lambda: refuse("no such plan"), CPU)
    assert not isinstance(caught.value, PeerRefused)
