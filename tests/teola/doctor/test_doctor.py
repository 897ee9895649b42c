"""`teola doctor` says what models run on, and ends with 1 where something is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.native.build import build
from teola.doctor import examination
from teola.doctor.machine import Torch

TEOLA = [sys.executable, "-c", "from teola.cli.main import main; main()", "doctor"]


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TEOLA, *words],
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_tells_cpu_kernels_torch_models_and_caches() -> None:
    import torch

    done = doctor()
    assert done.returncode == 0, done.stdout
    for name in ("cpu", "sets", "memory", "kernels", "torch", "gpu", "model", "cache"):
        assert any(line.strip().startswith(name) for line in done.stdout.splitlines())
    assert torch.__version__ in done.stdout
    assert build().isa in done.stdout
    assert "nothing is wrong" in done.stdout


def test_json_has_the_same_facts() -> None:
    import hashlib

    found = json.loads(doctor("--json").stdout)
    built = build()
    assert found["problems"] == []
    assert found["kernels"]["isa"] == built.isa
    assert built.path is not None
    assert found["kernels"]["path"] == str(built.path)
    assert found["kernels"]["sha256"] == hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert found["machine"]["usable_cores"] <= found["machine"]["num_cores"]
    assert {model["name"] for model in found["models"]} >= {"smollm2-135m"}


def test_kernels_that_cannot_be_had_are_a_problem_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = doctor(PATH=str(tmp_path / "bin"), CXX="", TEOLA_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "problem  models run in torch, slowly: there is no C++ compiler; install" in done.stdout


def test_a_set_that_this_cpu_lacks_is_a_problem() -> None:
    done = doctor(TEOLA_ISA="avx3")
    assert done.returncode == 1
    assert "unset TEOLA_ISA, or name a set of this CPU" in done.stdout


def test_a_cache_that_others_may_write_is_a_problem(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    models.chmod(0o777)
    done = doctor(TEOLA_CACHE=str(tmp_path), TEOLA_NATIVE="0")
    assert done.returncode == 1
    assert f"problem  others may write {models}; run: chmod go-w {models}" in done.stdout


def test_it_works_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "read_torch", lambda: Torch(None, ()))
    report = examination.examine(with_speed=False)
    assert report.torch.version is None
    assert 'torch is not installed: run `pip install "teola[local]"`' in report.hints[0]


def test_it_imports_no_torch_where_there_is_none(tmp_path: Path) -> None:
    """A package of this name that cannot be imported stands for one that is missing."""
    script = (
        "import sys, importlib.util; real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'torch' else real(name, *a)\n"
        "sys.modules['torch'] = None\n"
        "sys.argv[1:] = ['doctor', '--json']\n"
        "from teola.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["torch"] == {"version": None, "gpus": []}


@pytest.mark.model
def test_measuring_tells_the_speed_of_the_default_model() -> None:
    speed = json.loads(doctor("--measure", "--json").stdout)["speed"]
    assert speed["model"] == "smollm2-135m"
    assert speed["prefill_tokens_per_s"] > speed["decode_tokens_per_s"] > 0


def test_measuring_without_the_model_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = doctor("--measure", TEOLA_CACHE=str(tmp_path), TEOLA_NATIVE="0")
    assert done.returncode == 1
    assert "run `teola models fetch smollm2-135m`" in done.stdout
    assert "problem  --measure needs torch and smollm2-135m" in done.stdout
