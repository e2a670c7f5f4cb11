"""Records of patched runs: bound to the files that they describe, unknown where they are missing, never "no plan"."""

import errno
import json
import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from neox_save_folders import EARLY, LATE, PATCHED, saved, start, started

from curator.errors import CuratorError
from curator.neox import digests as neox_digests
from curator.neox.digests import describe_files, fingerprint_of, size_and_digest
from curator.neox.records import (
    CheckpointRecord,
    RunRecord,
    Stretch,
    checkpoint_folder,
    latest_step,
    read_record,
    read_run,
    recorded_checkpoints,
    write_record,
    write_run,
)
from curator.neox.standing import (
    ANEW,
    UNRECORDED,
    check_goes_on,
    check_latest,
    joined,
    needs_patches,
    standing_of,
    with_ends,
)
from curator.plan.plan import Plan
from neox_patches import resume, unpatched
from neox_patches.resume import Bookkeeper, describe_run


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    folder = saved(tmp_path, 4, PATCHED, PATCHED.changed(from_=2, emits=True))
    record = read_record(folder)
    assert record is not None and record.step == 4
    assert record.stretches == (PATCHED, PATCHED.changed(from_=2, emits=True))
    assert [entry.name for entry in record.files or ()] == sorted(path.name for path in folder.glob("*.pt"))
    run = RunRecord(
        run="me", starts=(start(0, PATCHED, insisted=(UNRECORDED,)), start(4, PATCHED, plan="plan"))
    )
    write_run(tmp_path, run)
    assert read_run(tmp_path) == run
    assert read_run(folder / "configs") is None and read_record(folder / "configs") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "other"}, "format is 'other', expected 'neox-patches-run'"),
        ({"version": 7}, "it has version 7, known are 1 and 2"),
        ({"run": 5}, "run: expected text, not 5"),
        ({"stretches": [{"fromm": 0}]}, "did you mean 'from'"),
        ({"files": [{"name": "a", "size": "3", "digest": "d"}]}, "size: expected a whole number"),
    ],
)
def test_damaged_records_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    folder = saved(tmp_path, 4, PATCHED)
    path = folder / "neox_patches.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CuratorError, match=says) as error:
        standing_of(tmp_path, 4)
    assert str(path) in str(error.value) and "remove it" in str(error.value)


@pytest.mark.parametrize("of", ["checkpoint", "run"])
@pytest.mark.parametrize("content", ["", '{"format": "neox-patches-run", "ver', "{}"])
def test_a_damaged_record_is_unknown_like_a_lost_one(tmp_path: Path, of: str, content: str) -> None:
    saved(tmp_path, 2, PATCHED)
    folder = saved(tmp_path, 4, PATCHED)
    started(tmp_path, start(0, PATCHED))
    path = (folder if of == "checkpoint" else tmp_path) / "neox_patches.json"
    path.write_text(content)
    if of == "run":
        assert standing_of(tmp_path, 4).stretches == (PATCHED,), "the checkpoint's own record is enough"
        (folder / "neox_patches.json").unlink()
    with pytest.raises(CuratorError, match="is not known: ") as error:
        standing_of(tmp_path, 4)
    assert (
        f"Go on from global_step2, the newest checkpoint with a record: printf global_step2 > {tmp_path}"
        in (str(error.value))
    )
    assert of == "run" or f"{path}: cannot be read" in str(error.value)
    insisted = standing_of(tmp_path, 4, insisted=frozenset({UNRECORDED}))
    assert insisted.stretches == (Stretch(trained="unknown"),)
    if of == "run":
        with pytest.raises(CuratorError, match=f"^{path}: cannot be read.*remove it"):
            needs_patches(tmp_path, tmp_path, 4)
    path.unlink()
    assert "with the plan" in str(needs_patches(tmp_path, tmp_path, 4))


