"""Every statistic equals a slow definition in plain Python, on rows of any kind and on rows of known answer."""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from copyable_by_hand import share_by_table
from engine_parts import GOLDEN, golden_model, golden_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.corpus import repetition as module
from curator.corpus.repetition import copyable
from curator.errors import CuratorError
from curator.statistics.compression import Compression
from curator.statistics.copyable import Copyable
from curator.statistics.length import PADS, Length, padding_of
from curator.statistics.loss import Loss
from curator.statistics.registry import STATISTICS
from curator.statistics.settings import Name, StatisticsSettings

examples = settings(deadline=None, max_examples=80)


@st.composite
def corpora(draw: st.DrawFn) -> np.ndarray:
    """Up to 6 rows of up to 40 tokens from a few ids, small ones and some near the end of their type."""
    kind, top = draw(st.sampled_from([(np.uint16, 1 << 16), (np.uint32, 1 << 32), (np.int64, 50304)]))
    ids = draw(st.lists(st.integers(0, top - 1), min_size=1, max_size=5))
    n, width = draw(st.integers(1, 6)), draw(st.integers(2, 40))
    rows = draw(
        st.lists(st.lists(st.sampled_from(ids), min_size=width, max_size=width), min_size=n, max_size=n)
    )
    return np.array(rows, kind)


def predicted(row: Sequence[int], context: int) -> list[bool]:
    """Whether each token is what followed the last earlier occurrence of the tokens before it; by looking back."""
    hits = [False] * len(row)
    for t in range(context, len(row)):
        for s in range(
            t - 1, context - 1, -1
        ):  # the token at s followed an earlier occurrence of the context
            if list(row[s - context : s]) == list(row[t - context : t]):
                hits[t] = row[s] == row[t]
                break
    return hits


# -- copyable -------------------------------------------------------------------------------------------------------


@examples
@given(corpora(), st.integers(1, 3))
def test_copyable_tokens_are_those_of_the_definition(rows: np.ndarray, context: int) -> None:
    assert copyable(rows, context).tolist() == [predicted(row, context) for row in rows.tolist()]


