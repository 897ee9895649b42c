"""The C++ kernels against transformers, against the torch model, and against themselves."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.errors import RequestRejected
from backends.llm.model.batch import batch_of
from backends.llm.model.native.native_model import NativeModel


@pytest.fixture(autouse=True)
def on_every_set(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_ISA", isa)


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"head_dim": 16}),
    "tied-mha": ("llama", {"head_dim": 32, "tie_word_embeddings": True, "num_key_value_heads": 4}),
    "mqa": ("llama", {"head_dim": 80, "num_key_value_heads": 1}),
    "wide": ("llama", {"head_dim": 128, "hidden_size": 96, "intermediate_size": 208}),
    "five-groups": ("llama", {"head_dim": 16, "num_attention_heads": 10, "hidden_size": 80}),
    "qwen2-bias": ("qwen2", {"head_dim": 16}),
}
PROMPTS = ("The quick brown fox", "x", "An owl! " * 12, "Numbers 1 2 3 4 5 6 7 8 9 and more " * 6)


def native(load_tiny: Callable[..., Any], shape: str, **kwargs: Any) -> Any:
    arch, changes = SHAPES[shape]
    return load_tiny(arch, **changes).moved(kernels="native", **kwargs)


@pytest.mark.parametrize("page_size", [16, 48])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_greedy_tokens_equal_transformers(
    tiny_folder: Callable[..., Path],
    load_tiny: Callable[..., Any],
    oracle_tokens: Callable[..., list[int]],
    greedily: Callable[..., list[list[int]]],
    shape: str,
    page_size: int,
) -> None:
    loaded = native(load_tiny, shape)
    driver = loaded.driver(stops=False, page_size=page_size, token_budget=48)
    found = greedily(driver, PROMPTS, 40)
    arch, changes = SHAPES[shape]
    for prompt, tokens in zip(PROMPTS, found, strict=True):
        ids = loaded.tokenizer.encode_text(prompt)
        assert tokens == oracle_tokens(tiny_folder(arch, **changes), ids, 40)


class Steps:
    """Runs rows of token lists on a model by hand, each list on pages of its own."""

    def __init__(self, model: Any, texts: list[list[int]], page_size: int = 16) -> None:
        self.texts = texts
        self.model = model
        self.page_size = page_size
        self.per_text = -(-max(map(len, texts)) // page_size)
        order = list(range(self.per_text * len(texts)))
        random.Random(0).shuffle(order)  # pages in no order
        self.pages = order
        self.kv = model.make_pool(len(order), page_size)

    def run(self, *parts: tuple[int, int, int]) -> torch.Tensor:
        """Tokens [begin, end) of texts i; the logits of all of them [T, V]."""
        laid_out = []
        for i, begin, end in parts:
            pages = self.pages[i * self.per_text :][: -(-end // self.page_size)]
            laid_out.append((self.texts[i][begin:end], begin, pages))
        batch = batch_of(self.page_size, *laid_out)
        return torch.as_tensor(self.model.launch(batch, self.kv).collect().logits).clone()


def texts_of(rng: random.Random, vocab: int, *lengths: int) -> list[list[int]]:
    return [[rng.randrange(vocab) for _ in range(length)] for length in lengths]


@pytest.mark.parametrize("shape", list(SHAPES))
def test_logits_are_close_to_the_torch_model(load_tiny: Callable[..., Any], shape: str) -> None:
    arch, changes = SHAPES[shape]
    loaded = load_tiny(arch, **changes)
    texts = texts_of(random.Random(1), loaded.found.config.vocab_size, 130, 7, 64)
    parts = [(i, 0, len(text)) for i, text in enumerate(texts)]
    with torch.inference_mode():
        plain = Steps(loaded.model, texts).run(*parts)
    ours = Steps(loaded.moved(kernels="native").model, texts).run(*parts)
    assert torch.allclose(ours, plain, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_bfloat16_is_close_to_float32(load_tiny: Callable[..., Any], shape: str) -> None:
    exact = native(load_tiny, shape).model
    rounded = native(load_tiny, shape, dtype=torch.bfloat16).model
    texts = texts_of(random.Random(2), exact.config.vocab_size, 90)
    a, b = (Steps(model, texts).run((0, 0, 90)) for model in (exact, rounded))
    assert 0 < float((a - b).norm() / a.norm()) < 0.05


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_chunks_batch_mates_and_threads_change_no_bit(
    load_tiny: Callable[..., Any], dtype: str, num_threads: int
) -> None:
    loaded = load_tiny("llama", head_dim=32, num_attention_heads=6, hidden_size=96)
    source = loaded.found.source()
    model = NativeModel(loaded.found.config, source, getattr(torch, dtype), False, num_threads)
    rng = random.Random(3)
    texts = texts_of(rng, model.config.vocab_size, 203, 1, 64, 65, 130)
    alone = [Steps(model, [text]).run((0, 0, len(text))) for text in texts]
    for _ in range(4):
        steps, done = Steps(model, texts), [0] * len(texts)
        found: list[list[torch.Tensor]] = [[] for _ in texts]
        while any(at < len(text) for at, text in zip(done, texts, strict=True)):
            parts = [
                (i, at, min(len(text), at + rng.choice((1, 2, 17, 64, 100))))
                for i, (at, text) in enumerate(zip(done, texts, strict=True))
                if at < len(text) and rng.random() < 0.7
            ]
            rng.shuffle(parts)
            if not parts:
                continue
            rows = iter(steps.run(*parts))
            for i, begin, end in parts:
                found[i] += [next(rows) for _ in range(end - begin)]
                done[i] = end
        for rows_alone, rows_found in zip(alone, found, strict=True):
            assert torch.equal(rows_alone, torch.stack(rows_found))


@pytest.mark.parametrize("shape", ["llama", "tied-mha", "mqa"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_others_left_in_a_page_changes_no_bit(
    load_tiny: Callable[..., Any], dtype: str, shape: str
) -> None:
    """A reused page may hold NaN in the slots that no row of ours has written."""
    model = native(load_tiny, shape, dtype=getattr(torch, dtype)).model
    texts = texts_of(random.Random(5), model.config.vocab_size, 70, 3, 33)
    parts = [(0, 0, 19), (1, 0, 3), (0, 19, 70), (2, 0, 32), (2, 32, 33)]
    clean, dirty = Steps(model, texts), Steps(model, texts)
    dirty.kv.pages.fill(0xFF)  # every float32 and bfloat16 of it is NaN
    for part in parts:
        found = dirty.run(part)
        assert bool(found.isfinite().all())
        assert torch.equal(found, clean.run(part))


def test_what_a_step_writes_can_be_read_in_the_same_step(load_tiny: Callable[..., Any]) -> None:
    """A page that it fills, by another sequence."""
    loaded = native(load_tiny, "llama")
    model = loaded.model
    (ids,) = texts_of(random.Random(3), loaded.found.config.vocab_size, 40)
    pages = [5, 2, 9]
    kv = model.make_pool(16, 16)
    whole = torch.tensor(model.launch(batch_of(16, (ids, 0, pages)), kv).collect().logits)
    for _ in range(20):
        kv = model.make_pool(16, 16)
        other = (ids[16:], 16, [5, 7, 8])
        batch = batch_of(16, (ids[:16], 0, pages), other)
        found = torch.tensor(model.launch(batch, kv).collect().logits)
        assert torch.equal(found, whole)


def test_pages_move_between_pools_unchanged(load_tiny: Callable[..., Any]) -> None:
    model = native(load_tiny, "llama").model
    texts = texts_of(random.Random(4), model.config.vocab_size, 40)
    first = Steps(model, texts)
    first.run((0, 0, 32))
    whole = first.run((0, 32, 40))
    second = Steps(model, texts)
    second.kv.import_pages([2, 0], first.kv.export_pages(first.pages[:2]))
    second.pages = [2, 0, 1]
    assert torch.equal(second.run((0, 32, 40)), whole)


def test_a_closed_model_gives_its_threads_back(load_tiny: Callable[..., Any]) -> None:
    import threading

    task = Path(f"/proc/{threading.get_native_id()}/task")
    before = len(list(task.iterdir()))
    loaded = load_tiny("llama", head_dim=16)
    models = [
        NativeModel(loaded.found.config, loaded.found.source(), torch.float32, False, 4)
        for _ in range(3)
    ]
    assert len(list(task.iterdir())) >= before + 9
    del models
    assert len(list(task.iterdir())) <= before + 1


FEW_THREADS = """
import resource, sys
sys.path.insert(0, {root!r})
import torch
from backends.llm.loader import open_model
from backends.llm.model.native.native_model import NativeModel
from pathlib import Path
found = open_model(Path({folder!r}))
NativeModel(found.config, found.source(), torch.float32, False, 2)
taken = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (taken + (1 << 28), resource.RLIM_INFINITY))
try:
    NativeModel(found.config, found.source(), torch.float32, False, 4096)
