"""A conversation on the embedded engine: its tokens, what each turn computes, what stays."""

from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

import teola as tl
from backends.llm.loader import open_model
from backends.models.fetch import locate
from runtime.events import Event

pytestmark = pytest.mark.model

TEMPLATE = Path(__file__).parents[1] / "data/smollm2_chat_template.jinja"
TEXTS = ["Name a colour.", "Name another one.", "Which one is darker?"]

llm = tl.LLM("local:smollm2-135m", kv_tokens=2048)
contexts: list[Any] = []  # after each turn


@tl.app
async def talk(texts: list[str]) -> list[tl.Message]:
    chat = tl.Chat(llm, system="Answer in a few words.")
    for text in texts:
        await chat.ask(text, max_tokens=24)
        value: Any = chat._state.context
        contexts.append(value._pending.real)
    return chat.messages


def rendered(messages: list[tl.Message]) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(messages=turns)


def test_a_conversation_is_the_tokens_of_its_rendering_and_each_turn_reads_what_is_new() -> None:
    heard: list[Event] = []
    contexts.clear()
    messages = talk.using(listener=heard.append, memo=False)(TEXTS)
    assert [message.content for message in messages[1::2]] == TEXTS

    tokenizer = open_model(locate("smollm2-135m")).tokenizer
    for turn, own in enumerate((context.ids for context in contexts), 1):
        whole = tokenizer.encode_markup(rendered(messages[: 1 + 2 * turn]))
        assert whole[: len(own)] == own
        assert tokenizer.decode(whole[len(own) :], with_markup=True).strip() == "<|im_end|>"

    segments = [event.query for event in heard if event.kind == "query"]
    ends = [event for event in heard if event.kind == "end"]
    new = [sum(e.fields["prefill_tokens"] for e in ends if e.query == q) for q in segments]
    assert len(new) == 3
    assert max(new[1:]) <= 30  # the question and the markup around it, and no earlier turn
    assert not any(context._finalizer.alive for context in contexts)  # all are given back
