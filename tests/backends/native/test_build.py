"""Without a compiler or on another CPU the torch model runs, and the reason is told."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backends.errors import ConfigError
from backends.llm.loader import load_core, load_model, native_obstacle, open_model
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.options import LLMOptions
from backends.native import build as building
from backends.native.library import has_bfloat16, library

has_kernels = pytest.mark.skipif(library() is None, reason="no AVX-512 or no compiler here")
CPU = torch.device("cpu")


@pytest.mark.skipif(os.environ.get("TEOLA_NATIVE") == "0", reason="TEOLA_NATIVE=0")
def test_a_cpu_that_can_run_the_kernels_runs_them() -> None:
    """Else all tests of kernels would be skipped, and nobody would see it."""
    flags = building._cpu_flags()
    assert (library() is not None) == (flags >= building.NEEDED), building.build().reason
    assert has_bfloat16() == (library() is not None and "avx512_bf16" in flags)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """As if nothing had been built yet in this process or on this machine."""
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    building.build.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    building.build.cache_clear()


def test_no_compiler_is_a_reason(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(building.shutil, "which", lambda name: None)
    fresh.setattr(building, "_cpu_flags", lambda: building.NEEDED)
    assert "no C++ compiler" in building.build().reason


def test_an_old_cpu_is_a_reason(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(building, "_cpu_flags", lambda: building.NEEDED - {"avx512f"})
    assert building.build() == building.Built(None, "this CPU lacks avx512f")


def test_it_can_be_turned_off(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("TEOLA_NATIVE", "0")
    assert building.build().path is None


def test_a_compiler_that_fails_is_a_reason(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    broken.chmod(0o755)
    fresh.setenv("CXX", str(broken))
    fresh.setattr(building, "_cpu_flags", lambda: building.NEEDED)
    assert "no such option" in building.build().reason


@has_kernels
def test_it_is_built_once(fresh: pytest.MonkeyPatch) -> None:
    first = building.build()
    assert first.path is not None
    stamp = first.path.stat().st_mtime_ns
    building.build.cache_clear()
    assert building.build() == first
    assert first.path.stat().st_mtime_ns == stamp
    names = {path.name for path in first.path.parent.iterdir()}
    assert names == {first.path.name, first.path.with_suffix(".size").name}


@has_kernels
def test_a_cut_library_is_built_again(fresh: pytest.MonkeyPatch) -> None:
    path = building.build().path
    assert path is not None
    whole = path.read_bytes()
    path.unlink()  # a new file: the old one is in use by this process
    path.write_bytes(whole[: len(whole) // 2])
    building.build.cache_clear()
    assert building.build().path == path
    assert len(path.read_bytes()) == len(whole)


@has_kernels
def test_without_a_cache_they_are_built_elsewhere(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    fresh.setenv("TEOLA_CACHE", str(tmp_path / "file"))
    path = building.build().path
    assert path is not None
    assert path.exists()


@has_kernels
def test_kernels_run_where_they_can(tiny_folder: object) -> None:
    folder = tiny_folder(head_dim=16)  # type: ignore[operator]
    found = open_model(folder)
    assert isinstance(load_model(found, LLMOptions(), CPU), NativeModel)
    assert isinstance(load_model(found, LLMOptions(kernels="torch"), CPU), LlamaModel)
    assert isinstance(load_model(found, LLMOptions(page_size=8), CPU), LlamaModel)
    wanted = LLMOptions(page_size=8, kernels="native")
    with pytest.raises(ConfigError, match="page_size 8 is no multiple of 16"):
        load_model(found, wanted, CPU)
    assert native_obstacle(found.config, LLMOptions(), torch.float32, torch.device("cuda"))


def test_sizes_the_kernels_lack_run_in_torch(tiny_folder: object) -> None:
    core = load_core(tiny_folder(), LLMOptions())  # type: ignore[operator]  # head_dim 8
    assert isinstance(core.model, LlamaModel)
    with pytest.raises(ConfigError, match="stored"):
        load_core(tiny_folder(), LLMOptions(weights="stored"))  # type: ignore[operator]
