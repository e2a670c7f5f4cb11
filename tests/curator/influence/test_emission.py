"""What an emission lacks is refused or said, and the factors' sums that a resume may need are kept."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commands import done, refused
from emissions import BLOCK, STEPS, emission, open_store

from curator.artifacts.files import load_json, save_json
from curator.errors import CuratorError
from curator.influence.emission import NOT_FINITE, NOT_REACHED, OVERFLOWED, WRITTEN, Emission
from curator.influence.factors import Side
from curator.plan.plan import Plan
from curator.ranking.from_emission import EmittedFactors, collect_scores
from curator.units.base import Block
from neox_patches.emit import store
from neox_patches.emit.parts import Part
from neox_patches.emit.store import KEPT_SUMS
from neox_patches.emit.sums import Sums


def with_flags(rank: int, steps: Any, flag: int) -> np.ndarray:
    flags = np.full((2, len(STEPS)), WRITTEN, np.uint8)
    flags[rank, np.array(steps) - STEPS[0]] = flag
    return flags


@pytest.mark.parametrize(
    "lost", [range(10, 20), range(14, 17), [10]], ids=["first half", "middle", "one step"]
)
@pytest.mark.parametrize("ranks", ["one rank", "all ranks"])
def test_a_lost_part_is_refused_unless_a_range_is_asked_for(tmp_path: Path, lost: Any, ranks: str) -> None:
    flags = with_flags(1, lost, NOT_REACHED)
    if ranks == "all ranks":
        flags &= flags[1]
    there = emission(tmp_path / "emitted", flags)
    named = f"{lost[0]} to {lost[-1]}" if len(lost) > 1 else str(lost[0])
    message = refused(1, "collect", there.path, "--out", tmp_path / "ranking")
    assert f"of 20 chosen steps, {len(lost)} were never written" in message and f"(steps {named})" in message
    first, last = map(int, message.rsplit(" ", 1)[1].split(":"))  # the example in the message can be taken
    assert (last - first) >= 4 and not (tmp_path / "ranking").exists()
    said = done("collect", there.path, "--out", tmp_path / "ranking", "--samples", f"{first}:{last}")
    assert f"{20 - len(lost)} of 20 chosen steps were written" in said and f"steps {named}" in said
    assert load_json(tmp_path / "ranking" / "manifest.json")["emitted_by"]["steps"] == {
        "written": 20 - len(lost),
        "chosen": 20,
    }


def test_a_running_emission_is_not_taken_for_a_lost_one(tmp_path: Path) -> None:
    """One rank may have written a step that another has not, and what is to come is not missing."""
    flags = with_flags(0, range(20, 30), NOT_REACHED)
    flags[1] = with_flags(1, range(19, 30), NOT_REACHED)[1]
    there = emission(tmp_path / "emitted", flags)
    assert not len(there.lost_steps) and there.steps_written == (9, 20)
    said = done("collect", there.path, "--out", tmp_path / "ranking", "--samples", "40:76")
    assert "9 of 20 chosen steps were written" in said and "Never written" not in said


def test_a_rank_that_has_written_nothing_is_lost(tmp_path: Path) -> None:
    there = emission(tmp_path / "emitted", with_flags(1, STEPS, NOT_REACHED))
    assert there.lost_steps.tolist() == [*range(10, 29)]
    with pytest.raises(CuratorError, match=r"19 were never written.*steps 10 to 28"):
        there.contiguous()


def test_steps_that_do_not_count_are_said(tmp_path: Path) -> None:
    flags = with_flags(0, [11], WRITTEN)
    flags[:, :2], flags[:, -1] = OVERFLOWED, NOT_FINITE
    said = " ".join(emission(tmp_path, flags).state())
    assert (
        "2 chosen steps overflowed in fp16" in said and "1 chosen steps had a loss that is not finite" in said
    )
    assert not emission(tmp_path / "whole").state()


def test_a_sample_that_comes_twice_keeps_its_first_score(tmp_path: Path) -> None:
    """A corpus of 60 samples: slots 60 to 119 hold them again; steps 10 to 29 are slots 40 to 119."""
    plan = Plan.identity(120, 4, "abc", epoch_samples=60)
    there = emission(tmp_path / "emitted", plan=plan)
    for part in there.ranks:  # the score says where the sample stood
        np.load(part.path / "scores.npy", mmap_mode="r+")[0] = np.load(part.path / "slots.npy")
    ranking = collect_scores(Emission.open(there.path), tmp_path / "ranking")
    assert (ranking.first_sample, len(ranking)) == (0, 60)
    assert ranking.scores[0].tolist() == [*range(60, 100), *range(40, 60)]
    assert "20 rows of injected sets, or of samples trained on again" in " ".join(there.state())


def test_a_folder_that_is_made_anew_after_its_steps_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, first_step=10)
    open_store(tmp_path, first_step=15)
    shutil.rmtree(tmp_path / "rank-00000")
    with pytest.raises(
        CuratorError, match=r"5 of the chosen steps \(10 to 14\) are over.* goes on from step 15"
    ):
        open_store(tmp_path, first_step=15)
    assert not (tmp_path / "rank-00000").exists()


ARRAYS = ["slots", "sources", "samples", "weights", "losses", "flags", "scores", "gradients/0", "gradients/1"]


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_was_lost_is_neither_made_anew_nor_read_as_zeros(tmp_path: Path, name: str) -> None:
    """Of a part whose index is there; whether its steps are over for the trainer, or about to be done again."""
    shapes = [(2, 3), (3, 2)]
    there = emission(tmp_path, shapes=shapes)
    folder = there.ranks[1].path
    assert sorted(ARRAYS) == sorted(
        str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.npy")
    )
    path = folder / f"{name}.npy"
    whole = path.read_bytes()

    def refusals(said: str) -> None:
        for step, way_on in (
            (15, r"5 of the chosen steps \(10 to 14\) are over: .* choose steps from 15 on"),
            (10, f"put it back, or remove {folder} as a whole"),
        ):
            with pytest.raises(CuratorError, match=f"^{path}: {said}.*emitted: {way_on}"):
                open_store(tmp_path, 1, shapes, first_step=step)
        with pytest.raises(CuratorError, match=f"^{path}: {said}.*emitted: put the file back, or emit again"):
            Emission.open(tmp_path)

    path.unlink()
    refusals("no such file")
    assert not path.exists()
    path.write_bytes(whole[:-1])
    refusals("not a whole .npy array")
    kind = np.load(there.ranks[0].path / f"{name}.npy").dtype
    for wrong in (np.zeros(3, kind), np.zeros(np.load(there.ranks[0].path / f"{name}.npy").shape, np.int16)):
        np.save(path, wrong)
        refusals(f"holds {wrong.dtype} of shape")
    path.write_bytes(whole)
    open_store(tmp_path, 1, shapes, first_step=15)
    assert len(Emission.open(tmp_path).ranks) == 2


def test_a_part_without_an_index_is_made_from_the_beginning(tmp_path: Path) -> None:
    """A start that was stopped while it made its files left some of them: none is taken for written."""
    emission(tmp_path, shapes=[(2, 3)])
    (tmp_path / "rank-00000" / "index.json").unlink()
    out = open_store(tmp_path, 0, [(2, 3)], first_step=10)
    assert not any(out.reached(step) for step in STEPS) and np.isnan(out.arrays["losses"]).all()


def test_the_sums_of_the_two_newest_checkpoints_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = open_store(tmp_path)

    def save(step: int) -> None:
        out.save_sums(step, [np.full((4, 4), float(step))], {"arrays": 1})

    for step in (12, 14, 16):
        save(step)
    assert out._sums() == [14, 16] and KEPT_SUMS == 2 and out.load_sums(12) is None
    found = out.load_sums(16)
    assert found is not None and (found[0][0] == 16).all()
    with monkeypatch.context() as patch:  # the disk is full: nothing that a resume needs has gone
        patch.setattr(
            store, "save_json", lambda *_: (_ for _ in ()).throw(OSError("No space left on device"))
        )
        with pytest.raises(OSError, match="No space"):
            save(18)
    assert out._sums() == [14, 16] and out.load_sums(14) and out.load_sums(16)
    written = os.stat(out.folder / "sums" / "16" / "0000.npy").st_mtime_ns
    save(16)  # with the checkpoint, after the last chosen step
    assert os.stat(out.folder / "sums" / "16" / "0000.npy").st_mtime_ns == written
    out.drop_sums_after(14)
    assert out._sums() == [14]
    (out.folder / "sums" / ".18.half.tmp").mkdir()  # of a killed run
    open_store(tmp_path)
    assert [path.name for path in (out.folder / "sums").iterdir()] == ["14"]


def test_the_sums_count_for_the_space_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks; two kept and one being written of a megabyte each, less those that lie there already."""
    sums = 1 << 20
    free = 6 * sums + 2 * 20 * 2 * 8  # and less than a kilobyte of losses, flags and scores
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free - 2 * sums))
    with pytest.raises(CuratorError, match=r"and 0\.00315 GB of the factors' sums"):
        open_store(tmp_path / "a", sums_bytes=sums)
    out = open_store(tmp_path / "a")
    out.save_sums(12, [np.zeros((4, 4))], {"arrays": 1})
    open_store(tmp_path / "a", sums_bytes=sums)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free + 1000))
    open_store(tmp_path / "b", sums_bytes=sums)


