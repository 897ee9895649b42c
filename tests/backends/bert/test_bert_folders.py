"""Folders whose files do not fit together: a typed error that names the misfit, never a crash."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_bert import SIZES, WORDS, run, write_tokenizer
from transformers import BertConfig, BertForSequenceClassification

from backends.base import Request, Result
from backends.bert.encoder import load_bert
from backends.bert.options import BertOptions
from backends.bert.tokens import BertTokenizer, TextTokens
from backends.documents import Doc
from backends.embedder import factory as embedder
from backends.embedder.encoder import load_encoder
from backends.errors import EngineUnavailable, RequestRejected
from backends.reranker import factory as reranker

KERNELS = ["auto", "torch"]
HIDDEN = SIZES["hidden_size"]
NAN = float("nan")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**SIZES, num_labels=1)).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    return tmp_path


def state(folder: Path, **fields: Any) -> None:
    """Other fields in config.json; None takes one away."""
    path = folder / "config.json"
    stated = {**json.loads(path.read_text()), **fields}
    kept = {name: value for name, value in stated.items() if value is not None}
    path.write_text(json.dumps(kept))


def store(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    """Another tensor of that name; None takes it away."""
    path = folder / "model.safetensors"
    tensors = {**load_file(path), name: tensor}
    save_file({name: kept for name, kept in tensors.items() if kept is not None}, path)


def load(folder: Path, kernels: str = "auto") -> None:
    load_bert(folder, BertOptions(device="cpu", kernels=kernels))  # type: ignore[arg-type]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("embeddings.word_embeddings.weight", (3, HIDDEN)),
        ("embeddings.token_type_embeddings.weight", (2, HIDDEN - 2)),
        ("embeddings.position_embeddings.weight", (1, HIDDEN)),
        ("embeddings.LayerNorm.weight", (HIDDEN - 1,)),
        ("encoder.layer.0.attention.self.query.weight", (2 * HIDDEN, HIDDEN)),
        ("encoder.layer.1.attention.self.value.bias", (1,)),
        ("encoder.layer.0.attention.output.dense.weight", (HIDDEN, 2 * HIDDEN)),
        ("encoder.layer.1.intermediate.dense.weight", (8 * HIDDEN, HIDDEN)),
        ("encoder.layer.0.output.dense.weight", (HIDDEN, HIDDEN)),
        ("encoder.layer.1.output.LayerNorm.bias", (HIDDEN, 1)),
        ("pooler.dense.weight", (HIDDEN, 1)),
    ],
)
def test_a_tensor_of_another_shape_is_named_with_both_shapes(
    folder: Path, kernels: str, name: str, shape: tuple[int, ...]
) -> None:
    store(folder, f"bert.{name}", torch.zeros(shape))
    with pytest.raises(EngineUnavailable) as raised:
        load(folder, kernels)
    assert f"{name} has the shape {list(shape)}, config.json asks for [" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("classifier.bias", (2,)), ("classifier.weight", (1, 2)), ("classifier.weight", (4,))],
)
def test_a_head_of_another_shape_is_refused(
    folder: Path, name: str, shape: tuple[int, ...]
) -> None:
    store(folder, name, torch.zeros(shape))
    with pytest.raises(EngineUnavailable, match="classifier.* has the shape"):
        load(folder)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", ["encoder.layer.1.output.dense.bias", "pooler.dense.weight"])
def test_a_missing_tensor_is_named(folder: Path, kernels: str, name: str) -> None:
    store(folder, f"bert.{name}", None)
    with pytest.raises(EngineUnavailable, match=f"no floating-point tensor {name}"):
        load(folder, kernels)


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    store(folder, "bert.embeddings.LayerNorm.bias", torch.zeros(HIDDEN, dtype=torch.int32))
    with pytest.raises(EngineUnavailable, match=r"no floating-point tensor embeddings\.LayerNorm"):
        load(folder)


def test_a_layer_more_than_stated_is_refused_and_other_extras_are_not(folder: Path) -> None:
    store(folder, "cls.predictions.bias", torch.zeros(7))
    load(folder)
    state(folder, num_hidden_layers=1)
    with pytest.raises(EngineUnavailable, match=r"encoder\.layer\.1\..*states 1 layers"):
        load(folder)


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    store(folder, "bert.encoder.layer.0.output.dense.bias", torch.full((HIDDEN,), value))
    with pytest.raises(EngineUnavailable, match=r"layer\.0\.output\.dense\.bias .* not finite"):
        load(folder)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("num_attention_heads", "hidden_size") for value in (0, -4)),
        ("hidden_size", 1 << 40),
        ("hidden_size", 32.0),
        ("hidden_size", "32"),
        ("hidden_size", None),
        ("num_hidden_layers", NAN),
        ("num_hidden_layers", True),
        ("num_hidden_layers", 1 << 31),
        ("intermediate_size", -1),
        ("intermediate_size", float("inf")),
        ("vocab_size", [1]),
        ("vocab_size", 1 << 62),
        ("type_vocab_size", 0),
        ("max_position_embeddings", -512),
        ("layer_norm_eps", NAN),
        ("layer_norm_eps", -1.0),
        ("layer_norm_eps", float("inf")),
        ("hidden_act", "swish"),
        ("hidden_act", None),
        ("model_type", "llama"),
        ("position_embedding_type", "relative_key"),
    ],
)
def test_a_config_that_cannot_be_names_the_field(
    folder: Path, kernels: str, field: str, value: Any
) -> None:
    state(folder, **{field: value})
    with pytest.raises(EngineUnavailable, match=rf"config\.json: {field} is "):
        load(folder, kernels)


@pytest.mark.parametrize("field", ["vocab_size", "hidden_size", "intermediate_size"])
def test_sizes_that_the_tensors_do_not_have_are_refused(folder: Path, field: str) -> None:
    state(folder, **{field: 64000})
    with pytest.raises(EngineUnavailable, match="config.json asks for .*64000"):
        load(folder)


def test_heads_that_do_not_divide_the_hidden_size_are_refused(folder: Path) -> None:
    state(folder, num_attention_heads=3)
    with pytest.raises(EngineUnavailable, match="not divisible by num_attention_heads 3"):
        load(folder)


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '"' + "[" * 99999, "[" * 99999, "\xff"])
def test_a_config_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(EngineUnavailable, match=str(folder)):
        load(folder)


@pytest.mark.parametrize("keep", [0, 7, 8, 200, 5000])
def test_a_cut_weight_file_is_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EngineUnavailable, match="holds no BERT model"):
        load(folder)


def text_of(ids: list[int], types: list[int]) -> TextTokens:
    return TextTokens(np.array(ids, np.int32), np.array(types, np.int32), np.ones(len(ids), bool))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(
    ("ids", "types", "message"),
    [
        ([1, SIZES["vocab_size"]], [0, 0], "token id"),
        ([1, -1], [0, 0], "token id -1"),
        ([1, 2], [0, 2], "token type 2 for a model that has 2"),
        ([1, 2], [-9, 0], "token type -9"),
        ([1] * 600, [0] * 600, "600 tokens for a model that has"),
        ([], [], "without tokens"),
    ],
)
def test_tokens_beyond_the_tables_are_refused(
    folder: Path, kernels: str, ids: list[int], types: list[int], message: str
) -> None:
    bert = load_bert(folder, BertOptions(device="cpu", kernels=kernels))  # type: ignore[arg-type]
    for compute in (bert.encode, bert.classify):
        with pytest.raises(RequestRejected, match=message):
            compute([text_of([1, 2], [0, 1]), text_of(ids, types)])


def test_a_text_of_another_models_tokens_fails_alone(folder: Path) -> None:
    known, unknown = "the", "mat"
    few = WORDS.index(unknown)
    words = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    store(folder, "bert.embeddings.word_embeddings.weight", words[:few].clone())
    state(folder, vocab_size=few)
    for engine, op, inputs in (
        (embedder.create("embedder", f"local:{folder}", {}), "embed", lambda word: (word,)),
        (
            reranker.create("reranker", f"local:{folder}", {}),
            "rerank",
            lambda word: (known, [Doc(word)]),
        ),
    ):
        good, bad = run(
            engine,
            Request("0" * 32, op, inputs(known)),
            Request("1" * 32, op, inputs(unknown)),
        )
        assert isinstance(good, Result), good
        assert isinstance(bad, RequestRejected)
        assert "do not belong together" in str(bad)


@pytest.mark.parametrize("length", [-1, 0, 2, "long", 1.5, 1 << 40, NAN])
def test_a_length_that_cannot_be_is_refused(folder: Path, length: Any) -> None:
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    with pytest.raises(EngineUnavailable, match="max_seq_length is "):
        BertTokenizer(folder)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json"]
)
@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_other_files_that_are_none_are_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    with pytest.raises(EngineUnavailable, match=name):
        load_encoder(folder, BertOptions(device="cpu"))
