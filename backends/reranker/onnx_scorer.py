"""Cross-encoders in ONNX form, run by onnxruntime on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from backends.bert.options import BertOptions
from backends.bert.tokens import BertTokenizer, PaddedBatch, TextTokens, padded_batches
from backends.cpu_count import usable_cores
from backends.errors import EngineUnavailable
from backends.reranker.pairs import PairTemplate, read_pairs, relevance
from backends.reranker.runner import Scoring


class OnnxScorer:
    """A sequence classifier in `model.onnx` with the `tokenizer.json` beside it."""

    budget_tokens = 2048

    def __init__(
        self, session: Any, tokenizer: BertTokenizer, template: PairTemplate, padded_tokens: int
    ) -> None:
        self._session = session
        self._names = {put.name for put in session.get_inputs()}
        self._tokenizer = tokenizer
        self._template = template
        self._padded_tokens = padded_tokens  # of one call, with its padding

    def read(self, query: str, passages: Sequence[str]) -> Scoring[TextTokens, np.float32]:
        return read_pairs(self._tokenizer, self._template, query, passages)

    def compute(self, texts: Sequence[TextTokens]) -> Sequence[np.float32]:
        scores = np.zeros(len(texts), np.float32)
        for batch in padded_batches(texts, self._padded_tokens):
            (logits, *_) = self._session.run(None, self._feed(batch))  # [B, 1 or 2]
            scores[batch.rows] = relevance(logits)
        return list(scores)

    def _feed(self, batch: PaddedBatch) -> dict[str, Any]:
        feed = {
            "input_ids": batch.ids,
            "attention_mask": batch.mask,
            "token_type_ids": batch.types,
        }
        return {name: array for name, array in feed.items() if name in self._names}


def load_onnx(folder: Path, options: BertOptions, template: PairTemplate) -> OnnxScorer:
    """The classifier of a folder. Raises EngineUnavailable when it cannot be read.

    By default each pair runs alone: small ONNX models are mostly quantised with one scale a batch,
    so that a pair's score would depend on the others (by 0.5 for bert-mini-reranker, measured).
    """
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or usable_cores()
    # Others work here too.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no base class
        raise EngineUnavailable(f"{folder / 'model.onnx'} cannot be loaded: {error}") from error
    tokenizer = BertTokenizer(folder, options.max_len)
    return OnnxScorer(session, tokenizer, template, options.budget_tokens or 1)
