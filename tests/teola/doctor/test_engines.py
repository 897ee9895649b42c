"""`teola doctor URL`: what servers say of themselves, and what it advises."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from backends.registry import EngineSpec
from teola.cli.doctor_command import looked_at
from teola.cli.main import app as cli
from teola.doctor.engines import check_engines, is_engine, kind_of
from teola.doctor.servers.checked import CheckedEngine

Answer = Any  # a JSON value, a page of text, or (status, value)
Routes = Mapping[str, "Answer | Callable[[Any], Answer]"]


@contextmanager
def answering(routes: Routes, key: str = "") -> Iterator[str]:
    """A server's `host:port`; a callable gets the body of a POST."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def answer(self, body: Any) -> None:
            found = routes.get(self.path, (404, {"error": {"message": "Not Found"}}))
            if key and self.headers.get("authorization") != f"Bearer {key}":
                found = (401, {"error": {"message": "a key, please"}})
            found = found(body) if callable(found) else found
            status, value = found if isinstance(found, tuple) else (200, found)
            is_text = isinstance(value, str)
            content = (value if is_text else json.dumps(value)).encode()
            self.send_response(status)
            self.send_header("content-type", "text/plain" if is_text else "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def check(url: str) -> CheckedEngine:
    (found,) = check_engines([EngineSpec("llm", url)])
    return found


def advised(found: CheckedEngine, *flags: str) -> bool:
    """Whether each flag stands in a hint of its own, and there are no others."""
    return len(found.hints) == len(flags) and all(
        flag in hint for flag, hint in zip(flags, found.hints, strict=True)
    )


def cards(owner: str, name: str = "tiny", **more: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "owned_by": owner, **more}]}


# vLLM 0.32


def vllm_metrics(is_caching: bool) -> str:
    return (
        "# TYPE vllm:cache_config_info gauge\n"
        f'vllm:cache_config_info{{block_size="16",enable_prefix_caching="{is_caching}",engine="0"}}'
        " 1.0\n"
        'vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 2000.0\n'
        'vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 500.0\n'
    )


def vllm_completion(body: Any) -> Answer:
    assert body["max_tokens"] == 1
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {}}
    return {"choices": [{"text": "a"}], "usage": usage}


def vllm_as_it_starts_by_default(body: Any) -> Answer:
    if "priority" in body:
        return 400, _NO_PRIORITY
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": None}
    return {"choices": [{"text": "a"}], "usage": usage}


def vllm_policy(name: str) -> dict[str, Any]:
    return {"vllm_config": {"scheduler_config": {"policy": name}}}


VLLM: Routes = {
    "/server_info?config_format=json": vllm_policy("priority"),
    "/v1/models": cards("vllm", max_model_len=8192),
    "/version": {"version": "0.32.0"},
    "/metrics": vllm_metrics(True),
    "/kv_event_sources": {"0": {"endpoint": "tcp://*:5557"}},
    "/v1/completions": vllm_completion,
}
_NO_PRIORITY = {"error": {"message": "Got priority -1 but Priority scheduling is not enabled."}}


def test_a_vllm_with_everything_on_needs_nothing() -> None:
    with answering(VLLM) as host:
        found = check(f"vllm://{host}/tiny")
    assert (found.kind, found.version, found.models) == ("vLLM", "0.32.0", ["tiny"])
    assert (found.is_reachable, found.context_tokens) == (True, 8192)
    assert found.prefix_cache is found.metrics is found.priorities is found.kv_events is True
    assert found.cached_counts is True
    assert found.hit_rate == 0.25
    assert found.hints == found.problems == []


def test_a_vllm_without_is_told_what_to_switch_on() -> None:
    routes = {
        **VLLM,
        "/metrics": vllm_metrics(False),
        "/kv_event_sources": {},
        "/v1/completions": vllm_as_it_starts_by_default,
    }
    with answering(routes) as host:
        found = check(f"vllm://{host}")
    assert found.prefix_cache is found.priorities is found.kv_events is False
    assert advised(
        found,
        "--enable-prefix-caching",
        "--scheduling-policy priority",
        "--enable-prompt-tokens-details",
        "--kv-events-config",
    )
    assert found.cached_counts is False


