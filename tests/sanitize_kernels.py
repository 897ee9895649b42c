"""`make sanitize`: the kernels under AddressSanitizer and UBSan, on odd shapes of hypothesis.

Each instruction set of this CPU is compiled with both and runs in a process of its own. All memory
that the kernels get is from malloc and as large as they ask for, so one byte too far is seen.

    python tests/sanitize_kernels.py [--examples N] [ISA...]
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "backends")]

from backends.models.cache import cache_folder  # noqa: E402
from backends.native.instruction_sets import isas_here  # noqa: E402

_CHECKS = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("isas", nargs="*", default=isas_here(), metavar="ISA")
    parser.add_argument("--examples", type=int, default=60)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.inside:
        check_all(words.examples)
        return
    failed = [isa for isa in words.isas if not runs_clean(isa, words.examples)]
    if failed:
        raise SystemExit(f"errors on {', '.join(failed)}")


def runs_clean(isa: str, examples: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        compiler = Path(folder) / "c++"
        compiler.write_text(f'#!/bin/sh\nexec g++ "$@" {_CHECKS}\n')
        compiler.chmod(0o755)
        command = [sys.executable, __file__, "--inside", "--examples", str(examples)]
        done = subprocess.run(command, env={**os.environ, **_environment(isa, compiler)})
    print(f"{isa}: {'clean' if done.returncode == 0 else 'FAILED'}", flush=True)
    return done.returncode == 0


def _environment(isa: str, compiler: Path) -> dict[str, str]:
    names = ("libasan.so", "libubsan.so")
    return {
        "TEOLA_ISA": isa,
        "CXX": str(compiler),
        "TEOLA_CACHE": str(cache_folder() / "sanitized"),
        "LD_PRELOAD": " ".join(_runtime(name) for name in names),
        "ASAN_OPTIONS": "detect_leaks=0:alloc_dealloc_mismatch=0:verify_asan_link_order=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def _runtime(name: str) -> str:
    command = ["g++", f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# ------------------------------------------------------------------ inside


def check_all(examples: int) -> None:
    from hypothesis import HealthCheck, settings

    os.environ.pop("LD_PRELOAD")  # not for the compiler
    _use_exact_memory()
    profile = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    checks: tuple[Callable[[], Any], ...] = (products(), language_model(), encoder())
    for check in checks:
        profile(check)()


def exact(num_bytes: int) -> Any:
    """Zeroed, on a boundary of 64 bytes, and not a byte longer."""
    import numpy as np

    libc = ctypes.CDLL(None)
    at = ctypes.c_void_p()
    assert libc.posix_memalign(ctypes.byref(at), 64, ctypes.c_size_t(max(1, num_bytes))) == 0
    memory = (ctypes.c_uint8 * max(1, num_bytes)).from_address(at.value or 0)
    found = np.frombuffer(memory, np.uint8)[:num_bytes]
    found[:] = 0
    return found


def _use_exact_memory() -> None:
    import backends.llm.model.native.kv_pool as kv_pool
    from backends.native import packing

    kv_pool.zeroed = packing.zeroed = exact


def products() -> Callable[[], Any]:
    """Packing, unpacking and multiplying one matrix of any size and format."""
    import gguf
    import numpy as np
    from hypothesis import given
    from hypothesis import strategies as st

    from backends.native.library import Format, library
    from backends.native.packing import Blocks, pack, pack_values

    lib = library()
    assert lib is not None

    @given(
        st.integers(1, 70),
        st.integers(1, 100),
        st.integers(1, 9),
        st.sampled_from(("F32", "BF16", "Q8_0", "Q4_0", "Q4_1")),
        st.booleans(),
    )
    def check(m: int, n: int, groups: int, kind: str, int8: bool) -> None:
        k = 32 * groups
        values = np.random.default_rng(n).normal(0, 1, (n, k)).astype(np.float32)
        if kind in ("F32", "BF16"):
            k -= 2 * (n % 16)
            packed = pack_values([values[:, :k].copy()], Format[kind], None, False)
        else:
            rows = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
            packed = pack(_One(Blocks(kind, rows)), ["w"], Format.BF16, True, int8=int8)
        out = np.empty(k, np.float32)
        for feature in {0, n // 2, n - 1}:
            lib.teola_unpack(ctypes.byref(packed.struct), feature, out.ctypes.data)
        if kind == "F32" or (int8 and kind.startswith("Q")):
            a, product = np.ones((m, k), np.float32), np.empty((m, n), np.float32)
            struct = ctypes.byref(packed.struct)
            lib.teola_multiply(struct, a.ctypes.data, m, product.ctypes.data)
            assert np.isfinite(product).all()

    return check


class _One:
    def __init__(self, blocks: Any) -> None:
        self._blocks = blocks

    def blocks(self, name: str) -> Any:
        return self._blocks

    def values(self, name: str) -> Any:
        raise AssertionError(name)


def language_model() -> Callable[[], Any]:
    """Ragged steps of a small model: chunks, batch mates, odd vocabularies, all numerics."""
    import numpy as np
    import torch
    from hypothesis import given
    from hypothesis import strategies as st
    from random_weights import RandomWeights

    from backends.llm.model.batch import batch_of
    from backends.llm.model.config import ModelConfig
    from backends.llm.model.native.native_model import NativeModel

    def link_the_first(texts: list[list[int]], to: int, page_size: int, model: Any) -> None:
        """From pages that hold its tokens alone to pages that hold no more than they take."""
        num_tokens = sum(texts[0])
        num_pages, num_more = (-(-n // page_size) for n in (num_tokens, to + num_tokens))
        pool = model.make_pool(num_pages + num_more, page_size)
        pages = list(range(num_pages))
        model.launch(batch_of(page_size, ([0] * num_tokens, 0, pages)), pool)
        to_pages = list(range(num_pages, num_pages + num_more))
        for first in (0, num_tokens // 2):
            model.link(pool, pages, first, to_pages, to, num_tokens - first)

    @given(
        st.tuples(
            st.integers(1, 3), st.sampled_from((1, 2, 5)), st.sampled_from((16, 48, 80, 128))
        ),
        st.integers(1, 5),
        st.integers(1, 13),
        st.integers(1, 90),
        st.sampled_from(("float32", "bfloat16", "blocks", "int8")),
        st.sampled_from(("Q8_0", "Q4_0", "Q4_1")),
        st.sampled_from((16, 32, 48)),
        st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=3), min_size=1, max_size=5),
        st.integers(1, 3),
    )
    def check(
        heads: tuple[int, int, int],
        hidden: int,
        width: int,
        vocab: int,
        numerics: str,
        kind: str,
        page_size: int,
        texts: list[list[int]],
        threads: int,
    ) -> None:
        num_kv_heads, group, head_dim = heads
        has_blocks = numerics in ("blocks", "int8")
        if has_blocks:  # inputs come in groups of 32
            head_dim, width = max(32, head_dim // 32 * 32), 2 * width
        config = ModelConfig(
            num_layers=2,
            hidden_size=32 * hidden if has_blocks else 6 * hidden,
            intermediate_size=16 * width,
            num_heads=num_kv_heads * group,
            num_kv_heads=num_kv_heads,
            head_dim=head_dim,
            vocab_size=vocab,
            max_positions=256,
            rms_eps=1e-5,
            rope_theta=1e4,
            tied_embeddings=vocab % 2 == 0,
        )
        dtype = torch.float32 if numerics == "float32" else torch.bfloat16
        source = RandomWeights(config, kind)
        model = NativeModel(config, source, dtype, has_blocks, threads, int8=numerics == "int8")
        per_text = -(-max(map(sum, texts)) // page_size)
        kv = model.make_pool(per_text * len(texts), page_size)
        at = [0] * len(texts)
        for turn in range(max(map(len, texts))):
            parts = []
            for i, chunks in enumerate(texts):
                if turn < len(chunks):
                    end = at[i] + chunks[turn]
                    pages = list(range(i * per_text, i * per_text - (-end // page_size)))
                    parts.append(([j % vocab for j in range(at[i], end)], at[i], pages))
                    at[i] = end
            logits = model.launch(batch_of(page_size, *parts), kv).collect().logits
            assert logits is None or np.isfinite(logits).all()
        link_the_first(texts, width, page_size, model)

    return check


def encoder() -> Callable[[], Any]:
    """Texts of any lengths through a small BERT, in all its numerics."""
    import numpy as np
    from hypothesis import given
    from hypothesis import strategies as st

    from backends.bert.encoder import read_bert
    from backends.bert.native_bert import NativeBert
    from backends.bert.tokens import TextTokens

    folders: dict[tuple[int, int, int], Any] = {}

    def folder_of(heads: int, head_dim: int, width: int) -> Any:
        key = (heads, head_dim, width)
        if key not in folders:
            from transformers import BertConfig, BertForSequenceClassification

            folder = Path(tempfile.mkdtemp())
            config = BertConfig(
                vocab_size=31,
                num_hidden_layers=2,
                max_position_embeddings=128,
                hidden_size=heads * head_dim,
                num_attention_heads=heads,
                intermediate_size=width,
                num_labels=2,
            )
            BertForSequenceClassification(config).save_pretrained(folder)
            folders[key] = read_bert(folder)
        return folders[key]

    @given(
        st.sampled_from((1, 2, 3)),
        st.sampled_from((2, 8, 20, 32, 34, 64)),
        st.sampled_from((2, 30, 64, 98)),
        st.lists(st.integers(1, 100), min_size=1, max_size=6),
        st.sampled_from(("float32", "bfloat16", "int16")),
        st.integers(1, 3),
    )
    def check(
        heads: int, head_dim: int, width: int, lengths: list[int], dtype: Any, threads: int
    ) -> None:
        config, weights = folder_of(heads, head_dim, width)
        bert = NativeBert(config, weights, dtype, threads)
        texts = [
            TextTokens(
                np.arange(n, dtype=np.int32) % 31, np.zeros(n, np.int32), np.ones(n, np.bool_)
            )
            for n in lengths
        ]
        assert all(np.isfinite(hidden).all() for hidden in bert.encode(texts))
        assert np.isfinite(bert.classify(texts)).all()

    return check


if __name__ == "__main__":
    main()
