"""How long a step takes: the roofline model of a transformer on a device.

Each of linear layers, attention and the last layer takes the longer of its compute and its traffic
(Williams, Waterman, Patterson, "Roofline", 2009). For T tokens in spans of r rows that attend to
the n tokens up to their last, R rows whose logits are wanted, and G devices:

    seconds  = overhead + exchanges
                        + max(2 P T / (F e), (P b + 4 T d) / (B w))        linear layers
                        + max(4 L H D K / (F a), sum(n) kv / (B w))        attention
                        + max(2 d V R / (F e), d V b / (B w))              last layer, R > 0
    K        = sum over spans of r (n - (r - 1) / 2), the keys that all rows attend to; in an
               encoder each row attends to the whole text, so K = sum of n n
    exchanges = 2 L (latency + 4 T d (G - 1) / G / link), if G > 1: two all-reduces a layer
    overhead = step + layer * L + row * number of spans

P parameters of the linear layers, b bytes of a weight, F peak FLOP/s and e, a its shares that
linear layers and attention reach (attention of spans of one row may have a share of its own), B
bandwidth and w its share, L layers, H heads of size D, kv bytes of a token's keys and values, d
hidden size, V vocabulary. Attention computes in the format of keys and values, the rest in that of
the weights. Weights are read once a step, keys and values once a span and step. G devices divide
compute and traffic evenly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backends.emulated.hardware import NUMBER_BYTES, Device, Dtype, Shape
from backends.errors import ConfigError

MEMORY_SHARE = 0.9  # of the device for weights and KV, as vLLM's gpu_memory_utilization


class Rows(NamedTuple):
    """Rows of one sequence in a step."""

    num_rows: int
    num_keys: int  # tokens of the sequence up to the last row


@dataclass(frozen=True, slots=True)
class Roofline:
    """A model on so many devices of one kind."""

    device: Device
    shape: Shape
    dtype: Dtype = "bfloat16"  # of the weights
    kv_dtype: Dtype = "bfloat16"
    num_devices: int = 1

    def step_s(self, spans: Iterable[Rows], num_logits: int) -> float:
        """Seconds of a step of a decoder."""
        num_tokens = num_spans = num_keys = 0
        attended = 0.0  # each span's divided by its efficiency
        for rows, keys in spans:
            num_spans += 1
            num_tokens += rows
            num_keys += keys
            own = rows * (keys - (rows - 1) / 2) if self.shape.is_causal else rows * keys
            attended += own / self.device.attention_efficiency_of(rows)
        if not num_tokens:
            return 0.0
        seconds = self._linear_s(num_tokens) + self._attention_s(attended, num_keys)
        if num_logits:
            seconds += self._last_layer_s(num_logits)
        return seconds + self._overhead_s(num_spans) + self._exchange_s(num_tokens)

    def encode_s(self, lengths: Sequence[int]) -> float:
        """Seconds of a pass of an encoder over texts of so many tokens."""
        return self.step_s([Rows(length, length) for length in lengths], 0) if lengths else 0.0

    def kv_tokens(self, where: str) -> int:
        """How many tokens' KV fit beside the weights. Raises ConfigError if there is no room."""
        room = self.device.memory_bytes * self.num_devices * MEMORY_SHARE
        weights = self.shape.weight_bytes(self.dtype)
        found = int((room - weights) / self.shape.kv_bytes(self.kv_dtype))
        if found < 1:
            raise ConfigError(
                f"{where}: the weights take {weights / 1e9:.1f} GB in {self.dtype}, and "
                f"{self.num_devices} device(s) have {room / 1e9:.1f} GB for weights and KV: take "
                "several, like h100x4, or the option dtype='float8'"
            )
        return found

    def _linear_s(self, num_tokens: int) -> float:
        flops = 2.0 * self.shape.layer_params * num_tokens
        num_bytes = self.shape.layer_params * NUMBER_BYTES[self.dtype]
        num_bytes += 4.0 * num_tokens * self.shape.hidden  # what it reads and writes beside
        efficiency = self.device.efficiency_at(num_tokens)
        return self._longer_s(flops, self.dtype, efficiency, num_bytes)

    def _attention_s(self, attended: float, num_keys: int) -> float:
        shape = self.shape
        flops = 4.0 * shape.layers * shape.heads * shape.head_size * attended
        num_bytes = num_keys * shape.kv_bytes(self.kv_dtype)
        return self._longer_s(flops, self.kv_dtype, 1.0, num_bytes)

    def _last_layer_s(self, num_logits: int) -> float:
        num_bytes = self.shape.head_params * NUMBER_BYTES[self.dtype]
        flops = 2.0 * self.shape.head_params * num_logits
        efficiency = self.device.efficiency_at(num_logits)
        return self._longer_s(flops, self.dtype, efficiency, num_bytes)

    def _longer_s(self, flops: float, dtype: Dtype, efficiency: float, num_bytes: float) -> float:
        device = self.device
        compute_s = flops / (device.peak(dtype) * efficiency)
        traffic_s = num_bytes / (device.bandwidth_bytes_s * device.bandwidth_efficiency)
        return max(compute_s, traffic_s) / self.num_devices

    def _overhead_s(self, num_spans: int) -> float:
        device = self.device
        layers_s = device.layer_overhead_s * self.shape.layers
        return device.step_overhead_s + layers_s + device.row_overhead_s * num_spans

    def _exchange_s(self, num_tokens: int) -> float:
        if self.num_devices == 1:
            return 0.0
        share = 2 * (self.num_devices - 1) / self.num_devices  # of a ring all-reduce
        num_bytes = 2.0 * num_tokens * self.shape.hidden * share
        once_s = self.device.link_latency_s + num_bytes / self.device.link_bytes_s
        return 2 * self.shape.layers * once_s
