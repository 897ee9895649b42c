"""Lossy forms of a page below the pool (`kv_tier_format`).

| form | a page is | bytes, of bfloat16's |
|---|---|---|
| `int8` | whole numbers, a scale for each layer, token and head | 0.53 |
| `cachegen` | deltas to a token, in coarse bins, entropy coded | about 0.3 |

`cachegen` follows CacheGen (arXiv 2310.07240): tokens that stand together have similar KV, so their
deltas are small, and layers that matter less take wider bins. There these are the deep ones; of
the models here it is the shallow ones. Its arithmetic coder is Huffman coding (zlib's).
"""

import zlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backends.llm.model.page_layout import Bytes, Floats

Shape = tuple[int, int, int, int, int]  # S tokens, L layers, keys and values, H heads, D
Ints = NDArray[np.int16]


class Quantizer(Protocol):
    """Numbers [S, L, 2, H, D] of a page to bytes and back to nearly the same numbers."""

    @property
    def name(self) -> str:
        """With the version of its bytes: pages of another one are not read."""

    def num_bytes(self, shape: Shape) -> int | None:
        """Of every page; None where they differ."""

    def encode(self, values: Floats) -> bytes: ...

    def decode(self, content: Bytes, shape: Shape) -> Floats:
        """Raises ValueError for what `encode` did not make."""


class Int8:
    """The largest of each layer, token and head is 127."""

    name = "int8 1"

    def num_bytes(self, shape: Shape) -> int:
        return _size(shape) + 4 * _size(shape[:-1])

    def encode(self, values: Floats) -> bytes:
        scales = _nonzero(np.abs(values).max(-1) / 127)  # [S, L, 2, H]
        whole = np.rint(values / scales[..., None]).astype(np.int8)
        return bytes(scales.tobytes() + whole.tobytes())

    def decode(self, content: Bytes, shape: Shape) -> Floats:
        if len(content) != self.num_bytes(shape):
            raise ValueError("it has another length")
        num_scales = 4 * _size(shape[:-1])
        scales = content[:num_scales].view(np.float32).reshape(shape[:-1])
        whole = content[num_scales:].view(np.int8).reshape(shape)
        return whole.astype(np.float32) * scales[..., None]


class CacheGen:
    """A page is one group of tokens: the first is the anchor, in `Int8`'s form, and the others are
    deltas to it. A bin is a share of the root mean square of a layer, part and head."""

    name = "cachegen 1"
    bins = (0.4, 0.2, 0.1)  # for the shallow, middle and deep third of the layers
    _anchor = Int8()

    def num_bytes(self, shape: Shape) -> None:  # noqa: ARG002 - a Quantizer
        return None

    def encode(self, values: Floats) -> bytes:
        anchor = self._anchor.encode(values[:1])
        deltas = values[1:] - self._anchor.decode(np.frombuffer(anchor, np.uint8), _first(values))
        steps = self._steps(values)  # [L, 2, H]
        low, high = _to_bytes(np.rint(deltas / steps[..., None]).astype(np.int16))
        packed = _huffman([low[:, layers, part].tobytes() for layers, part in _alike(low.shape)])
        head = np.array([len(packed)], np.int32).tobytes() + steps.tobytes() + anchor
        return head + packed + zlib.compress(high.tobytes(), 1)

    def decode(self, content: Bytes, shape: Shape) -> Floats:
        first, rest = (1, *shape[1:]), (shape[0] - 1, *shape[1:])
        ends = np.cumsum((4, 4 * _size(shape[1:4]), self._anchor.num_bytes(first)))
        head, steps, anchor, coded = np.split(content, ends)
        (num_packed,) = head.view(np.int32)
        bins = _from_bytes(
            _regroup(_inflate(coded[:num_packed], -15, rest), rest),
            _inflate(coded[num_packed:], 15, rest).reshape(rest),
        )
        deltas = bins.astype(np.float32) * steps.view(np.float32).reshape(*shape[1:4], 1)
        found = self._anchor.decode(anchor, first)
        return np.concatenate((found, deltas + found))

    def _steps(self, values: Floats) -> Floats:
        share = np.empty(values.shape[1], np.float32)
        for third, bins in zip(_thirds(len(share)), self.bins, strict=True):
            share[third] = bins
        squares = np.einsum("slphd,slphd->lph", values, values)
        return _nonzero(np.sqrt(squares / _size(values.shape[::4])) * share[:, None, None])


def _first(values: Floats) -> Shape:
    _, layers, parts, heads, dim = values.shape
    return 1, layers, parts, heads, dim


def _thirds(num_layers: int) -> list[slice]:
    ends = [num_layers * i // 3 for i in range(4)]
    return [slice(*ends[i : i + 2]) for i in range(3)]


def _alike(shape: tuple[int, ...]) -> list[tuple[slice, int]]:
    """Layers and parts (keys, values) whose deltas are spread alike: each has its own codes."""
    return [(third, part) for third in _thirds(shape[1]) for part in (0, 1)]


def _regroup(coded: Bytes, shape: tuple[int, ...]) -> Bytes:
    """The low bytes in their places again, from one group after another."""
    found, at = np.empty(shape, np.uint8), 0
    for layers, part in _alike(shape):
        group = found[:, layers, part]
        group[...] = coded[at : at + group.size].reshape(group.shape)
        at += group.size
    return found


def _to_bytes(bins: Ints) -> tuple[Bytes, Bytes]:
    """0, -1, 1, -2 ... as 0, 1, 2, 3 ...: low bytes, and high bytes, which are nearly all 0."""
    folded = ((bins << 1) ^ (bins >> 15)).view(np.uint16)
    return folded.astype(np.uint8), (folded >> 8).astype(np.uint8)


def _from_bytes(low: Bytes, high: Bytes) -> Ints:
    folded = low | high.astype(np.uint16) << 8
    return (folded >> 1).view(np.int16) ^ -(folded & 1).view(np.int16)


def _huffman(groups: list[bytes]) -> bytes:
    """Codes of their own for every 8,192 bytes or fewer."""
    coder = zlib.compressobj(1, zlib.DEFLATED, -15, 7, zlib.Z_HUFFMAN_ONLY)
    return b"".join([*map(coder.compress, groups), coder.flush()])


def _inflate(content: Bytes, window: int, shape: tuple[int, ...]) -> Bytes:
    num_bytes = _size(shape)
    coder = zlib.decompressobj(window)
    try:
        found = coder.decompress(content.tobytes(), num_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(found) != num_bytes or not coder.eof:
        raise ValueError("it has another length")
    return np.frombuffer(found, np.uint8)


def _nonzero(scales: Floats) -> Floats:
    """All zeros are divided by something."""
    return np.where(scales > 0, scales, np.float32(1))


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


QUANTIZERS: dict[str, Quantizer] = {"int8": Int8(), "cachegen": CacheGen()}
