"""What is put on a server's command line, which Python runs it, and what its failures mean."""

import sys
from pathlib import Path

import pytest
from stand_in_server import StandIn

from backends.errors import ConfigError, EngineUnavailable
from backends.models import fetch as models
from teola.launching import pythons
from teola.launching.environments import ENVIRONMENTS
from teola.launching.failures import hint, tail
from teola.launching.pythons import find_python
from teola.launching.recipes import RECIPES, ServedModel, Settings, command, without_secrets
from teola.launching.served_model import served_model

MODEL = ServedModel("/models/tiny", "tiny")
PYTHON = Path("/venv/bin/python")
DEFAULTS = Settings()


def line(server: str, settings: Settings = DEFAULTS, socket: Path | None = None) -> str:
    return " ".join(command(RECIPES[server], PYTHON, MODEL, settings, 8123, socket))


def test_vllm_is_started_with_priorities_token_ids_and_cached_tokens() -> None:
    assert line("vllm", Settings(dtype="float32", extra=("--max-model-len", "64"))) == (
        "/venv/bin/python -m vllm.entrypoints.openai.api_server --model /models/tiny "
        "--served-model-name tiny --host 127.0.0.1 --port 8123 --dtype float32 "
        "--scheduling-policy priority --enable-prompt-tokens-details --enable-scale-out "
        "--enable-server-load-tracking --disable-uvicorn-access-log "
        '--structured-outputs-config {"backend": "guidance", "disable_any_whitespace": true} '
        "--max-model-len 64"
    )


def test_sglang_is_started_with_priorities_sessions_metrics_and_cached_tokens() -> None:
    assert line("sglang") == (
        "/venv/bin/python -m sglang.launch_server --model-path /models/tiny "
        "--served-model-name tiny --host 127.0.0.1 --port 8123 --enable-priority-scheduling "
        "--enable-cache-report --enable-session-radix-cache --enable-metrics "
        "--log-level-http warning"
    )


def test_kv_events_go_to_a_socket_of_this_user_where_its_path_is_short_enough() -> None:
    events = (
        ' --kv-events-config {"enable_kv_cache_events": true, "publisher": "zmq", '
        '"endpoint": "ipc:///cache/vllm-8123.kv"}'
    )
    assert line("vllm", socket=Path("/cache/vllm-8123.kv")).endswith(events)
    assert line("vllm", socket=Path("/" + "x" * 110)) == line("vllm")
    assert line("sglang", socket=Path("/cache/sglang-8123.kv")) == line("sglang")


def test_a_named_python_must_have_the_server(stand_in: StandIn) -> None:
    assert find_python(RECIPES["vllm"], stand_in.python) == stand_in.python
    stand_in.behave("missing")
    with pytest.raises(EngineUnavailable, match=r"has no package 'vllm'; run `pip install"):
        find_python(RECIPES["vllm"], stand_in.python)
    with pytest.raises(ConfigError, match="it cannot be run"):
        find_python(RECIPES["vllm"], Path("/no/such/python"))


def test_the_folder_of_an_environment_stands_for_its_python(stand_in: StandIn) -> None:
    assert find_python(RECIPES["vllm"], stand_in.python.parents[1]) == stand_in.python


def test_this_python_goes_before_what_teola_installed(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineUnavailable, match="sglang is not installed here; run `pip"):
        find_python(RECIPES["sglang"])
    environment = next(e for e in ENVIRONMENTS if e.server == "sglang")
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    environment.write_stamp()
    assert find_python(RECIPES["sglang"]) == environment.python
    monkeypatch.setattr(pythons.sys, "executable", str(stand_in.python))
    assert find_python(RECIPES["sglang"]) == stand_in.python


def test_a_folder_that_is_called_like_the_server_is_not_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sglang").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    with pytest.raises(EngineUnavailable, match="has no package 'sglang'"):
        find_python(RECIPES["sglang"], Path(sys.executable))
    (tmp_path / "sglang" / "__init__.py").touch()
    assert find_python(RECIPES["sglang"], Path(sys.executable)) == Path(sys.executable)
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(EngineUnavailable, match="has no package 'sglang'"):
        find_python(RECIPES["sglang"], Path(sys.executable))


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", "--max-model-len 4096"),
        ("ValueError: No available memory for the cache blocks.", "does not fit in memory"),
        ("OSError: x/y is not a valid model identifier listed", "check the name, HF_TOKEN"),
        ("api_server.py: error: unrecognized arguments: --enable-scale-out", "vllm>=0.32"),
        ("RuntimeError: operator torchvision::nms does not exist", "remove torchvision"),
        ("ModuleNotFoundError: No module named 'zmq.asyncio'", "the package 'zmq' is missing"),
        ("OSError: [Errno 98] error while attempting to bind", "--port 0"),
        ("RuntimeError: Failed to infer device type", "engine install vllm --cpu"),
    ],
)
def test_a_log_tells_what_to_do(text: str, advice: str) -> None:
    assert advice in hint(RECIPES["vllm"], ["INFO starting", text], 1)


def test_a_server_that_the_system_killed_most_likely_wanted_memory() -> None:
    assert "memory" in hint(RECIPES["vllm"], [], 137)
    assert hint(RECIPES["vllm"], ["INFO starting"], 1) == ""


def test_a_line_that_redraws_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\r\n 10%\r 50%\r100%\n\nthree\xff\n")
    assert tail(tmp_path / "log", 9) == ["one", "100%", "three\ufffd"]
    assert tail(tmp_path / "log", 1) == ["three\ufffd"]
    assert tail(tmp_path / "none", 1) == []


def test_a_model_is_a_folder_or_a_name_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    with pytest.raises(ConfigError, match="it has no config.json"):
        served_model(str(tmp_path / "tiny"), print)
    (tmp_path / "tiny" / "config.json").write_text("{}")
    assert served_model(str(tmp_path / "tiny"), print) == ServedModel(
        str(tmp_path / "tiny"), "tiny"
    )
    for word in ("Qwen/Qwen3-8B", "hf:Qwen/Qwen3-8B"):
        assert served_model(word, print) == ServedModel("Qwen/Qwen3-8B", "Qwen/Qwen3-8B")


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("llama", "neither a folder here, a name on the Hugging Face hub"),
        ("all-minilm-l6-v2", r"is no LLM \(embedder\); servers are started with LLMs"),
        (__file__, "`teola models export .* FOLDER` makes a folder"),
    ],
)
def test_what_no_server_can_load_is_refused(word: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        served_model(word, print)


@pytest.mark.model
def test_a_catalogue_model_is_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    path = models.CATALOG["smollm2-135m"]
    monkeypatch.setattr("teola.launching.served_model.fetch", lambda name: _default_model())
    first = served_model(path.name, told.append)
    assert told == ["fetching smollm2-135m", "exporting smollm2-135m"]
    assert served_model(path.name, told.append) == first
    assert len(told) == 2
    assert first.name == "smollm2-135m"
    assert (Path(first.source) / "model.safetensors").stat().st_size > 500_000_000


def _default_model() -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TEOLA_CACHE")
        return models.locate("smollm2-135m")


def test_a_command_line_is_shown_without_its_secrets() -> None:
    words = ["run", "--api-key", "SECRET", "--hf-token=SECRET", "--proxy", "http://u:SECRET@h"]
    shown = ["run", "--api-key", "***", "--hf-token=***", "--proxy", "http://u:***@h"]
    assert without_secrets(words) == shown