@examples
@given(corpora(), st.integers(1, 90))
def test_the_copyable_share_is_that_of_a_table_of_followers_in_chunks_of_any_size(
    rows: np.ndarray, chunk: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_TOKENS", chunk)
        assert Copyable()(rows).tolist() == [share_by_table(row) for row in rows.tolist()]


@pytest.mark.parametrize(
    ("row", "hits"),
    [
        ([5, 6, 7, 8, 9], 0),  # nothing comes back
        ([5, 6, 5, 6, 5, 6], 3),  # "6" after the second "5" is the first that can be told
        ([4, 4, 4, 4], 2),  # the first follower of 4 is known at the second 4
        ([1, 2, 1, 3, 1, 3], 1),  # the *last* earlier follower of 1 counts: 2, then 3
        ([1, 2, 1, 3, 1, 2], 0),
        ([7, 7], 0),
        ([0, 65535, 0, 65535, 0], 2),  # the largest ids
    ],
)
def test_copyable_rows_of_known_answer(row: list[int], hits: int) -> None:
    assert Copyable()(np.array([row], np.uint16)).tolist() == [hits / (len(row) - 1)]


def test_keys_that_do_not_fit_beside_their_place_are_sorted_all_the_same() -> None:
    """Pairs of ids of 31 bits, which a 64-bit number cannot hold beside a place; two differ in the top bit."""
    rows = np.random.default_rng(0).choice(np.array([0, 5, 1 << 30]), (20, 70))
    assert copyable(rows, 2).tolist() == [predicted(row, 2) for row in rows.tolist()]


# -- compression ----------------------------------------------------------------------------------------------------


@examples
@given(corpora())
def test_compression_is_that_of_the_row_s_bytes_alone(rows: np.ndarray) -> None:
    highest = int(rows.max())
    size = 2 if highest < 65536 else 4
    found = Compression(highest)(rows)
    for row, ratio in zip(rows.tolist(), found):
        raw = b"".join(int(token).to_bytes(size, "little") for token in row)
        wrapped = zlib.compress(raw, 9)  # deflate with two bytes before and four behind
        assert ratio == len(raw) / (len(wrapped) - 6)


def test_a_row_that_repeats_itself_compresses_better_than_one_that_does_not() -> None:
    random = np.random.default_rng(0)
    drawn = random.integers(0, 50304, (1, 2049))
    repeated = np.tile(drawn[:, :64], 33)[:, :2049]
    one, other, blank = Compression(50303)(np.concatenate([drawn, repeated, np.zeros_like(drawn)]))
    assert one < 1.05 < 10 < other < blank


# -- length ---------------------------------------------------------------------------------------------------------


@examples
@given(corpora(), st.sets(st.integers(0, 3), min_size=1))
def test_length_ends_before_the_last_run_of_padding(rows: np.ndarray, places: set[int]) -> None:
    ids = np.unique(rows)
    padding = {int(ids[place % len(ids)]) for place in places}
    expected = []
    for row in rows.tolist():
        while row and row[-1] in padding:
            row.pop()
        expected.append(len(row))
    assert Length(padding)(rows).tolist() == expected


def test_length_of_known_answer() -> None:
    rows = np.array([[1, 2, 3, 4], [1, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 1], [3, 3, 0, 9]])
    assert Length({0})(rows).tolist() == [4, 3, 0, 4, 4]  # padding within a row is text
    assert Length({0, 9})(rows).tolist() == [4, 3, 0, 4, 2]


def test_padding_is_what_a_tokenizer_says_or_names_so(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    for content, ids in (
        ({}, set()),
        ({"padding": None, "added_tokens": [{"id": 7, "content": "<|im_end|>"}]}, set()),
        ({"padding": {"pad_id": 4}, "added_tokens": None}, {4}),
        (
            {"added_tokens": [{"id": 9 + n, "content": name} for n, name in enumerate(PADS)]},
            set(range(9, 14)),
        ),
    ):
        file.write_text(json.dumps(content))
        assert padding_of(file) == ids
    file.write_text("[1")
    with pytest.raises(CuratorError, match=r"not valid JSON.*give another --tokenizer, or --padding ID"):
        padding_of(file)


# -- loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_loss_is_the_mean_cross_entropy_of_a_plain_forward_pass(batch: int) -> None:
    model, rows = golden_model(torch.float64, "eager"), golden_rows()[:7]
    with torch.no_grad():
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        expected = torch.nn.functional.cross_entropy(logits.mT, rows[:, 1:], reduction="none").mean(1)
    found = Loss(model, "float64", batch)(rows.numpy())
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12)


# -- all ------------------------------------------------------------------------------------------------------------


def test_the_names_of_the_settings_are_those_of_the_registry() -> None:
    assert get_args(Name) == tuple(STATISTICS)
    words = " ".join(str(StatisticsSettings.model_fields["statistics"].description).split())
    for name, kind in STATISTICS.items():
        assert kind.name == name and f"{name}: " in words and kind.says and kind.higher


@examples
@given(corpora())
def test_a_row_s_statistics_do_not_hang_on_its_neighbours(rows: np.ndarray) -> None:
    for one in (Copyable(), Compression(int(rows.max())), Length({int(rows[0, -1])})):
        whole = one(rows)
        alone = np.concatenate([one(rows[k : k + 1]) for k in range(len(rows))])
        assert whole.dtype == np.float64 and whole.tolist() == alone.tolist()


def test_the_golden_rows_are_read_as_they_lie() -> None:
    rows = np.load(GOLDEN / "rows.npy", mmap_mode="r")
    assert Copyable()(rows).tolist() == [share_by_table(row) for row in rows.tolist()]
