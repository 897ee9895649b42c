"""Log-probabilities of tokens, by the logits as the model gave them."""

from collections.abc import Sequence

import torch

from backends.base import TokenLogprob
from backends.llm.model.dtypes import Logits
from backends.llm.sample.as_torch import as_torch
from backends.llm.sample.top_k_top_p import top
from backends.llm.text.token_bytes import BytesOf


@torch.inference_mode()
def report(
    logits: Logits, tokens: Sequence[int], num_top: Sequence[int], bytes_of: BytesOf
) -> list[TokenLogprob]:
    """The tokens [R] in rows of logits [R, V], each with as many of the likeliest as it asks."""
    logits = as_torch(logits)
    total = logits.logsumexp(dim=-1, keepdim=True)  # [R, 1]
    chosen = logits.gather(1, torch.tensor(tokens, device=logits.device)[:, None]) - total
    values, ids = top(logits, max(num_top))  # [R, most] both
    rows = zip(
        tokens,
        chosen.squeeze(1).tolist(),
        ids.tolist(),
        (values - total).tolist(),
        num_top,
        strict=True,
    )
    return [
        TokenLogprob(
            token,
            bytes_of(token),
            logprob,
            tuple(
                TokenLogprob(other, bytes_of(other), value)
                for other, value in zip(others[:size], found, strict=False)
            ),
        )
        for token, logprob, others, found, size in rows
    ]


@torch.inference_mode()
def score(logits: Logits, tokens: Sequence[int]) -> list[float]:
    """Log-probabilities [R] of tokens [R] in rows of logits [R, V]."""
    logits = as_torch(logits)
    targets = torch.tensor(tokens, device=logits.device)[:, None]  # [R, 1]
    found = logits.gather(1, targets).squeeze(1) - logits.logsumexp(dim=-1)  # [R]
    values: list[float] = found.tolist()
    return values
