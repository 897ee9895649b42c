"""Where tokenizers are found, and that there is one of each."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.errors import ConfigError, EngineUnavailable
from backends.remote.tokenizer_source import (
    check_name,
    fetch_tokenizer,
    find_here,
    open_tokenizer,
)


def test_engines_that_start_at_once_share_one_tokenizer(tiny_tokenizer: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(open_tokenizer, [tiny_tokenizer] * 8))
    assert len(found) == 1


def test_a_folder_that_changed_is_read_again(tiny_tokenizer: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_tokenizer, tmp_path / "tokenizer")
    first = open_tokenizer(folder)
    assert open_tokenizer(folder) is first
    (folder / "added.txt").write_text("a folder's time changes with its entries")
    assert open_tokenizer(folder) is not first


def test_what_is_here_is_found_by_folder_and_by_file(tiny_tokenizer: Path) -> None:
    assert find_here(str(tiny_tokenizer)) == tiny_tokenizer
    file = tiny_tokenizer / "tokenizer.json"
    assert fetch_tokenizer(str(file)) == file
    assert open_tokenizer(file).stop_ids == {258}


def test_what_is_not_here_is_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    assert find_here("smollm2-135m") is None
    assert find_here("/no/such/folder") is None
    assert find_here("no-such/model-anywhere") is None
    assert find_here("all-minilm-l6-v2") is None  # an embedder
    with pytest.raises(EngineUnavailable, match="teola models fetch smollm2-135m"):
        fetch_tokenizer("smollm2-135m")


def test_the_tokenizer_of_an_embedder_is_refused() -> None:
    with pytest.raises(ConfigError, match="that of embedders, not of an LLM"):
        check_name("all-minilm-l6-v2")


def test_a_hub_name_passes_until_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_name("org/model")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(EngineUnavailable, match="cannot fetch the tokenizer 'org/model'"):
        fetch_tokenizer("org/model")


def test_token_mode_needs_no_torch(tiny_tokenizer: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import backends.remote.token_llm;"
        "from backends.remote.tokenizer_source import open_tokenizer;"
        f"open_tokenizer(Path({str(tiny_tokenizer)!r})).encode(['a'], (), None);"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]
