"""Engines of this process: their thread, their life, and what a missing package gives."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from backends.base import EngineInfo, Outcome, Request, Result
from backends.errors import EngineUnavailable
from backends.local_engine import LocalEngine
from backends.optional import optional_imports


class Recorder:
    """A runner that remembers the threads it was used from."""

    def __init__(self) -> None:
        self.threads = [threading.get_ident()]
        self.closed = False

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        self.threads.append(threading.get_ident())
        return [Result((request.id,)) for request in requests]

    def close(self) -> None:
        self.threads.append(threading.get_ident())
        self.closed = True


def test_everything_runs_in_one_thread_that_is_not_the_loops() -> None:
    made: list[Recorder] = []

    def load() -> Recorder:
        made.append(Recorder())
        return made[-1]

    async def main() -> list[Outcome]:
        engine = LocalEngine(EngineInfo("store", "test"), load)
        await asyncio.gather(engine.start(), engine.start())
        outcomes = await engine.execute([Request("a", "op", ()), Request("b", "op", ())])
        await engine.close()
        await engine.close()
        return outcomes

    assert asyncio.run(main()) == [Result(("a",)), Result(("b",))]
    (recorder,) = made
    assert recorder.closed
    assert len(set(recorder.threads)) == 1
    assert recorder.threads[0] != threading.get_ident()


def test_a_load_that_failed_may_be_tried_again() -> None:
    tries: list[int] = []

    def load() -> Recorder:
        tries.append(1)
        if len(tries) == 1:
            raise EngineUnavailable("not yet")
        return Recorder()

    async def main() -> None:
        engine = LocalEngine(EngineInfo("store", "test"), load)
        with pytest.raises(EngineUnavailable, match="not yet"):
            await engine.start()
        await engine.start()
        await engine.close()

    asyncio.run(main())


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with (
        pytest.raises(EngineUnavailable, match=r"'no_such_package'.*pip install \"teola\[onnx\]\""),
        optional_imports("onnx"),
    ):
        import no_such_package.part  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.parametrize("kind", ["embedder", "reranker", "store", "tools"])
def test_a_factory_imports_nothing_heavy(kind: str) -> None:
    heavy = ["torch", "tokenizers", "onnxruntime", "bm25s", "pypdf", "bs4", "huggingface_hub"]
    code = f"import sys, backends.{kind}.factory; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
