"""The programs in teola's forms: `tl.Chat`, `@tl.program`, `tl.map` over a prompt, `tl.teams`."""

from collections.abc import Mapping
from typing import Any

import teola as tl
from benchmarks.programs import texts

llm = tl.LLM("local:smollm2-135m")


@tl.app
async def chat(turns: list[str]) -> list[str]:
    """A conversation of several turns; each answer is there before the next is asked for."""
    talk = tl.Chat(llm, system=texts.CHAT_SYSTEM)
    return [await talk.ask(turn, **texts.CHAT_LIMITS) for turn in turns]


@tl.program(llm)
def judge(s: tl.State, article: str) -> list[str]:
    """An article judged on several points, and then as a whole."""
    s += tl.system(texts.JUDGE_SYSTEM)
    s += tl.user(texts.read(article))
    forks = s.fork(len(texts.POINTS))
    for fork, point in zip(forks, texts.POINTS, strict=True):
        fork += tl.user(texts.assess(point))
        fork += tl.gen("note", **texts.POINT_LIMITS)
    s.join(forks)
    s += tl.user(texts.merge(s["note"]))
    s += tl.gen("merged", **texts.MERGED_LIMITS)
    s += tl.user(texts.GRADE)
    s += tl.gen("grade", out=texts.Grade, max_tokens=8)
    return [*s["note"], s["merged"], s["grade"]]


@tl.program(llm)
def tree_of_thought(s: tl.State, problem: str) -> list[str]:
    """Plans, each carried out and criticised, and an answer over all."""
    s += tl.system(texts.THOUGHT_SYSTEM)
    forks = s.fork(len(texts.APPROACHES))
    for fork, approach in zip(forks, texts.APPROACHES, strict=True):
        fork += tl.user(texts.propose(problem, approach))
        fork += tl.gen("plan", **texts.THOUGHT_LIMITS)
        fork += tl.user(texts.CARRY_OUT)
        fork += tl.gen("solution", **texts.THOUGHT_LIMITS)
        fork += tl.user(texts.REFLECT)
        fork += tl.gen("reflection", **texts.THOUGHT_LIMITS)
    s.join(forks)
    s += tl.user(texts.conclude(problem, s["solution"], s["reflection"]))
    s += tl.gen("end", **texts.THOUGHT_LIMITS)
    branches = zip(s["plan"], s["solution"], s["reflection"], strict=True)
    return [*(text for branch in branches for text in branch), s["end"]]


@tl.tool(pure=True)
def look_up(thought: str) -> str:
    return texts.look_up(thought)


@tl.program(llm)
def react(s: tl.State, question: str) -> list[str]:
    """Thoughts and observations in turn, and an answer."""
    s += tl.system(texts.REACT_SYSTEM)
    s += tl.user(question)
    for i in range(texts.REACT_STEPS):
        s += tl.gen(f"thought_{i}", **texts.REACT_LIMITS)
        s += tl.user(texts.observe(look_up(s[f"thought_{i}"])))
    s += tl.user(texts.REACT_ANSWER)
    s += tl.gen("answer", **texts.REACT_LIMITS)
    return [*(s[f"thought_{i}"] for i in range(texts.REACT_STEPS)), s["answer"]]


@tl.program(llm)
def json_decoding(s: tl.State, document: str) -> list[str]:
    """Forms filled in from one text."""
    s += tl.system(texts.JSON_SYSTEM)
    s += tl.user(texts.read(document))
    forks = s.fork(len(texts.FORMS))
    for fork, form in zip(forks, texts.FORMS, strict=True):
        fork += tl.user(texts.fill_in(form))
        fork += tl.gen("filled", out=form, max_tokens=96)
    s.join(forks)
    return s["filled"]


most_common = tl.tool(pure=True)(texts.most_common)


@tl.program(llm)
def self_consistency(s: tl.State, question: str) -> list[str]:
    """Samples of one prompt, and what most of them say."""
    s += tl.user(texts.think_about(question))
    forks = s.fork(texts.VOTERS)
    for seed, fork in enumerate(forks):
        fork += tl.gen("sample", **texts.VOTE_LIMITS, seed=seed)
    s.join(forks)
    return [*s["sample"], most_common(s["sample"])]


@tl.prompt(llm, out=texts.Label, system=texts.CLASSIFY_SYSTEM, max_tokens=12)
def kind_of(item: str) -> str:
    return texts.classify(item)


@tl.app
def classification(items: list[str]) -> list[str]:
    """Messages sorted by what a few examples show."""
    return tl.map(kind_of, items)


_pro, _con = (
    tl.Agent(side, llm, instructions=texts.SIDES[side], **texts.SPEECH_LIMITS)
    for side in texts.SIDES
)
debating = tl.teams.debate(_pro, _con, rounds=texts.DEBATE_ROUNDS)


@tl.tool(pure=True)
def said_by_both(lines: list[Any]) -> list[str]:
    return [line.text for line in lines]


@tl.app
def debate(topic: str) -> list[str]:
    """Two sides speak in turn in one shared transcript."""
    return said_by_both(debating(topic))


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
