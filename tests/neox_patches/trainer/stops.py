"""Stops a patched trainer at a chosen moment of saving a checkpoint: SIGKILL, or a disk that fills.

Set NEOX_STOP to ``MOMENT:STEP``; rank 0 of a run that train_direct.py starts heeds it. Moments, in the order in which a
checkpoint is saved: ``disk-full`` (while the emission's sums are saved), ``files`` (after the trainer's first file),
``record`` (all files are there, the record is not), ``record-full`` (the disk is full then), ``latest`` (the record
is there), ``named`` (``latest`` names the checkpoint); and ``again`` (as ``files``, when the same run writes it again).
"""

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


def install() -> None:
    """Wrap what the patches and DeepSpeed call while they save; does nothing unless NEOX_STOP is set."""
    if not os.environ.get("NEOX_STOP") or os.environ.get("RANK", "0") != "0":
        return
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

    from curator.neox import records
    from neox_patches import resume
    from neox_patches.emit import store

    moment, step = os.environ["NEOX_STOP"].split(":")
    target, seen = f"global_step{step}", []

    def on(owner: Any, name: str, *, when: Callable[..., bool], after: bool = False, do: Any = _die) -> None:
        original = getattr(owner, name)

        def stopping(*args: Any, **kwargs: Any) -> Any:
            hit = when(*args, **kwargs)
            if hit and not after:
                do(*args)
            result = original(*args, **kwargs)
            if hit and after:
                do(*args)
            return result

        setattr(owner, name, stopping)

    def sums(_: Any, at: int, *__: Any) -> bool:
        return at == int(step)

    def engine_file(_: Any, state_dict: Any, path: str) -> bool:
        return target in Path(path).parts

    def over(path: str) -> bool:
        seen.append(path)
        return seen.count(path) == 2

    def latest(path: Path, text: str) -> bool:
        return path.name == "latest" and text == target

    if moment == "disk-full":
        on(store.RankStore, "save_sums", when=sums, do=lambda rank_store, *_: _fill(rank_store.folder, store))
    elif moment == "again":
        on(
            TorchCheckpointEngine,
            "save",
            when=lambda *a, **k: engine_file(*a, **k) and over(k["path"]),
            after=True,
        )
    elif moment == "files":
        on(TorchCheckpointEngine, "save", when=engine_file, after=True)
    elif moment == "record-full":
        on(
            resume.Bookkeeper,
            "record",
            when=lambda _, __, at: at == int(step),
            do=lambda *_: _full(records),
        )
    elif moment == "record":
        on(resume.Bookkeeper, "record", when=lambda _, __, at: at == int(step))
    elif moment in ("latest", "named"):
        on(resume, "save_text", when=latest, after=moment == "named")
    else:
        raise ValueError(moment)


def _die(*_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _fill(folder: Path, store: Any) -> None:
    """Fill the disk of ``folder`` where it is a small one of its own; else let the next write say that it is full."""
    if shutil.disk_usage(folder).total < 2**28:
        with open(folder.parents[1] / "filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
        return

    _full(store)


def _full(module: Any) -> None:
    """Let the next write of a module say that the disk is full."""

    def full(path: Path, *_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    module.save_array = module.save_json = full
