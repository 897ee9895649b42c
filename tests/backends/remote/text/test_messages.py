"""Parts of prompts as messages: nothing is lost, and what a message cannot hold is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Template

from backends.base import Part, Tokens, Turn
from backends.errors import RequestRejected
from backends.llm.text.chat import ChatTemplate
from backends.remote.messages import Message, Prompt, check_answerable, parts_of, read_prompt

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
texts = st.lists(st.text(max_size=8), max_size=3)
turns = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts), max_size=6)


def parts_from(written: list[tuple[str, list[str]]]) -> list[Part]:
    parts: list[Part] = []
    for role, pieces in written:
        parts += [Turn(role), *pieces]  # type: ignore[arg-type]
    return parts


@settings(deadline=None)
@given(turns)
def test_each_turn_is_a_message_of_its_texts_as_they_are(
    written: list[tuple[str, list[str]]],
) -> None:
    prompt = read_prompt(parts_from(written))
    assert [(m.role, m.content) for m in prompt.turns] == [(r, "".join(t)) for r, t in written]
    assert read_prompt(parts_of(prompt)) == prompt


@settings(deadline=None)
@given(texts)
def test_texts_without_a_turn_are_one_text(pieces: list[str]) -> None:
    prompt = read_prompt(pieces)
    assert prompt == Prompt("".join(pieces))
    assert read_prompt(parts_of(prompt)) == prompt


@settings(deadline=None)
@given(turns.filter(lambda written: bool(written)))
def test_a_servers_template_writes_of_the_messages_what_the_embedded_engine_writes_of_the_parts(
    written: list[tuple[str, list[str]]],
) -> None:
    parts = [*parts_from(written), Turn("assistant")]
    template, markup, before = ChatTemplate(CHATML), "", None
    for part in parts:
        if isinstance(part, Turn):
            markup += template.markup(before, part.role)
            before = part.role
        else:
            markup += str(part)
    messages = [message.body for message in read_prompt(parts).messages]
    assert (
        Template(CHATML, keep_trailing_newline=True).render(
            messages=messages, add_generation_prompt=True
        )
        == markup
    )


def test_an_open_answer_is_no_message_and_a_begun_one_is() -> None:
    open_answer = read_prompt([Turn("user"), "Hi", Turn("assistant")])
    assert open_answer.messages == (Message("user", "Hi"),)
    assert not open_answer.is_begun
    begun = read_prompt([Turn("user"), "Hi", Turn("assistant"), "Thought:", " I"])
    assert begun.messages[-1] == Message("assistant", "Thought: I")
    assert begun.is_begun


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (["text", Turn("user"), "Hi"], "outside of any turn ('text')"),
        ([Turn("user"), Tokens((1, 2))], "local:"),
        ([Turn("user"), 3], "made of text and turns, not 3"),
    ],
)
def test_what_no_message_can_hold_is_refused(parts: list[object], words: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        read_prompt(parts)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "this one is empty"),
        (["", ""], "this one is empty"),
        ([Turn("user"), "Hi"], "ends inside a user turn"),
        ([Turn("assistant")], "no turn but the answer's"),
    ],
)
def test_what_a_chat_api_would_not_answer_is_refused(parts: list[Part], words: str) -> None:
    with pytest.raises(RequestRejected) as caught:
        check_answerable(read_prompt(parts))
    assert words in str(caught.value)