def test_the_size_of_the_sums_is_that_of_what_is_saved() -> None:
    """Two heads of one map share their inputs: one A, two S, and a Λ each."""
    blocks = [
        Block(name, BLOCK.module, range(6), outputs)
        for name, outputs in (("a", range(2)), ("b", range(2, 5)))
    ]
    sides = [side for block in blocks for side in Side.of(block)]
    for bases in (None, {side: torch.eye(len(side.indices)) for side in sides}):
        part, sums = Part(BLOCK.module, factor_blocks=blocks, bases=bases), Sums()
        part.add(torch.ones(2, 3, 6), torch.ones(2, 3, 5))
        sums.add(part)
        assert part.sums_bytes == sum(array.nbytes for array in sums.arrays())


def test_factors_are_those_that_all_ranks_saved(tmp_path: Path) -> None:
    """A rank that was killed before the newest checkpoint's sums has those of the one before."""
    for rank in range(2):
        out = open_store(tmp_path, rank)
        for step in (12, 14) if rank == 0 else (12,):
            arrays = [np.eye(4) * step, np.eye(2) * step]
            parts = {BLOCK.module: {"first": 0, "count": 2, "sides": 2, "tokens": step, "samples": 1}}
            out.save_sums(step, arrays, {"arrays": 2, "parts": parts})
    there = emission(tmp_path)
    a, _ = EmittedFactors(there).covariances(BLOCK)
    assert np.allclose(a.numpy(), np.eye(4))
    shutil.rmtree(tmp_path / "rank-00001" / "sums")
    with pytest.raises(CuratorError, match=r"rank-00000 after \[12, 14\]; rank-00001 after none"):
        EmittedFactors(there).covariances(BLOCK)


def test_a_ranking_of_a_part_of_the_tokens_says_so(tmp_path: Path) -> None:
    whole = emission(tmp_path / "whole")
    assert not whole.masks_tokens and not whole.state()
    file = tmp_path / "whole" / "manifest.json"
    save_json(file, load_json(file) | {"token_masks": True})
    part = Emission.open(tmp_path / "whole")
    assert part.state() == [
        "The plan masks tokens: gradients and scores are of those that count, not of the whole sample's loss."
    ]
    said = [
        collect_scores(one, tmp_path / name).manifest["settings"] for one, name in ((whole, "a"), (part, "b"))
    ]
    assert "token_masks" not in said[0]
    assert said[1]["token_masks"] == "gradients are of the tokens that the plan lets count, losses of all"