except MemoryError as error:
    print(error)
"""


def test_threads_that_cannot_start_are_an_error(tiny_folder: Callable[..., Path]) -> None:
    root = str(Path(__file__).parents[5])
    script = FEW_THREADS.format(root=root, folder=str(tiny_folder(head_dim=16)))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no memory for the model's threads\n"), done.stderr


RUNNING_AT_EXIT = """
import sys, threading, time
sys.path.insert(0, {root!r})
import numpy as np
import torch
from dataclasses import replace
from backends.llm.model.batch import Span, batch_of
from backends.llm.loader import open_model
from backends.llm.model.native.native_model import NativeModel
from pathlib import Path
found = open_model(Path({folder!r}))
model = NativeModel(found.config, found.source(), torch.float32, False, 2)
kv = model.make_pool(32, 16)
ids = list(range(200)) * 2
none = np.empty(0, np.int64)
batch = replace(batch_of(16, (ids, 0, list(range(25)))), with_logits=none)
def work():
    while True:
        model.launch(batch, kv)
threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""


def test_a_process_may_end_while_a_step_runs(tiny_folder: Callable[..., Path]) -> None:
    root = str(Path(__file__).parents[5])
    script = RUNNING_AT_EXIT.format(root=root, folder=str(tiny_folder(head_dim=16)))
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_token_without_a_row_is_refused(
    load_tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = native(load_tiny, "llama")
    driver = loaded.driver()
    vocab_size = loaded.found.config.vocab_size
    monkeypatch.setattr(loaded.tokenizer, "encode_text", lambda text: [vocab_size])
    with pytest.raises(RequestRejected, match="ids of this model go from 0 to 258"):
        driver.prefill(None, "x")
