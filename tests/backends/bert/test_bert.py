"""The C++ encoder against the torch one on tiny random BERTs, and when which of them runs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import backends.bert.native_bert as bert_native
from backends.bert.encoder import Bert, load_bert, read_bert
from backends.bert.native_bert import NativeBert, why_not
from backends.bert.options import BertOptions, DtypeName
from backends.bert.tokens import TextTokens
from backends.bert.torch_bert import TorchBert
from backends.errors import ConfigError
from backends.native.build import Built
from backends.native.instruction_sets import isas_here
from backends.native.library import library

needs_kernels = pytest.mark.skipif(library() is None, reason="no kernels here")
on_each_set = pytest.mark.parametrize("isa", isas_here() or [pytest.param("", marks=needs_kernels)])
DTYPES: list[DtypeName] = ["float32", "bfloat16", "int16"]
VOCABULARY = 50
LENGTHS = (1, 2, 3, 12, 13, 15, 16, 17, 31, 32, 33, 47, 48, 64, 65, 100, 200)
SHAPES: dict[str, dict[str, Any]] = {
    "head-8": {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64},
    "head-20": {"hidden_size": 60, "num_attention_heads": 3, "intermediate_size": 90},
    "head-32": {"hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 200},
    "head-64": {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 256},
    "head-80": {"hidden_size": 160, "num_attention_heads": 2, "intermediate_size": 96},
    "gelu-tanh": {"hidden_act": "gelu_new"},
    "relu": {"hidden_act": "relu"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, shape in SHAPES.items():
        torch.manual_seed(3)
        sizes = {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128, **shape}
        config = BertConfig(
            vocab_size=VOCABULARY,
            num_hidden_layers=3,
            max_position_embeddings=256,
            initializer_range=0.1,
            num_labels=2,
            **sizes,
        )
        model = BertForSequenceClassification(config)
        for parameter in model.parameters():
            if parameter.ndim == 1:  # biases and norms that say something
                parameter.data += 0.1 * torch.randn_like(parameter)
        made[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(made[name])
    return made


def bert_of(folder: Path, **options: Any) -> Bert:
    return load_bert(folder, BertOptions(device="cpu", **options))


def native_of(folder: Path, dtype: DtypeName, isa: str, threads: int = 2) -> NativeBert:
    return NativeBert(*read_bert(folder), dtype, threads, isa)


def random_texts(*lengths: int) -> list[TextTokens]:
    rng = np.random.default_rng(0)
    return [
        TextTokens(
            rng.integers(0, VOCABULARY, length, np.int32),
            rng.integers(0, 2, length, np.int32),
            np.ones(length, np.bool_),
        )
        for length in lengths
    ]


@on_each_set
@pytest.mark.parametrize("shape", SHAPES)
def test_hidden_states_are_those_of_torch(folders: dict[str, Path], shape: str, isa: str) -> None:
    texts = random_texts(*LENGTHS)
    theirs = bert_of(folders[shape], kernels="torch").encode(texts)
    ours = native_of(folders[shape], "float32", isa).encode(texts)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=0)


@on_each_set
@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 0.05), ("int16", 0.001)])
@pytest.mark.parametrize("shape", SHAPES)
def test_rounded_inputs_are_close_to_float32(
    folders: dict[str, Path], shape: str, dtype: DtypeName, most: float, isa: str
) -> None:
    texts = random_texts(*LENGTHS)
    exact = native_of(folders[shape], "float32", isa).encode(texts)
    rounded = native_of(folders[shape], dtype, isa).encode(texts)
    for a, b in zip(rounded, exact, strict=True):
        assert 0 < np.linalg.norm(a - b) / np.linalg.norm(b) < most


@on_each_set
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ["head-20", "head-32", "head-64"])
def test_batch_mates_and_threads_change_no_bit(
    folders: dict[str, Path], shape: str, dtype: DtypeName, isa: str
) -> None:
    texts = random_texts(*LENGTHS)
    lone = native_of(folders[shape], dtype, isa, threads=1)
    alone = [lone.encode([text])[0] for text in texts]
    rng = np.random.default_rng(1)
    for threads in (1, 2, 3):
        bert = native_of(folders[shape], dtype, isa, threads)
        for _ in range(3):
            order = rng.permutation(len(texts))[: rng.integers(2, len(texts) + 1)]
            for i, hidden in zip(order, bert.encode([texts[i] for i in order]), strict=True):
                assert np.array_equal(hidden, alone[i])


@on_each_set
@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_are_those_of_torch_and_the_same_in_any_batch(
    folders: dict[str, Path], dtype: DtypeName, isa: str
) -> None:
    texts = random_texts(*LENGTHS)
    theirs = bert_of(folders["head-32"], kernels="torch").classify(texts)
    bert = native_of(folders["head-32"], dtype, isa)
    ours = bert.classify(texts)
    tolerance = {"float32": 2e-5, "int16": 2e-3, "bfloat16": 0.2}[dtype]
    np.testing.assert_allclose(ours, theirs, atol=tolerance)
    np.testing.assert_array_equal(np.concatenate([bert.classify([text]) for text in texts]), ours)


@on_each_set
def test_int16_sums_of_the_largest_numbers_do_not_overflow(
    folders: dict[str, Path], isa: str
) -> None:
    """All inputs equal and all weights at the top of the range: a sum that wraps changes its sign,
    and the last layer, whose rows have different signs, would show it."""
    config, weights = read_bert(folders["head-64"])
    ones = {name: np.ones_like(tensor) for name, tensor in weights.items()}
    ones["encoder.layer.2.output.dense.weight"][::2] = -1
    texts = random_texts(3, 40)
    exact = NativeBert(config, ones, "float32", 1, isa).encode(texts)
    rounded = NativeBert(config, ones, "int16", 1, isa).encode(texts)
    for a, b in zip(rounded, exact, strict=True):
        assert b.std() > 0.9
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=0)


@needs_kernels
def test_no_texts_give_nothing(folders: dict[str, Path]) -> None:
    bert = bert_of(folders["relu"], kernels="native")
    assert bert.encode([]) == []
    assert bert.classify([]).shape == (0, 2)


@needs_kernels
def test_kernels_run_where_they_can(folders: dict[str, Path]) -> None:
    folder = folders["relu"]
    assert isinstance(bert_of(folder), NativeBert)
    assert isinstance(bert_of(folder, kernels="torch"), TorchBert)
    assert isinstance(bert_of(folder, dtype="float16"), TorchBert)
    auto, short = bert_of(folder), bert_of(folder, dtype="int16")
    texts = random_texts(9)
    assert np.array_equal(auto.encode(texts)[0], short.encode(texts)[0])
    with pytest.raises(ConfigError, match="dtype='int16' cannot run here: kernels='torch' was"):
        bert_of(folder, dtype="int16", kernels="torch")
    with pytest.raises(ConfigError, match="kernels='native' cannot run here: .*no float16"):
        bert_of(folder, dtype="float16", kernels="native")


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bert_native, "library", lambda: None)
    monkeypatch.setattr(bert_native, "build", lambda: Built(None, "no C++ compiler"))
    return


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_torch_runs_and_the_reason_is_told(folders: dict[str, Path]) -> None:
    folder = folders["gelu-tanh"]
    config, _ = read_bert(folder)
    assert why_not(config, "float32") == "no C++ compiler"
    bert = bert_of(folder, threads=torch.get_num_threads())
    assert isinstance(bert, TorchBert)
    assert [len(hidden) for hidden in bert.encode(random_texts(5, 9))] == [5, 9]
    with pytest.raises(ConfigError, match="cannot run here: no C"):
        bert_of(folder, kernels="native")


@needs_kernels
def test_threads_that_share_a_model_take_turns(folders: dict[str, Path]) -> None:
    texts = random_texts(*LENGTHS)
    bert = bert_of(folders["head-32"], kernels="native", threads=2)
    expected = np.concatenate(bert.encode(texts))
    with ThreadPoolExecutor(4) as threads:
        for hidden in threads.map(bert.encode, [texts] * 40):
            assert np.array_equal(np.concatenate(hidden), expected)


@needs_kernels
def test_a_forgotten_model_gives_its_threads_back(folders: dict[str, Path]) -> None:
    import threading

    task = Path(f"/proc/{threading.get_native_id()}/task")
    config, weights = read_bert(folders["relu"])
    before = len(list(task.iterdir()))
    berts = [NativeBert(config, weights, "float32", 4) for _ in range(3)]
    assert len(list(task.iterdir())) >= before + 9
    del berts
    assert len(list(task.iterdir())) <= before + 1
