"""What runs on the C++ kernels imports no torch: it takes longer than to load a small model."""

import subprocess
import sys
from pathlib import Path

import pytest

from backends.native.library import library

needs_kernels = pytest.mark.skipif(library() is None, reason="the kernels do not run here")
ROOT = Path(__file__).resolve().parents[3]
ANSWERS = """
import asyncio, sys
from backends.base import Request
from backends.llm.factory import create

async def main():
    engine = create("llm", "local:{gguf}", {{"kv_tokens": 512}})
    await engine.start()
    attrs = {{"max_tokens": 4, "ignore_eos": True}}
    asked = [Request("a", "decode", (None, "abc"), attrs),
             Request("b", "decode", (None, "abc"), {{**attrs, "regex": "[ab]+"}})]
    outcomes = await engine.execute(asked)
    print([outcome.usage.decode_tokens for outcome in outcomes], "torch" in sys.modules)
    drawn = Request("c", "decode", (None, "abc"), {{**attrs, "temperature": 1.0, "logprobs": 1}})
    (outcome,) = await engine.execute([drawn])
    print(outcome.usage.decode_tokens, "torch" in sys.modules)
    await engine.close()

asyncio.run(main())
"""
EMBEDS = """
import asyncio, sys
from backends.base import Request
from backends.embedder.factory import create

async def main():
    engine = create("embedder", "local:all-minilm-l6-v2", {})
    await engine.start()
    (outcome,) = await engine.execute([Request("a", "embed", (["a cat", "a dog"],), {})])
    print(outcome.outputs[0].shape, "torch" in sys.modules)
    await engine.close()

asyncio.run(main())
"""


def output_of(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


@needs_kernels
@pytest.mark.model
def test_torch_is_imported_by_the_first_request_that_draws(smollm_path: Path) -> None:
    greedy, drawn = output_of(ANSWERS.format(gguf=smollm_path))
    assert greedy == "[4, 4] False"
    assert drawn == "4 True"


@needs_kernels
@pytest.mark.model
def test_embedding_imports_no_torch() -> None:
    assert output_of(EMBEDS) == ["(2, 384) False"]
