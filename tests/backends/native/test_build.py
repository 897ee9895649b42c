"""Without a compiler or on another CPU the torch model runs, and the reason is told."""

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from backends.errors import ConfigError, EngineUnavailable
from backends.llm.loader import load_core, load_model, native_obstacle, open_model
from backends.llm.model.native.native_model import NativeModel
from backends.llm.model.torch_model.llama import LlamaModel
from backends.llm.options import LLMOptions
from backends.native import build as building
from backends.native import instruction_sets
from backends.native.compiler import find_compiler
from backends.native.instruction_sets import isas_here
from backends.native.library import has_bfloat16, library
from backends.registry import EngineSpec, create

has_kernels = pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
CPU = torch.device("cpu")


@pytest.mark.skipif(os.environ.get("TEOLA_NATIVE") == "0", reason="TEOLA_NATIVE=0")
@pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
def test_a_cpu_that_can_run_the_kernels_runs_them() -> None:
    """Else all tests of kernels would be skipped, and nobody would see it."""
    assert library() is not None, building.build().reason
    assert building.build().isa == isas_here()[0]


def test_every_set_of_this_cpu_is_built_and_loaded(isa: str) -> None:
    """On an x86 CPU with AVX2 no test of kernels is skipped: without a compiler they fail."""
    built = building.build(isa)
    assert built.path is not None, built.reason
    assert built.isa == isa
    assert isas_here()[-1] in ("avx2", "neon")


def test_libraries_of_several_sets_are_loaded_at_once(isa: str) -> None:
    lib = library(isa)
    assert lib is not None
    assert library(isa) is lib
    assert has_bfloat16(isa) == (isa in ("avx512bf16", "neonbf16"))
    others = [library(other) for other in isas_here() if other != isa]
    assert all(other is None or other._handle != lib._handle for other in others)


def quick_compiler(folder: Path) -> Path:
    """The machine's, told not to optimise: these tests compute nothing."""
    compiler = folder / "quick"
    compiler.write_text(f'#!/bin/sh\nexec {find_compiler()} "$@" -O0\n')
    compiler.chmod(0o755)
    return compiler


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """As if nothing had been built yet in this process or on this machine."""
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(quick_compiler(tmp_path)))
    monkeypatch.delenv("TEOLA_ISA", raising=False)
    building._built.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    building._built.cache_clear()


@pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
def test_no_compiler_is_a_reason(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(building, "find_compiler", lambda: None)
    assert "no C++ compiler" in building.build().reason


def test_an_old_cpu_is_a_reason(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(instruction_sets, "cpu_features", lambda: frozenset(("sse2", "avx")))
    built = building.build()
    assert (built.path, built.reason) == (None, "this CPU has neither AVX2 with FMA nor NEON")


def test_it_can_be_turned_off(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("TEOLA_NATIVE", "0")
    assert building.build().path is None


@pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
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
    old.write_text(
        f'#!/bin/sh\ncase "$*" in *{flag}*) exit 1;; esac\nexec {find_compiler()} "$@" -O0\n'
    )
    old.chmod(0o755)
    fresh.setenv("CXX", str(old))
    assert building.build().isa == second
    assert f"could not compile the CPU kernels ({best})" in caplog.text


@has_kernels
def test_it_is_built_once(fresh: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = building.build()
    assert first.path is not None
    assert first.origin == "compiled"
    assert f"compiling the CPU kernels ({first.isa}), once" in capsys.readouterr().err
    stamp = first.path.stat().st_mtime_ns
    building._built.cache_clear()
    again = building.build()
    assert (again.path, again.origin) == (first.path, "cache")
    assert first.path.stat().st_mtime_ns == stamp
    assert [path.name for path in first.path.parent.glob("*.so")] == [first.path.name]
    assert not capsys.readouterr().err


@has_kernels
def test_a_build_in_the_background_is_waited_for(fresh: pytest.MonkeyPatch) -> None:
    building.build_in_background()
    assert building.build().origin == "compiled"  # and not found in the cache: built by one


@has_kernels
def test_processes_that_start_together_compile_once(tmp_path: Path) -> None:
    """The second waits for what the first compiles."""
    script = "from backends.native.build import build; print(build().origin)"
    environment = {**os.environ, "TEOLA_CACHE": str(tmp_path), "CXX": str(quick_compiler(tmp_path))}
    both = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    origins = sorted(one.communicate(timeout=300)[0].decode().strip() for one in both)
    assert origins == ["cache", "compiled"]


@has_kernels
def test_without_a_cache_they_are_built_elsewhere(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    fresh.setenv("TEOLA_CACHE", str(tmp_path / "file"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    fresh.setattr(building.tempfile, "tempdir", str(elsewhere))
    built = building.build()
    assert built.path is not None
    assert built.path.parent.parent == elsewhere
    building._built.cache_clear()
    assert building.build().origin == "cache"


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
    assert native_obstacle(found.config, LLMOptions(), torch.device("cuda"))


def test_sizes_the_kernels_lack_run_in_torch(tiny_folder: object) -> None:
    core = load_core(tiny_folder(), LLMOptions())  # type: ignore[operator]  # head_dim 8
    assert isinstance(core.model, LlamaModel)
    with pytest.raises(ConfigError, match="stored"):
        load_core(tiny_folder(), LLMOptions(weights="stored"))  # type: ignore[operator]


def test_a_local_engine_starts_to_compile_before_it_reads_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[str] = []
    for name in ("llm", "embedder"):
        factory = importlib.import_module(f"backends.{name}.factory")
        monkeypatch.setattr(factory, "build_in_background", lambda name=name: started.append(name))
    for kind in ("llm", "embedder"):
        for kernels in ("auto", "torch"):
            engine = create(EngineSpec(kind, f"local:{tmp_path}", {"kernels": kernels}))
            with pytest.raises(EngineUnavailable):
                asyncio.run(engine.start())
    assert started == ["llm", "embedder"]
