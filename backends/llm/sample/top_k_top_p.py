"""Greedy, plain and truncated (min_p, top_k, top_p) sampling of logits [R, V], without a full sort.

The vocabulary is read once, in blocks of 64: the k likeliest tokens lie in the k blocks with the
largest maxima, and the inverse of the cumulative distribution lies in the block where the sum
passes the random number. The result of a row depends only on that row; it is NO_TOKEN where a logit
is NaN or the largest is not finite.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from backends.llm.model.batch import NO_TOKEN
from backends.llm.model.dtypes import Logits
from backends.llm.requests.sampling import Sampling
from backends.llm.sample.as_torch import as_torch
from backends.llm.sample.random_numbers import next_uniforms

_BLOCK = 64
_FEW, _MANY = 64, 256  # candidates: they contain all kept tokens, else the whole vocabulary is used
_DRAWS = 8


def likeliest(logits: Tensor) -> Tensor:
    """The token ids [R] of the largest logits, the lowest of equals."""
    blocks = _blocks(logits, float("-inf"))  # [R, V / 64, 64]
    peaks, best = blocks.amax(dim=-1).max(dim=-1)  # [R] both; a NaN is the largest
    rows = torch.arange(len(logits), device=logits.device)
    tokens = best * _BLOCK + blocks[rows, best].argmax(dim=-1)
    return _where_finite(tokens, peaks)


@torch.inference_mode()
def draw_at(
    logits: Logits, samplings: Sequence[Sampling], places: NDArray[np.float64], is_truncated: bool
) -> list[int]:
    """Token ids [R]: the inverse of the cumulative distribution at `places` [R]. May turn the
    logits into weights, in place."""
    rows = as_torch(logits)
    uniforms = torch.from_numpy(places).to(rows.device)
    tokens = (draw_truncated if is_truncated else draw)(rows, samplings, uniforms)
    return list(tokens.tolist())


def draw(logits: Tensor, samplings: Sequence[Sampling], uniforms: Tensor) -> Tensor:
    """Token ids [R]: the inverse of the cumulative distribution at `uniforms` [R] in [0, 1). Turns
    the logits into weights, in place."""
    temperature = _column([s.temperature for s in samplings], logits).clamp_min(1e-6)  # [R, 1]
    peaks = logits.amax(dim=-1, keepdim=True)  # [R, 1]
    weights = logits.sub_(peaks).div_(temperature.float()).exp_()  # [R, V]
    return _where_finite(_invert_at(weights, uniforms), peaks.squeeze(1))


def draw_truncated(logits: Tensor, samplings: Sequence[Sampling], uniforms: Tensor) -> Tensor:
    """As `draw`, after min_p, top_k and then top_p cut off the unlikely tokens. Where the logits of
    some are equal, any of them may count as the likelier."""
    tokens = torch.zeros(len(samplings), dtype=torch.long, device=logits.device)  # [R]
    groups: dict[int, list[int]] = {}
    for i, sampling in enumerate(samplings):
        groups.setdefault(_num_candidates(sampling), []).append(i)
    rest = groups.pop(0, [])
    for size, rows in groups.items():
        some = logits if len(rows) == len(logits) else logits[rows]
        cut = _Cut(some, [samplings[i] for i in rows])
        found, is_exact = _draw_from_likeliest(some, cut, uniforms[rows], size)
        tokens[rows] = found
        rest += [i for i, exact in zip(rows, is_exact.tolist(), strict=True) if not exact]
    if rest:
        cut = _Cut(logits, [samplings[i] for i in rest])
        tokens[rest] = _draw_from_all(logits[rest], cut, uniforms[rest])
    return _where_finite(tokens, logits.amax(dim=-1))


def _where_finite(tokens: Tensor, peaks: Tensor) -> Tensor:
    """Tokens [R] of rows whose largest logits are these [R]; a NaN is the largest of all."""
    return tokens.masked_fill(~peaks.isfinite(), NO_TOKEN)


class _Cut:
    """What is cut off, as columns [R, 1]."""

    def __init__(self, logits: Tensor, samplings: Sequence[Sampling]) -> None:
        vocab_size = logits.shape[1]
        self.temperature = _column([s.temperature for s in samplings], logits).clamp_min(1e-6)
        top_ks = [min(s.top_k or vocab_size, vocab_size) for s in samplings]
        self.top_k = _column(top_ks, logits)
        self.top_p = _column([s.top_p for s in samplings], logits)
        self.min_p = _column([s.min_p for s in samplings], logits)

    def by_rank(self, falling: Tensor) -> Tensor:
        """Falling weights [R, N], the largest 1, without those that min_p and top_k cut off."""
        ranks = torch.arange(falling.shape[1], device=falling.device)  # [N]
        return falling.masked_fill((ranks >= self.top_k) | (falling < self.min_p), 0.0)

    def by_weight(self, weights: Tensor) -> Tensor:
        """The same for weights [R, V] in no order."""
        if not bool(((self.top_k < weights.shape[1]) | (self.min_p > 0)).any()):
            return weights
        least = self.min_p.float()  # [R, 1]
        if bool((self.top_k < weights.shape[1]).any()):
            falling = weights.topk(int(self.top_k.max()), dim=-1).values
            least = torch.maximum(least, falling.gather(1, self.top_k.long() - 1))
        return _where_above(weights, least.nextafter(torch.zeros_like(least))).mul_(weights)


def _num_candidates(sampling: Sampling) -> int:
    """How many of the likeliest will do, as a rule; 0 for all."""
    top_k = sampling.top_k or _FEW
    return 0 if top_k > _MANY else max(_FEW, 1 << (top_k - 1).bit_length())


def _draw_from_likeliest(
    logits: Tensor, cut: _Cut, uniforms: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Token ids [R] drawn from the `size` likeliest, and whether [R] these contain all kept
    tokens."""
    size = min(size, logits.shape[1])
    values, ids = top(logits, size)  # [R, size] both
    weights = ((values.double() - values[:, :1]) / cut.temperature).exp()  # [R, size], largest 1
    is_whole = (cut.top_k <= size) | (weights[:, -1:] < cut.min_p) | (size == logits.shape[1])
    weights = cut.by_rank(weights)
    mass = weights.sum(dim=-1, keepdim=True)  # [R, 1]
    reached = mass
    if not bool((is_whole | (cut.min_p > 0)).all()):
        others = ((logits - values[:, :1]) / cut.temperature.float()).exp_()  # [R, V]
        mass = torch.where(is_whole, mass, others.sum(dim=-1, keepdim=True).double())
    is_exact = is_whole | ((reached >= cut.top_p * mass) & (cut.min_p == 0))  # [R, 1]
    weights = _up_to(weights, cut.top_p * mass)
    at, _ = _invert(weights, uniforms * weights.sum(dim=-1))
    return ids.gather(1, at[:, None]).squeeze(1), is_exact.squeeze(1)


