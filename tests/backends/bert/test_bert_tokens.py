"""What a BERT reads of a text, and what is said when it does not read all of it."""

import logging
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from backends.bert.tokens import BertTokenizer


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
