"""The extras of pyproject.toml are those that the code asks users to install."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def asked_for() -> set[str]:
    files = [path for folder in ("backends", "teola") for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    return {name for text in texts for name in re.findall(r'optional_imports\("(\w+)"\)', text)}


def packages_of(extra: str) -> set[str]:
    names = {re.split(r"[<>=;\[ ]", line)[0]: line for line in EXTRAS[extra]}
    nested = re.findall(r"\[(.*)\]", names.pop("teola", ""))
    return names.keys() | {
        p for all_ in nested for one in all_.split(",") for p in packages_of(one)
    }


def test_every_extra_that_an_error_names_is_there() -> None:
    assert {"local", "remote", "documents"} <= asked_for() <= EXTRAS.keys()


@pytest.mark.parametrize("extra", ["documents", "remote", "http2", "kv-events"])
def test_engines_that_run_elsewhere_need_no_torch(extra: str) -> None:
    assert "torch" not in packages_of(extra)
    assert "torch" in packages_of("local")


def test_documents_are_read_wherever_models_run_here() -> None:
    assert packages_of("documents") < packages_of("local")
