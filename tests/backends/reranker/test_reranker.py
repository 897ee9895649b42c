"""Rerankers: cross-encoders against transformers, late interaction against numpy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_bert import SIZES, run, write_tokenizer
from transformers import BertConfig, BertForSequenceClassification, BertModel

from backends.base import Outcome, Request, Result
from backends.bert.forward_passes import Passes
from backends.bert.tokens import BertTokenizer
from backends.documents import Doc
from backends.embedder.encoder import TokenVectors
from backends.errors import ConfigError, EngineUnavailable, RequestRejected
from backends.reranker.factory import create
from backends.reranker.maxsim import late_interaction
from backends.reranker.runner import RerankRunner, Scoring

PASSAGES = ["the dog sat", "the cat sat on the mat", "a", "", "cat cat cat " * 20]


def cross_encoder(folder: Path, num_labels: int) -> BertForSequenceClassification:
    torch.manual_seed(1)
    config = BertConfig(**SIZES, num_labels=num_labels, initializer_range=0.5)
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def rerank(*inputs: Any, op: str = "rerank", **attrs: Any) -> Request:
    return Request("0" * 32, op, inputs, attrs)


def docs_of(outcome: Outcome) -> list[Doc]:
    assert isinstance(outcome, Result), outcome
    (docs,) = outcome.outputs
    assert isinstance(docs, list)
    return docs


def documents(texts: Sequence[str]) -> list[Doc]:
    return [Doc(text, str(i), metadata={"n": i}) for i, text in enumerate(texts)]


class LengthScorer:
    """Longer is better."""

    budget_tokens = 4

    def read(self, query: str, passages: Sequence[str]) -> Scoring[str, int]:
        return Scoring(passages, lambda values: np.array(values, np.float32))

    def compute(self, texts: Sequence[str]) -> Sequence[int]:
        return [len(text) for text in texts]


def rank(*requests: Request) -> list[Outcome]:
    return Passes(RerankRunner(LengthScorer())).run(requests)


def test_the_best_comes_first_with_its_new_score() -> None:
    (outcome,) = rank(rerank("q", [Doc("a", "1", 9.0, {"n": 1}), Doc("abc", "2", 8.0)]))
    assert docs_of(outcome) == [Doc("abc", "2", 3.0), Doc("a", "1", 1.0, {"n": 1})]


def test_equal_scores_keep_their_order() -> None:
    (outcome,) = rank(rerank("q", documents(["bb", "aa", "ccc", "dd"])))
    assert [doc.text for doc in docs_of(outcome)] == ["ccc", "bb", "aa", "dd"]


@pytest.mark.parametrize(("k", "count"), [(None, 3), (0, 0), (2, 2), (9, 3)])
def test_k_limits_the_result(k: int | None, count: int) -> None:
    (outcome,) = rank(rerank("q", documents(["a", "b", "c"]), k=k))
    assert len(docs_of(outcome)) == count


def test_no_documents_give_no_documents() -> None:
    (outcome,) = rank(rerank("q", []))
    assert docs_of(outcome) == []


@pytest.mark.parametrize(
    "wrong",
    [
        rerank(3, []),
        rerank("q", ["text"]),
        rerank("q", Doc("a")),
        rerank("q"),
        rerank("q", [], k=-1),
        rerank("q", [], op="embed"),
        rerank("half \ud800", []),
        rerank("q", [Doc("half \ud800")]),
    ],
)
def test_a_wrong_request_fails_alone(wrong: Request) -> None:
    first, bad, last = rank(
        rerank("q", documents(["a"])), wrong, rerank("q", documents(["abc", "b"]))
    )
    assert isinstance(bad, RequestRejected)
    assert [doc.score for doc in docs_of(first)] == [1]
    assert [doc.score for doc in docs_of(last)] == [3, 1]


@pytest.mark.parametrize(("dtype", "error"), [("float32", 2e-5), ("auto", 5e-3)])
@pytest.mark.parametrize("num_labels", [1, 2])
def test_a_cross_encoder_scores_as_transformers_does(
    tmp_path: Path, num_labels: int, dtype: str, error: float
) -> None:
    model = cross_encoder(tmp_path, num_labels)
    (outcome,) = run(
        create("reranker", f"local:{tmp_path}", {"device": "cpu", "dtype": dtype}),
        rerank("the cat", documents(PASSAGES)),
    )
    scores = {doc.text: doc.score for doc in docs_of(outcome)}
    wanted: dict[str, float] = {}
    pairs = [("the cat", passage) for passage in PASSAGES]
    for (_, passage), encoding in zip(pairs, BertTokenizer(tmp_path).encode(pairs), strict=True):
        assert 1 in encoding.types, "the passage has its own token type"
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor(encoding.ids)[None],
                token_type_ids=torch.tensor(encoding.types)[None],
            ).logits[0]
        expected = logits[0] if num_labels == 1 else logits[1] - logits[0]
        wanted[passage] = float(expected)
    assert scores == pytest.approx(wanted, abs=error)
    assert list(scores) == sorted(wanted, key=lambda passage: -wanted[passage])


def test_requests_score_together_as_they_do_alone(tmp_path: Path) -> None:
    cross_encoder(tmp_path, 1)
    requests = [rerank("the cat", documents(PASSAGES)), rerank("dog", documents(PASSAGES[::-1]))]
    together = run(create("reranker", f"local:{tmp_path}", {}), *requests)
    alone = [run(create("reranker", f"local:{tmp_path}", {}), request)[0] for request in requests]
    for ours, theirs in zip(together, alone, strict=True):
        assert [doc.id for doc in docs_of(ours)] == [doc.id for doc in docs_of(theirs)]


def test_a_template_makes_one_sequence(tmp_path: Path) -> None:
    cross_encoder(tmp_path, 1)
    options = {"template": "the {query} on {text}"}
    one = run(
        create("reranker", f"local:{tmp_path}", options),
        rerank("cat", documents(["mat"])),
        rerank("cat on mat", documents([""])),
    )
    assert docs_of(one[0])[0].score != docs_of(one[1])[0].score
    two = run(create("reranker", f"local:{tmp_path}", {}), rerank("cat", documents(["mat"])))
    assert docs_of(one[0])[0].score != docs_of(two[0])[0].score


def test_a_template_without_both_holes_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="template"):
        create("reranker", f"local:{tmp_path}", {"template": "only {text}"})


def test_unknown_options_name_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'k'\. Known options: .*embedder"):
        create("reranker", "local:maxsim", {"k": 3})


def test_a_plain_encoder_is_no_cross_encoder(tmp_path: Path) -> None:
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(EngineUnavailable, match="is no cross-encoder: its BERT has 0 labels"):
        run(create("reranker", f"local:{tmp_path}", {}))


def test_an_onnx_model_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(EngineUnavailable, match="cannot be loaded"):
        run(create("reranker", f"local:{tmp_path}", {}))


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows = rng.normal(size=shape).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


def test_late_interaction_is_the_mean_best_cosine_plus_the_cosine() -> None:
    rng = np.random.default_rng(0)
    query = TokenVectors(unit(rng, 5, 8), unit(rng, 8))
    passage = TokenVectors(unit(rng, 7, 8), unit(rng, 8))
    expected = np.mean([max(q @ p for p in passage.tokens) for q in query.tokens])
    expected += query.pooled @ passage.pooled
    assert late_interaction(query, passage) == pytest.approx(float(expected), abs=1e-6)


def test_late_interaction_of_an_empty_text_is_the_cosine() -> None:
    rng = np.random.default_rng(0)
    query, empty = TokenVectors(unit(rng, 5, 8), unit(rng, 8)), unit(rng, 0, 8)
    passage = TokenVectors(empty, unit(rng, 8))
    assert late_interaction(query, passage) == pytest.approx(float(query.pooled @ passage.pooled))


def test_maxsim_is_late_interaction_over_the_last_hidden_state(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES)).eval()
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    engine = create("reranker", "local:maxsim", {"embedder": f"local:{tmp_path}", "device": "cpu"})
    (outcome,) = run(engine, rerank("the cat", documents(["the dog sat on", "a cat"])))

    def token_vectors(*ids: int) -> TokenVectors:
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([[2, *ids, 3]])).last_hidden_state[0].numpy()
        words, mean = hidden[1:-1], hidden.mean(axis=0)
        return TokenVectors(
            words / np.linalg.norm(words, axis=1, keepdims=True), mean / np.linalg.norm(mean)
        )

    query = token_vectors(4, 5)
    expected = {
        "the dog sat on": late_interaction(query, token_vectors(4, 10, 6, 7)),
        "a cat": late_interaction(query, token_vectors(8, 5)),
    }
    assert {doc.text: doc.score for doc in docs_of(outcome)} == pytest.approx(expected, abs=2e-5)


FACTS = [
    "The Danube flows through Vienna and Budapest.",
    "Photosynthesis turns sunlight, water and carbon dioxide into sugar and oxygen.",
    "The violin has four strings.",
    "Mount Everest, 8849 metres high, is the highest mountain on Earth.",
]


@pytest.mark.model
@pytest.mark.parametrize("url", ["local:maxsim", "local:bert-mini-reranker"])
@pytest.mark.parametrize(
    ("query", "best"),
    [("What is the highest mountain on Earth?", 3), ("How many strings does a violin have?", 2)],
)
def test_an_obviously_right_passage_comes_first(url: str, query: str, best: int) -> None:
    (outcome,) = run(create("reranker", url, {}), rerank(query, documents(FACTS)))
    assert docs_of(outcome)[0].text == FACTS[best]


@pytest.mark.model
def test_an_onnx_pair_scores_the_same_in_any_batch() -> None:
    engine = create("reranker", "local:bert-mini-reranker", {})
    (together,) = run(engine, rerank("What is high?", documents(FACTS)))
    for doc in docs_of(together):
        (alone,) = run(engine, rerank("What is high?", [doc]))
        assert docs_of(alone)[0].score == doc.score
