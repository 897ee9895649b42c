"""Paged attention against plain attention over the same keys, in float64."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 3e-2}
SHAPES = [  # head size, query heads, KV heads, page size
    (64, 9, 3, 16),
    (128, 4, 1, 16),
    (32, 2, 2, 32),
    (80, 6, 2, 8),
    (8, 4, 2, 1),
    (256, 2, 1, 64),
]


class Paged:
    """Keys and values of some sequences in pages drawn at random; all else is NaN."""

    def __init__(
        self, lengths: Sequence[int], shape: tuple[int, int, int, int], dtype: torch.dtype
    ) -> None:
        self.head_dim, self.num_heads, num_kv_heads, self.page_size = shape
        counts = [-(-n // self.page_size) for n in lengths]
        num_pages = sum(counts) + 3
        shuffled = torch.randperm(num_pages).tolist()
        self.kv = torch.full(
            (2, num_pages, self.page_size, num_kv_heads, self.head_dim), torch.nan, dtype=dtype
        )
        self.table = torch.full((len(lengths), max(counts) + 2), 10**9, dtype=torch.int32)
        self.known = []
        for i, (length, count) in enumerate(zip(lengths, counts, strict=True)):
            pages, shuffled = shuffled[:count], shuffled[count:]
            self.table[i, :count] = torch.tensor(pages, dtype=torch.int32)
            known = torch.randn(2, length, num_kv_heads, self.head_dim).to(dtype)
            slots = [
                pages[n // self.page_size] * self.page_size + n % self.page_size
                for n in range(length)
            ]
            self.kv.flatten(1, 2)[:, slots] = known
            self.known.append(known)

    def queries(self, num_rows: int) -> Tensor:
        """Queries [T, H, D] inside wider rows, as those of a QKV product."""
        width = self.num_heads + 2 * self.kv.shape[3]
        return torch.randn(num_rows, width, self.head_dim).to(self.kv.dtype)[:, : self.num_heads]

    def plain(self, q: Tensor, i: int, num_keys: int) -> Tensor:
        """The output [H * D] of one query [H, D] over the first keys of sequence i."""
        k, v = (x.double() for x in self.known[i][:, :num_keys])  # [N, K, D] each
        group = self.num_heads // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)  # [N, H, D]
        scores = torch.einsum("hd,nhd->hn", q.double(), k) * self.head_dim**-0.5
        return torch.einsum("hn,nhd->hd", scores.softmax(-1), v).flatten()


def ints(values: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device=device)


def decoded(
    paged: Paged, q: Tensor, items: Sequence[tuple[int, int, int]], device: torch.device
) -> Tensor:
    """Outputs [T, H * D] of items (row, sequence, keys); rows of no item are 7."""
    from backends.llm.model.cuda.decode_attention import DecodeScratch, decode_attention

    rows, sequences, num_keys = zip(*items, strict=True)
    out = torch.full((len(q), paged.num_heads * paged.head_dim), 7.0, dtype=q.dtype, device=device)
    scratch = DecodeScratch(len(items), paged.num_heads, paged.head_dim, device)
    decode_attention(
        q.to(device),
        paged.kv.to(device),
        paged.table.to(device),
        ints(rows, device),
        ints(sequences, device),
        ints(num_keys, device),
        scratch,
        out,
    )
    return out.cpu()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_single_rows_see_their_own_keys_and_no_other(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> None:
    torch.manual_seed(0)
    lengths = [1, 37, 300, 16]
    paged = Paged(lengths, shape, dtype)
    q = paged.queries(6)
    items = [(4, 0, 1), (1, 1, 37), (0, 2, 300), (3, 3, 9)]
    out = decoded(paged, q, items, device)
    for row, i, num_keys in items:
        expected = paged.plain(q[row], i, num_keys)
        assert (out[row].double() - expected).abs().max() < TOLERANCE[dtype]
    assert (out[[2, 5]] == 7).all()


def test_long_contexts_are_split_and_put_together(device: torch.device) -> None:
    torch.manual_seed(0)
    lengths = [5000, 4097, 255, 257]
    paged = Paged(lengths, (32, 2, 1, 16), torch.float32)
    q = paged.queries(4)
    out = decoded(paged, q, [(i, i, n) for i, n in enumerate(lengths)], device)
    for i, length in enumerate(lengths):
        assert (out[i].double() - paged.plain(q[i], i, length)).abs().max() < 2e-6


def test_a_row_is_the_same_bits_alone_and_in_a_batch(device: torch.device) -> None:
    torch.manual_seed(0)
    lengths = [700, 3, 5000]
    paged = Paged(lengths, (64, 4, 2, 16), torch.bfloat16)
    q = paged.queries(3)
    together = decoded(paged, q, [(i, i, n) for i, n in enumerate(lengths)], device)
    for i, length in enumerate(lengths):
        assert torch.equal(decoded(paged, q, [(i, i, length)], device)[i], together[i])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_runs_see_their_prefix_and_what_is_before_them(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> None:
    from backends.llm.model.cuda.extend_attention import extend_attention
    from backends.llm.model.cuda.step_plan import tiles_of

    torch.manual_seed(0)
    runs = [range(70), range(33, 38), range(130, 170), [3, 4, 40, 90, 91, 200]]  # places
    paged = Paged([run[-1] + 1 for run in runs], shape, dtype)
    q = paged.queries(2 + sum(map(len, runs)))
    tiles, row = [], 1
    for i, run in enumerate(runs):
        tiles += tiles_of(row, len(run), i)
        row += len(run)
    positions = [0, *(at for run in runs for at in run), 0]
    out = torch.full((len(q), paged.num_heads * paged.head_dim), 7.0, dtype=dtype, device=device)
    extend_attention(
        q.to(device),
        paged.kv.to(device),
        paged.table.to(device),
        torch.tensor(positions, dtype=torch.int32, device=device),
        torch.tensor(tiles, dtype=torch.int32, device=device),
        out,
    )
    row = 1
    for i, run in enumerate(runs):
        for at in run:
            expected = paged.plain(q[row], i, at + 1)
            assert (out[row].cpu().double() - expected).abs().max() < TOLERANCE[dtype]
            row += 1
    assert (out[[0, -1]] == 7).all()
