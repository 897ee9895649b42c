import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backends.registry import EngineSpec
from runtime.cost.profile_store import find, key_of, profiles_folder
from teola.cli.main import app
from teola.cli.profile_command import specs_of

Teola = Callable[..., Any]
RAG = """
import teola as tl

llm = tl.LLM("fake:")
store = tl.Store("fake:", embedder=tl.Embedder("fake:", max_batch_items=8))

@tl.prompt(llm)
def answer(x: str, docs: list[tl.Doc]) -> str:
    return f"{tl.join(docs)} {x}"

@tl.app
def ask(x: str) -> str:
    return answer(x, store.index(tl.load(["a.txt"])).search(x, k=3))
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rag.py").write_text(RAG)


def test_a_profile_is_shown_on_stdout_and_kept() -> None:
    done = CliRunner().invoke(app, ["profile", "fake:", "--kind", "embedder", "--budget", "0.2"])

    assert done.exit_code == 0
    assert done.stdout.startswith("embedder fake:")
    assert "embed  seconds a batch" in done.stdout
    assert "profiling embedder fake:" in done.stderr
    assert "kept in " in done.stderr
    assert find(key_of(EngineSpec("embedder", "fake:"))) is not None


def test_secrets_in_urls_are_not_printed_nor_kept(tmp_path: Path) -> None:
    words = ["profile", "fake:?key=SECRET", "--kind", "embedder", "--budget", "0.1"]
    done = CliRunner().invoke(app, words)
    assert "profiling embedder fake:?key=***" in done.stderr
    kept = "".join(path.read_text() for path in profiles_folder().glob("*"))
    assert "fake:?key=***" in kept
    assert "SECRET" not in done.output + kept


def test_an_app_has_each_of_its_engines_profiled(teola: Teola) -> None:
    done = teola("profile", "rag.py", "--budget", "0.1")

    assert done.code == 0
    heads = [line.split("  ")[0] for line in done.out.splitlines() if "  device" in line]
    assert sorted(heads) == ["embedder fake: max_batch_items=8", "llm fake:", "store fake:"]


def test_the_next_plan_uses_the_profiles(teola: Teola) -> None:
    assert teola("profile", "rag.py", "--budget", "0.1").code == 0
    from teola.cli.target import load_app
    from teola.runner import AppRunner

    loaded = load_app("rag.py")
    plan = AppRunner().plan(loaded._program_for((), {}), loaded.options)

    assert {name: each.latency.source[:8] for name, each in plan.engines.items()} == {
        "python": "default",
        "embedder": "profiled",
        "store": "profiled",
        "llm": "profiled",
    }


def test_the_list_names_what_was_profiled(teola: Teola) -> None:
    teola("profile", "fake:", "--kind", "reranker", "--budget", "0.1")

    assert "reranker fake:" in teola("profile", "--list").out
    (listed,) = json.loads(teola("profile", "--list", "--json").out)
    assert listed["key"]["kind"] == "reranker"


def test_clearing_leaves_nothing(teola: Teola) -> None:
    teola("profile", "fake:", "--kind", "reranker", "--budget", "0.1")

    assert "removed 1 profile from" in teola("profile", "--clear").err
    assert "no profiles in" in teola("profile", "--list").err
    assert not list(profiles_folder().iterdir())


def test_the_profile_as_json_is_the_measured_points(teola: Teola) -> None:
    done = teola("profile", "fake:", "--kind", "embedder", "--budget", "0.1", "--json")

    (profile,) = json.loads(done.out)
    assert profile["model"]["ops"]["embed"]["rows"][0]["curve"]["points"][0][0] == 1


def test_tables_fit_80_columns(teola: Teola, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = teola("profile", "rag.py", "--budget", "0.1").out

    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("local:smollm2-135m", "llm"),
        ("local:all-minilm-l6-v2", "embedder"),
        ("local:maxsim", "reranker"),
    ],
)
def test_the_kind_of_a_known_model_need_not_be_said(target: str, kind: str) -> None:
    assert specs_of([target], None) == [EngineSpec(kind, target)]  # type: ignore[arg-type]


def test_an_engine_named_twice_is_profiled_once() -> None:
    assert len(specs_of(["local:maxsim", "local:maxsim"], None)) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "give apps or engine URLs to profile"),
        (["fake:", "--list"], 2, "give apps or engine URLs to profile"),
        (["fake:"], 2, "what is fake:? Say --kind llm|embedder|reranker|store"),
        (["fake:", "--kind", "python"], 2, "--kind is one of llm, embedder, reranker, store"),
        (["none:", "--kind", "llm"], 1, "unknown scheme 'none'"),
        (["gone.py"], 2, "no such file: gone.py"),
        (["app.py:parts"], 2, "there is no engine to profile"),
        (["remote.txt", "--kind", "store"], 1, "has no scheme"),
    ],
)
def test_what_cannot_be_profiled_is_one_clear_message(
    teola: Teola, words: list[str], code: int, message: str
) -> None:
    done = teola("profile", *words)

    assert (done.code, done.out) == (code, "")
    assert message in done.err