def _draw_from_all(logits: Tensor, cut: _Cut, uniforms: Tensor) -> Tensor:
    """Token ids [R]. Draws without top_p, until what it would have kept is met: nearly always at
    once. Rows without a result after some draws have their vocabulary sorted."""
    weights = logits - logits.amax(dim=-1, keepdim=True)  # [R, V]
    weights.div_(cut.temperature.float()).exp_()
    weights = cut.by_weight(weights)
    limits = cut.top_p * weights.sum(dim=-1, keepdim=True).double()  # [R, 1]
    tokens = _invert_at(weights, uniforms)  # [R]
    left = torch.arange(len(weights), device=weights.device)  # rows not settled yet, n
    for _ in range(_DRAWS):
        drawn = weights.gather(1, tokens[left, None])  # [n, 1]
        likelier = _where_above(weights, drawn).mul_(weights).sum(dim=-1, keepdim=True)
        unlucky = (likelier >= limits).squeeze(1)  # [n]
        left, weights, limits = left[unlucky], weights[unlucky], limits[unlucky]
        if not len(left):
            return tokens
        uniforms = torch.from_numpy(next_uniforms(uniforms[unlucky].cpu().numpy())).to(
            uniforms.device
        )
        tokens[left] = _invert_at(weights, uniforms)
    falling = _up_to(_falling(weights).double(), limits)  # [n, V]
    least = falling.masked_fill(falling == 0, float("inf")).amin(dim=-1, keepdim=True)  # [n, 1]
    tokens[left] = _invert_at(weights.masked_fill(weights < least, 0.0), uniforms)
    return tokens


def _where_above(weights: Tensor, limits: Tensor) -> Tensor:
    """1 where weights [R, V] are above limits [R, 1], else 0: much faster than a mask."""
    return torch.gt(weights, limits, out=torch.empty_like(weights))


def _up_to(falling: Tensor, limits: Tensor) -> Tensor:
    """Falling weights [R, N] as far as those before are below the limits [R, 1]."""
    before = falling.cumsum(dim=-1) - falling  # [R, N]
    return falling.masked_fill(before >= limits, 0.0)


def _falling(weights: Tensor) -> Tensor:
    """Weights [R, V] in falling order."""
    if weights.is_cuda:
        return weights.sort(dim=-1, descending=True).values
    return torch.from_numpy(-np.sort(-weights.numpy(), axis=-1))  # five times as fast as torch's


def _invert_at(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Columns [R] of weights [R, V] at uniforms [R] of their cumulated sum."""
    blocks = _blocks(weights, 0.0)
    sums = blocks.sum(dim=-1).double()  # [R, V / 64]
    at, rest = _invert(sums, uniforms * sums.sum(dim=-1))  # [R] both
    rows = torch.arange(len(weights), device=weights.device)
    inside, _ = _invert(blocks[rows, at].double(), rest)
    return (at * _BLOCK + inside).clamp_max(weights.shape[1] - 1)  # never in what fills the last up


def top(logits: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The `size` largest logits [R, size] in falling order, and their token ids."""
    blocks = _blocks(logits, float("-inf"))  # [R, V / 64, 64]
    if size * 2 > blocks.shape[1]:
        return logits.topk(size, dim=-1)
    best = blocks.amax(dim=-1).topk(size, dim=-1).indices  # [R, size]
    pool = blocks.gather(1, best[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    values, places = pool.topk(size, dim=-1)  # [R, size] both
    return values, best.gather(1, places // _BLOCK) * _BLOCK + places % _BLOCK


def _invert(weights: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Columns [R] at which the cumulated weights [R, N] pass targets [R], and what is left of the
    targets there."""
    reached = weights.cumsum(dim=-1)  # [R, N]
    at = torch.searchsorted(reached, targets[:, None], right=True).squeeze(1)  # [R]
    last = weights.shape[1] - 1 - (weights.flip(-1) > 0).int().argmax(dim=-1)  # [R]: last with mass
    at = torch.minimum(at, last)  # rounding must not step past it
    before = (reached - weights).gather(1, at[:, None]).squeeze(1)  # [R]
    return at, targets - before


def _blocks(rows: Tensor, fill: float) -> Tensor:
    """Rows [R, V] as [R, V / 64, 64], the last block filled up."""
    missing = -rows.shape[1] % _BLOCK
    padded = F.pad(rows, (0, missing), value=fill) if missing else rows
    return padded.view(len(rows), padded.shape[1] // _BLOCK, _BLOCK)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=torch.float64)[:, None]  # [R, 1]