def test_a_digest_covers_small_files_whole_and_torchs_large_ones_by_their_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One changed number in the midst of a large tensor, where no piece is read, changes the digest."""
    (tmp_path / "small").write_bytes(b"a" * 5000)
    before = size_and_digest(tmp_path / "small")[1]
    (tmp_path / "small").write_bytes(b"a" * 2500 + b"b" + b"a" * 2499)
    assert size_and_digest(tmp_path / "small")[1] != before

    monkeypatch.setattr(neox_digests, "PIECE", 2**12)
    tensor = torch.zeros(2**20)  # 4 MiB, in 32 pieces of 4 KiB
    digests = []
    for change in (0.0, 1.0):
        tensor[2**19 - 20_000] = change
        torch.save({"a": tensor, "b": torch.ones(3)}, tmp_path / f"{change}.pt")
        digests.append(size_and_digest(tmp_path / f"{change}.pt")[1])
    size = (tmp_path / "1.0.pt").stat().st_size
    with zipfile.ZipFile(tmp_path / "1.0.pt") as file:
        place = file.getinfo("1.0/data/0").header_offset + 64 + 4 * (2**19 - 20_000)
    starts = [number * (size - 2**12) // 31 for number in range(32)]
    assert all(not first - 64 <= place < first + 2**12 for first in starts), (
        "the change must lie between pieces"
    )
    assert digests[0] != digests[1]


def test_a_checkpoint_is_what_its_record_says_of_these_files_alone(tmp_path: Path) -> None:
    saved(tmp_path, 2, PATCHED)
    folder = saved(tmp_path, 4, PATCHED)
    started(tmp_path, start(0, PATCHED))
    assert standing_of(tmp_path, 4).stretches == (PATCHED,) and standing_of(tmp_path, 4).notes == ()
    (folder / "configs" / "config.yml").write_text("changed")  # GPT-NeoX writes it after the engine's files
    (folder / "further.txt").write_text("a tool's")
    assert standing_of(tmp_path, 4).stretches == (PATCHED,)

    weights = folder / "mp_rank_00_model_states.pt"
    content = weights.read_bytes()
    for wrong, says in (
        (content[:-1] + bytes([content[-1] ^ 1]), f"has the digest {'.' * 32}, its record says {'.' * 32}"),
        (content + b"0", f"has {len(content) + 1} bytes, its record says {len(content)}"),
        (None, "is in its record, but not there"),
    ):
        weights.unlink() if wrong is None else weights.write_bytes(wrong)
        with pytest.raises(CuratorError, match=rf"is not known: mp_rank_00_model_states.pt {says}") as error:
            standing_of(tmp_path, 4)
        assert f"printf global_step2 > {tmp_path / 'latest'}" in str(error.value)
    assert list(recorded_checkpoints(tmp_path)) == [2]


def test_a_missing_record_is_unknown_where_the_folder_was_patched_and_unpatched_elsewhere(
    tmp_path: Path,
) -> None:
    saved(tmp_path, 4, recorded=False)
    plain = standing_of(tmp_path, 4)
    assert plain.stretches == (Stretch(trained="unpatched"),) and "saved without patches" in plain.notes[0]
    started(tmp_path, start(6, PATCHED))
    assert standing_of(tmp_path, 4).stretches == plain.stretches, "patches came later"
    started(tmp_path, start(0, PATCHED), start(6, PATCHED))
    with pytest.raises(CuratorError) as error:
        standing_of(tmp_path, 4)
    message = str(error.value)
    assert "no plan" not in message and "No other checkpoint" in message
    assert f"2026-01-01, from step 0, with the plan {LATE.fingerprint()}" in message
    assert "python -m neox_patches --insist unrecorded" in message
    link = tmp_path / "elsewhere" / "global_step4"
    link.parent.mkdir()
    link.symlink_to(checkpoint_folder(tmp_path, 4))
    with pytest.raises(CuratorError, match="is not known: it has no record"):
        standing_of(link.parent, 4)
    insisted = standing_of(tmp_path, 4, insisted=frozenset({UNRECORDED}))
    assert insisted.stretches == (Stretch(trained="unknown"),) and insisted.insisted == (UNRECORDED,)
    check_goes_on(tmp_path, insisted.stretches, 4, describe_run(EARLY, "corpus", 4, 32), EARLY)


@pytest.mark.parametrize("there", [2, 6], ids=["earlier", "later"])
def test_another_checkpoints_record_speaks_where_the_runs_is_lost(tmp_path: Path, there: int) -> None:
    """Of a folder that was trained with a plan: never "no plan", and a forgotten patch file is noticed."""
    saved(tmp_path, 4, recorded=False)
    other = saved(tmp_path, there, PATCHED)
    with pytest.raises(CuratorError, match=rf"4 steps .* is not known.* Go on from global_step{there}"):
        standing_of(tmp_path, 4)
    for load, save in ((tmp_path, None), (tmp_path, tmp_path), (None, tmp_path)):
        reason = needs_patches(load, save, None if load is None else 4)
        assert f"{other} was trained with the plan" in str(reason)
    started(tmp_path, start(8, PATCHED))  # and begun again later
    with pytest.raises(CuratorError, match="is not known"):
        standing_of(tmp_path, 4)
    (other / "neox_patches.json").write_text("")
    with pytest.raises(CuratorError, match="is not known"):
        standing_of(tmp_path, 4)
    later = (Stretch(trained="unpatched"), PATCHED.changed(from_=5))
    write_record(other, CheckpointRecord(run="me", stretches=later, files=describe_files(other), step=there))
    assert standing_of(tmp_path, 4).stretches == (Stretch(trained="unpatched"),), "patches came later"


def test_latest_is_there_or_missing_for_a_reason(tmp_path: Path) -> None:
    load, save = tmp_path / "load", tmp_path / "save"
    latest = load / "latest"
    assert not check_latest(load, load) and not check_latest(load, save), "nothing was saved yet"
    folder = saved(load, 2, PATCHED)
    assert not check_latest(load, load), "stopped before its first checkpoint was named"
    found = {}

    def refused(case: str, *says: str, of: Path = load) -> None:
        with pytest.raises(CuratorError) as error:
            check_latest(load, of)
        found[case] = str(error.value)
        assert all(text in found[case] for text in says), found[case]

    go_on = (
        f"Go on from global_step{{}}, the newest checkpoint with a record: printf global_step{{}} > {latest}"
    )
    refused("loaded from elsewhere", "checkpoints are there", go_on.format(2, 2), of=save)
    saved(load, 4, PATCHED)
    refused("of two one was named", "has saved checkpoints there", go_on.format(4, 4))
    shutil.rmtree(checkpoint_folder(load, 4))
    (folder / "neox_patches.json").unlink()  # an arm's: its start vouches for the copy
    vouched = start(2, PATCHED, checkpoint=str(folder), files=fingerprint_of(describe_files(folder)))
    started(load, start(0, PATCHED), vouched)
    refused("arm", "went on from step 2", go_on.format(2, 2), "python -m neox_patches --insist anew")
    assert check_latest(load, load, frozenset({ANEW}))
    for typed in ("global_step20", "", "4"):
        latest.write_text(typed)
        refused("mistyped", f"{latest}: names {typed!r}, which is not there", go_on.format(2, 2))
    shutil.rmtree(folder)
    saved(load, 6, recorded=False)
    refused("none known", f"No checkpoint in {load} has a record (global_step6 have none)")
    latest.unlink()
    started(load, start(0, PATCHED), vouched, start(0, PATCHED, insisted=(ANEW,)))
    assert not check_latest(load, load), "begun anew since"
    saved(load, 8, PATCHED)
    latest.write_text("global_step8\n")
    assert not check_latest(load, load)


def test_what_a_start_went_on_from_is_known_at_the_next_start_too(tmp_path: Path) -> None:
    """A plain baseline, or an unknown checkpoint that was insisted on; not once its files have changed."""
    load, save = tmp_path / "load", tmp_path / "save"
    folder = saved(load, 4, recorded=False)
    first = standing_of(load, 4, save)
    stretches = joined(first.stretches, 4, PATCHED)
    here = start(4, *stretches, checkpoint=str(folder), files=first.files)
    started(load, here)  # load and save are one
    assert standing_of(load, 4, load).stretches == (Stretch(trained="unpatched"),)
    (folder / "mp_rank_00_model_states.pt").write_bytes(b"other")
    with pytest.raises(CuratorError, match="is not known"):
        standing_of(load, 4, load)


def test_records_of_the_first_version_are_taken_unchecked(tmp_path: Path) -> None:
    folder = saved(tmp_path, 4, recorded=False)
    old = {"format": "neox-patches-run", "version": 1, "batch_size": 4, "seq_length": 32, "run": "me"}
    old |= {"corpus_fingerprint": "corpus", "plan_fingerprint": LATE.fingerprint(), "first_edited_step": 12}
    (tmp_path / "neox_patches.json").write_text(
        json.dumps({"format": "neox-patches-run", "version": 1, "run": "me"})
    )
    (folder / "neox_patches.json").write_text(json.dumps(old))
    found = standing_of(tmp_path, 4)
    assert found.stretches == (PATCHED,) and "unchecked" in found.notes[0]
    assert read_run(tmp_path) == RunRecord(run="me")
    assert "was trained with the plan" in str(needs_patches(None, tmp_path, None))
    del old["plan_fingerprint"]
    (folder / "neox_patches.json").write_text(json.dumps(old))
    with pytest.raises(CuratorError, match="plan_fingerprint missing; was it edited"):
        standing_of(tmp_path, 4)


def test_going_on_is_compared_stretch_by_stretch(tmp_path: Path) -> None:
    """The plan of a run may not edit steps that were trained with another; each stretch is asked for itself."""

    def check(*stretches: Stretch, step: int = 8, plan: Plan | None = LATE, **changes: Any) -> None:
        now = describe_run(plan, "corpus", 4, 32).changed(**changes)
        check_goes_on(tmp_path, stretches, step, now, plan)

    same = describe_run(LATE, "corpus", 4, 32)
    unpatched = Stretch(trained="unpatched")
    check(same)
    check(same, unpatched.changed(from_=4))
    check(unpatched, step=12)  # LATE edits step 12
    with pytest.raises(
        CuratorError,
        match=r"13 steps were trained with no plan, but the plan .* edits step 12, which is over",
    ):
        check(unpatched, step=13)
    with pytest.raises(CuratorError, match="steps 12 to 13 were trained with no plan"):
        check(same, unpatched.changed(from_=12), step=14)
    with pytest.raises(CuratorError, match="edits step 12 already, but this run's plan is none"):
        check(same, step=14, plan=None)
    with pytest.raises(CuratorError, match="batch size of 4, but this run is configured with 8"):
        check(same, batch_size=8)
    with pytest.raises(CuratorError, match="seq-length of 32, but"):
        check(same, seq_length=64)
    with pytest.raises(CuratorError, match="on the corpus corpus, but this run's corpus is other"):
        check(same, corpus_fingerprint="other")


def test_stretches_are_joined_and_cut() -> None:
    other = PATCHED.changed(emits=True)
    assert joined((), 0, PATCHED) == (PATCHED,)
    assert joined((PATCHED,), 4, PATCHED) == (PATCHED,), "going on is no new stretch"
    both = joined((PATCHED,), 4, other)
    assert both == (PATCHED, other.changed(from_=4))
    assert joined(both, 2, PATCHED) == (PATCHED,), "what came after step 2 is done again"
    assert with_ends(both, 6) == [(PATCHED, 4), (both[1], 6)] and with_ends(both, 3) == [(PATCHED, 3)]


@pytest.mark.parametrize(
    ("stretch", "needs"),
    [
        (PATCHED, True),
        (describe_run(None, "corpus", 4, 32, emits=True), True),
        (describe_run(None, "corpus", 4, 32, serves_rows=True), True),
        (describe_run(None, "corpus", 4, 32), False),  # GPT-NeoX's own order, only checked
        (Stretch(trained="unpatched"), False),
    ],
)
def test_a_start_without_patches_notices_what_it_would_change(
    tmp_path: Path, stretch: Stretch, needs: bool
) -> None:
    folder = saved(tmp_path, 4, stretch)
    assert bool(needs_patches(tmp_path, None, 4)) is needs, "the checkpoint that it loads"
    (folder / "neox_patches.json").unlink()
    started(tmp_path, start(0, stretch, patch_file="study.yml"))
    for load in (None, tmp_path):
        reason = needs_patches(load, tmp_path, None if load is None else 4)
        assert bool(reason) is needs and (not needs or "patch file study.yml" in str(reason))
    assert needs_patches(None, tmp_path / "new", None) is None


def test_a_start_is_listed_once_until_there_is_a_new_checkpoint(tmp_path: Path) -> None:
    """As a requeued job does; and the engine's `latest` comes after the record."""
    saves: list[dict[str, Any]] = []
    named: list[str | None] = []

    def save_checkpoint(
        save_dir: str, tag: str | None = None, client_state: Any = None, save_latest: bool = True
    ) -> bool:
        assert not (Path(save_dir) / str(tag) / "neox_patches.json").exists()
        latest = Path(save_dir) / "latest"
        named.append(latest.read_text() if latest.exists() else None)
        saves.append({"latest": save_latest})
        checkpoint_folder(Path(save_dir), int(str(tag)[11:])).mkdir(exist_ok=True, parents=True)
        (Path(save_dir) / str(tag) / "mp_rank_00_model_states.pt").write_text(f"{tag} {len(saves)}")
        return True

    def begun() -> SimpleNamespace:
        engine = SimpleNamespace(save_checkpoint=save_checkpoint)
        books = Bookkeeper(PATCHED, LATE, frozenset(), {"patch_file": None}, lambda _: None)
        args = SimpleNamespace(save=str(tmp_path), load=str(tmp_path), finetune=False)
        books.check(args, None)
        books.attach(engine, latest_step(tmp_path) or 0)
        books.begin()
        return engine

    begun()
    begun()
    engine = begun()
    engine.save_checkpoint(str(tmp_path), tag="global_step2", client_state={})
    engine.save_checkpoint(str(tmp_path), tag="global_step2", client_state={})
    engine.save_checkpoint(str(tmp_path), tag="global_step4", client_state={})
    engine.save_checkpoint(str(tmp_path), tag="global_step4", client_state={})
    assert latest_step(tmp_path) == 4 and not any(save["latest"] for save in saves)
    assert named == [None, None, "global_step2", "global_step2"], "one that is whole, or none"
    engine.save_checkpoint(str(tmp_path), tag="global_step4", save_latest=False)
    assert latest_step(tmp_path) == 4, "it named this one before"
    record = read_record(checkpoint_folder(tmp_path, 4))
    assert record is not None and record.files == describe_files(checkpoint_folder(tmp_path, 4))
    before = read_run(tmp_path)
    (tmp_path / "neox_patches.json").unlink()
    begun().save_checkpoint(str(tmp_path), tag="global_step6", save_latest=False)
    assert before is not None and read_run(tmp_path).run == before.run, "its checkpoints name it"  # type: ignore[union-attr]
    write_run(tmp_path, before)
    begun()
    assert latest_step(tmp_path) == 4 and list(recorded_checkpoints(tmp_path)) == [6, 4, 2]
    run = read_run(tmp_path)
    assert run is not None and [there.from_ for there in run.starts] == [0, 4]
    assert run.starts[1].files == fingerprint_of(describe_files(checkpoint_folder(tmp_path, 4)))


