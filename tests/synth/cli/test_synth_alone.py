"""A folder has one process and one request: who comes second is refused, and what a killed one left goes."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from curator.artifacts import claim as module
from curator.artifacts.claim import LOCK, claim_folder, lock_file, lock_folder, remove_free_locks
from curator.artifacts.files import is_temporary, load_json, save_json
from curator.errors import CuratorError

ASKED = {"count": 3, "seed": 0}


def take(out: Path, identity: dict[str, int] = ASKED) -> bool:
    with lock_folder(out):
        return claim_folder(out, identity, what="rows", result="manifest.json", claim="parts/identity.json")


def test_a_second_process_is_refused_until_the_first_one_ends(tmp_path: Path) -> None:
    source = "import sys, time\nfrom pathlib import Path\nfrom curator.artifacts.claim import lock_folder\n"
    source += "with lock_folder(Path(sys.argv[1])):\n    print(1, flush=True)\n    time.sleep(60)\n"
    where = {**os.environ, "PYTHONPATH": str(Path(module.__file__).parents[1])}
    first = subprocess.Popen([sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, env=where)
    assert first.stdout is not None and first.stdout.readline() == b"1\n"
    with (
        pytest.raises(CuratorError, match="another process is at work there; wait for it"),
        lock_folder(tmp_path),
    ):
        pass
    first.kill()
    first.wait()
    assert (tmp_path / LOCK).exists()
    assert not take(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_a_lock_that_is_let_go_soon_is_waited_for(tmp_path: Path) -> None:
    """As of a child that a killed process was just starting."""
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
         "print(1, flush=True); time.sleep(0.3)", str(tmp_path / LOCK)], stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
    started = time.monotonic()
    with lock_folder(tmp_path):
        assert time.monotonic() - started > 0.1
    holder.wait()


def test_a_lock_file_that_was_removed_since_it_was_opened_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two processes could hold the folder: one the old file, one the new."""
    flock, seen = fcntl.flock, []

    def removing(file: object, operation: int) -> None:
        flock(file, operation)  # type: ignore[arg-type]
        if not seen:
            (tmp_path / LOCK).unlink()
        seen.append(file)

    monkeypatch.setattr(fcntl, "flock", removing)
    with lock_folder(tmp_path):
        assert len(seen) == 2 and (tmp_path / LOCK).exists()


def test_an_empty_folder_is_claimed_and_the_same_request_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert take(out) is False
    assert load_json(out / "parts" / "identity.json") == ASKED
    assert take(out) is False
    save_json(out / "manifest.json", {"identity": ASKED, "more": 1})
    assert take(out) is True


@pytest.mark.parametrize("finished", [False, True])
def test_another_request_is_refused_with_both_sides(tmp_path: Path, finished: bool) -> None:
    take(tmp_path)
    if finished:
        save_json(tmp_path / "manifest.json", {"identity": ASKED})
    with pytest.raises(
        CuratorError, match=r"holds other rows than asked for.*\n  seed: there 0, asked for 1"
    ):
        take(tmp_path, {**ASKED, "seed": 1})


def test_a_folder_of_something_else_is_refused_and_nothing_in_it_is_touched(tmp_path: Path) -> None:
    """Also what looks like a half-written file: it may be that of another program's run."""
    theirs = [tmp_path / "ranking" / ".scores.npy.1a2b3c4d.tmp", tmp_path / "ranking" / "manifest.json"]
    save_json(theirs[1], {})
    theirs[0].write_text("being written")
    with pytest.raises(CuratorError, match="not empty and holds no rows"):
        take(tmp_path)
    assert all(path.exists() for path in theirs) and not (tmp_path / LOCK).exists()
    save_json(tmp_path / "manifest.json", {"format": "another"})
    with pytest.raises(CuratorError, match="holds something else than rows"):
        take(tmp_path)
    assert all(path.exists() for path in theirs)


def test_what_a_killed_process_left_goes_and_what_is_finished_stays(tmp_path: Path) -> None:
    take(tmp_path)
    (tmp_path / "parts" / ".a.json.1a2b3c4d.tmp").write_text("half")
    (tmp_path / "parts" / ".b.1a2b3c4d.tmp").mkdir()
    (tmp_path / "parts" / ".b.1a2b3c4d.tmp" / "rows.npy").write_text("half")
    (tmp_path / "parts" / "c.json").write_text("whole")
    (tmp_path / LOCK).write_text("")
    take(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["c.json", "identity.json", "parts"]


def test_a_process_killed_before_its_claim_was_whole_leaves_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / ".identity.json.1a2b3c4d.tmp").write_text('{"count"')
    assert take(tmp_path) is False
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["identity.json", "parts"]


@pytest.mark.parametrize("name", ["parts/identity.json", "manifest.json"])
def test_a_damaged_claim_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    take(tmp_path)
    (tmp_path / name).write_text('{"count"')
    with pytest.raises(CuratorError, match=rf"{name}: not valid JSON.*; remove .* and run the same command"):
        take(tmp_path)


def test_a_folder_that_stays_empty_goes_again_and_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), lock_folder(tmp_path / "new"):
        raise RuntimeError
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(CuratorError, match="is a file; --out needs a folder"), lock_folder(tmp_path / "file"):
        pass


def test_lock_files_of_killed_processes_go_and_those_that_are_held_stay(tmp_path: Path) -> None:
    """As of the workers of a ranking, of which the first one clears up."""
    (tmp_path / ".worker-7.tmp").touch()
    with lock_folder(tmp_path, ".worker-0.tmp"), lock_folder(tmp_path, ".worker-1.tmp"):
        remove_free_locks(tmp_path, ".worker-*.tmp")
        assert sorted(path.name for path in tmp_path.iterdir()) == [".worker-0.tmp", ".worker-1.tmp"]
    assert not tmp_path.exists()


def test_a_file_is_locked_by_one_process_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    """As of the ledger, for which others wait; nothing of the lock is taken for a result."""
    lock = tmp_path / ".spent.tmp"
    source = "import sys, time\nfrom pathlib import Path\nfrom curator.artifacts.claim import lock_file\n"
    source += "with lock_file(Path(sys.argv[1])):\n    print(1, flush=True)\n    time.sleep(60)\n"
    first = subprocess.Popen([sys.executable, "-c", source, str(lock)], stdout=subprocess.PIPE)
    assert first.stdout is not None and first.stdout.readline() == b"1\n"
    with pytest.raises(CuratorError, match="held by another"), lock_file(lock, "held by another", 0.1):
        pass
    threading.Timer(0.3, first.kill).start()
    started = time.monotonic()
    with lock_file(lock):
        assert time.monotonic() - started > 0.2
    first.wait()
    assert is_temporary(lock) and take(tmp_path) is False


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would stand in for them there is a file, which a killed process leaves."""

    def missing(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(OSError, match="not implemented"), lock_folder(tmp_path / "out"):
        pass
