"""Steps of one model over one pool: lays a batch out on the device, runs it, gives tokens back."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from backends.llm.lora.segments import plan_adapters
from backends.llm.model.batch import Ints, StepBatch, StepOutput
from backends.llm.model.cuda.decode_attention import DecodeScratch
from backends.llm.model.cuda.forward import Forward
from backends.llm.model.cuda.graphs import DecodeGraphs, DecodeOutput, graph_sizes
from backends.llm.model.cuda.kv_pool import MOST_CHANGES, CudaKVPool, DevicePageTable
from backends.llm.model.cuda.step_plan import (
    DeviceStep,
    Sizes,
    StepPlan,
    device_step,
    is_all_decodes,
    plan_decodes,
    plan_padding,
    plan_prompt_of_nobody,
    plan_step,
)
from backends.llm.model.cuda.tiling import TILE_ROWS
from backends.llm.model.cuda.transfers import StepUpload, TokenDownload
from backends.llm.model.torch_model.attention import plan_watched
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.sample.top_k_top_p import likeliest


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What buffers are made for."""

    max_running: int  # sequences of a step
    token_budget: int  # tokens of a step
    graphs: bool = True  # capture steps of decodes


@dataclass(frozen=True, slots=True)
class CudaStep:
    """A step under way."""

    download: TokenDownload
    which: Ints | None  # those of the tokens that were wanted; None for all
    logits: Tensor | None  # [R, V]
    masses: tuple[Tensor, ...] = ()

    def collect(self) -> StepOutput:
        """Waits for the step's event."""
        tokens = self.download.wait()
        masses = tuple(mass.cpu().numpy() for mass in self.masses)
        return StepOutput(tokens if self.which is None else tokens[self.which], self.logits, masses)


class Runner:
    """Everything it needs in a step is allocated, and its graphs are captured, at the start."""

    def __init__(self, net: LlamaModel, kv: CudaKVPool, limits: StepLimits) -> None:
        config, device = net.config, net.device
        max_pages = max(kv.scratch_page, TILE_ROWS)
        sizes = graph_sizes(limits.max_running) if limits.graphs else ()
        num_rows = max(limits.max_running, *sizes, 1)
        self._device = device
        self._limits = limits
        self._on_device: Callable[[], Any] = (
            (lambda: torch.cuda.device(device)) if device.type == "cuda" else nullcontext
        )
        self._table = DevicePageTable(
            limits.max_running, max_pages, kv.page_size, kv.scratch_page, device
        )
        scratch = DecodeScratch(num_rows, config.num_heads, config.head_dim, device)
        self._forward = Forward(net, kv, self._table.cells, scratch)
        self._upload = StepUpload(_capacity(limits, num_rows), device)
        self._download = TokenDownload(max(num_rows, limits.token_budget), device)
        with self._on_device():
            self._graphs = DecodeGraphs(sizes, self._decode, self._fill, device)
        self._run_nobody(num_tokens=1)  # compiles what graphs do not use

    def launch(self, batch: StepBatch) -> CudaStep:
        """Queue a step on the device; waits for nothing there."""
        with self._on_device():
            size = self._graphs.size_for(len(batch.spans)) if is_all_decodes(batch) else None
            return self._launch_any(batch) if size is None else self._launch_graph(batch, size)

    def _launch_graph(self, batch: StepBatch, size: int) -> CudaStep:
        step = self._send(plan_decodes(batch, self._table, size))
        tokens, logits = self._graphs.replay(size)
        self._download.start(tokens)
        return CudaStep(self._download, batch.wanted.copy(), _some(logits, step.with_logits))

    def _launch_any(self, batch: StepBatch) -> CudaStep:
        step = self._send(plan_step(batch, self._table))
        watched = plan_watched(batch, self._device)
        lora = plan_adapters(batch, self._device)
        logits = self._forward.logits(step, lora, watched, batch.stop_layer)  # [W, V]
        self._download.start(_likeliest(logits))
        masses = tuple(one.mass for one in watched)
        return CudaStep(self._download, None, _some(logits, step.with_logits), masses)

    def run_largest(self) -> None:
        """Compute a step of the most tokens, of nobody: it allocates what any step may."""
        self._run_nobody(self._limits.token_budget)

    @torch.inference_mode()
    def _run_nobody(self, num_tokens: int) -> None:
        plan = plan_prompt_of_nobody(self._table, num_tokens, self._limits.max_running)
        with self._on_device():
            _likeliest(self._forward.logits(self._send(plan)))

    def _send(self, plan: StepPlan) -> DeviceStep:
        step = device_step(self._upload.send(plan), plan.sizes)
        if len(step.places):
            self._table.write(step.places, step.pages)
        return step

    def _fill(self, size: int) -> None:
        self._send(plan_padding(self._table, size))

    @torch.inference_mode()
    def _decode(self, size: int) -> DecodeOutput:
        """What a graph holds."""
        logits = self._forward.logits(device_step(self._upload.ints, Sizes(size, size, 0, size)))
        return DecodeOutput(likeliest(logits), logits)


def _likeliest(logits: Tensor) -> Tensor:
    return likeliest(logits) if len(logits) else torch.empty(0, dtype=torch.int64)


def _some(logits: Tensor, rows: Tensor) -> Tensor | None:
    """Those rows of logits; a copy, which the sampler may change."""
    return logits.index_select(0, rows) if len(rows) else None


def _capacity(limits: StepLimits, num_rows: int) -> int:
    """Of the most tokens, sequences and changes of the page table."""
    num_tokens = max(limits.token_budget, num_rows)
    num_tiles = num_tokens // TILE_ROWS + num_rows
    return Sizes(
        tokens=num_tokens,
        singles=num_rows,
        tiles=num_tiles,
        wanted=num_tokens,
        with_logits=num_tokens,
        changes=MOST_CHANGES,
    ).total
