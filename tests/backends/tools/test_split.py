"""Splitting: the bound holds, nothing is lost, and every passage knows where it was."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

import teola as tl
from backends.documents import Doc
from backends.errors import ConfigError, DocumentError, RequestRejected
from backends.models.fetch import resolve
from backends.tools.passage_tokens import whole_tokenizer
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


@example("\t\r`\ré", 4, 1, MARKDOWN)  # the second passage begins where the first does
@example("`\t-*é a.a😀\t-é\n \t -a.a😀\t-é\n\tc\n \r--  \rc\t", 10, 9, MARKDOWN)
@example("b-\r*😀😀😀a日b日c*\n\nc\r#\r\r😀-a` b", 4, 1, MARKDOWN)  # repeated, all of it kept
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


def test_offsets_of_repeated_text_go_on() -> None:
    passages = split([Doc("abc " * 100)], 4, 0)
    offsets = [passage.metadata["offset"] for passage in passages]
    assert offsets[:3] == [0, 16, 32]
    overlapping = split([Doc("abc " * 100)], 8, 3)
    assert [passage.metadata["offset"] for passage in overlapping][:3] == [0, 20, 40]


@settings(deadline=None)
@given(st.text(st.sampled_from("ab é\n"), max_size=80), st.sampled_from([{}, MARKDOWN]))
def test_without_an_overlap_passages_never_overlap(text: str, metadata: dict[str, str]) -> None:
    end = 0
    for passage in split([Doc(text * 3, "d", metadata=metadata)], 4, 0):
        assert passage.metadata["offset"] >= end
        end = passage.metadata["offset"] + len(passage.text)


def test_documents_without_ids_have_passages_of_different_ids() -> None:
    one, two, again = split([Doc("one"), Doc("two"), Doc("one")])
    assert one.id == again.id != two.id
    assert one.id == f"{one.metadata['parent']}:0"


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
    with pytest.raises(RequestRejected, match="'fake:' has no tokenizer here"):
        split([Doc("text")], tokenizer="fake:")
    with pytest.raises(ConfigError, match="neither a path here nor a model"):
        split([Doc("text")], tokenizer="local:nothing")


def test_a_model_folder_is_counted_by_its_tokenizer(tmp_path: Path) -> None:
    word_tokenizer().save(str(tmp_path / "tokenizer.json"))
    passages = split([Doc("one two three four five")], 4, 0, f"local:{tmp_path}")
    assert [passage.text for passage in passages] == ["one two three four", "five"]


def test_a_model_file_that_is_no_gguf_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("x")
    with pytest.raises(ConfigError, match=r"model\.bin is neither"):
        split([Doc("text")], tokenizer=f"local:{tmp_path / 'model.bin'}")


def test_half_a_surrogate_pair_is_rejected_by_name() -> None:
    with pytest.raises(RequestRejected, match=r"half of a surrogate pair \('\\ud800' at"):
        split([Doc("text \ud800")])


@pytest.mark.model
@pytest.mark.parametrize("name", ["smollm2-135m", "all-minilm-l6-v2"])
def test_an_app_splits_by_the_tokens_of_its_model(name: str) -> None:
    kind = tl.LLM if name.startswith("smollm2") else tl.Embedder
    model = kind(f"local:{name}")

    @tl.app
    def cut(text: str) -> list[tl.Doc]:
        return tl.split(as_docs(text), chunk_tokens=16, overlap=0, tokenizer=model)

    text = "Übergrößenträger 1234567890 naïve café, 日本語のテキスト. " * 20
    passages = cut(text)
    count = whole_tokenizer(f"local:{name}")
    sizes = [len(count.encode(doc.text, add_special_tokens=False).ids) for doc in passages]
    assert max(sizes) <= 16
    assert "".join("".join(doc.text for doc in passages).split()) == "".join(text.split())
    by_default = split([Doc(text)], 16, 0)
    assert [doc.text for doc in by_default] != [doc.text for doc in passages]


@pytest.mark.model
def test_the_tokens_of_a_gguf_are_those_its_engine_counts() -> None:
    from backends.llm.loader import open_model

    engine = open_model(resolve("local:smollm2-135m")).tokenizer
    counting = whole_tokenizer("local:smollm2-135m")
    text = "Übergrößenträger 12:34, 日本語 👩‍👩‍👧‍👦"
    assert counting.encode(text, add_special_tokens=False).ids == engine.encode_text(text)


@tl.tool(pure=True)
def as_docs(text: str) -> list[tl.Doc]:
    return [tl.Doc(text, "d")]
