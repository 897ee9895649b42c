"""Hub models: what is asked for, where it goes; the hub itself is replaced."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from backends.errors import ConfigError, EngineUnavailable
from backends.models import fetch as models


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def snapshot_download(repo: str, **options: Any) -> None:
        calls.append({"repo": repo, **options})
        options["local_dir"].mkdir(parents=True, exist_ok=True)
        for name in options["allow_patterns"]:
            if "*" not in name:
                (options["local_dir"] / name).parent.mkdir(parents=True, exist_ok=True)
                (options["local_dir"] / name).touch()

    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_fetch_brings_weights_tokenizer_and_configuration(asked: list[dict[str, Any]]) -> None:
    path = models.fetch("hf:org/name")
    assert path.name == "org--name"
    assert asked[0]["repo"] == "org/name"
    assert {"*.safetensors", "tokenizer*", "*config*.json"} <= set(asked[0]["allow_patterns"])
    assert models.locate("hf:org/name") == path == models.resolve("hf:org/name")


def test_a_revision_and_one_gguf_file_may_be_named(asked: list[dict[str, Any]]) -> None:
    path = models.fetch("hf:org/name@v2/q4/model.gguf")
    assert path.name == "model.gguf"
    assert (asked[0]["revision"], asked[0]["allow_patterns"]) == ("v2", ["q4/model.gguf"])
    assert models.locate("hf:org/name@v2/q4/model.gguf") == path


@pytest.mark.usefixtures("asked")
def test_a_model_is_there_only_once_it_is_whole() -> None:
    path = models.fetch("hf:org/name")
    (path / ".teola-complete").unlink()
    with pytest.raises(EngineUnavailable, match="teola models fetch hf:org/name"):
        models.locate("hf:org/name")


@pytest.mark.usefixtures("asked")
def test_a_hub_that_cannot_be_reached_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(EngineUnavailable, match="cannot fetch hf:org/name: offline"):
        models.fetch("hf:org/name")


@pytest.mark.parametrize("url", ["hf:name", "hf:../..", "hf:a/b/../../c.gguf", "hf:a/b c"])
def test_a_malformed_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match="names no hub model"):
        models.locate(url)