def test_a_vllm_that_takes_priorities_and_says_no_policy_is_not_judged() -> None:
    hidden = (404, {"detail": "Not Found"})
    for settings, fact in ((hidden, None), (vllm_policy("fcfs"), False)):
        routes = {**VLLM, "/server_info?config_format=json": settings, "/kv_event_sources": hidden}
        with answering(routes) as host:
            found = check(f"vllm://{host}")
        assert found.priorities is fact
        assert found.kv_events is None
        assert len(found.hints) == (fact is False)


def test_a_vllm_without_statistics_tells_nothing_of_its_cache() -> None:
    with answering({**VLLM, "/metrics": "process_cpu_seconds_total 1.0\n"}) as host:
        found = check(f"vllm://{host}")
    assert (found.metrics, found.prefix_cache, found.hit_rate) == (False, None, None)
    assert advised(found, "--disable-log-stats")


# SGLang 0.5

SGLANG_INFO = {
    "version": "0.5.23",
    "context_length": None,
    "disable_radix_cache": False,
    "enable_metrics": True,
    "enable_priority_scheduling": True,
    "enable_cache_report": True,
    "kv_events_config": '{"publisher":"zmq","endpoint":"tcp://*:5557"}',
}
SGLANG: Routes = {
    "/v1/models": cards("sglang", max_model_len=4096),
    "/server_info": SGLANG_INFO,
    "/metrics": 'sglang:prompt_tokens_total{model_name="tiny"} 400.0\n'
    'sglang:cached_tokens_total{cache_source="device"} 90.0\n'
    'sglang:cached_tokens_total{cache_source="host"} 10.0\n',
}


def test_an_sglang_with_everything_on_needs_nothing() -> None:
    with answering(SGLANG) as host:
        found = check(f"sglang://{host}")
    assert (found.kind, found.version, found.context_tokens) == ("SGLang", "0.5.23", 4096)
    assert found.prefix_cache is found.metrics is found.priorities is found.kv_events is True
    assert found.hit_rate == 0.25  # of all places that a cache is in
    assert found.hints == found.problems == []


def test_an_sglang_as_it_starts_by_default_is_told_what_to_switch_on() -> None:
    info = {
        **SGLANG_INFO,
        "disable_radix_cache": True,
        "enable_metrics": False,
        "enable_priority_scheduling": False,
        "enable_cache_report": False,
        "kv_events_config": None,
    }
    routes = {
        **SGLANG,
        "/server_info": info,
        "/metrics": (404, {}),
        "/v1/loads?include=core": {"loads": [{"cache_hit_rate": 0.5}, {"cache_hit_rate": 0.1}]},
    }
    with answering(routes) as host:
        found = check(f"sglang://{host}")
    assert found.hit_rate == 0.5
    assert advised(
        found,
        "--disable-radix-cache",
        "--enable-metrics",
        "--enable-priority-scheduling",
        "--enable-cache-report",
        "--kv-events-config",
    )


def test_an_sglang_behind_a_proxy_that_hides_its_settings_is_not_judged() -> None:
    with answering({"/v1/models": cards("sglang")}) as host:
        found = check(f"sglang://{host}")
    assert found.prefix_cache is found.metrics is found.priorities is None
    assert advised(found, "/server_info")


# llama.cpp

LLAMA: Routes = {
    "/v1/models": cards("llamacpp", meta={"n_ctx_train": 8192}),
    "/props": {
        "default_generation_settings": {"n_ctx": 4096, "params": {"temperature": 0.8}},
        "total_slots": 4,
        "build_info": "b7011-1a2b3c4d",
    },
    "/metrics": "llamacpp:prompt_tokens_total 12\n",
}


def test_a_llama_cpp_is_known_by_its_models_and_properties() -> None:
    with answering(LLAMA) as host:
        found = check(f"openai://{host}/v1/tiny")
    assert (found.kind, found.version) == ("llama.cpp", "b7011-1a2b3c4d")
    assert (found.context_tokens, found.metrics) == (4096, True)
    assert (found.prefix_cache, found.priorities) == (True, False)
    assert found.hints == found.problems == []


def test_a_llama_cpp_without_metrics_and_with_one_slot_is_told() -> None:
    no_metrics = {"error": {"code": 501, "message": "Start it with `--metrics`"}}
    props = {**LLAMA["/props"], "total_slots": 1}  # type: ignore[dict-item]
    with answering({**LLAMA, "/props": props, "/metrics": (501, no_metrics)}) as host:
        found = check(f"openai://{host}/v1")
    assert found.metrics is False
    assert advised(found, "--metrics", "--parallel 4")


