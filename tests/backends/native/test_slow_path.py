"""Where no kernels can be had, one line on stderr says so, why, and what to do."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.native.instruction_sets import isas_here

ROOT = Path(__file__).parents[3]
LOAD = """
import sys
from pathlib import Path
import torch
from backends.llm.loader import load_core
from backends.llm.options import LLMOptions
from backends.native import build, instruction_sets
if {old_cpu}:
    instruction_sets.cpu_features = lambda: frozenset()
for _ in range(2):
    core = load_core(Path({folder!r}), LLMOptions(device="cpu", kernels={kernels!r}))
    print(type(core.model).__name__)
"""


def stderr_of_loading(
    folder: Path, cache: Path, kernels: str = "auto", old_cpu: bool = False, **environment: str
) -> str:
    """Of a process without any compiler on its path that loads a model twice."""
    nothing = cache / "bin"
    nothing.mkdir()
    paths = {"PATH": str(nothing), "TEOLA_CACHE": str(cache), "PYTHONPATH": str(ROOT), "CXX": ""}
    script = LOAD.format(folder=str(folder), kernels=kernels, old_cpu=old_cpu)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **paths, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["LlamaModel"] * 2
    return done.stderr


@pytest.fixture
def folder(tiny_folder: Callable[..., Path]) -> Path:
    return tiny_folder(head_dim=16)


@pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
def test_without_a_compiler_one_line_says_what_runs_and_what_to_do(
    folder: Path, tmp_path: Path
) -> None:
    (line,) = stderr_of_loading(folder, tmp_path).splitlines()
    assert line == (
        "teola: models run in torch, many times slower than on teola's own CPU kernels: there is "
        "no C++ compiler; install g++ or a wheel that carries the kernels (make wheel)"
    )


@pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for")
def test_a_compiler_that_fails_is_named_in_one_line(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'error: no such option' >&2\nexit 1\n")
    broken.chmod(0o755)
    (line,) = stderr_of_loading(folder, tmp_path, CXX=str(broken)).splitlines()
    assert f"{broken} could not compile the CPU kernels" in line
    assert "no such option; set CXX to another compiler or install a wheel" in line


def test_a_cpu_without_avx2_is_told(folder: Path, tmp_path: Path) -> None:
    (line,) = stderr_of_loading(folder, tmp_path, old_cpu=True).splitlines()
    assert "neither AVX2 with FMA nor NEON; take another CPU" in line


def test_who_asks_for_torch_is_told_nothing(folder: Path, tmp_path: Path) -> None:
    assert stderr_of_loading(folder, tmp_path, kernels="torch") == ""


def test_who_turns_the_kernels_off_is_told_nothing(folder: Path, tmp_path: Path) -> None:
    assert stderr_of_loading(folder, tmp_path, TEOLA_NATIVE="0") == ""
