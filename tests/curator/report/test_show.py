"""What is shown is what is there: every repeated span, every character, and nothing read as markup."""

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_parts import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tokenizers import Tokenizer, decoders, models

from curator.artifacts.block_key import BlockKey
from curator.corpus import open_corpus
from curator.corpus.token_text import TokenText, visible
from curator.errors import CuratorError, UsageError
from curator.ranking.ranking import Ranking
from curator.report.sample_view import SampleView
from curator.report.show import repeated_spans, view_samples
from curator.report.writers import REPEATED, shortened, to_json, to_markdown, to_terminal

TOKENIZER = GOLDEN / "model" / "tokenizer.json"
GOLDEN_TOKENIZER = Tokenizer.from_file(str(TOKENIZER))
examples = settings(deadline=None, max_examples=60)


# --- repeated spans ------------------------------------------------------------------------------------


def brute_spans(tokens: list[int], shortest: int) -> list[tuple[int, int]]:
    """The definition, word by word: occurs elsewhere, and no longer span around it does."""
    n = len(tokens)

    def elsewhere(start: int, stop: int) -> bool:
        span = tokens[start:stop]
        return any(tokens[i : i + len(span)] == span for i in range(n - len(span) + 1) if i != start)

    found = {(a, b) for a in range(n) for b in range(a + shortest, n + 1) if elsewhere(a, b)}
    return sorted((a, b) for a, b in found if (a - 1, b) not in found and (a, b + 1) not in found)


@examples
@given(st.lists(st.integers(0, 2), max_size=18), st.integers(1, 4))
def test_repeated_spans_equal_their_definition(tokens: list[int], shortest: int) -> None:
    assert repeated_spans(np.array(tokens, np.uint16), shortest) == brute_spans(tokens, shortest)


def test_repeated_spans_of_known_rows() -> None:
    def spans(text: str) -> list[str]:
        return [text[a:b] for a, b in repeated_spans(np.frombuffer(text.encode(), np.uint8))]

    assert spans("abcdXabcdYab") == ["abcd", "abcd"], "two tokens are too few"
    assert spans("abcdefgh") == []
    assert spans("aaaa") == ["aaa", "aaa"], "occurrences may overlap"
    assert spans("abcde-cdefg-abc-efg") == ["abc", "cde", "cde", "efg", "abc", "efg"]
    with pytest.raises(UsageError, match="1 token or more, not 0"):
        repeated_spans(np.arange(3), 0)


def test_a_row_of_2049_tokens_takes_less_than_half_a_second() -> None:
    rows: list[np.ndarray] = [
        np.zeros(2049, np.uint16),
        np.arange(2049) % 700,
        np.random.default_rng(0).integers(0, 50000, 2049),
    ]
    for row in rows:
        started = time.process_time()
        repeated_spans(row)
        assert time.process_time() - started < 0.5


# --- tokens as text ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def byte_ids() -> dict[int, int]:
    """byte -> the token of the golden tokenizer that is this byte alone."""
    text, tokenizer = TokenText(TOKENIZER), Tokenizer.from_file(str(TOKENIZER))
    return {data[0]: i for i in range(tokenizer.get_vocab_size()) if len(data := text._bytes(i)) == 1}


