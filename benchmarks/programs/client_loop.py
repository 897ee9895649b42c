"""The programs as a person writes them first: a loop of calls of an OpenAI client."""

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
    return [*notes, merged, texts.say(texts.value_of(texts.Grade, grade))]


def tree_of_thought(client: LoopClient) -> list[str]:
    solutions: list[str] = []
    said: list[str] = []
    for approach in texts.APPROACHES:
        messages = [system(texts.THOUGHT_SYSTEM), user(texts.propose(texts.PROBLEM, approach))]
        messages.append(assistant(client.ask(messages, **texts.THOUGHT_LIMITS)))
        messages.append(user(texts.CARRY_OUT))
        solutions.append(client.ask(messages, **texts.THOUGHT_LIMITS))
        messages += [assistant(solutions[-1]), user(texts.REFLECT)]
        reflection = client.ask(messages, **texts.THOUGHT_LIMITS)
        said += [messages[2]["content"], solutions[-1], reflection]
        solutions[-1] = f"{solutions[-1]}\nBut: {reflection}"
    messages = [system(texts.THOUGHT_SYSTEM), user(texts.conclude(texts.PROBLEM, solutions))]
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
    said: list[str] = []
    for form in texts.FORMS:
        text = client.ask([*head, user(texts.fill_in(form))], form, max_tokens=96)
        said.append(texts.say(texts.value_of(form, text)))
    return said


def self_consistency(client: LoopClient) -> list[str]:
    messages = [user(texts.think_about(texts.VOTE_QUESTION))]
    samples = [client.ask(messages, **texts.VOTE_LIMITS, seed=seed) for seed in range(texts.VOTERS)]
    return [*samples, texts.most_common(samples)]


def classification(client: LoopClient) -> list[str]:
    said: list[str] = []
    for item in texts.ITEMS:
        messages = [system(texts.CLASSIFY_SYSTEM), user(texts.classify(item))]
        text = client.ask(messages, texts.Label, max_tokens=12)
        said.append(texts.say(texts.value_of(texts.Label, text)))
    return said


def debate(client: LoopClient) -> list[str]:
    messages = [system(texts.DEBATE_SYSTEM), user(texts.TOPIC)]
    said: list[str] = []
    for _ in range(texts.DEBATE_ROUNDS):
        for side in texts.SIDES:
            messages.append(user(texts.speak(side)))
            said.append(client.ask(messages, **texts.SPEECH_LIMITS))
            messages.append(assistant(said[-1]))
    messages.append(user(texts.VERDICT))
    winner = client.ask(messages, texts.Winner, max_tokens=8)
    return [*said, texts.say(texts.value_of(texts.Winner, winner))]


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