# Ollama

OLLAMA: Routes = {
    "/v1/models": cards("library", "qwen3:8b"),
    "/api/version": {"version": "0.31.1"},
    "/api/tags": {"models": [{"name": "qwen3:8b"}]},
    "/api/ps": {
        "models": [{"name": "qwen3:8b", "size": 100, "size_vram": 60, "context_length": 4096}]
    },
}


def test_an_ollama_tells_what_is_loaded_and_where() -> None:
    with answering(OLLAMA) as host:
        found = check(f"ollama://{host}/qwen3:8b")
    assert (found.kind, found.version, found.context_tokens) == ("Ollama", "0.31.1", 4096)
    assert found.problems == []
    assert advised(found, "60% of qwen3:8b is on the GPU", "OLLAMA_NUM_PARALLEL")


def test_an_ollama_without_a_model_is_told_to_pull_one() -> None:
    empty = {"/v1/models": {"data": None}, "/api/tags": {"models": []}}
    with answering({**OLLAMA, **empty, "/api/ps": {"models": []}}) as host:
        found = check(f"ollama://{host}/qwen3:8b")
    assert found.kind == "Ollama"
    assert ["ollama pull" in problem for problem in found.problems] == [True]


# Whatever the server


def test_a_server_that_is_not_there_is_a_problem() -> None:
    with answering({}) as host:
        pass
    found = check(f"vllm://{host}")
    assert not found.is_reachable
    assert "is the server running" in found.problems[0]


def test_a_server_that_wants_a_key_says_where_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with answering(VLLM, key="sesame") as host:
        refused = check(f"vllm://{host}")
        monkeypatch.setenv("VLLM_API_KEY", "sesame")
        allowed = check(f"vllm://{host}")
    assert "VLLM_API_KEY" in refused.problems[0]
    assert allowed.problems == []


def test_a_scheme_of_another_server_is_a_problem_and_openais_a_hint() -> None:
    with answering(VLLM) as host:
        wrong = check(f"sglang://{host}")
        general = check(f"openai://{host}/v1")
    assert "it looks like vLLM: write vllm://" in wrong.problems[0]
    assert "it is vLLM: with vllm:// in the URL" in general.hints[0]


def test_a_model_that_the_server_lacks_is_a_problem() -> None:
    with answering(VLLM) as host:
        found = check(f"vllm://{host}/large")
    assert "it has no model 'large': name one of tiny" in found.problems[0]


def test_each_endpoint_of_a_url_is_looked_at() -> None:
    with answering(VLLM) as first, answering(SGLANG) as second:
        one, other = check_engines([EngineSpec("llm", f"vllm://{first},{second}")])
    assert (one.kind, other.kind) == ("vLLM", "SGLang")
    assert second in other.url
    assert other.problems


def test_an_unknown_server_is_openais_kind() -> None:
    with answering({"/v1/models": cards("somebody")}) as host:
        found = check(f"openai://{host}/v1/tiny")
    assert (found.kind, found.hints, found.problems) == ("OpenAI", [], [])


@pytest.mark.parametrize("url", ["http://localhost:8000", "vllm://user:pass@localhost"])
def test_a_url_that_names_no_engine_is_a_problem(url: str) -> None:
    found = check(url)
    assert found.problems
    assert "pass" not in found.problems[0]


# Engines of this process


def test_a_model_that_is_not_fetched_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    assert "teola models fetch" in check("local:smollm2-135m").problems[0]
    assert "neither a path here nor a model" in check("local:nobody").problems[0]


def test_an_app_is_looked_at_engine_by_engine() -> None:
    target = f"{Path(__file__).parents[3] / 'samples/advanced_rag.py'}:rag"
    result = CliRunner().invoke(cli, ["doctor", target, "--json"])
    found = json.loads(result.stdout)
    urls = {engine["url"] for engine in found["engines"]}
    assert {"local:smollm2-135m", "local:all-minilm-l6-v2", "local:maxsim"} <= urls


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("fake:scripted", "llm"),
        ("emulated:h100/llama-3.1-8b", "llm"),
        ("emulated:h100/bge-large", "embedder"),
        ("local:maxsim", "reranker"),
        ("local:all-minilm-l6-v2", "embedder"),
        ("hf:somebody/model", "llm"),
        ("postgresql://user@host/db", "store"),
        ("vllm://host:8000", "llm"),
    ],
)
def test_a_url_is_an_engine_of_a_kind(url: str, kind: str) -> None:
    assert is_engine(url)
    assert kind_of(url) == kind


