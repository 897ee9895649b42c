"""`URL|URL`: engines of any scheme behind one name."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import teola as tl
from backends.base import Request, Result
from backends.errors import ConfigError
from backends.registry import EngineSpec, create, service_of
from backends.remote.routing.routed_engine import RoutedEngine
from runtime.memo.fingerprint import fingerprint
from teola.virtual import run_virtually

EMBED = Request("0" * 32, "embed", (["a", "b"],))


def test_engines_of_any_scheme_stand_behind_one_name() -> None:
    engine = create(EngineSpec("embedder", "fake:one|fake:two|teola://localhost:1"))
    assert isinstance(engine, RoutedEngine)
    assert [each.url for each in engine.endpoints] == [
        *("fake:one", "fake:two", "teola://localhost:1")
    ]

    async def main() -> Any:
        await engine.start()  # two of three are there
        outcomes = await engine.execute([EMBED])
        await engine.close()
        return outcomes[0]

    outcome = asyncio.run(main())
    assert isinstance(outcome, Result)
    assert outcome.endpoint in ("fake:one", "fake:two")


def test_the_runtimes_options_hold_for_all_of_them_together() -> None:
    spec = EngineSpec("embedder", "fake:one|fake:two", {"timeout_s": 5, "routing": "round_robin"})
    assert service_of(spec).timeout_s == 5
    assert isinstance(create(spec), RoutedEngine)


@pytest.mark.parametrize(
    ("kind", "url", "options", "what"),
    [
        ("llm", "local:smollm2-135m|teola://a", {}, "write process:local:smollm2-135m"),
        ("embedder", "fake:|fake:", {}, "twice"),
        ("embedder", "fake:|nothing:x", {}, "unknown scheme 'nothing'"),
        ("embedder", "fake:|fake:x", {"kv_events": True}, "kv_events"),
        ("embedder", "fake:|fake:x", {"routing": "best"}, "routing"),
    ],
)
def test_what_cannot_be_is_refused(kind: Any, url: str, options: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        create(EngineSpec(kind, url, options))


def test_an_app_runs_on_them_on_the_virtual_clock_too() -> None:
    llm = tl.LLM("fake:vllm|fake:sglang", name="llm")

    @tl.prompt(llm, max_tokens=4)
    def say(text: str) -> str:
        return f"Say {text}"

    @tl.app
    def app(text: str) -> str:
        return say(text)

    alone = run_virtually(app.using(engines={"llm": "fake:vllm"}), "hello").result
    assert run_virtually(app, "hello").result == alone


def test_a_model_by_its_path_is_known_by_its_files_there_too(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"one")
    urls = [f"local:{path}", f"process:local:{path}", f"process:local:{path}|teola://a"]
    before = [fingerprint(url) for url in urls]
    path.write_bytes(b"another")
    assert all(before)
    assert not set(before) & {fingerprint(url) for url in urls}
