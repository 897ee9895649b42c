"""Adapters of a running engine: as an option, and loaded while requests run."""

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backends.base import Request, Result
from backends.errors import ConfigError, EngineUnavailable, RequestRejected
from backends.llm.factory import create

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
NUMBERS = count(1)


def request(op: str, *inputs: Any, **attrs: Any) -> Request:
    return Request(f"{next(NUMBERS):032x}", op, inputs, attrs)


async def answer(engine: Any, **attrs: Any) -> str:
    (prefill,) = await engine.execute([request("prefill", None, "The quick brown fox", **attrs)])
    if isinstance(prefill, Exception):
        raise prefill
    (decode,) = await engine.execute([request("decode", prefill.outputs[0], max_tokens=20)])
    assert isinstance(decode, Result), decode
    return str(decode.outputs[0])


def test_adapters_are_an_option_and_may_come_and_go(
    tiny_folder: Callable[..., Path], adapter_folder: Callable[..., Path]
) -> None:
    async def main() -> None:
        url, options = f"local:{tiny_folder()}", {"kv_tokens": 1024, "dtype": "float32"}
        engine = create("llm", url, {**options, "adapters": {"a": str(adapter_folder(1))}})
        assert "adapters" in engine.info.capabilities
        assert engine.adapter_names == ()
        with pytest.raises(EngineUnavailable, match=r"call start\(\)"):
            await engine.load_adapter("b", adapter_folder(2))
        await engine.start()
        assert engine.adapter_names == ("a",)
        base, with_a = await asyncio.gather(answer(engine), answer(engine, adapter="a"))
        long = asyncio.create_task(answer(engine))
        await engine.load_adapter("b", adapter_folder(2))
        assert engine.adapter_names == ("a", "b")
        with_b = await answer(engine, adapter="b")
        assert len({base, with_a, with_b}) == 3
        assert await long == base
        await engine.unload_adapter("a")
        with pytest.raises(RequestRejected, match="no adapter 'a' is loaded; known: b"):
            await answer(engine, adapter="a")
        with pytest.raises(ConfigError, match="no adapter 'a'"):
            await engine.unload_adapter("a")
        with pytest.raises(ConfigError, match="cannot read"):
            await engine.load_adapter("c", "/no/such/folder")
        assert await answer(engine) == base
        await engine.close()

    asyncio.run(main())


def test_a_wrong_adapter_stops_the_engine_from_starting(
    tiny_folder: Callable[..., Path], adapter_folder: Callable[..., Path]
) -> None:
    folder = adapter_folder(base={"hidden_size": 64})
    engine = create("llm", f"local:{tiny_folder()}", {"adapters": {"wide": str(folder)}})
    with pytest.raises(ConfigError, match="is the adapter of another model"):
        asyncio.run(engine.start())
    with pytest.raises(ConfigError, match="adapters"):
        create("llm", f"local:{tiny_folder()}", {"adapters": ["a"]})