def cut(draw: Any, n: int) -> list[int]:
    return sorted(draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []


@examples
@given(st.text(min_size=1, max_size=30), st.data())
def test_pieces_of_any_text_join_to_it_wherever_tokens_are_cut(text: str, data: st.DataObject) -> None:
    tokenizer = GOLDEN_TOKENIZER
    tokens = np.array(tokenizer.encode(text).ids)
    borders = cut(data.draw, len(tokens))
    pieces = TokenText(tokenizer).pieces(tokens, borders)
    assert len(pieces) == len(borders) + 1
    assert "".join(pieces) == visible(tokenizer.decode(tokens.tolist(), skip_special_tokens=False))


@examples
@given(st.binary(min_size=1, max_size=20), st.data())
def test_any_bytes_are_shown_without_error_and_without_loss(
    byte_ids: dict[int, int], data_bytes: bytes, data: st.DataObject
) -> None:
    assert len(byte_ids) == 256
    tokens = np.array([byte_ids[byte] for byte in data_bytes])
    pieces = TokenText(GOLDEN_TOKENIZER).pieces(tokens, cut(data.draw, len(tokens)))
    assert "".join(pieces) == visible(data_bytes.decode("utf-8", errors="backslashreplace"))


def test_a_character_cut_by_a_border_goes_whole_to_the_piece_it_begins_in(byte_ids: dict[int, int]) -> None:
    tokens = np.array([byte_ids[byte] for byte in "a€b".encode()])
    assert TokenText(TOKENIZER).pieces(tokens, [2, 4]) == ["a€", "", "b"]
    assert TokenText(TOKENIZER).pieces(tokens[:3], [1]) == ["a", r"\xe2\x82"], "half a character"


def test_control_and_direction_characters_are_escaped() -> None:
    assert visible("a\x1b[31m\r\n\t\x00\u202e\u2028\u200b\x85é€😀") == (
        r"a\x1b[31m\r" "\n\t" r"\x00\u202e\u2028\u200b\x85" "é€😀"
    )


def test_ids_the_tokenizer_lacks_are_named_and_no_tokenizer_gives_ids() -> None:
    known = Tokenizer.from_file(str(TOKENIZER)).encode("x").ids
    assert TokenText(TOKENIZER).pieces(np.array([*known, 60000]), [1])[1] == "⟨token 60000⟩"
    pieces = TokenText(None).pieces(np.array([5, 17, 5]), [1])
    assert pieces == ["5 ", "17 5"]


def test_special_tokens_and_tokenizers_that_are_not_byte_level(tmp_path: Path) -> None:
    byte_level = Tokenizer.from_file(str(TOKENIZER))
    byte_level.add_special_tokens(["<|é|>"])
    byte_level.save(str(tmp_path / "special.json"))
    token = byte_level.token_to_id("<|é|>")
    assert TokenText(tmp_path / "special.json").pieces(np.array([token]), []) == ["<|é|>"]
    words = Tokenizer(models.WordLevel({"one": 0, "two\x07": 1}, unk_token="one"))
    words.save(str(tmp_path / "words.json"))
    assert TokenText(tmp_path / "words.json").pieces(np.array([0, 1, 0]), [1]) == ["one", r"two\x07 one"]
    fallback = Tokenizer(models.BPE({"<0xE2>": 0, "a": 1}, [], byte_fallback=True))
    fallback.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    fallback.save(str(tmp_path / "fallback.json"))
    assert TokenText(tmp_path / "fallback.json").pieces(np.array([1, 0, 1]), [2]) == ["a�", "a"]


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CuratorError, match="no such tokenizer"):
        TokenText(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CuratorError, match=r"not a tokenizer\.json"):
        TokenText(tmp_path / "tokenizer.json")


# --- samples of a ranking ------------------------------------------------------------------------------

N, FIRST = 40, 100


@pytest.fixture(scope="module")
def corpus() -> Any:
    return open_corpus(GOLDEN / "rows.npy")


@pytest.fixture
def ranking(corpus: Any) -> Ranking:
    random = np.random.default_rng(3)
    blocks = random.integers(-4, 5, (4, N)).astype(np.float64)  # many ties
    return Ranking(
        path=Path("ranking"),
        manifest={"fingerprints": {"corpus": corpus.fingerprint()}, "request": {"corpus": "rows.npy"}},
        scores=np.stack([blocks[:3].sum(0), blocks[3]]),
        blocks=blocks,
        losses=random.uniform(100, 200, N),
        units=["induction:1.2", "previous-token:0.0"],
        block_keys=[
            *(BlockKey("induction:1.2", name) for name in ("qk", "v", "o")),
            BlockKey("previous-token:0.0", "qk"),
        ],
        first_sample=FIRST,
    )


def test_views_are_the_rankings_samples_in_order(ranking: Ranking, corpus: Any) -> None:
    scores = ranking.scores[0]
    options: dict[str, Any] = {"tokenizer": TOKENIZER, "batch_size": 32}
    for order, sign in (("top", -1), ("bottom", 1)):
        views = view_samples(ranking, corpus, "induction:1.2", select=order, count=N, **options)  # type: ignore[arg-type]
        expected = sorted(range(N), key=lambda column: (sign * scores[column], column))
        assert [view.sample - FIRST for view in views] == expected
    ranks = {view.sample: view.rank for view in views}
    assert sorted(ranks.values()) == list(range(1, N + 1))
    for view in views:
        column = view.sample - FIRST
        assert view.score == scores[column] == sum(view.block_scores.values())
        assert list(view.block_scores) == ["qk", "v", "o"]
        assert view.percentile == pytest.approx(100 * np.mean(scores < scores[column]))
        assert view.step == view.sample // 32
        assert view.loss == pytest.approx(ranking.losses[column] / 128)
        row = corpus.rows(np.array([view.sample]))[0]
        text = Tokenizer.from_file(str(TOKENIZER)).decode(row.tolist(), skip_special_tokens=False)
        assert "".join(text for text, _ in view.segments) == visible(text)
        assert view.spans == repeated_spans(row)
        assert any(flag for _, flag in view.segments) == bool(view.spans)


