"""From logits to one token a row: greedy rows together, sampled rows each by their own generator.

A sampled row draws one number in [0, 1) and inverts the cumulated probabilities, so its tokens
depend on its seed and logits alone, not on its batch mates.
"""

import torch
from torch import Tensor

from backends.llm.grammar import Matcher, apply_mask, mask_words
from backends.llm.sampling import Sampling
from backends.llm.sequence import Generation


def sample(logits: Tensor, rows: list[Generation]) -> list[int]:
    """A token id for each row of logits [B, V] (float32, changed in place)."""
    _mask_grammars(logits, [row.matcher for row in rows])
    tokens: list[int] = logits.argmax(dim=-1).tolist()  # [B]
    drawn = [i for i, row in enumerate(rows) if row.rng is not None]
    plain = [i for i in drawn if not rows[i].sampling.is_truncated]
    truncated = [i for i in drawn if rows[i].sampling.is_truncated]
    for group, pick in ((plain, _pick_plain), (truncated, _pick_truncated)):
        if group:
            points = torch.tensor([_draw(rows[i]) for i in group], dtype=torch.float64)  # [R]
            samplings = [rows[i].sampling for i in group]
            picked = pick(logits[group].double(), samplings, points.to(logits.device))  # [R]
            for i, token in zip(group, picked.tolist(), strict=True):
                tokens[i] = token
    return tokens


def make_rng(sampling: Sampling) -> torch.Generator | None:
    """The generator of a request; None when it is greedy."""
    if sampling.temperature == 0:
        return None
    rng = torch.Generator()
    if sampling.seed is None:
        rng.seed()
    else:
        rng.manual_seed(sampling.seed)
    return rng


def _draw(row: Generation) -> float:
    return torch.rand((), generator=row.rng, dtype=torch.float64).item()


def _pick_plain(logits: Tensor, samplings: list[Sampling], points: Tensor) -> Tensor:
    """Token ids [R] at `points` of the cumulated probabilities of logits [R, V]."""
    probs = _probabilities(logits, samplings)  # [R, V]
    return _invert(probs, points)


def _pick_truncated(logits: Tensor, samplings: list[Sampling], points: Tensor) -> Tensor:
    """As `_pick_plain`, after top_k and then top_p cut off the unlikely tokens."""
    vocab = logits.shape[1]
    top_k = _column([s.top_k or vocab for s in samplings], logits.device)  # [R, 1]
    top_p = _column([s.top_p for s in samplings], logits.device)  # [R, 1]
    ordered, ids = logits.sort(dim=-1, descending=True, stable=True)  # [R, V] both
    probs = _probabilities(ordered, samplings)  # [R, V]
    rank = torch.arange(vocab, device=logits.device)  # [V]
    probs = probs.masked_fill(rank >= top_k, 0.0)
    probs = probs / probs.sum(dim=-1, keepdim=True)
    before = probs.cumsum(dim=-1) - probs  # [R, V]: mass of all likelier tokens
    probs = probs.masked_fill((before >= top_p) & (rank > 0), 0.0)
    return ids.gather(1, _invert(probs, points)[:, None]).squeeze(1)


def _probabilities(logits: Tensor, samplings: list[Sampling]) -> Tensor:
    temperature = _column([s.temperature for s in samplings], logits.device)  # [R, 1]
    peaks = logits.max(dim=-1, keepdim=True).values  # [R, 1]: small temperatures must not overflow
    return ((logits - peaks) / temperature).softmax(dim=-1)  # [R, V]


def _invert(probs: Tensor, points: Tensor) -> Tensor:
    """Columns [R] at which cumulated probs [R, V] pass points [R] of their sum."""
    cumulated = probs.cumsum(dim=-1)  # [R, V]
    targets = points[:, None] * cumulated[:, -1:]  # [R, 1]
    at = torch.searchsorted(cumulated, targets, right=True).squeeze(1)  # [R]
    last = probs.shape[1] - 1 - (probs.flip(-1) > 0).int().argmax(dim=-1)  # [R]: last with mass
    return torch.minimum(at, last)  # rounding must not step past it


def _column(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device, dtype=torch.float64)[:, None]  # [R, 1]


def _mask_grammars(logits: Tensor, matchers: list[Matcher | None]) -> None:
    masked = [i for i, matcher in enumerate(matchers) if matcher is not None]
    if not masked:
        return
    bits = torch.zeros(len(masked), mask_words(logits.shape[1]), dtype=torch.int32)  # [R, V / 32]
    for row, i in enumerate(masked):
        matcher = matchers[i]
        assert matcher is not None, "a masked row has a matcher"
        matcher.fill_mask(bits[row])
    rows = logits[masked]  # [R, V]
    apply_mask(rows, bits.to(logits.device))
    logits[masked] = rows
