"""A wheel of `make wheel` runs models on every instruction set where there is no compiler."""

import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.native import shipped
from backends.native.compiler import find_compiler
from backends.native.instruction_sets import SETS, isas_here, set_here

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.skipif(not isas_here(), reason="a CPU that no kernels are written for"),
    pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler"),
]
CARRIED = [isa for isa in SETS if isa.machine == platform.machine() and not isa.is_stand_in]
RUN = """
import sys
from pathlib import Path
import backends, numpy as np
from backends.llm.loader import load_core
from backends.llm.options import LLMOptions
from backends.native.build import build
for isa in sys.argv[2:]:
    built = build(isa)
    print(built.isa, built.origin, built.path)
core = load_core(Path(sys.argv[1]), LLMOptions(device="cpu"))
print(type(core.model).__name__)
"""


def built_wheel(folder: Path, **environment: str) -> Path:
    quick = folder / "quick"  # that it is carried is tested, not its speed
    quick.write_text(f'#!/bin/sh\nexec {find_compiler()} "$@" -O0\n')
    quick.chmod(0o755)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "CXX": str(quick), **environment},
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory.mktemp("dist"), TEOLA_WHEEL_KERNELS="1")


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a fresh environment with the wheel; other packages are those of these tests."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(packages)
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "others.pth").write_text(f"{ours}\n")
    return venv / "bin" / "python"


def run(python: Path, folder: Path, *isas: str, **environment: str) -> tuple[list[str], str]:
    """Lines of RUN, in a process with no compiler and an empty cache, and its stderr."""
    nothing = python.parents[1] / "nothing"
    done = subprocess.run(
        [str(python), "-c", RUN, str(folder), *isas],
        env={"PATH": str(nothing), "TEOLA_CACHE": str(nothing / "cache"), **environment},
        cwd=python.parents[1],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


def test_it_carries_every_set_and_says_what_it_runs_on(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = {Path(name).name for name in file.namelist() if "native/lib/" in name}
    assert names == {f"{isa.name}.so" for isa in CARRIED} | {"manifest.json"}
    assert re.fullmatch(rf"teola-.*-py3-none-manylinux_2_\d+_{platform.machine()}.whl", wheel.name)


def test_its_libraries_need_no_other_and_no_newer_glibc_than_its_name_says(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
    tag = re.search(r"manylinux_2_(\d+)_", wheel.name)
    assert tag is not None
    for path in (tmp_path / "backends/native/lib").glob("*.so"):
        said = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True)
        needed = set(re.findall(r"NEEDED +(\S+)", said.stdout))
        assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0", *LOADERS}
        versions = [int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", said.stdout)]
        assert max(versions) <= int(tag[1])


LOADERS = ("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1")


def test_models_run_on_each_set_without_a_compiler(
    python: Path, tiny_folder: Callable[..., Path]
) -> None:
    carried = [isa for isa in isas_here() if not set_here(isa).is_stand_in]
    lib = next(python.parents[1].glob("lib/python*/site-packages")) / "backends/native/lib"
    folder = tiny_folder(head_dim=16)
    lines, stderr = run(python, folder, *carried)
    assert lines == [*(f"{isa} wheel {lib / isa}.so" for isa in carried), "NativeModel"]
    for isa in carried:
        lines, stderr = run(python, folder, TEOLA_ISA=isa)
        assert (lines, stderr) == (["NativeModel"], "")


def test_a_damaged_library_is_named_and_not_loaded(
    python: Path, tiny_folder: Callable[..., Path]
) -> None:
    isa = isas_here()[-1]
    (path,) = python.parents[1].glob(f"lib/python*/site-packages/backends/native/lib/{isa}.so")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        lines, stderr = run(python, tiny_folder(head_dim=16), TEOLA_ISA=isa)
    finally:
        path.write_bytes(whole)
    assert lines == ["LlamaModel"]
    assert f"{path} is damaged and not used; install teola's wheel again" in stderr
    assert stderr.splitlines()[-1].startswith("teola: models run in torch")


def test_a_plain_wheel_carries_none_and_runs_anywhere(tmp_path: Path) -> None:
    wheel = built_wheel(tmp_path, TEOLA_WHEEL_KERNELS="")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as file:
        assert not [name for name in file.namelist() if name.endswith(".so")]
        assert "backends/native/kernels/api.cpp" in file.namelist()


def test_libraries_of_another_source_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    isa = set_here(isas_here()[-1])
    manifest = {"sources": "of yesterday", "libraries": {isa.name: "0" * 64}}
    (tmp_path / shipped.MANIFEST).write_text(json.dumps(manifest))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert shipped.find_shipped(isa) is None
    assert "of other kernels than those beside it" in caplog.text
