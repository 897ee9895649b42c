"""Cross-encoders in ONNX form, run by onnxruntime on the CPU."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from backends.bert_tokens import BertTokenizer, Text, TokenBatch, token_batches
from backends.errors import EngineUnavailable
from backends.reranker.pairs import PairTemplate, relevance
from backends.reranker.runner import Pair, Scores


class OnnxScorer:
    """A sequence classifier in `model.onnx` with the `tokenizer.json` beside it."""

    def __init__(
        self, session: Any, tokenizer: BertTokenizer, template: PairTemplate, budget_tokens: int
    ) -> None:
        self._session = session
        self._names = {put.name for put in session.get_inputs()}
        self._tokenizer = tokenizer
        self._template = template
        self._budget_tokens = budget_tokens

    def score(self, pairs: Sequence[Pair]) -> Scores:
        texts: list[Text] = [self._template(pair) for pair in pairs]
        scores = np.zeros(len(pairs), np.float32)
        for batch in token_batches(self._tokenizer.encode(texts), self._budget_tokens):
            (logits, *_) = self._session.run(None, self._feed(batch))  # [B, 1 or 2]
            scores[batch.rows] = relevance(logits)
        return scores

    def _feed(self, batch: TokenBatch) -> dict[str, Any]:
        feed = {
            "input_ids": batch.ids,
            "attention_mask": batch.mask,
            "token_type_ids": batch.types,
        }
        return {name: array for name, array in feed.items() if name in self._names}


def load_onnx(
    folder: Path, max_len: int | None, template: PairTemplate, budget_tokens: int | None
) -> OnnxScorer:
    """The classifier of a folder. Raises EngineUnavailable when it cannot be read.

    By default each pair runs alone: small ONNX models are mostly quantised with one scale a batch,
    so that a pair's score would depend on the others (by 0.5 for bert-mini-reranker, measured).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others work here too
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's errors share no base class
        raise EngineUnavailable(f"{folder / 'model.onnx'} cannot be loaded: {error}") from error
    return OnnxScorer(session, BertTokenizer(folder, max_len), template, budget_tokens or 1)