@pytest.mark.parametrize("target", ["app.py:rag", "fake.py:app", "package.module:app", "app"])
def test_an_app_is_no_engine(target: str) -> None:
    assert not is_engine(target)


def test_engines_without_models_and_servers_are_checked() -> None:
    targets = ["fake:scripted", "emulated:h100/bge-large", "emulated:nothing", "acme://host"]
    found = {one.url: one for one in check_engines(looked_at(targets)[0])}
    assert [one.is_reachable for one in found.values()] == [True, True, False, False]
    assert "write emulated:DEVICE/MODEL" in found["emulated:nothing"].problems[0]
    assert "unknown scheme 'acme'" in found["acme://host"].problems[0]


def test_a_database_is_not_asked() -> None:
    (found,) = check_engines([EngineSpec("store", "postgresql://user@host/db")])
    assert found.kind == "not asked"


# The command


def test_a_target_that_cannot_be_read_is_a_problem_beside_the_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken_app.py"
    broken.write_text("import nothing_of_that_name\n")
    words = ["doctor", "nosuch.py:x", f"{broken}:app", "no_module:x", "fake:scripted", "--json"]
    result = CliRunner().invoke(cli, words)
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [engine["url"] for engine in found["engines"]] == ["fake:scripted"]
    assert "nosuch.py:x: no such file: nosuch.py" in found["problems"]
    for target in (f"{broken}:app: cannot import", "no_module:x: no module"):
        assert any(problem.startswith(target) for problem in found["problems"])


def test_the_command_prints_facts_hints_and_problems_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    routes = {**VLLM, "/metrics": vllm_metrics(False)}
    with answering(routes) as host:
        result = CliRunner().invoke(cli, ["doctor", f"vllm://{host}/large", "--no-color"])
    assert result.exit_code == 1
    flat = re.sub(r"\s+", " ", result.stdout)
    assert f"engine vllm://{host}/large: vLLM 0.32.0, tiny, 8,192 tokens of context, prefix" in flat
    assert "prefix cache off (25% of prompt tokens), metrics on, priorities on" in flat
    assert f"hint vllm://{host}/large: its prefix cache is off" in flat
    assert f"problem vllm://{host}/large: it has no model 'large'" in flat


@pytest.mark.parametrize("words", [(), ("--json",)])
@pytest.mark.parametrize(
    "url",
    [
        "openai://127.0.0.1:9/m?api_key=SECRET",
        "openai://u:SECRET@127.0.0.1:9/m",
        "http://h?key=SECRET",
    ],
)
def test_secrets_in_urls_are_not_printed(url: str, words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["doctor", url, *words])
    assert result.exit_code == 1
    assert "***" in result.output
    assert "SECRET" not in result.output


def test_versions_and_extras_are_told() -> None:
    found = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).stdout)
    assert found["versions"]["python"] == sys.version.split()[0]
    extras = {extra["name"]: extra for extra in found["extras"]}
    assert extras["otel"]["missing"] == []
    assert "prometheus-client" in extras["serve"]["versions"]
    assert found["engines"] == []


def test_a_real_engine_server_is_looked_at() -> None:
    program = "from teola.cli.main import main; main()"
    words = ["serve-engine", "local:smollm2-135m", "--name", "tiny", "--port", "0"]
    server = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert server.stderr is not None
    try:
        ready = next(filter(None, (re.match(r"ready on (\S+)/v1", s) for s in server.stderr)))
        host = ready[1].removeprefix("http://")
        text = "Tea is a drink that is made of leaves and hot water. " * 4
        for _ in range(3):
            body = {"prompt": text, "max_tokens": 2}
            assert httpx.post(f"{ready[1]}/v1/completions", json=body, timeout=60).is_success
        found = check(f"teola://{host}/tiny")
    finally:
        server.terminate()
        server.wait(30)
        server.stderr.close()
    assert (found.kind, found.models) == ("teola", ["tiny"])
    assert found.version
    assert found.prefix_cache is found.metrics is True
    assert found.hit_rate is not None
    assert 0.4 < found.hit_rate < 0.7  # two of three prompts, but for their last pages
    assert found.context_tokens
    assert found.hints == found.problems == []
