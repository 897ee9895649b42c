"""`run-graph --start-engine`: the app's LLM is replaced by a server that lives as long as the run.

The server is a stand-in that answers its health check; the engine that talks to it is a fake.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from stand_in_server import StandIn, make_stand_in

from backends.base import Engine, Kind
from backends.fake import factory
from backends.registry import FACTORIES
from teola.cli.failures import UsageError
from teola.cli.started_engines import Wanted, wanted_server
from teola.cli.target import load_app
from teola.launching import records

BIN = Path(sys.executable).parent
Teola = Callable[..., Any]
TWO = """
import teola as tl

small, large = tl.LLM("fake:small"), tl.LLM("fake:large")

@tl.prompt(small)
def draft(x: str) -> str:
    return f"Draft {x}"

@tl.prompt(large)
def mend(x: str) -> str:
    return f"Mend {x}"

@tl.app
def write(x: str) -> str:
    return mend(draft(x))

@tl.app
async def write_async(x: str) -> str:
    return await mend(x)

@tl.app
def upper(x: str) -> str:
    return tl.join([x])
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The Python that runs the server, and a model for it."""
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    return make_stand_in(tmp_path)


@pytest.fixture
def engine_urls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs of `vllm://` engines that are made, all of them fakes, while their servers run."""
    seen: list[str] = []

    def create(kind: Kind, url: str, options: Mapping[str, Any]) -> Engine:
        assert url in [record.url for record in records.running()]
        seen.append(url)
        return factory.create(kind, "fake:", options)

    module = ModuleType("started_fakes")
    module.create = create  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "started_fakes", module)
    monkeypatch.setitem(FACTORIES, "llm.vllm", "started_fakes:create")
    return seen


def options(stand_in: StandIn) -> list[str]:
    return ["--start-engine", "vllm:tiny", "--engine-python", str(stand_in.python)]


def test_the_llm_is_replaced_by_a_server_that_is_stopped_after_the_run(
    teola: Teola, stand_in: StandIn, engine_urls: list[str]
) -> None:
    words = [*options(stand_in), "--engine-args", "--max-model-len 64"]
    done = teola("run", "app.py:talk", "--topic", "sea", *words)
    assert done.code == 0, done.err
    assert done.out.startswith("reply ")
    assert engine_urls[0].startswith("vllm://127.0.0.1:")
    assert "is ready; its log is" in done.err
    assert records.running() == []
    assert stand_in.command_lines[0].endswith(" --max-model-len 64")


def test_quiet_says_nothing_of_the_server(
    teola: Teola, stand_in: StandIn, engine_urls: list[str]
) -> None:
    done = teola("run", "app.py:talk", "--topic", "sea", *options(stand_in), "--quiet")
    assert (done.code, done.err, len(engine_urls)) == (0, "", 1)


def test_an_app_without_an_llm_needs_no_server(teola: Teola, stand_in: StandIn) -> None:
    done = teola("run", "app.py:loud", "--x", "hey", *options(stand_in))
    assert done.err == (
        "error: --start-engine for which LLM of loud()? its code names no LLM; "
        "write NAME=SERVER:MODEL\n"
    )


def test_a_server_that_does_not_start_ends_the_run_with_its_log(
    teola: Teola, stand_in: StandIn
) -> None:
    stand_in.behave("crash")
    done = teola("run", "app.py:talk", "--topic", "sea", *options(stand_in))
    assert done.code == 1
    assert "did not start (exit code 1)" in done.err
    assert "the package 'zmq' is missing there" in done.err


def test_ctrl_c_stops_the_server_too(app_file: Path, stand_in: StandIn) -> None:
    stand_in.behave("slow")
    words = [f"{app_file}:talk", "--topic", "sea", *options(stand_in)]
    with subprocess.Popen(
        [BIN / "run-graph", *words], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("starting vllm-")
        (record,) = records.running()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert not record.is_running
    assert records.running() == []


@pytest.mark.parametrize("name", ["write", "write_async"])
def test_which_llm_must_be_said_where_there_are_several(tmp_path: Path, name: str) -> None:
    (tmp_path / "two.py").write_text(TWO)
    app = load_app(f"two.py:{name}")
    assert wanted_server(app, "small=vllm:a/b") == Wanted("small", "vllm", "a/b")
    if name == "write":
        with pytest.raises(UsageError, match=r"its LLMs are .*(small, large|large, small)"):
            wanted_server(app, "vllm:a/b")
    else:
        assert wanted_server(app, "vllm:a/b=c") == Wanted("large", "vllm", "a/b=c")


@pytest.mark.parametrize("word", ["vllm", "vllm:", ":a/b", "vllm://127.0.0.1:8000/x", "x=vllm"])
def test_what_names_no_server_and_model_is_refused(tmp_path: Path, word: str) -> None:
    (tmp_path / "two.py").write_text(TWO)
    with pytest.raises(UsageError, match="--start-engine takes SERVER:MODEL"):
        wanted_server(load_app("two.py:write"), word)
