import sys

import pytest

from backends.errors import ConfigError, EngineUnavailable
from backends.registry import check_scheme
from backends.remote.factory import create
from backends.remote.url import parse_url


def roots(text: str) -> list[str]:
    return [endpoint.root for endpoint in parse_url(text).endpoints]


@pytest.mark.parametrize(
    ("text", "root", "api", "model"),
    [
        ("vllm://localhost:8000/org/name", "http://localhost:8000", "/v1", "org/name"),
        ("vllm://localhost", "http://localhost:8000", "/v1", None),
        ("sglang://localhost/", "http://localhost:30000", "/v1", None),
        ("ollama://localhost/llama3.2:1b", "http://localhost:11434", "/v1", "llama3.2:1b"),
        ("teola://localhost", "http://localhost:30000", "/v1", None),
        ("teola://[::1]:9000/m", "http://[::1]:9000", "/v1", "m"),
        ("vllm://box:8000//models/v1/tiny", "http://box:8000", "/v1", "/models/v1/tiny"),
        ("vllm://box:8000/with%20space", "http://box:8000", "/v1", "with space"),
        ("openai://", "https://api.openai.com", "/v1", None),
        ("openai:gpt-5", "https://api.openai.com", "/v1", "gpt-5"),
        ("openai:///gpt-5", "https://api.openai.com", "/v1", "gpt-5"),
        ("openai://api.groq.com/openai/v1/llama", "https://api.groq.com/openai", "/v1", "llama"),
        ("vllm://proxy.lan/gpu1/v1/m", "http://proxy.lan:8000/gpu1", "/v1", "m"),
        ("vllm://box:80/gpu1?model=m", "http://box:80/gpu1", "/v1", "m"),
        ("openai://g.com/v1beta/openai?model=x/y", "https://g.com/v1beta/openai", "", "x/y"),
    ],
)
def test_a_url_names_root_api_and_model(text: str, root: str, api: str, model: str | None) -> None:
    url = parse_url(text)
    (endpoint,) = url.endpoints

    assert (endpoint.root, endpoint.api, url.model) == (root, root + api, model)


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("openai://10.0.0.5/m", "http://10.0.0.5"),
        ("openai://gpu-1:8000", "http://gpu-1:8000"),
        ("openai://gpu-1/m", "http://gpu-1"),
        ("openai://gpu-1.example.com", "https://gpu-1.example.com"),
        ("openai://gpu.internal/m", "http://gpu.internal"),
        ("openai://example.com/m", "https://example.com"),
        ("openai://example.com:8000/m", "http://example.com:8000"),
        ("openai://example.com:443/m", "https://example.com:443"),
        ("vllm://8.8.8.8/m", "https://8.8.8.8"),
        ("vllm://localhost:8000/m?tls=1", "https://localhost:8000"),
        ("vllm+https://localhost/m", "https://localhost"),
        ("openai+http://example.com/m", "http://example.com"),
        ("openai://example.com/m?tls=0", "http://example.com"),
    ],
)
def test_tls_is_spoken_unless_the_host_is_private_or_a_port_is_named(text: str, root: str) -> None:
    assert roots(text) == [root]


def test_several_endpoints_share_a_model() -> None:
    url = parse_url("vllm://a:8000,b:8001/org/name")

    assert [e.root for e in url.endpoints] == ["http://a:8000", "http://b:8001"]
    assert url.model == "org/name"


def test_paths_under_v1_go_to_the_api_and_others_to_the_root() -> None:
    (endpoint,) = parse_url("openai://g.com/v1beta/openai?model=x").endpoints

    assert endpoint.url_of("/v1/models") == "https://g.com/v1beta/openai/models"
    (endpoint,) = parse_url("vllm://localhost/m").endpoints
    assert endpoint.url_of("/v1/models") == "http://localhost:8000/v1/models"
    assert endpoint.url_of("/metrics") == "http://localhost:8000/metrics"


def test_a_key_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        parse_url("openai://sk-secret@api.openai.com/gpt")

    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("openai://gpt-5-mini", "write openai:gpt-5-mini"),
        ("openai://gpt-4.1", "write openai:gpt-4.1"),
        ("vllm:", "names no host"),
        ("vllm://", "names no host"),
        ("vllm:///m", "names no host"),
        ("sglang:model", "names no host"),
        ("gopher://h", "names no server"),
        ("vllm+ftp://h", "names no server"),
        ("vllm://h:port/m", "no host:port"),
        ("vllm://h:99999/m", "no host:port"),
        ("vllm://h:0/m", "no host:port"),
        ("vllm://a:1,/m", "no host:port"),
        ("vllm://a:1,a:1/m", "twice"),
        ("vllm://h/m?tls=yes", "tls is 1 or 0"),
        ("vllm://h/?model=", "model is empty"),
        ("vllm://h/a/../b?model=m", "no path of a server"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_url(text)


def test_all_else_after_the_question_mark_is_an_option_of_the_engine() -> None:
    url = parse_url("vllm://h/m?tokenizer=smollm2-135m&concurrency=8&http2=true&tls=0")
    assert dict(url.options) == {"tokenizer": "smollm2-135m", "concurrency": 8, "http2": True}
    engine = create("embedder", "teola://h/m?concurrency=3", {})
    assert engine.info.num_slots == 3


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("teola://h/m?concurrency=3", "says concurrency, and so does an option"),
        ("teola://h/m?speed=3", "unknown option 'speed'"),
        ("teola://h/m?concurrency=3&concurrency=4", "twice"),
        ("teola://h/m?api_key=abc123", "api_key_env"),
    ],
)
def test_a_wrong_option_in_a_url_is_named_and_a_key_is_not_repeated(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        create("embedder", url, {"concurrency": 5} if "says" in says else {})
    assert "abc123" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_url_of_http_is_told_how_engines_are_named(scheme: str) -> None:
    with pytest.raises(ConfigError, match="write openai://HOST:PORT/v1/MODEL"):
        check_scheme("llm", f"{scheme}://localhost:8000/v1")
    with pytest.raises(ConfigError) as caught:
        check_scheme("llm", "nope:x")
    assert "openai://HOST" not in str(caught.value)


def test_sglang_in_this_process_names_its_extra_where_packages_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("backends.sglang_offline")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "backends.sglang_offline.factory", None)
    with pytest.raises(EngineUnavailable, match=r"teola\[sglang\]"):
        create("llm", "sglang:org/name", {})
