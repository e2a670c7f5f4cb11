"""Law 9: what lies on disk is plain, whole or absent, and named by content."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator.artifacts.files import (
    is_temporary,
    load_array,
    load_json,
    new_array,
    new_file,
    new_folder,
    remove_temporaries,
    save_array,
    save_json,
    save_text,
)
from curator.artifacts.fingerprints import differences, fingerprint, load_made_for
from curator.artifacts.manifests import is_manifest, load_manifest
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
    (tmp_path / ".step3.0123abcd.tmp").mkdir()
    lock = tmp_path / ".lock.tmp"
    lock.touch()
    assert is_temporary(left) and is_temporary(lock) and not is_temporary(tmp_path / "kept.json")
    remove_temporaries(tmp_path, "step*", "losses.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock.tmp", "deep", "kept.json"]
    assert left.exists()  # neither of these names, nor directly in the folder
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".lock.tmp", "deep", "kept.json"]


@pytest.mark.parametrize("write", [lambda path: save_text(path, "x"), lambda path: path.write_bytes(b"x")])
def test_law_9_a_file_that_another_program_writes_is_whole_or_not_there(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    """As a picture of matplotlib's; an error of writing names the file that was to be, not its neighbour."""
    path = tmp_path / "new" / "picture.png"
    with new_file(path) as temporary:
        write(temporary)
        assert not path.exists() and temporary.parent == path.parent
    assert path.read_bytes() == b"x"
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(OSError, match=r"No space left on device: '.*new/picture\.png'"),
        new_file(path) as temporary,
    ):
        write(temporary)
        raise full
    assert path.read_bytes() == b"x" and [p.name for p in path.parent.iterdir()] == ["picture.png"]


def test_a_folder_that_must_not_make_way_for_another_stays(tmp_path: Path) -> None:
    save_json(tmp_path / "step3" / "first.json", {})
    with pytest.raises(OSError), new_folder(tmp_path / "step3", replace=False) as folder:
        save_json(folder / "second.json", {})
    assert [path.name for path in tmp_path.rglob("*")] == ["step3", "first.json"]


def test_what_was_made_for_another_run_is_refused_with_both_sides(tmp_path: Path) -> None:
    save_json(tmp_path / "index.json", {"made_for": "0123", "blocks": []})
    assert load_made_for(tmp_path / "index.json", "0123", "rank again")["blocks"] == []
    with pytest.raises(
        CuratorError, match=r"index\.json: made for another run .*there 0123, here 4567.*; rank again"
    ):
        load_made_for(tmp_path / "index.json", "4567", "rank again")
    save_json(tmp_path / "index.json", ["0123"])
    with pytest.raises(CuratorError, match="there None, here 4567"):
        load_made_for(tmp_path / "index.json", "4567", "rank again")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"format": "tests-2", "version": 3', r"one\.json: not valid JSON .*; make it again"),
        ("[1]", "holds a list, expected an object; make it again"),
        ("9" * 5000, "one.json: .*; make it again"),
        ("[" * 100_000, "nested too deeply; make it again"),
        ('{"version": 3}', "format is None, expected 'tests'; make it again"),
        ('{"format": "other"}', "format is 'other', expected 'tests'; is it another folder that you mean"),
        (
            '{"format": "tests", "version": 4}',
            "has version 4, known are 1 and 3: .*another version; make it again",
        ),
        (
            '{"format": "tests", "version": 3, "a": {"c": 1}, "d": 2}',
            r"lacks a\.b, d\[\], so it was edited; make it",
        ),
    ],
)
def test_law_8_a_manifest_that_is_damaged_edited_or_anothers_is_refused(
    tmp_path: Path, content: str, says: str
) -> None:
    file, expected = tmp_path / "one.json", {"format": "tests", "version": 3}
    file.write_text(content)
    with pytest.raises(CuratorError, match=says):
        load_manifest(file, expected, "make it again", ("a.b", "d[]"), older=(1,))
    for version in (1, 3):
        save_json(file, whole := {"format": "tests", "version": version, "a": {"b": 1}, "d": []})
        assert load_manifest(file, expected, "make it again", ("a.b", "d[]"), older=(1,)) == whole
    with pytest.raises(CuratorError, match="has version 1, known is 3"):
        save_json(file, {**whole, "version": 1})
        load_manifest(file, expected, "make it again")


def test_what_a_folder_is_is_told_by_its_format_in_any_version(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    assert not is_manifest(file, "tests")
    save_json(file, {"format": "tests", "version": 9, "kind": "corpus"})
    assert is_manifest(file, "tests") and is_manifest(file, {"format": "tests", "version": 1})
    assert is_manifest(file, {"kind": "corpus"}) and not is_manifest(file, "other")
    file.write_text("[]")
    assert not is_manifest(file, "tests")


@pytest.mark.parametrize(
    ("content", "is_one"),
    [
        ({"format": "curator-ranking-1"}, True),
        ({"format": "curator-ranking-12"}, True),
        ({"format": "curator-selection-1"}, False),
        ({"format": 1}, False),
        ([], False),
    ],
)
def test_a_manifest_is_of_a_format_in_whatever_version(content: Any, is_one: bool, tmp_path: Path) -> None:
    """So that what opens it can say which version it has."""
    save_json(tmp_path / "manifest.json", content)
    assert is_manifest(tmp_path / "manifest.json", "curator-ranking-1") == is_one
