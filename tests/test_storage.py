"""Law 9: what lies on disk is plain, whole or absent, and named by content."""

import json
from pathlib import Path

import numpy as np
import pytest

from curator.artifacts.storage import (
    differences,
    fingerprint,
    is_temporary,
    load_array,
    load_json,
    new_array,
    new_folder,
    remove_temporaries,
    save_array,
    save_json,
)
from curator.errors import CuratorError


def test_law_9_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    save_array(path, np.arange(3))
    with pytest.raises(ValueError, match="Object arrays"):
        save_array(path, np.array([object()]))
    with pytest.raises(TypeError):
        save_json(tmp_path / "value.json", {"not json": object()})
    np.testing.assert_array_equal(load_array(path), np.arange(3))
    assert [p.name for p in tmp_path.iterdir()] == ["array.npy"]


@pytest.mark.parametrize("kind", ["array", "folder"])
def test_law_9_a_block_that_fails_leaves_nothing(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    opened = new_array(target, (4,), np.float64) if kind == "array" else new_folder(target)
    with pytest.raises(KeyboardInterrupt), opened:
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_law_9_a_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with new_folder(tmp_path / "folder") as folder:
            (folder / name).touch()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["new"]


def test_law_9_pickles_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "pickled.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CuratorError, match=r"not a whole \.npy array"):
        load_array(path)


def test_a_truncated_array_and_broken_json_name_their_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.npy"
    save_array(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CuratorError, match=r"cut\.npy"):
        load_array(path)
    (tmp_path / "broken.json").write_text('{"a": ')
    with pytest.raises(CuratorError, match=r"broken\.json.*line 1"):
        load_json(tmp_path / "broken.json")
    with pytest.raises(CuratorError, match="no such file"):
        load_json(tmp_path / "missing.json")


def test_law_8_a_fingerprint_is_of_the_content() -> None:
    a = {"x": [1, 2.5, None], "y": np.arange(4, dtype=np.int32)}
    assert fingerprint(a) == fingerprint(dict(reversed(list(a.items()))))
    others = [
        {**a, "x": [1, 2.5]},
        {**a, "y": np.arange(4, dtype=np.int64)},
        {**a, "y": np.arange(4, dtype=np.int32).reshape(2, 2)},
        {**a, "z": 1},
        [a],
    ]
    assert len({fingerprint(value) for value in [a, *others]}) == 6
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])


def test_differences_say_both_sides() -> None:
    lines = differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}, "d": 4})
    assert lines == ["b.c: there 3, asked for 2", "d: there 4, asked for None"]


def test_what_killed_processes_left_is_known_and_removed(tmp_path: Path) -> None:
    save_json(tmp_path / "kept.json", json.loads("{}"))
    (tmp_path / "deep").mkdir()
    left = tmp_path / "deep" / ".scores.npy.0123abcd.tmp"
    left.touch()
    assert is_temporary(left) and not is_temporary(tmp_path / "kept.json")
    remove_temporaries(tmp_path)
    assert not left.exists() and (tmp_path / "kept.json").exists()
