"""The programs in LangGraph: a node for each step, `Send` where steps are independent.

Nodes call the async OpenAI client.
"""

import json
import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.programs import texts
from benchmarks.programs.asking import AsyncClient
from benchmarks.programs.texts import Messages, assistant, system, user

Runnable = Any  # a compiled graph: its class is generic in ways that differ between releases


class Turns(TypedDict, total=False):
    """A conversation."""

    messages: Annotated[Messages, operator.add]
    said: Annotated[list[str], operator.add]


class Branches(TypedDict, total=False):
    """Steps side by side: each adds what it said, with its place."""

    place: int
    parts: Annotated[list[tuple[int, list[str]]], operator.add]
    said: list[str]


def _in_order(state: Branches) -> list[list[str]]:
    return [part for _, part in sorted(state["parts"], key=lambda pair: pair[0])]


def _repeated(step: Callable[[Any], Awaitable[Any]], times: int) -> StateGraph:
    """A step that runs so often, as a loop; `last` comes behind."""
    graph = StateGraph(Turns)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges(
        "step", lambda state: "step" if len(state["said"]) < times else "last", ["step", "last"]
    )
    graph.add_edge("last", END)
    return graph


def _side_by_side(
    branch: Callable[[Any], Awaitable[Any]],
    number: int,
    last: Callable[[Any], Any],
) -> Runnable:
    """A branch for each place, and a step over all of them."""
    graph = StateGraph(Branches)
    graph.add_node("branch", branch)
    graph.add_node("last", last)
    sends = [Send("branch", {"place": place}) for place in range(number)]
    graph.add_conditional_edges(START, lambda _: sends, ["branch"])
    graph.add_edge("branch", "last")
    graph.add_edge("last", END)
    return graph.compile()


def chat(client: AsyncClient) -> Runnable:
    async def step(state: Turns) -> Turns:
        asked = [user(texts.CHAT_TURNS[len(state.get("said", []))])]
        head = [system(texts.CHAT_SYSTEM)]
        answer = await client.ask([*head, *state.get("messages", []), *asked], **texts.CHAT_LIMITS)
        return {"messages": [*asked, assistant(answer)], "said": [answer]}

    graph = _repeated(step, len(texts.CHAT_TURNS))
    graph.add_node("last", _nothing)
    return graph.compile()


async def _nothing(state: Any) -> dict[str, Any]:  # noqa: ARG001
    return {}


def judge(client: AsyncClient) -> Runnable:
    head = [system(texts.JUDGE_SYSTEM), user(texts.read(texts.ARTICLE))]

    async def branch(state: Branches) -> Branches:
        place = state["place"]
        messages = [*head, user(texts.assess(texts.POINTS[place]))]
        return {"parts": [(place, [await client.ask(messages, **texts.POINT_LIMITS)])]}

    async def last(state: Branches) -> Branches:
        notes = [note for (note,) in _in_order(state)]
        messages = [*head, user(texts.merge(notes))]
        merged = await client.ask(messages, **texts.MERGED_LIMITS)
        messages += [assistant(merged), user(texts.GRADE)]
        grade = await client.ask(messages, texts.Grade, max_tokens=8)
        return {"said": [*notes, merged, grade]}

    return _side_by_side(branch, len(texts.POINTS), last)


def tree_of_thought(client: AsyncClient) -> Runnable:
    head = [system(texts.THOUGHT_SYSTEM)]

    async def branch(state: Branches) -> Branches:
        place = state["place"]
        messages = [*head, user(texts.propose(texts.PROBLEM, texts.APPROACHES[place]))]
        plan = await client.ask(messages, **texts.THOUGHT_LIMITS)
        messages += [assistant(plan), user(texts.CARRY_OUT)]
        solution = await client.ask(messages, **texts.THOUGHT_LIMITS)
        messages += [assistant(solution), user(texts.REFLECT)]
        reflection = await client.ask(messages, **texts.THOUGHT_LIMITS)
        return {"parts": [(place, [plan, solution, reflection])]}

    async def last(state: Branches) -> Branches:
        said = [text for part in _in_order(state) for text in part]
        messages = [*head, user(texts.conclude(texts.PROBLEM, said[1::3], said[2::3]))]
        return {"said": [*said, await client.ask(messages, **texts.THOUGHT_LIMITS)]}

    return _side_by_side(branch, len(texts.APPROACHES), last)


