"""The programs as a person writes them first: a loop of calls of an OpenAI client."""

import json
from collections.abc import Callable, Mapping

from benchmarks.programs import texts
from benchmarks.programs.asking import LoopClient
from benchmarks.programs.texts import assistant, system, user

Program = Callable[[LoopClient], list[str]]


def chat(client: LoopClient) -> list[str]:
    messages = [system(texts.CHAT_SYSTEM)]
    for turn in texts.CHAT_TURNS:
        messages.append(user(turn))
        messages.append(assistant(client.ask(messages, **texts.CHAT_LIMITS)))
    return [message["content"] for message in messages if message["role"] == "assistant"]


def judge(client: LoopClient) -> list[str]:
    head = [system(texts.JUDGE_SYSTEM), user(texts.read(texts.ARTICLE))]
    notes = [
        client.ask([*head, user(texts.assess(point))], **texts.POINT_LIMITS)
        for point in texts.POINTS
    ]
    messages = [*head, user(texts.merge(notes))]
    merged = client.ask(messages, **texts.MERGED_LIMITS)
    messages += [assistant(merged), user(texts.GRADE)]
    grade = client.ask(messages, texts.Grade, max_tokens=8)
    return [*notes, merged, grade]


def tree_of_thought(client: LoopClient) -> list[str]:
    head = [system(texts.THOUGHT_SYSTEM)]
    said: list[str] = []
    for approach in texts.APPROACHES:
        messages = [*head, user(texts.propose(texts.PROBLEM, approach))]
        for request in (texts.CARRY_OUT, texts.REFLECT, ""):
            said.append(client.ask(messages, **texts.THOUGHT_LIMITS))
            messages += [assistant(said[-1]), user(request)]
    messages = [*head, user(texts.conclude(texts.PROBLEM, said[1::3], said[2::3]))]
    return [*said, client.ask(messages, **texts.THOUGHT_LIMITS)]


def react(client: LoopClient) -> list[str]:
    messages = [system(texts.REACT_SYSTEM), user(texts.REACT_QUESTION)]
    said: list[str] = []
    for _ in range(texts.REACT_STEPS):
        said.append(client.ask(messages, **texts.REACT_LIMITS))
        passage = texts.look_up(said[-1])
        messages += [assistant(said[-1]), user(texts.observe(passage))]
    messages.append(user(texts.REACT_ANSWER))
    return [*said, client.ask(messages, **texts.REACT_LIMITS)]


def json_decoding(client: LoopClient) -> list[str]:
    head = [system(texts.JSON_SYSTEM), user(texts.read(texts.DOCUMENT))]
    return [
        client.ask([*head, user(texts.fill_in(form))], form, max_tokens=96) for form in texts.FORMS
    ]


def self_consistency(client: LoopClient) -> list[str]:
    messages = [user(texts.think_about(texts.VOTE_QUESTION))]
    samples = [client.ask(messages, **texts.VOTE_LIMITS, seed=seed) for seed in range(texts.VOTERS)]
    return [*samples, texts.most_common(samples)]


def classification(client: LoopClient) -> list[str]:
    said: list[str] = []
    for item in texts.ITEMS:
        messages = [system(texts.CLASSIFY_SYSTEM), user(texts.classify(item))]
        said.append(json.loads(client.ask(messages, texts.Label, max_tokens=12)))
    return said


def debate(client: LoopClient) -> list[str]:
    transcript = f"Question: {texts.TOPIC}"
    said: list[str] = []
    for _ in range(texts.DEBATE_ROUNDS):
        for side in texts.SIDES:
            said.append(client.ask(texts.next_line(transcript, side), **texts.SPEECH_LIMITS))
            transcript += f"\n\n{side}: {said[-1]}"
    return said


PROGRAMS: Mapping[str, Program] = {
    "chat": chat,
    "judge": judge,
    "tree_of_thought": tree_of_thought,
    "react": react,
    "json_decoding": json_decoding,
    "self_consistency": self_consistency,
    "classification": classification,
    "debate": debate,
}
