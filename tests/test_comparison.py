"""Both versions of the programs in docs/comparison.md, on one scripted model."""

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = (Path(__file__).parents[1] / "docs/comparison.md").read_text()
SCRIPTED = r"""tl.LLM("fake:", replies={
    r"debate is over|Judge the debate[^$]*It is hot": '{"winner": "pro", "done": true}',
    r"Observation: 42": '{"tool": "finish", "arg": "42"}',
    r"Question: What is 6": '{"tool": "calc", "arg": "6*7"}',
    r"<\|tool\|>42<\|assistant\|>$": "42",
    r"What is 6": '<tool_call>{"name": "multiply", "arguments": {"a": 6, "b": 7}}</tool_call>',
    r"pro says:|You argue pro": "It is hot." + " Very." * 60,
    r"con says:|You argue con": "It is bitter." + " Quite." * 60,
    r"(user: |<\|user\|>)more<\|assistant\|>$": "A fig.",
    r"(user: |<\|user\|>)and\?<\|assistant\|>$": "A pear.",
    r"(user: |<\|user\|>)hi<\|assistant\|>$": "An apple.",
})"""
Load = Callable[[str], ModuleType]


def blocks(section: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """The programs of all sections in one version: before or after."""

    def load_version(version: str) -> ModuleType:
        (setup,), *sections = (blocks(section) for section in PAGE.split("\n## "))
        text = "\n".join([setup, *(section[version == "after"] for section in sections)])
        text = re.sub(r"^print\(.*\)$", "", text, flags=re.MULTILINE)
        path = tmp_path / f"{version}.py"
        path.write_text(text.replace('tl.LLM("local:smollm2-135m")', SCRIPTED))
        spec = importlib.util.spec_from_file_location(version, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, version, module)
        spec.loader.exec_module(module)
        return module

    return load_version


def run(app: Any, *arguments: Any, **options: Any) -> tuple[Any, int]:
    """The answer, and how many prompt tokens its model read."""
    prefilled = 0

    def hear(event: Any) -> None:
        nonlocal prefilled
        prefilled += event.fields["prefill_tokens"] if event.kind == "end" else 0

    return app.using(listener=hear, memo=False, **options)(*arguments), prefilled


def test_a_debate_has_the_same_winner_and_is_read_once(load: Load) -> None:
    before, num_before = run(load("before").debate, "tea")
    after, num_after = run(load("after").debate, "tea")
    assert after.model_dump() == before.model_dump() == {"winner": "pro", "done": True}
    assert num_after < num_before / 2  # words, as the page says


def test_an_agent_finds_what_the_written_out_loop_found(load: Load) -> None:
    before, num_before = run(load("before").react, "What is 6*7?")
    after, num_after = run(load("after").react, "What is 6*7?")
    assert after == before == "42"
    assert num_after < num_before  # words that the model reads


def test_a_conversation_says_the_same_and_reads_each_turn_once(load: Load) -> None:
    turns = ["hi", "and?", "more"]
    before, num_before = run(load("before").chat, turns)
    after, num_after = run(load("after").chat, turns)
    assert after == before == "A fig."
    assert (num_before, num_after) == (24, 3)  # words: all turns again, and the new ones
