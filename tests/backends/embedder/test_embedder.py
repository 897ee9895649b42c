"""The local embedder on a tiny random BERT, and on the real one against transformers."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_bert import SIZES, run, write_tokenizer
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from backends.base import Outcome, Request, Result
from backends.bert.encoder import load_bert
from backends.bert.options import BertOptions
from backends.bert.tokens import BertTokenizer, TextTokens, padded_batches
from backends.documents import Doc
from backends.embedder.factory import create
from backends.errors import ConfigError, EngineUnavailable, RequestRejected
from backends.models.fetch import locate
from backends.native.library import library

CPU = BertOptions(device="cpu")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    BertModel(BertConfig(**{**SIZES, "max_position_embeddings": 16})).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


has_kernels = pytest.mark.skipif(library() is None, reason="no kernels here")


def tokens(ids: np.ndarray, types: np.ndarray | None = None) -> TextTokens:
    types = np.zeros_like(ids) if types is None else types
    return TextTokens(ids.astype(np.int32), types.astype(np.int32), ids > 3)


def embed(*inputs: Any, op: str = "embed") -> Request:
    return Request("0" * 32, op, inputs)


def vectors(outcome: Outcome) -> np.ndarray:
    assert isinstance(outcome, Result), outcome
    return np.asarray(outcome.outputs[0])


def test_our_bert_computes_what_transformers_computes(tiny: Path) -> None:
    ids = np.array([[2, 4, 5, 6, 3], [2, 10, 3, 0, 0]])
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    types = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]])
    with torch.no_grad():
        theirs = BertModel.from_pretrained(tiny)(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            token_type_ids=torch.from_numpy(types),
        ).last_hidden_state
    exact = BertOptions(device="cpu", dtype="float32")
    long, short = load_bert(tiny, exact).encode([tokens(ids[0], types[0]), tokens(ids[1, :3])])
    np.testing.assert_allclose(long, theirs[0].numpy(), atol=1e-5, rtol=0)
    np.testing.assert_allclose(short, theirs[1, :3].numpy(), atol=1e-5, rtol=0)


def test_a_str_gives_one_vector_and_a_list_one_a_row(tiny: Path) -> None:
    one, many, documents, none = run(
        create("embedder", f"local:{tiny}", {}),
        embed("the cat"),
        embed(["the cat", "a dog"]),
        embed([Doc("the cat")]),
        embed([]),
    )
    assert vectors(one).shape == (32,)
    assert vectors(many).shape == (2, 32)
    assert vectors(none).shape == (0, 32)
    assert vectors(one).dtype == np.float32
    np.testing.assert_allclose(vectors(many)[0], vectors(one), atol=1e-6)
    np.testing.assert_allclose(vectors(documents)[0], vectors(one), atol=1e-6)
    assert isinstance(many, Result)
    assert many.usage.num_items == 2


def test_the_usage_counts_the_tokens_that_were_computed(tiny: Path) -> None:
    outcomes = run(
        create("embedder", f"local:{tiny}", {}),
        embed("the cat"),
        embed(["the cat", "a"]),
        embed([]),
    )
    counted = [out.usage.prefill_tokens for out in outcomes if isinstance(out, Result)]
    assert counted == [4, 4 + 3, 0]  # [CLS] and [SEP] among them


def test_vectors_have_unit_length_even_of_the_empty_text(tiny: Path) -> None:
    (outcome,) = run(create("embedder", f"local:{tiny}", {}), embed(["", "the cat sat"]))
    np.testing.assert_allclose(np.linalg.norm(vectors(outcome), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [embed(3), embed(["the", 3]), embed("the", "cat"), embed("the", op="rerank")]
)
def test_a_wrong_request_fails_alone(tiny: Path, wrong: Request) -> None:
    first, bad, last = run(
        create("embedder", f"local:{tiny}", {}), embed("the cat"), wrong, embed("a dog")
    )
    assert isinstance(bad, RequestRejected)
    assert not np.allclose(vectors(first), vectors(last))


def test_a_model_pools_as_its_folder_says(tiny: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny, tmp_path / "cls")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (outcome,) = run(create("embedder", f"local:{folder}", {"device": "cpu"}), embed("the cat"))
    (hidden,) = load_bert(tiny, CPU).encode([tokens(np.array([2, 4, 5, 3]))])
    first = hidden[0]
    np.testing.assert_allclose(vectors(outcome), first / np.linalg.norm(first), atol=1e-6)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(EngineUnavailable, match="pooling_mode_max_tokens"):
        run(create("embedder", f"local:{folder}", {}))


def test_texts_are_cut_at_the_length_the_model_states(tiny: Path) -> None:
    cut, whole = run(
        create("embedder", f"local:{tiny}", {}), embed("cat " * 14), embed("cat " * 500)
    )
    np.testing.assert_allclose(vectors(cut), vectors(whole), atol=1e-6)


def test_half_a_surrogate_pair_fails_its_request_alone(tiny: Path) -> None:
    good, bad = run(
        create("embedder", f"local:{tiny}", {}), embed("the cat"), embed(["cat", "\ud83d cat"])
    )
    assert isinstance(good, Result)
    assert isinstance(bad, RequestRejected)
    assert "half of a surrogate pair ('\\ud83d' at character 0)" in str(bad)


def test_a_length_that_does_not_fit_the_model_is_a_config_error(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="max_len 17 is more than the 16 tokens"):
        run(create("embedder", f"local:{tiny}", {"max_len": 17}))


def test_batches_keep_to_the_budget_and_waste_little(tiny: Path) -> None:
    lengths = [1, 14, 1, 1, 14, 1]
    encodings = BertTokenizer(tiny).encode(["cat " * length for length in lengths])
    batches = list(padded_batches(encodings, budget_tokens=32))
    assert [batch.rows for batch in batches] == [[1, 4], [0, 2, 3, 5]]
    assert [batch.ids.shape for batch in batches] == [(2, 16), (4, 3)]
    assert all(batch.mask.all() for batch in batches)


def test_engines_share_the_weights_of_one_folder(tiny: Path) -> None:
    first = load_bert(tiny, CPU)
    assert load_bert(tiny, CPU) is first
    assert load_bert(tiny, BertOptions(device="cpu", max_len=3)) is first
    assert load_bert(tiny, BertOptions(device="cpu", threads=1)) is not first


def test_unknown_options_name_the_known_ones(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'batch'\. Known options: .*max_len"):
        create("embedder", f"local:{tiny}", {"batch": 3})


def test_an_unknown_model_is_a_config_error_and_a_missing_one_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="neither a path here nor a model"):
        create("embedder", "local:nothing", {})
    engine = create("embedder", "local:all-minilm-l6-v2", {})
    with pytest.raises(EngineUnavailable, match="teola models fetch all-minilm-l6-v2"):
        run(engine)


def test_a_file_of_an_llm_is_told_from_a_folder_of_an_embedder(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(EngineUnavailable, match="give the folder of a Hugging Face model"):
        run(create("embedder", f"local:{file}", {}))


def test_a_folder_without_a_bert_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="holds no BERT model"):
        run(create("embedder", f"local:{tmp_path}", {}))


def test_an_engine_that_is_not_started_says_so(tiny: Path) -> None:
    engine = create("embedder", f"local:{tiny}", {})
    with pytest.raises(EngineUnavailable, match="not started"):
        asyncio.run(engine.execute([embed("the cat")]))


def test_an_engine_starts_again_after_close(tiny: Path) -> None:
    engine = create("embedder", f"local:{tiny}", {})
    (first,) = run(engine, embed("the cat"))
    (second,) = run(engine, embed("the cat"))
    np.testing.assert_array_equal(vectors(first), vectors(second))


def varied_texts() -> list[str]:
    rng = np.random.default_rng(0)
    words = ["time", "river", "graph", "of", "the", "quick", "Paris", "naïve", "东京", "3.14", "--"]
    texts = [" ".join(rng.choice(words, size=int(n))) for n in rng.geometric(0.03, size=44)]
    return [*texts, "", " ", "a", "The capital of France is Paris.", "😀 emoji", "x" * 3000]


@pytest.mark.model
@pytest.mark.parametrize(
    ("options", "cosine"),
    [
        ({"kernels": "torch"}, 0.99999),
        pytest.param({"kernels": "native"}, 0.99999, marks=has_kernels),
        pytest.param({"kernels": "native", "dtype": "float32"}, 0.99999, marks=has_kernels),
        pytest.param({"kernels": "native", "dtype": "bfloat16"}, 0.9995, marks=has_kernels),
    ],
    ids=["torch", "native", "float32", "bfloat16"],
)
def test_the_real_embedder_agrees_with_transformers(options: dict[str, str], cosine: float) -> None:
    folder = locate("all-minilm-l6-v2")
    model = BertModel.from_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    texts = varied_texts()
    assert len(texts) == 50
    engine = create("embedder", "local:all-minilm-l6-v2", {"device": "cpu", **options})
    (outcome,) = run(engine, embed(texts))
    for ours, text in zip(vectors(outcome), texts, strict=True):
        ids = tokenizer(text, truncation=True, max_length=256, return_tensors="pt").input_ids
        with torch.no_grad():
            hidden = model(input_ids=ids).last_hidden_state[0]
        mean = hidden.mean(dim=0).numpy()
        assert ours @ mean / np.linalg.norm(mean) >= cosine


@pytest.mark.model
@pytest.mark.parametrize("kernels", ["torch", pytest.param("native", marks=has_kernels)])
def test_a_text_has_the_same_vector_in_a_batch_and_alone(kernels: str) -> None:
    texts = varied_texts()
    options = {"device": "cpu", "kernels": kernels}
    outcomes = run(
        create("embedder", "local:all-minilm-l6-v2", options),
        embed(texts),
        *(embed(text) for text in texts),
    )
    (alone,) = run(
        create("embedder", "local:all-minilm-l6-v2", {**options, "budget_tokens": 1}), embed(texts)
    )
    off = 0.0 if kernels == "native" else 1e-5
    np.testing.assert_allclose(vectors(outcomes[0]), vectors(alone), rtol=0, atol=off)
    np.testing.assert_allclose(
        np.stack([vectors(outcome) for outcome in outcomes[1:]]), vectors(alone), rtol=0, atol=off
    )
