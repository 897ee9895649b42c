"""The programs in teola's forms."""

from collections.abc import Mapping
from typing import Any

import teola as tl
from benchmarks.programs import texts

llm = tl.LLM("local:smollm2-135m")


@tl.tool(pure=True)
def say(value: Any) -> str:
    """An answer as the other forms have it."""
    return texts.say(value)


@tl.app
async def chat(turns: list[str]) -> list[str]:
    """A conversation of several turns."""
    talk = tl.Chat(llm, system=texts.CHAT_SYSTEM)
    return [await talk.ask(turn, **texts.CHAT_LIMITS) for turn in turns]


@tl.app
def judge(article: str) -> list[str]:
    """An article judged on several points, and then as a whole."""
    talk = tl.Chat(llm, system=texts.JUDGE_SYSTEM)
    talk.user(texts.read(article))
    forks = zip(talk.fork(len(texts.POINTS)), texts.POINTS, strict=True)
    notes = [fork.answer(texts.assess(point), **texts.POINT_LIMITS) for fork, point in forks]
    merged = talk.answer(texts.merge(notes), **texts.MERGED_LIMITS)
    grade = talk.answer(texts.GRADE, out=texts.Grade, max_tokens=8)
    return [*notes, merged, say(grade)]


@tl.app
def tree_of_thought(problem: str) -> list[str]:
    """Plans, each carried out and criticised, and an answer over all."""
    said: list[str] = []
    solutions: list[str] = []
    for approach in texts.APPROACHES:
        talk = tl.Chat(llm, system=texts.THOUGHT_SYSTEM)
        plan = talk.answer(texts.propose(problem, approach), **texts.THOUGHT_LIMITS)
        solution = talk.answer(texts.CARRY_OUT, **texts.THOUGHT_LIMITS)
        reflection = talk.answer(texts.REFLECT, **texts.THOUGHT_LIMITS)
        said += [plan, solution, reflection]
        solutions.append(f"{solution}\nBut: {reflection}")
    end = tl.Chat(llm, system=texts.THOUGHT_SYSTEM)
    return [*said, end.answer(texts.conclude(problem, solutions), **texts.THOUGHT_LIMITS)]


@tl.tool(pure=True)
def look_up(thought: str) -> str:
    return texts.look_up(thought)


@tl.app
def react(question: str) -> list[str]:
    """Thoughts and observations in turn, and an answer."""
    talk = tl.Chat(llm, system=texts.REACT_SYSTEM)
    talk.user(question)
    said: list[str] = []
    for _ in range(texts.REACT_STEPS):
        said.append(talk.answer(**texts.REACT_LIMITS))
        talk.user(texts.observe(look_up(said[-1])))
    return [*said, talk.answer(texts.REACT_ANSWER, **texts.REACT_LIMITS)]


@tl.app
def json_decoding(document: str) -> list[str]:
    """Three forms filled in from one text."""
    talk = tl.Chat(llm, system=texts.JSON_SYSTEM)
    talk.user(texts.read(document))
    forks = zip(talk.fork(len(texts.FORMS)), texts.FORMS, strict=True)
    return [say(fork.answer(texts.fill_in(form), out=form, max_tokens=96)) for fork, form in forks]


most_common = tl.tool(pure=True)(texts.most_common)


@tl.app
def self_consistency(question: str) -> list[str]:
    """Samples of one prompt, and what most of them say."""
    talk = tl.Chat(llm)
    talk.user(texts.think_about(question))
    samples = [
        fork.answer(**texts.VOTE_LIMITS, seed=seed)
        for seed, fork in enumerate(talk.fork(texts.VOTERS))
    ]
    return [*samples, most_common(samples)]


@tl.prompt(llm, out=texts.Label, system=texts.CLASSIFY_SYSTEM, max_tokens=12)
def kind_of(item: str) -> str:
    return texts.classify(item)


@tl.app
def classification(items: list[str]) -> list[str]:
    """Messages sorted by what a few examples show."""
    return tl.map(kind_of, items)


@tl.app
def debate(topic: str) -> list[str]:
    """Two sides speak in turn in one shared transcript, and a judge names the winner."""
    talk = tl.Chat(llm, system=texts.DEBATE_SYSTEM)
    talk.user(topic)
    said = [
        talk.answer(texts.speak(side), **texts.SPEECH_LIMITS)
        for _ in range(texts.DEBATE_ROUNDS)
        for side in texts.SIDES
    ]
    return [*said, talk.answer(texts.VERDICT, out=texts.Winner, max_tokens=8)]


PROGRAMS: Mapping[str, Any] = {
    "chat": chat,
    "judge": judge,
    "tree_of_thought": tree_of_thought,
    "react": react,
    "json_decoding": json_decoding,
    "self_consistency": self_consistency,
    "classification": classification,
    "debate": debate,
}

INPUTS: Mapping[str, Mapping[str, Any]] = {
    "chat": {"turns": list(texts.CHAT_TURNS)},
    "judge": {"article": texts.ARTICLE},
    "tree_of_thought": {"problem": texts.PROBLEM},
    "react": {"question": texts.REACT_QUESTION},
    "json_decoding": {"document": texts.DOCUMENT},
    "self_consistency": {"question": texts.VOTE_QUESTION},
    "classification": {"items": list(texts.ITEMS)},
    "debate": {"topic": texts.TOPIC},
}