def test_random_views_are_seeded_and_distinct(ranking: Ranking, corpus: Any) -> None:
    def drawn(seed: int) -> list[int]:
        views = view_samples(ranking, corpus, "induction:1.2", select="random", count=10, seed=seed)
        return [view.sample for view in views]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 10


def test_marked_tokens_are_those_of_the_repeated_spans(ranking: Ranking, corpus: Any) -> None:
    for view in view_samples(ranking, corpus, "previous-token:0.0", count=N):  # no tokenizer: ids
        marked = np.concatenate([np.full(len(text.split()), flag) for text, flag in view.segments])
        expected = np.zeros(view.tokens, bool)
        for start, stop in view.spans:
            expected[start:stop] = True
        np.testing.assert_array_equal(marked, expected)
        shown = " ".join(text.strip() for text, _ in view.segments)
        assert list(map(int, shown.split())) == corpus.rows(np.array([view.sample]))[0].tolist()


def test_another_corpus_unit_or_a_broken_score_is_refused(
    ranking: Ranking, corpus: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"say which unit; .*induction:1\.2, previous-token:0\.0"):
        view_samples(ranking, corpus)
    with pytest.raises(UsageError, match="cannot show 0 top"):
        view_samples(ranking, corpus, "induction:1.2", count=0)
    np.save(tmp_path / "other.npy", np.zeros((256, 129), np.uint16))
    with pytest.raises(CuratorError, match="give the same corpus"):
        view_samples(ranking, open_corpus(tmp_path / "other.npy"), "induction:1.2")
    ranking.scores[0, 7] = np.nan
    with pytest.raises(CuratorError, match=r"score of induction:1\.2 for sample 107 is nan"):
        view_samples(ranking, corpus, "induction:1.2")


# --- written out ---------------------------------------------------------------------------------------


def view_of(*segments: tuple[str, bool]) -> SampleView:
    return SampleView(
        sample=7,
        unit="induction:1.2",
        step=0,
        score=1.5,
        rank=1,
        ranked=10,
        percentile=90.0,
        loss=2.5,
        block_scores={"qk": 1.0, "v": 0.5},
        provenance={"file": "a_[b]_`c`.py", "category": "drill"},
        tokens=9,
        spans=[(0, 3)],
        segments=list(segments),
    )


def printed(view: SampleView, styled: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=styled, color_system="standard" if styled else None)
    console.print(to_terminal([view]))
    return out.getvalue()


def test_markup_and_emoji_codes_of_a_corpus_are_shown_as_they_are() -> None:
    text = printed(view_of(("[bold red]x[/] [/nothing] [link=http://a]", True), (" :smile: [red]", False)))
    assert "[bold red]x[/] [/nothing] [link=http://a] :smile: [red]" in text
    assert "a_[b]_`c`.py" in text and "+1.5" in text and "2.500 nats per token" in text


def test_repeated_passages_alone_are_highlighted() -> None:
    [panel] = to_terminal([view_of(("again", True), (" once", False))]).renderables
    body = panel.renderable  # type: ignore[union-attr]
    spans = [body.plain[span.start : span.end] for span in body.spans if span.style == REPEATED]
    assert spans == ["again"]
    assert "\x1b[" in printed(view_of(("again", True)), styled=True)


def test_markdown_marks_repeats_and_its_fence_holds_any_text() -> None:
    page = to_markdown([view_of(("````\n# no title", True), (" <b>", False))], "top of induction:*")
    lines = page.splitlines()
    assert lines[0] == r"# top of induction:\*"
    opening = lines.index("`````text")
    assert lines[opening + 1 : opening + 4] == ["⟦````", "# no title⟧ <b>", "`````"]
    assert r"a\_\[b\]\_\`c\`.py" in page


def test_json_holds_every_field(ranking: Ranking, corpus: Any) -> None:
    views = view_samples(ranking, corpus, "induction:1.2", count=2, tokenizer=TOKENIZER)
    read = json.loads(json.dumps(to_json(views)))
    assert [entry["sample"] for entry in read] == [view.sample for view in views]
    assert read[0]["segments"] == [list(segment) for segment in views[0].segments]
    assert read[0].keys() == SampleView.__dataclass_fields__.keys()


@examples
@given(st.lists(st.tuples(st.text("ab", min_size=1), st.booleans()), min_size=1), st.integers(0, 30))
def test_shortened_text_is_a_prefix_and_says_what_is_left_out(
    segments: list[tuple[str, bool]], room: int
) -> None:
    whole = "".join(text for text, _ in segments)
    text = "".join(text for text, _ in shortened(view_of(*segments), room).segments)
    if len(whole) <= room:
        assert text == whole
    else:
        assert text == f"{whole[:room]} … {len(whole) - room:,} more characters"
