"""Passages that go to an index are counted in the tokens of the embedder that reads them."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import teola as tl
from backends.errors import ConfigError
from backends.registry import FACTORIES, EngineSpec
from backends.tools.passage_tokens import whole_tokenizer
from backends.tools.split import split

TEXT = " ".join(f"word{i}" for i in range(40))
DOCS = [tl.Doc(TEXT, "d")]
READS = 7  # tokens of the folder's model, without its marks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that counts words, and reads nine tokens with its two marks."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": READS + 2}))
    return tmp_path


@pytest.fixture
def embedder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tl.Embedder:
    """Of that model's name; what computes is the fake one."""
    monkeypatch.setitem(FACTORIES, "embedder.local", "backends.fake.factory:create")
    return tl.Embedder(f"local:{folder}")


def words(passages: list[tl.Doc]) -> list[int]:
    return [len(passage.text.split()) for passage in passages]


def test_no_passage_is_longer_than_the_embedder_reads(folder: Path) -> None:
    spec = EngineSpec("embedder", f"local:{folder}")
    assert words(split(DOCS, 256, 0, embedder=spec)) == [7, 7, 7, 7, 7, 5]
    assert words(split(DOCS, 5, 0, embedder=spec)) == [5] * 8
    shorter = EngineSpec("embedder", f"local:{folder}", {"max_len": 6})
    assert words(split(DOCS, 256, 32, embedder=shorter))[:3] == [4, 4, 4]
    with pytest.raises(ConfigError, match="max_len 600 is more than the 512 tokens"):
        split(DOCS, embedder=EngineSpec("embedder", f"local:{folder}", {"max_len": 600}))


def test_an_embedder_whose_tokens_cannot_be_counted_here_leaves_the_general_ones() -> None:
    assert split(DOCS, embedder=EngineSpec("embedder", "fake:")) == split(DOCS)


@pytest.mark.parametrize("optimize", [True, False])
def test_the_split_of_an_index_counts_by_the_stores_embedder(
    embedder: tl.Embedder, optimize: bool
) -> None:
    store = tl.Store("fake:", embedder=embedder)

    @tl.app
    def index(docs: list[tl.Doc]) -> list[list[tl.Doc]]:
        other = tl.split(docs, overlap=0)
        passages = tl.split(docs, overlap=0)
        store.index(tl.flatten([passages]))
        return [passages, other]

    passages, other = index.using(optimize=optimize)(DOCS)
    assert words(passages) == [7, 7, 7, 7, 7, 5]
    assert words(other) == [40]
    replaced = index.using(optimize=optimize, engines={"embedder": "fake:"})(DOCS)
    assert words(replaced[0]) == [40]


def test_an_index_in_a_body_or_an_async_app_does_so_too(embedder: tl.Embedder) -> None:
    store = tl.Store("fake:", embedder=embedder)

    @tl.app
    def each(lists: list[list[tl.Doc]]) -> list[list[tl.Doc]]:
        def one(docs: list[tl.Doc]) -> list[tl.Doc]:
            return store.index(tl.split(docs, overlap=0)).search("word", k=9)

        return tl.map(one, lists)

    @tl.app
    async def later(docs: list[tl.Doc]) -> list[tl.Doc]:
        passages = tl.split(docs, overlap=0)
        store.index(passages)
        return passages

    assert sorted(words(each([DOCS])[0])) == [5, 7, 7, 7, 7, 7]
    assert words(later(DOCS)) == [7, 7, 7, 7, 7, 5]


def test_of_several_indexes_the_first_counts_and_equal_splits_are_told_apart(
    embedder: tl.Embedder,
) -> None:
    first, second = tl.Store("fake:", embedder=embedder), tl.Store("fake:other")
    third = tl.Store("fake:third", embedder=tl.Embedder("fake:"))

    @tl.app
    def shared(docs: list[tl.Doc]) -> list[tl.Doc]:
        passages = tl.split(docs, overlap=0)
        second.index(passages)
        first.index(passages)
        third.index(passages)
        return passages

    @tl.app
    def apart(docs: list[tl.Doc]) -> list[int]:
        first.index(tl.split(docs, overlap=0))
        third.index(tl.split(docs, overlap=0))
        return [first.count(), third.count()]

    assert words(shared(DOCS)) == [7, 7, 7, 7, 7, 5]
    first.clear()
    third.clear()
    assert apart(DOCS) == [6, 1]


def test_what_the_user_says_stays(embedder: tl.Embedder, folder: Path) -> None:
    store = tl.Store("fake:", embedder=tl.Embedder("fake:"))

    @tl.app
    def index(docs: list[tl.Doc]) -> list[tl.Doc]:
        passages = tl.split(docs, chunk_tokens=9, overlap=0, tokenizer=embedder)
        store.index(passages)
        return passages

    assert words(index(DOCS)) == [9, 9, 9, 9, 4]


@pytest.mark.model
def test_minilm_reads_every_passage_whole(caplog: pytest.LogCaptureFixture) -> None:
    store = tl.Store("local:", embedder=tl.Embedder("local:all-minilm-l6-v2"))

    @tl.app
    def index(docs: list[tl.Doc]) -> list[tl.Doc]:
        passages = tl.split(docs, chunk_tokens=256, overlap=32)
        store.index(passages)
        return passages

    passages = index([tl.Doc("日本語のテキスト" * 300 + "x1y2z3" * 400, "d")])
    count = whole_tokenizer("local:all-minilm-l6-v2")
    sizes = [len(count.encode(doc.text, add_special_tokens=False).ids) for doc in passages]
    assert 200 < max(sizes) <= 254
    assert "longer" not in caplog.text
