"""The canonical programs: optimised as plain, on the fake model, on servers and on the real one."""

from typing import Any, get_args

import pytest
from canonical import POINTS, City, programs

import teola as tl
from runtime.events import Event

SCRIPT = {
    r"Name a colour\.<\|assistant\|>$": "red",
    r"about a library\?<\|assistant\|>$": "yes",
    r"Thought 1: $": "I search Berlin.",
    r"Action 1: $": "Search",
    r"Action 1: Search\[$": "Berlin",
    r"Observation 1: Berlin has 3.7 million people.\n+Thought 2: $": "I know it.",
    r"Action 2: $": "Finish",
    r"Action 2: Finish\[$": "3.7 million",
    r"Mood:$": " bad",
}
fake = programs(tl.LLM("fake:", replies=SCRIPT))
real = programs(tl.LLM("local:smollm2-135m", kv_tokens=8192))
each = pytest.mark.parametrize("name", fake)


def run(of: dict[str, Any], name: str, **options: Any) -> Any:
    app, arguments = of[name]
    return app.using(memo=False, **options)(*arguments)


@each
@pytest.mark.parametrize("engine", ["fake:", "fake:sglang", "fake:vllm"])
def test_it_says_the_same_optimised_and_plain(name: str, engine: str) -> None:
    engines = {"llm": engine}
    optimised = run(fake, name, engines=engines)
    assert optimised
    assert run(fake, name, engines=engines, optimize=False) == optimised
    assert run(fake, name) == run(fake, name, optimize=False)


def test_react_thinks_acts_and_ends_when_it_knows() -> None:
    text = run(fake, "react").text
    assert text.endswith("Thought 2: I know it.\nAction 2: Finish[3.7 million]\n")
    assert "Observation 1: Berlin has 3.7 million people.\n" in text
    assert "Thought 3" not in text


def test_the_judge_gathers_the_judgments_of_its_branches() -> None:
    result = run(fake, "judge")
    assert result["related"] == "yes"
    assert len(result["judgment"]) == len(POINTS)
    for judgment in result["judgment"]:
        assert judgment in result.messages[3].content


def test_the_scripted_choice_classifies() -> None:
    assert run(fake, "classification") == " bad"


def test_all_samples_of_a_vote_share_their_prompt() -> None:
    heard: list[Event] = []
    run(fake, "self_consistency", listener=heard.append)
    prompts = [e.fields["prefill_tokens"] for e in heard if e.kind == "end" and e.op == "prefill"]
    assert sum(prompts) < 2 * max(prompts)


@pytest.mark.model
@each
def test_it_says_the_same_on_the_real_model(name: str) -> None:
    optimised = run(real, name)
    assert optimised
    assert run(real, name, optimize=False) == optimised


@pytest.mark.model
def test_the_real_model_fills_in_the_form_and_takes_one_of_the_choices() -> None:
    city = run(real, "json_decoding")
    assert isinstance(city, City)
    assert city.size in get_args(City.model_fields["size"].annotation)
    assert run(real, "classification") in (" good", " bad")


@pytest.mark.model
def test_forks_on_the_real_model_share_the_kv_of_what_they_read() -> None:
    """The article is computed once: what the branches prefill is their own question."""
    heard: list[Event] = []
    run(real, "judge", listener=heard.append)
    ends = [event for event in heard if event.kind == "end" and "prefill_tokens" in event.fields]
    branches = [event for event in ends if event.node.startswith("judgment")]
    assert len(branches) >= len(POINTS)
    per_branch = sum(event.fields["prefill_tokens"] for event in branches) / len(POINTS)
    assert per_branch <= 24
    assert sum(event.fields["prefill_tokens"] for event in ends) < 300


@pytest.mark.model
def test_a_batch_computes_the_constant_prefix_once() -> None:
    app, _ = real["classification"]
    texts = [f"Text number {i} is here." for i in range(6)]
    heard: list[Event] = []
    one = app.using(memo=False, listener=heard.append)
    one("A first text, so that the examples are read and kept.")
    heard.clear()
    assert set(one.batch(texts)) <= {" good", " bad"}
    ends = [e.fields for e in heard if e.kind == "end" and e.op == "prefill"]
    assert sum(fields["prefill_tokens"] for fields in ends) <= 14 * len(texts)  # a text's own
    assert sum(fields["cached_tokens"] for fields in ends) >= 30 * len(texts)  # the examples