def react(client: AsyncClient) -> Runnable:
    head = [system(texts.REACT_SYSTEM), user(texts.REACT_QUESTION)]

    async def step(state: Turns) -> Turns:
        thought = await client.ask([*head, *state.get("messages", [])], **texts.REACT_LIMITS)
        observed = user(texts.observe(texts.look_up(thought)))
        return {"messages": [assistant(thought), observed], "said": [thought]}

    async def last(state: Turns) -> Turns:
        messages = [*head, *state["messages"], user(texts.REACT_ANSWER)]
        return {"said": [await client.ask(messages, **texts.REACT_LIMITS)]}

    graph = _repeated(step, texts.REACT_STEPS)
    graph.add_node("last", last)
    return graph.compile()


def json_decoding(client: AsyncClient) -> Runnable:
    head = [system(texts.JSON_SYSTEM), user(texts.read(texts.DOCUMENT))]

    async def branch(state: Branches) -> Branches:
        form = texts.FORMS[state["place"]]
        text = await client.ask([*head, user(texts.fill_in(form))], form, max_tokens=96)
        return {"parts": [(state["place"], [text])]}

    return _side_by_side(branch, len(texts.FORMS), _all_said)


async def _all_said(state: Branches) -> Branches:
    return {"said": [text for part in _in_order(state) for text in part]}


def self_consistency(client: AsyncClient) -> Runnable:
    messages = [user(texts.think_about(texts.VOTE_QUESTION))]

    async def branch(state: Branches) -> Branches:
        seed = state["place"]
        return {"parts": [(seed, [await client.ask(messages, **texts.VOTE_LIMITS, seed=seed)])]}

    async def last(state: Branches) -> Branches:
        samples = [text for (text,) in _in_order(state)]
        return {"said": [*samples, texts.most_common(samples)]}

    return _side_by_side(branch, texts.VOTERS, last)


def classification(client: AsyncClient) -> Runnable:
    async def branch(state: Branches) -> Branches:
        item = texts.classify(texts.ITEMS[state["place"]])
        messages = [system(texts.CLASSIFY_SYSTEM), user(item)]
        text = await client.ask(messages, texts.Label, max_tokens=12)
        return {"parts": [(state["place"], [json.loads(text)])]}

    return _side_by_side(branch, len(texts.ITEMS), _all_said)


class Debate(TypedDict, total=False):
    """What was said."""

    transcript: str
    said: Annotated[list[str], operator.add]


def debate(client: AsyncClient) -> Runnable:
    sides = list(texts.SIDES)

    async def speak(state: Debate) -> Debate:
        said = state.get("said", [])
        side = sides[len(said) % len(sides)]
        transcript = state.get("transcript", f"Question: {texts.TOPIC}")
        speech = await client.ask(texts.next_line(transcript, side), **texts.SPEECH_LIMITS)
        return {"transcript": f"{transcript}\n\n{side}: {speech}", "said": [speech]}

    def goes_on(state: Debate) -> str:
        return "speak" if len(state["said"]) < texts.DEBATE_ROUNDS * len(sides) else END

    graph = StateGraph(Debate)
    graph.add_node("speak", speak)
    graph.add_edge(START, "speak")
    graph.add_conditional_edges("speak", goes_on, ["speak", END])
    return graph.compile()


PROGRAMS: Mapping[str, Callable[[AsyncClient], Runnable]] = {
    "chat": chat,
    "judge": judge,
    "tree_of_thought": tree_of_thought,
    "react": react,
    "json_decoding": json_decoding,
    "self_consistency": self_consistency,
    "classification": classification,
    "debate": debate,
}


async def run(compiled: Runnable) -> Sequence[str]:
    """What a program says, from its start."""
    limits = {"recursion_limit": 50}
    return list((await compiled.ainvoke({}, limits))["said"])
