"""Options behind the `?` of an engine's URL are the options of the engine."""

from pathlib import Path
from typing import Any

import pytest

from backends.errors import ConfigError
from backends.processes.process_engine import ProcessEngine
from backends.registry import EngineSpec, create, service_of
from backends.remote.routing.routed_engine import RoutedEngine

MODEL = "local:smollm2-135m"


@pytest.mark.parametrize(
    ("url", "bare", "options"),
    [
        (f"{MODEL}?threads=2", MODEL, {"threads": 2}),
        (f"process:{MODEL}?instances=2", f"process:{MODEL}", {"instances": 2}),
        (f"local:{MODEL}?hedge_s=p95", f"local:{MODEL}", {"hedge_s": "p95"}),
        ("hf:org/name?dtype=float32", "hf:org/name", {"dtype": "float32"}),
        ("vllm://gpu1:8000?concurrency=8", "vllm://gpu1:8000?concurrency=8", {}),
        (
            f"process:{MODEL}?threads=1|teola://gpu1:3|?routing=prefix",
            f"process:{MODEL}?threads=1|teola://gpu1:3",
            {"routing": "prefix"},
        ),
    ],
)
def test_a_spec_has_the_options_of_its_url(url: str, bare: str, options: dict[str, Any]) -> None:
    spec = EngineSpec("llm", url)
    assert (spec.url, spec.options) == (bare, options)
    assert spec.key == EngineSpec("llm", bare, options).key


def test_options_of_the_url_and_others_are_put_together_and_none_is_said_twice() -> None:
    assert EngineSpec("llm", f"{MODEL}?threads=2", {"retries": 1}).options == {
        "threads": 2,
        "retries": 1,
    }
    with pytest.raises(ConfigError, match="says threads, and so does an option"):
        EngineSpec("llm", f"{MODEL}?threads=2", {"threads": 3})
    with pytest.raises(ConfigError, match="something twice"):
        EngineSpec("llm", f"{MODEL}?threads=2&threads=3")
    with pytest.raises(ConfigError, match="stand options"):
        EngineSpec("llm", f"{MODEL}?threads")


def test_a_path_with_a_question_mark_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "what?"
    path.mkdir()
    assert EngineSpec("llm", f"local:{path}").url == f"local:{path}"
    assert EngineSpec("store", "local:/data/what?x=1").options == {}


def test_options_of_the_runtime_hold() -> None:
    service = service_of(EngineSpec("llm", f"process:{MODEL}?retries=5&timeout_s=1.5"))
    assert (service.retries, service.timeout_s) == (5, 1.5)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"{MODEL}?thread=2", "unknown option 'thread'"),
        (f"process:{MODEL}?thread=2", "unknown option 'thread'"),
        (f"process:{MODEL}?routing=prefix", "routing needs instances=2 or more"),
        (f"process:{MODEL}?retries=2|teola://gpu1:3", "URL|URL|?retries=2"),
        (f"process:{MODEL}|teola://gpu1:3|?thread=2", "unknown option 'thread'"),
    ],
)
def test_unknown_options_and_those_that_would_change_nothing_are_refused(
    url: str, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        create(EngineSpec("llm", url))
    assert message in str(error.value)


def test_the_options_reach_the_processes() -> None:
    options = "instances=2&concurrency=3&routing=least_loaded"
    engine = create(EngineSpec("llm", f"process:{MODEL}?{options}"))
    assert isinstance(engine, RoutedEngine)
    assert [each.engine.info.num_slots for each in engine.endpoints] == [3, 3]


def test_each_of_several_instances_has_its_own_options() -> None:
    url = f"process:{MODEL}?concurrency=3|process:{MODEL}?concurrency=5|?hedge_s=2"
    engine = create(EngineSpec("llm", url))
    assert isinstance(engine, RoutedEngine)
    assert engine.hedging is not None
    assert [each.engine.info.num_slots for each in engine.endpoints] == [3, 5]
    assert all(isinstance(each.engine, ProcessEngine) for each in engine.endpoints)
