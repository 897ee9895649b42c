"""What a BERT reads of a text, and what is said when it does not read all of it."""

import logging
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from backends.bert.tokens import CHARS_PER_TOKEN, MAX_WORD_CHARS, BertTokenizer
from backends.errors import RequestRejected, RequestTooLong


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_longer_text_is_cut_and_its_end_marked(folder: Path) -> None:
    short, long = BertTokenizer(folder, 5).encode(["a b c", "a b c d"])
    assert len(short) == len(long) == 5
    assert long.ids.tolist() == [1, 0, 0, 0, 2]


def test_a_cut_is_told_once_a_process_whatever_reads_with_the_model(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedder, reranker = BertTokenizer(folder, 5), BertTokenizer(folder, 5)
    with caplog.at_level(logging.WARNING):
        embedder.encode(["a b c"])
        assert not caplog.records
        for reader in (embedder, reranker, embedder):
            reader.encode(["a b c d", "a"])
        BertTokenizer(folder / ".", 5).encode(["a b c d"])
    (told,) = caplog.records
    assert "reads 5 tokens of a text; 1 of 2 texts are longer" in told.getMessage()
    assert "chunk_tokens=3" in told.getMessage()
    with caplog.at_level(logging.WARNING):
        BertTokenizer(folder, 4).encode(["a b c"])
    assert len(caplog.records) == 2


@pytest.fixture
def wordpiece(tmp_path: Path) -> Path:
    pieces = ["[UNK]", "[CLS]", "[SEP]", *"abcde", *(f"##{letter}" for letter in "abcde")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_of_a_long_text_only_the_beginning_is_tokenised(wordpiece: Path) -> None:
    tokenizer = BertTokenizer(wordpiece, 8)
    read = tokenizer._beginning("ab " * 100_000)
    assert isinstance(read, str)
    assert len(read) == 8 * CHARS_PER_TOKEN + MAX_WORD_CHARS
    assert tokenizer._beginning(("a", "b" * 5000 + " c" * 5000))[0] == "a"


def test_beginnings_give_the_tokens_of_whole_texts(wordpiece: Path) -> None:
    tokenizer = BertTokenizer(wordpiece, 8)
    whole = Tokenizer.from_file(str(wordpiece / "tokenizer.json"))
    whole.enable_truncation(8)
    rng = random.Random(3)
    words = [
        "a",
        "edc",
        "b" * 90,
        "c" * 150,
        "d" * 700,
        " " * 40,
        " " * 900,
        "\u0301",
        "é",
        "中",
        "-",
    ]
    for _ in range(60):
        text = "".join(
            rng.choice(words) + rng.choice(["", " "]) for _ in range(rng.choice([5, 20, 300]))
        )
        pair = ("a b", text)
        for given, theirs in zip(
            tokenizer.encode([text, pair]), whole.encode_batch([text, pair]), strict=True
        ):
            assert given.ids.tolist() == theirs.ids
            assert given.types.tolist() == theirs.type_ids


def test_token_ids_are_read_as_their_text_with_its_marks_or_without(wordpiece: Path) -> None:
    tokenizer = BertTokenizer(wordpiece, 8)
    (whole,) = tokenizer.encode(["a b a"])
    for ids in (whole.ids[1:-1], whole.ids):
        marked = tokenizer.marked(ids.tolist())
        assert marked.ids.tolist() == whole.ids.tolist()
        assert marked.types.tolist() == whole.types.tolist()
        assert marked.is_word.tolist() == whole.is_word.tolist()
        assert not marked.is_cut
    (cut,) = tokenizer.encode(["a " * 9])
    long = tokenizer.marked(whole.ids[1:2].tolist() * 9)
    assert long.ids.tolist() == cut.ids.tolist()
    assert long.is_cut
    assert cut.is_cut
    with pytest.raises(RequestRejected, match="has no token 100000; its ids go from 0 to"):
        tokenizer.marked([100_000])


def test_a_text_of_millions_of_blanks_is_refused(wordpiece: Path) -> None:
    tokenizer = BertTokenizer(wordpiece, 8)
    with pytest.raises(RequestTooLong, match="a text has 2000000 characters, whose first"):
        tokenizer.encode(["a", " " * 2_000_000])
