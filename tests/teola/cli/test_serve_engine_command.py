"""The words of `teola serve-engine`; what it does is in tests/teola/serving."""

from collections.abc import Callable
from typing import Any

import pytest

from backends.errors import ConfigError
from teola.cli.failures import UsageError
from teola.cli.serve_engine_command import adapters_of, engine_options, make_engines, say
from teola.serving.client_rules import ClientRules, PriorityRule


def test_options_are_json_or_text_of_the_engine_they_name() -> None:
    words = ["kv_tokens=4096", "dtype=float32", "embedder.max_len=128", 'replies={"a": "b"}']

    assert engine_options(words) == {
        "llm": {"kv_tokens": 4096, "dtype": "float32", "replies": {"a": "b"}},
        "embedder": {"max_len": 128},
    }


@pytest.mark.parametrize("word", ["kv_tokens", "=5", "painter.size=5", "llm.=5"])
def test_a_word_that_is_no_option_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="write NAME=VALUE"):
        engine_options([word])


def test_engines_are_made_in_their_kinds() -> None:
    urls = {"llm": "fake:", "embedder": "fake:", "reranker": None}
    made = make_engines(urls, {"llm": {"token_s": 0.5}})  # type: ignore[arg-type]

    assert [engine.info.kind for _, engine in made] == ["llm", "embedder"]


def test_options_of_an_engine_that_is_not_served_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no --reranker"):
        make_engines({"llm": "fake:", "reranker": None}, {"reranker": {"item_s": 1}})


def test_an_unknown_url_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError, match="unknown scheme"):
        make_engines({"llm": "nope:x"}, {})


def test_adapters_are_names_with_folders() -> None:
    assert adapters_of(["terse=adapters/a=b"]) == {"terse": "adapters/a=b"}
    with pytest.raises(UsageError, match="write NAME=FOLDER"):
        adapters_of(["terse"])


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a server is made of, which is not served."""
    given: list[Any] = []

    def note(*args: Any, rules: ClientRules) -> None:
        given.extend((*args, rules))

    monkeypatch.setattr("teola.serving.served_engines.ServedEngines", note)
    monkeypatch.setattr("teola.serving.process.serve", lambda *_: None)
    return given


def test_lora_on_the_command_line_gives_the_server_its_adapters(
    teola: Callable[..., Any], given: list[Any]
) -> None:
    done = teola("serve-engine", "fake:", "--lora", "a=adapters/a", "--lora", "b=adapters/b")

    assert done.code == 0
    assert given[-2:] == [{"a": "adapters/a", "b": "adapters/b"}, ClientRules()]


def test_exact_on_the_command_line_forbids_fusion(
    teola: Callable[..., Any], given: list[Any]
) -> None:
    assert teola("serve-engine", "fake:", "--exact").code == 0
    assert given[-1] == ClientRules(is_exact=True)


def test_what_clients_may_ask_for_is_said_on_the_command_line(
    teola: Callable[..., Any], given: list[Any]
) -> None:
    assert teola("serve-engine", "fake:", "--client-priority", "ignore").code == 0
    assert given[-1] == ClientRules(priority=PriorityRule.IGNORE)
    assert teola("serve-engine", "fake:", "--any-model").code == 0
    assert given[-1] == ClientRules(any_model=True)
    assert teola("serve-engine", "fake:", "--parse-special").code == 0
    assert given[-1] == ClientRules(parses_special=True)
    assert teola("serve-engine", "fake:", "--client-priority", "most").code == 2


def test_what_it_says_holds_no_secret_of_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    say("loading acme://u:SECRET@h/m?key=SECRET; listening")
    assert capsys.readouterr().err == "loading acme://u:***@h/m?key=***; listening\n"


@pytest.mark.parametrize("option", ["timeout_s", "retries", "max_waiting"])
def test_options_that_only_apps_keep_to_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"--option {option} is of engines in apps"):
        make_engines({"llm": "fake:"}, {"llm": {option: 5}})
