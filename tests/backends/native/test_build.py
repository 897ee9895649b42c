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
from backends.native import instruction_sets
from backends.native.instruction_sets import isas_here
from backends.native.library import has_bfloat16, library

has_kernels = pytest.mark.skipif(library() is None, reason="no kernels run here")
CPU = torch.device("cpu")


@pytest.mark.skipif(os.environ.get("TEOLA_NATIVE") == "0", reason="TEOLA_NATIVE=0")
@pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
def test_a_cpu_that_can_run_the_kernels_runs_them() -> None:
    """Else all tests of kernels would be skipped, and nobody would see it."""
    assert library() is not None, building.build().reason
    assert building.build().isa == isas_here()[0]


def test_libraries_of_several_sets_are_loaded_at_once(isa: str) -> None:
    lib = library(isa)
    assert lib is not None
    assert library(isa) is lib
    assert has_bfloat16(isa) == (isa in ("avx512bf16", "neonbf16"))
    others = [library(other) for other in isas_here() if other != isa]
    assert all(other is None or other._handle != lib._handle for other in others)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """As if nothing had been built yet in this process or on this machine."""
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))
    monkeypatch.delenv("TEOLA_ISA", raising=False)
    building._built.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    building._built.cache_clear()


def test_no_compiler_is_a_reason(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(building.shutil, "which", lambda name: None)
    fresh.setattr(building, "wanted_isas", lambda: isas_here()[:1] or ("avx2",))
    assert "no C++ compiler" in building.build().reason


def test_an_old_cpu_is_a_reason(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(instruction_sets, "cpu_features", lambda: frozenset(("sse2", "avx")))
    assert building.build() == building.Built(None, "this CPU has neither AVX2 with FMA nor NEON")


def test_it_can_be_turned_off(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("TEOLA_NATIVE", "0")
    assert building.build().path is None


def test_a_compiler_that_fails_is_a_reason(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho no such option >&2\nexit 1\n")
    broken.chmod(0o755)
    fresh.setenv("CXX", str(broken))
    assert "no such option" in building.build().reason


@has_kernels
def test_a_set_that_the_compiler_does_not_know_is_passed_over(
    fresh: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    best, second, *_ = isas_here()
    flag = instruction_sets.set_here(best).flags[-1]
    old = tmp_path / "c++"
    old.write_text(f'#!/bin/sh\ncase "$*" in *{flag}*) exit 1;; esac\nexec g++ "$@"\n')
    old.chmod(0o755)
    fresh.setenv("CXX", str(old))
    assert building.build().isa == second
    assert f"could not compile the CPU kernels ({best})" in caplog.text


@has_kernels
def test_it_is_built_once(fresh: pytest.MonkeyPatch) -> None:
    first = building.build()
    assert first.path is not None
    stamp = first.path.stat().st_mtime_ns
    building._built.cache_clear()
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
    building._built.cache_clear()
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