def test_a_start_without_a_patch_file_does_not_begin_an_arm_anew(tmp_path: Path) -> None:
    """An arm without a plan needs no patches, and its weights come from its ``latest`` all the same."""
    baseline = Stretch(trained="unpatched")
    folder = saved(tmp_path, 4, baseline)
    args = SimpleNamespace(save=str(tmp_path), load=str(tmp_path), finetune=False, iteration=None)

    def pretrain(*insist: str) -> Any:
        training = SimpleNamespace(pretrain=lambda _: "trained")
        unpatched.install(training, frozenset(insist))
        return training.pretrain(args)

    assert pretrain() == "trained", "nothing there speaks of patches that a start without them would miss"
    started(tmp_path, start(4, baseline, checkpoint=str(folder)))
    with pytest.raises(CuratorError, match=f"printf global_step4 > {tmp_path / 'latest'}"):
        pretrain()
    assert pretrain(ANEW) == "trained"
    (tmp_path / "latest").write_text("global_step5")
    with pytest.raises(CuratorError, match="names 'global_step5', which is not there"):
        pretrain()
    (tmp_path / "latest").write_text("global_step4")
    assert pretrain() == "trained"


def test_a_patched_start_begins_an_arm_anew_only_where_that_is_insisted_on(tmp_path: Path) -> None:
    folder = saved(tmp_path, 4, PATCHED)
    started(tmp_path, start(4, PATCHED, checkpoint=str(folder)))
    args = SimpleNamespace(save=str(tmp_path), load=str(tmp_path), finetune=False)
    said: list[str] = []

    def books(*insisted: str) -> Bookkeeper:
        made = Bookkeeper(PATCHED, LATE, frozenset(insisted), {"patch_file": None}, said.append)
        made.check(args, None)
        return made

    with pytest.raises(CuratorError, match="new weights at step 0"):
        books()
    again = books(ANEW)
    again.attach(SimpleNamespace(save_checkpoint=lambda tag: None), 0)
    again.begin()
    run = read_run(tmp_path)
    assert run is not None and (run.starts[-1].from_, run.starts[-1].insisted) == (0, (ANEW,))
    assert "begins anew, as insisted" in said[0]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start, what is done before a checkpoint is written over, its record, and ``latest``."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "FILE")

    def stop(*_: Any, **__: Any) -> None:
        raise full

    def save_checkpoint(save_dir: str, tag: str, save_latest: bool = True) -> None:
        (tmp_path / tag).mkdir(exist_ok=True)

    for name in ("write_run", "remove_record", "write_record", "save_text"):
        books = Bookkeeper(PATCHED, LATE, frozenset(), {"patch_file": None}, lambda _: None)
        engine = SimpleNamespace(save_checkpoint=save_checkpoint)
        books.check(SimpleNamespace(save=str(tmp_path), load=None), None)
        books.attach(engine, 0)
        with monkeypatch.context() as patch:
            patch.setattr(resume, name, stop)
            with pytest.raises(CuratorError, match=r"^FILE.*No space left on device") as error:
                books.begin()
                engine.save_checkpoint(str(tmp_path), "global_step2")
        assert ("start the same command again" in str(error.value)) == (name in ("write_record", "save_text"))
        assert not (tmp_path / "latest").exists()
