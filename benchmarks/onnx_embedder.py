"""A sentence encoder in onnxruntime, as its users run it: the peer of `bench_embedder.py`.

The model is exported from transformers, its graph optimised by onnxruntime's own tool for BERTs;
int8 is `quantize_dynamic` (weights by column where that is asked for). Texts are sorted by length,
padded to the longest of a batch and pooled over their own tokens. Needs the package `onnx`.
"""

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from transformers import BertModel

from backends.bert.tokens import BertTokenizer, TextTokens, padded_batches

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
BATCH_TOKENS = (1, 512, 1024, 2048, 4096, 8192)  # with padding; 1: each text alone


class OnnxEncoder:
    """Unit vectors of texts; `tune` picks the batch size that is fastest here."""

    def __init__(self, folder: Path, model: Path, threads: int) -> None:
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(model), settings, providers=["CPUExecutionProvider"]
        )
        self._tokenizer = BertTokenizer(folder)
        self.batch_tokens = BATCH_TOKENS[2]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """[N, H]"""
        return self._embed(self._tokenizer.encode(list(texts)), self.batch_tokens)

    def tune(self, texts: Sequence[str]) -> None:
        tokens = self._tokenizer.encode(list(texts))
        self.batch_tokens = min(BATCH_TOKENS, key=lambda size: self._seconds(tokens, size))

    def _seconds(self, tokens: Sequence[TextTokens], batch_tokens: int) -> float:
        taken = []
        for _ in range(2):
            began = time.perf_counter()
            self._embed(tokens, batch_tokens)
            taken.append(time.perf_counter() - began)
        return min(taken)

    def _embed(self, tokens: Sequence[TextTokens], batch_tokens: int) -> np.ndarray:
        vectors: dict[int, np.ndarray] = {}
        for batch in padded_batches(tokens, batch_tokens):
            feed = dict(zip(INPUTS, (batch.ids, batch.mask, batch.types), strict=True))
            (hidden,) = self._session.run(None, feed)  # [B, T, H]
            mask = batch.mask[:, :, None].astype(np.float32)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
            pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
            vectors |= dict(zip(batch.rows, pooled, strict=True))
        return np.stack([vectors[row] for row in range(len(tokens))])


def export(folder: Path, to: Path) -> dict[str, Path]:
    """The model of a Hugging Face folder in float32 and in int8; made once."""
    to.mkdir(parents=True, exist_ok=True)
    full, small = to / "model.onnx", to / "model-int8.onnx"
    if not small.exists():
        logging.getLogger().setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _export(folder, full)
            _quantise(full, small)
    return {"float32": full, "int8": small}


class _Hidden(torch.nn.Module):
    def __init__(self, model: BertModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> Any:
        return self.model(
            input_ids=ids, attention_mask=mask, token_type_ids=types
        ).last_hidden_state


def _export(folder: Path, path: Path) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    model = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="eager")
    ids = torch.ones(2, 8, dtype=torch.long)
    axes = {0: "texts", 1: "tokens"}
    torch.onnx.export(
        _Hidden(model).eval(),
        (ids, torch.ones_like(ids), torch.zeros_like(ids)),
        str(path),
        input_names=list(INPUTS),
        output_names=["hidden"],
        dynamic_axes=dict.fromkeys((*INPUTS, "hidden"), axes),
        opset_version=17,
        dynamo=False,
    )
    config = model.config
    optimize_model(
        str(path),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
    ).save_model_to_file(str(path))


def _quantise(full: Path, small: Path) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(full, small, extra_options={"DefaultTensorType": TensorProto.FLOAT})
