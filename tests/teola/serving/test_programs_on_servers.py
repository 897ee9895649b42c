"""A program with turns, forks and a choice, at teola's own server and on an emulated device."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import teola as tl
from teola.runner import default_runner

MODEL = "smollm2-135m"
llm = tl.LLM(f"local:{MODEL}", kv_tokens=4096)


@tl.program(llm)
def review(s: tl.State, text: str) -> tl.State:
    s += tl.system("You review texts in a few words.")
    s += tl.user(f"Text: {text}\nIs it long?")
    s += tl.assistant(tl.select("is_long", choices=["yes", "no"]))
    forks = s.fork(2)
    for fork, point in zip(forks, ("tone", "style"), strict=True):
        fork += tl.user(f"Judge its {point}.")
        fork += tl.assistant(tl.gen("note", max_tokens=8))
    s.join(forks)
    s += tl.user(f"Grade it.\n{tl.join(s.get('note', list[str]), '{text}')}")
    s += tl.assistant(tl.gen("grade", choices=["A", "B", "C"]))
    return s


@tl.program(llm)
def mood(s: tl.State, text: str) -> tuple[str, list[float]]:
    s += f"Text: What a lovely day!\nMood: good\n\nText: {text}\nMood:"
    s += tl.select("mood", choices=[" good", " bad"])
    return s["mood"], s.scores("mood")


def test_an_emulated_engine_runs_programs_and_scores_choices() -> None:
    on = {"engines": {"llm": "emulated:h100/llama-3.1-8b"}, "memo": False}
    result = review.using(**on)("All work and no play.")
    assert result == review.using(optimize=False, **on)("All work and no play.")
    assert result["is_long"] in ("yes", "no")
    picked, scores = mood.using(**on)("My bike was stolen.")
    assert scores.index(max(scores)) == [" good", " bad"].index(picked)


@pytest.fixture(scope="module")
def at(serve: Callable[..., Any]) -> Iterator[Callable[[str], str]]:
    with serve(f"local:{MODEL}") as server:
        yield lambda scheme: f"{scheme}://{server.url.removeprefix('http://')}/{MODEL}"
        default_runner().close()


@pytest.mark.server
@pytest.mark.model
@pytest.mark.parametrize("scheme", ["teola", "openai"])
def test_a_program_says_the_same_at_a_server_and_embedded(
    at: Callable[[str], str], scheme: str
) -> None:
    remote = review.using(engines={"llm": at(scheme)}, memo=False)
    wanted = review.using(memo=False)("All work and no play.")
    assert remote("All work and no play.") == wanted
    assert remote.using(optimize=False)("All work and no play.") == wanted


@pytest.mark.server
@pytest.mark.model
def test_scores_of_a_server_are_those_of_the_embedded_engine(at: Callable[[str], str]) -> None:
    remote = mood.using(engines={"llm": at("teola")}, memo=False)
    picked, scores = remote("My bike was stolen.")
    wanted, of_engine = mood.using(memo=False)("My bike was stolen.")
    assert picked == wanted
    assert scores == pytest.approx(of_engine, abs=1e-3)
