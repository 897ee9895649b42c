"""Splitting: the bound holds, nothing is lost, and every passage knows where it was."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from backends.documents import Doc
from backends.errors import DocumentError, RequestRejected
from backends.tools.split import split

TEXTS = st.text(st.sampled_from("ab c.\n#é😀\t日-*`\r"), max_size=120)
MARKDOWN = {"source": "a.md"}


def word_tokenizer() -> Any:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def count_cl100k(text: str, most: int) -> bool:
    from semantic_text_splitter import TextSplitter

    return len(TextSplitter.from_tiktoken_model("gpt-4", most, trim=False).chunks(text)) <= 1


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(4, 12), st.integers(0, 11), st.sampled_from([{}, MARKDOWN]))
def test_passages_keep_the_bound_and_lose_nothing(
    text: str, most: int, overlap: int, metadata: dict[str, str]
) -> None:
    passages = split([Doc(text, "d", metadata=metadata)], most, min(overlap, most - 1))
    covered = 0
    for passage in passages:
        offset = passage.metadata["offset"]
        assert text[offset : offset + len(passage.text)] == passage.text
        assert not text[covered:offset].strip(), "text between passages was lost"
        assert offset + len(passage.text) > covered
        assert count_cl100k(passage.text, most)
        covered = offset + len(passage.text)
    assert not text[covered:].strip(), "the end was lost"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["cat", "dog.", "the", "x\n\n"]), max_size=60), st.integers(4, 9))
def test_the_bound_is_in_tokens_of_the_tokenizer_given(words: list[str], most: int) -> None:
    tokenizer = word_tokenizer()
    for passage in split([Doc(" ".join(words))], most, 2, tokenizer):
        assert len(tokenizer.encode(passage.text).ids) <= most


def test_a_tokenizer_that_truncates_is_used_whole_and_left_as_it_was(tmp_path: Path) -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for given_tokenizer in (tokenizer, tmp_path / "tokenizer.json"):
        passages = split([Doc("one two three four five six seven")], 4, 0, given_tokenizer)
        assert [passage.text for passage in passages] == ["one two three four", "five six seven"]
    assert tokenizer.truncation is not None


def test_neighbours_share_the_overlap() -> None:
    passages = split([Doc("a b c d e f g h")], 4, 2, word_tokenizer())
    assert [passage.text for passage in passages] == ["a b c d", "c d e f", "e f g h"]
    assert [passage.metadata["offset"] for passage in passages] == [0, 4, 8]


def test_a_passage_keeps_its_parents_metadata() -> None:
    (passage,) = split([Doc("text", "a.md#1", 0.5, {"source": "a.md", "page": 3})])
    assert passage == Doc(
        "text",
        "a.md#1:0",
        metadata={"source": "a.md", "page": 3, "parent": "a.md#1", "chunk": 0, "offset": 0},
    )


def test_markdown_is_cut_at_headings() -> None:
    text = "# One\n\nalpha beta\n\n# Two\n\ngamma delta"
    passages = split([Doc(text, metadata=MARKDOWN)], 8, 0)
    assert [passage.text for passage in passages] == ["# One\n\nalpha beta", "# Two\n\ngamma delta"]


def test_empty_and_blank_documents_give_no_passage() -> None:
    assert split([Doc(""), Doc(" \n ")]) == []


@pytest.mark.parametrize(("chunk_tokens", "overlap"), [(8, 8), (8, 9), (8, -1), (3, 0)])
def test_sizes_that_cannot_work_are_rejected(chunk_tokens: int, overlap: int) -> None:
    with pytest.raises(RequestRejected, match="must be"):
        split([Doc("text")], chunk_tokens, overlap)


def test_a_wrong_tokenizer_is_named() -> None:
    with pytest.raises(DocumentError, match="no tokenizer at 'nowhere.json'"):
        split([Doc("text")], tokenizer="nowhere.json")
    with pytest.raises(RequestRejected, match="got int"):
        split([Doc("text")], tokenizer=3)
